"""Kernels between structures and between atoms, and descriptors made of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack, solve_triangular

from ..compute.threads import run_threads
from ..density.expansion import Density
from ..errors import StructureError
from ..kernel.coupling import WignerTerms, wigner_terms
from ..kernel.direct import in_blocks, kernel_rows
from .environments import EnvironmentPool

CANDIDATES = 500  # support points of an element among which those of the descriptors are chosen
LEAST_RESIDUAL = 1e-10  # of the largest kernel of a point with itself: what is left below is rounding


class KernelPart(NamedTuple):
    """The kernel of one length scale.

    Attributes:
        density: of the environments.
        order_weights: (n_elements, order) factors a_nu.

    """

    density: Density
    order_weights: np.ndarray


def environment_kernels(
    parts: Sequence[KernelPart], z: int, rows: Sequence[np.ndarray], columns: Sequence[np.ndarray], threads: int = 1
) -> np.ndarray:
    """Kernels (n, m) between environments of one central element.

    Args:
        parts: of the kernel, whose sum it is.
        z: species of the centres.
        rows, columns: for each part (n, n_lm, Q) and (m, n_lm, Q).
        threads: how many.

    """
    out = np.zeros((len(rows[0]), len(columns[0])))
    if not out.size:
        return out
    for part, left, right in zip(parts, rows, columns, strict=True):
        lmax, weights, blocks = part.density.lmax, part.order_weights[z], in_blocks(right)
        terms = wigner_terms(lmax, len(weights))

        def work(
            batch: np.ndarray,
            weights: np.ndarray = weights,
            blocks: np.ndarray = blocks,
            left: np.ndarray = left,
            lmax: int = lmax,
            terms: WignerTerms = terms,
        ) -> None:
            found = np.zeros((len(weights), blocks.shape[0] * blocks.shape[2]))
            for i in batch:
                kernel_rows(terms, lmax, len(weights), left[i], blocks, found)
                out[i] += weights @ found[:, : out.shape[1]]

        run_threads(work, np.array_split(np.arange(len(left)), min(len(left), 4 * threads)), threads)
    return out


def kernel_matrix(
    parts: Sequence[KernelPart], a: EnvironmentPool, b: EnvironmentPool, per_atom: bool, normalise: bool, threads: int
) -> np.ndarray:
    """Kernel matrix between the structures of two pools, or between their atoms; see `Model.kernel`."""
    out = _matrix(parts, a, b, per_atom, threads)
    if a is b:
        out = 0.5 * (out + out.T)
    if not normalise:
        return out
    own = [out.diagonal() if a is b else _own_kernels(parts, pool, per_atom, threads) for pool in (a, b)]
    roots = [np.sqrt(np.where(k > 0, k, np.inf)) for k in own]
    return out / np.outer(*roots)


def _matrix(
    parts: Sequence[KernelPart], a: EnvironmentPool, b: EnvironmentPool, per_atom: bool, threads: int
) -> np.ndarray:
    shape = (len(a.species), len(b.species)) if per_atom else (a.n_structures, b.n_structures)
    out = np.zeros(shape)
    for z in np.intersect1d(a.species, b.species):
        i, j = np.flatnonzero(a.species == z), np.flatnonzero(b.species == z)
        found = environment_kernels(
            parts, z, [c[i] for c in a.coefficients], [c[j] for c in b.coefficients], threads
        )  # fmt: skip
        if per_atom:
            out[np.ix_(i, j)] = found
            continue
        columns = np.zeros((len(i), b.n_structures))
        np.add.at(columns.T, b.structure[j], found.T)
        np.add.at(out, a.structure[i], columns)
    return out


def _own_kernels(parts: Sequence[KernelPart], pool: EnvironmentPool, per_atom: bool, threads: int) -> np.ndarray:
    """Kernels (n,) of structures or atoms with themselves."""
    groups = np.arange(len(pool.species)) if per_atom else pool.structure
    out = np.zeros(len(pool.species) if per_atom else pool.n_structures)
    for group in np.unique(groups):
        own = groups == group
        for z in np.unique(pool.species[own]):
            c = [x[own & (pool.species == z)] for x in pool.coefficients]
            out[group] += environment_kernels(parts, z, c, c, threads).sum()
    return out


def nystroem_features(
    parts: Sequence[KernelPart], support: Sequence[Sequence[np.ndarray]], pool: EnvironmentPool, size: int, threads: int
) -> np.ndarray:
    """Features (N, D) whose inner products are about the kernels, exactly so for the chosen support points.

    Args:
        parts: of the kernel.
        support: for each element and part (M, n_lm, Q), environments to choose from.
        pool: the environments to be described.
        size: most features of an element.
        threads: how many.

    Raises:
        StructureError: the kernel of the support points vanishes, so that they describe nothing.

    """
    columns = []
    for z, of_parts in enumerate(support):
        few = np.unique(np.linspace(0, len(of_parts[0]) - 1, min(CANDIDATES, len(of_parts[0]))).astype(int))
        points = [c[few] for c in of_parts]
        kernel = environment_kernels(parts, z, points, points, threads)
        least = LEAST_RESIDUAL * kernel.diagonal().max(initial=0.0)
        if not len(few) or least <= 0:
            continue
        lower, pivots, rank, _ = lapack.dpstrf(kernel, tol=least, lower=1)
        n = min(rank, size)
        chosen, root = pivots[:n] - 1, np.tril(lower[:n, :n])
        own = np.flatnonzero(pool.species == z)
        found = environment_kernels(parts, z, [c[own] for c in pool.coefficients], [c[chosen] for c in points], threads)
        columns.append(np.zeros((len(pool.species), n)))
        columns[-1][own] = solve_triangular(root, found.T, lower=True).T
    if not columns:
        raise StructureError("no support point of the model has neighbours: there is nothing to describe atoms by")
    return np.concatenate(columns, axis=1)
