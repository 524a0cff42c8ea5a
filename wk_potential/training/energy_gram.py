"""Gram matrices of energies alone, where there are no derivatives: kernels of pairs of environments, added up."""

import numpy as np

from ..compiled import njit
from ..kernel.coupling import wigner_terms
from ..kernel.direct import in_blocks, kernel_rows
from ..threads import run_threads

FRAMES_AT_ONCE = 8


@njit(nogil=True)
def _add_frames(terms, lmax, frames, first, coefficients, frame, label, blocks, targets, factors, out):
    """Fill the rows of out (n, N, N) that belong to the energies of some frames, from the diagonal on.

    Args:
        terms, lmax: of the kernel.
        frames: (k,) the frames.
        first: (F + 1,) first environment of each frame, of this central element.
        coefficients: (n, n_lm, Q) of those environments.
        frame: (n,) of each.
        label: (F,) of each frame's energy, negative if it has none.
        blocks: the environments as support points.
        targets, factors: (order,) number of the matrix that an order is added to, and its weight.
        out: output.

    """
    lanes, order = blocks.shape[2], len(targets)
    for f in frames:
        if label[f] < 0:
            continue
        block = first[f] // lanes
        values = np.zeros((order, (len(blocks) - block) * lanes))
        for i in range(first[f], first[f + 1]):
            kernel_rows(terms, lmax, order, coefficients[i], blocks[block:], values)
            for s in range(first[f], len(frame)):
                column = label[frame[s]]
                if column >= 0:
                    for nu in range(order):
                        out[targets[nu], label[f], column] += factors[nu] * values[nu, s - block * lanes]


def add_energy_grams(flat, lmax: int, targets, factors, out, threads: int = 1, progress=None) -> None:
    """Add the upper triangle of each element's and order's kernels of energies to one of the matrices.

    Args:
        flat: environments of all frames, without rows of derivatives.
        lmax: of the kernel.
        targets: (n_elements, order) number of the matrix.
        factors: (n_elements, order) by which the kernels are multiplied.
        out: (n, N, N) output.
        threads: how many.
        progress: called with the fraction done, or None.

    """
    terms = wigner_terms(lmax, targets.shape[1])
    frame = np.repeat(np.arange(len(flat.energy_label)), np.diff(flat.frame_first))
    frames = np.arange(len(flat.energy_label))
    total = float(np.sum(np.bincount(flat.centres).astype(float) ** 2)) / 2
    for element in np.unique(flat.centres):
        own = flat.centres == element
        coefficients = flat.coefficients[own].reshape(np.count_nonzero(own), (lmax + 1) ** 2, -1)
        blocks = in_blocks(coefficients)
        first = np.searchsorted(frame[own], np.arange(len(frames) + 1))

        def work(batch, z=element, first=first, c=coefficients, frame=frame[own], blocks=blocks):
            _add_frames(terms, lmax, batch, first, c, frame, flat.energy_label, blocks, targets[z], factors[z], out)
            if progress:
                rows = first[batch[-1] + 1] - first[batch[0]]
                progress(rows * (len(c) - 0.5 * (first[batch[-1] + 1] + first[batch[0]])) / total)

        run_threads(work, np.array_split(frames, -(-len(frames) // FRAMES_AT_ONCE)), threads)
