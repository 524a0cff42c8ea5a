"""Layout of quadratic forms as the compiled functions take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernel.coupling import real_cg
from .features import Block
from .quadratic_kernel import PAIRS, PackedBlock, PackedForm


@dataclass(frozen=True)
class TruncatedForm:
    """Quadratic form of a block: E = sum_r,M values[r] (vectors[r] . x_M)^2, x_M its features.

    Attributes:
        block: the features.
        vectors: (R, P).
        values: (R,) eV.

    """

    block: Block
    vectors: np.ndarray
    values: np.ndarray


def _padded_vectors(form: TruncatedForm) -> np.ndarray:
    """Vectors (R, P) of a form, those of each group of products padded with zeros to a multiple of PAIRS."""
    parts = [form.vectors[:, : form.block.n_single]]
    for _, _, pairs, columns in form.block.products:
        parts.append(np.pad(form.vectors[:, columns], ((0, 0), (0, -len(pairs) % PAIRS))))
    return np.concatenate(parts, axis=1)


def _coupling_terms(l1: int, l2: int, big_l: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terms of the product of l1 and l2 in L, and of its derivatives by the two factors.

    Returns:
        start: (3, width) first term of each component M of the product, m1 and m2 of its factors.
        components: (n, 2) those of the other two.
        weights: (n,) coupling coefficients.

    """
    cg = real_cg(l1, l2, big_l)
    start, n = np.zeros((3, width), np.int64), 0
    components, weights = [], []
    for slot, (axis, others) in enumerate(((2, (0, 1)), (0, (2, 1)), (1, (2, 0)))):
        start[slot, 0] = n
        for component in range(cg.shape[axis]):
            part = np.take(cg, component, axis)  # the remaining axes in the order of cg
            x, y = np.nonzero(part)
            components.append(np.stack((x, y) if others[0] < others[1] else (y, x), axis=1))
            weights.append(part[x, y])
            n += len(x)
            start[slot, component + 1 :] = n
    return start, np.concatenate(components), np.concatenate(weights)


def _firsts(sizes: Sequence[int]) -> list[int]:
    """Where parts of given sizes begin that are one after the other."""
    return [0, *np.cumsum(sizes, dtype=int).tolist()][:-1]


def _joined(parts: Sequence[np.ndarray], shape: int | tuple[int, ...], kind: npt.DTypeLike) -> np.ndarray:
    """Parts one after the other; an empty array of a shape if there are none."""
    return np.ascontiguousarray(np.concatenate(parts) if parts else np.zeros(shape), kind)


def pack_forms(factors: Sequence[TruncatedForm], dtype: npt.DTypeLike = np.float64) -> PackedForm:
    """Quadratic forms of one central element.

    Args:
        factors: one for each block; those without eigenvalues are left out.
        dtype: float64 or float32, of the arithmetic with them.

    """
    momenta = [l for f in factors for l in (f.block.L, *(l for l1, l2, _ in f.block.groups for l in (l1, l2)))]
    width = 2 * max(momenta, default=0) + 2
    forms = [f for f in factors if len(f.values)]
    matrices = [_padded_vectors(f) for f in forms]
    blocks = [
        PackedBlock(b.L, int(b.constant), b.channels, group, len(b.groups), matrix.shape[1], len(matrix), place, value)
        for b, matrix, group, place, value in zip(
            (f.block for f in forms),
            matrices,
            _firsts([len(f.block.groups) for f in forms]),
            _firsts([matrix.size for matrix in matrices]),
            _firsts([len(matrix) for matrix in matrices]),
            strict=True,
        )
    ]
    products = [(f.block.L, *group) for f in forms for group in f.block.groups]
    pairs = [np.pad(q * (2 * l1 + 1, 2 * l2 + 1), ((0, -len(q) % PAIRS), (0, 0))) for _, l1, l2, q in products]
    groups = [
        (l1, l2, first, len(own))
        for (_, l1, l2, _), first, own in zip(products, _firsts([len(own) for own in pairs]), pairs, strict=True)
    ]
    terms = [_coupling_terms(l1, l2, big_l, width) for big_l, l1, l2, _ in products]
    starts = [first + start for first, (start, _, _) in zip(_firsts([len(w) for *_, w in terms]), terms, strict=True)]
    return PackedForm(
        np.array(blocks, np.int64).reshape(-1, len(PackedBlock._fields)),
        np.array(groups, np.int64).reshape(-1, 4),
        np.array(starts, np.int64).reshape(-1, 3, width),
        _joined([components for _, components, _ in terms], (0, 2), np.int64),
        _joined([w for *_, w in terms], 0, dtype),
        _joined(pairs, (0, 2), np.int64),
        _joined([matrix.ravel() for matrix in matrices], 0, dtype),
        _joined([f.values for f in forms], 0, dtype),
    )


def to_arrays(factors: Sequence[Sequence[TruncatedForm]]) -> tuple[list[list[Any]], dict[str, np.ndarray]]:
    """Return description and arrays of the quadratic forms of all elements, for a file."""
    description, pairs, vectors, values = [], [np.zeros((0, 2), np.int16)], [], []
    for element, forms in enumerate(factors):
        for f in forms:
            b = f.block
            groups = [[int(l1), int(l2), len(q)] for l1, l2, q in b.groups]
            description.append([element, b.L, int(b.constant), int(b.channels), len(f.values), groups])
            pairs += [q.astype(np.int16) for _, _, q in b.groups]
            vectors.append(f.vectors.ravel())
            values.append(f.values)
    flat = np.concatenate(vectors)
    single = flat.astype(np.float32)
    return description, {
        "mapped_pairs": np.concatenate(pairs),
        "mapped_vectors": single if np.array_equal(single, flat) else flat,
        "mapped_values": np.concatenate(values),
    }


def from_arrays(
    n_elements: int, description: list[list[Any]], arrays: dict[str, np.ndarray]
) -> list[list[TruncatedForm]]:
    """Inverse of `to_arrays`."""
    out: list[list[TruncatedForm]] = [[] for _ in range(n_elements)]
    pairs, vectors, values = (arrays[f"mapped_{name}"] for name in ("pairs", "vectors", "values"))
    for element, big_l, constant, channels, n_factors, sizes in description:
        groups = []
        for l1, l2, n in sizes:
            groups.append((l1, l2, pairs[:n].astype(np.int64)))
            pairs = pairs[n:]
        block = Block(big_l, bool(constant), channels, tuple(groups))
        matrix = vectors[: n_factors * len(block)].reshape(n_factors, len(block)).astype(float)
        out[element].append(TruncatedForm(block, matrix, values[:n_factors]))
        vectors, values = vectors[matrix.size :], values[n_factors:]
    return out
