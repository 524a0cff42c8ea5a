"""Layout of quadratic forms as the compiled functions take them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..kernel.coupling import real_cg
from .features import Block
from .quadratic_kernel import PAIRS, PackedForm


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


def _padded(n: int) -> int:
    return -(-n // PAIRS) * PAIRS


def _coupling_terms(l1: int, l2: int, big_l: int):
    """Terms for each M of the product, each m1 and each m2: lists of (component, component, coefficient)."""
    cg = real_cg(l1, l2, big_l)
    for axis, others in ((2, (0, 1)), (0, (2, 1)), (1, (2, 0))):
        for component in range(cg.shape[axis]):
            part = np.take(cg, component, axis)  # the remaining axes in the order of cg
            x, y = np.nonzero(part)
            first, second = (x, y) if others[0] < others[1] else (y, x)
            yield axis, component, np.stack([first, second], axis=1), part[x, y]


def _joined(parts, shape, kind):
    return np.ascontiguousarray(np.concatenate(parts) if parts else np.zeros(shape), kind)


def pack_forms(factors: Sequence[TruncatedForm], dtype=np.float64) -> PackedForm:
    """Quadratic forms of one central element.

    Args:
        factors: one for each block.
        dtype: float64 or float32, of the arithmetic with them.

    """
    width = max((2 * f.block.L + 2 for f in factors), default=1)
    for f in factors:
        for l1, l2, _ in f.block.groups:
            width = max(width, 2 * l1 + 2, 2 * l2 + 2)
    blocks: list[list[int]] = []
    groups: list[list[int]] = []
    starts, terms, couplings, pairs, matrices, values = [], [], [], [], [], []
    n_terms = n_pairs = n_factors = n_values = 0
    for f in factors:
        if not len(f.values):
            continue
        b, rank = f.block, len(f.values)
        sizes = [_padded(len(q)) for _, _, q in b.groups]
        matrix = np.zeros((rank, b.n_single + sum(sizes)))
        matrix[:, : b.n_single] = f.vectors[:, : b.n_single]
        source, target = b.n_single, b.n_single
        for (_, _, q), size in zip(b.groups, sizes, strict=True):
            matrix[:, target : target + len(q)] = f.vectors[:, source : source + len(q)]
            source, target = source + len(q), target + size
        blocks.append([
            b.L, int(b.constant), b.channels, len(groups), len(b.groups), matrix.shape[1], matrix.shape[0],
            n_factors, n_values,
        ])  # fmt: skip
        for (l1, l2, q), size in zip(b.groups, sizes, strict=True):
            start = np.zeros((3, width), np.int64)
            slot = {2: 0, 0: 1, 1: 2}
            for axis, component, others, w in _coupling_terms(l1, l2, b.L):
                start[slot[axis], component] = n_terms
                n_terms += len(w)
                start[slot[axis], component + 1 :] = n_terms
                terms.append(others)
                couplings.append(w)
            groups.append([l1, l2, n_pairs, size])
            starts.append(start)
            pairs.append(np.pad(q * (2 * l1 + 1, 2 * l2 + 1), ((0, size - len(q)), (0, 0))))
            n_pairs += size
        matrices.append(matrix.ravel())
        values.append(f.values)
        n_factors += matrix.size
        n_values += len(values[-1])

    return PackedForm(
        np.array(blocks, np.int64).reshape(-1, 9),
        np.array(groups, np.int64).reshape(-1, 4),
        np.array(starts, np.int64).reshape(-1, 3, width),
        _joined(terms, (0, 2), np.int64),
        _joined(couplings, 0, dtype),
        _joined(pairs, (0, 2), np.int64),
        _joined(matrices, 0, dtype),
        _joined(values, 0, dtype),
    )


def to_arrays(factors: Sequence[Sequence[TruncatedForm]]) -> tuple[list, dict[str, np.ndarray]]:
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


def from_arrays(n_elements: int, description: list, arrays) -> list[list[TruncatedForm]]:
    """Inverse of `to_arrays`."""
    out: list[list[TruncatedForm]] = [[] for _ in range(n_elements)]
    pairs, vectors, values = (arrays[f"mapped_{name}"] for name in ("pairs", "vectors", "values"))
    for element, big_l, constant, channels, rank, sizes in description:
        groups = []
        for l1, l2, n in sizes:
            groups.append((l1, l2, pairs[:n].astype(np.int64)))
            pairs = pairs[n:]
        block = Block(big_l, bool(constant), channels, tuple(groups))
        matrix = vectors[: rank * len(block)].reshape(rank, len(block)).astype(float)
        out[element].append(TruncatedForm(block, matrix, values[:rank]))
        vectors, values = vectors[matrix.size :], values[rank:]
    return out
