"""Kernels of scalars, vectors and tensors between frames, without derivatives: sums over pairs of environments."""

from collections.abc import Callable, Sequence

import numpy as np

from ...compute.ranks import Communicator
from ...compute.threads import run_threads
from ...kernel.direct import in_blocks
from ...kernel.tensor import add_tensor_rows, tensor_terms
from .inverse import mirror
from .shared_rows import SharedRows


class FramePool:
    """Environments of one central element of some frames, side by side in blocks.

    Attributes:
        coefficients: (n, n_lm, Q), those of a frame together.
        first: (F + 1,) where those of each frame begin.
        frame: (n,) frame of each.

    """

    def __init__(self, coefficients: Sequence[np.ndarray]) -> None:
        counts = [len(c) for c in coefficients]
        self.coefficients = np.concatenate(coefficients)
        self.first = np.concatenate([[0], np.cumsum(counts)])
        self.frame = np.repeat(np.arange(len(counts)), counts)
        self.blocks = in_blocks(self.coefficients)
        columns = np.full((self.blocks.shape[0], self.blocks.shape[2]), -1)
        columns.flat[: len(self.frame)] = self.frame
        self.columns = columns


def add_gram(
    pool: FramePool,
    lmax: int,
    momentum: int,
    sets: np.ndarray,
    out: np.ndarray,
    frames: np.ndarray,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Add the kernels of angular momentum L between frames, of one central element.

    Args:
        pool: the environments.
        lmax, momentum: of the kernel.
        sets: (n_sets, order) weights a_nu.
        out: (n_sets, N, N), N = F (2L + 1), components of a frame together; the upper triangles count.
        frames: whose rows are filled.
        threads: how many.
        progress: called with the fraction done, or None.

    """
    n_frames, width = len(pool.first) - 1, 2 * momentum + 1
    sets = np.ascontiguousarray(sets, float)
    terms, lanes = tensor_terms(lmax, sets.shape[1], momentum), pool.blocks.shape[2]
    rows = out.reshape(len(sets), n_frames, width, n_frames, width)
    pairs = np.diff(pool.first) * (pool.first[-1] - pool.first[:-1])
    total = max(pairs[frames].sum(), 1)

    def work(frame: int) -> None:
        for i in range(pool.first[frame], pool.first[frame + 1]):
            right = slice(pool.first[frame] // lanes, None)
            c = pool.coefficients[i]
            add_tensor_rows(terms, lmax, sets, c, pool.blocks[right], pool.columns[right], rows[:, frame])
        if progress:
            progress(pairs[frame] / total)

    run_threads(work, frames, threads)


def parts_of(
    progress: Callable[[float], None] | None, pools: Sequence[FramePool]
) -> list[Callable[[float], None] | None]:
    """Return what `add_gram` of each pool reports to: its share of the pairs times the fraction done."""
    pairs = np.array([float(pool.first[-1]) ** 2 for pool in pools])
    shares = pairs / max(pairs.sum(), 1.0)

    def part(share: float) -> Callable[[float], None] | None:
        return None if progress is None else lambda done: progress(share * done)

    return [part(share) for share in shares]


def frame_rows(pools: Sequence[FramePool], momentum: int, comm: Communicator | None = None) -> SharedRows:
    """Rows of the components of frames, shared among ranks; pools are those of all central elements."""
    sizes = np.sum([np.diff(pool.first) for pool in pools], axis=0)
    return SharedRows(np.full(len(sizes), 2 * momentum + 1), sizes, comm)


def energy_gram(
    pools: Sequence[FramePool],
    lmax: int,
    momentum: int,
    order: int,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
    comm: Communicator | None = None,
) -> np.ndarray:
    """Kernels (n_elements, order, N, N) of each central element and order, on the first rank if there are several."""
    rows = frame_rows(pools, momentum, comm)
    size = (len(pools[0].first) - 1) * (2 * momentum + 1)
    out = np.zeros((len(pools), order, size, size))  # pages come when written to
    for pool, matrices, report in zip(pools, out, parts_of(progress, pools), strict=True):
        add_gram(pool, lmax, momentum, np.eye(order), matrices, rows.own_frames(), threads, report)
    matrices = out.reshape(-1, size, size)
    rows.collect(matrices)
    for matrix in matrices if rows.comm.rank == 0 else ():
        mirror(matrix)
    return out
