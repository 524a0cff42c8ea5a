"""The design matrix of the sparse estimator: what each support point adds to each label, streamed frame by frame."""

from collections.abc import Callable, Sequence

import numpy as np

from ...atoms.dataset import label_counts, label_slots
from ...atoms.frame import Frame
from ...compute.ranks import Communicator
from ...compute.threads import run_threads
from ...density.expansion import Density
from ...density.frames import frame_environments
from ...kernel.coupling import wigner_terms
from ...kernel.direct import in_blocks, kernel_rows, kernel_rows_with_gradients
from ..baseline import fit_targets
from .regression import TriangularFactor


def kernel_matrices(support: list[np.ndarray], lmax: int, order: int) -> np.ndarray:
    """Kernels (order, M, M) among the support points, elements one after the other."""
    terms = wigner_terms(lmax, order)
    out = np.zeros((order, *2 * (sum(len(s) for s in support),)))
    first = 0
    for points in support:
        n = len(points)
        blocks = in_blocks(points)
        rows = np.zeros((order, blocks.shape[0] * blocks.shape[2]))
        for i, c in enumerate(points):
            kernel_rows(terms, lmax, order, c, blocks, rows)
            out[:, first + i, first : first + n] = rows[:, :n]
        first += n
    return 0.5 * (out + out.transpose(0, 2, 1))


def frame_design(frame: Frame, density: Density, elements, terms, sets, blocks, counts):
    """Design matrix (labels, n_sets, M) of one frame.

    Args:
        frame: with labels.
        density, elements: of the model.
        terms: of the kernel.
        sets: (n_sets, order) order weights.
        blocks: support points of each element, as `in_blocks` arranges them.
        counts: how many they are.

    """
    environments = frame_environments(frame, density, elements)
    slots = label_slots(frame)
    first = np.concatenate([[0], np.cumsum(counts)])
    out = np.zeros((slots.max() + 1, len(sets), first[-1]))
    for i, z in enumerate(environments.centres):
        if counts[z] == 0:
            continue
        n = blocks[z].shape[0] * blocks[z].shape[2]
        values, grads = np.zeros((len(sets), n)), np.zeros((blocks[z].shape[1], len(sets), n))
        kernel_rows_with_gradients(terms, density.lmax, sets, environments.coefficients[i], blocks[z], values, grads)
        columns = slice(first[z], first[z + 1])
        if slots[0] >= 0:
            out[slots[0], :, columns] += values[:, : counts[z]]
        rows = slice(environments.first[i], environments.first[i + 1])
        if rows.stop > rows.start:
            product = environments.jacobian[rows] @ grads.reshape(len(grads), -1)
            own = slots[environments.label[rows]]  # an environment has each label once
            out[own, :, columns] += product.reshape(-1, len(sets), n)[:, :, : counts[z]]
    return out


def stream_design(
    frames: Sequence[Frame],
    folds,
    density: Density,
    elements,
    baseline,
    support: list[np.ndarray],
    sets,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
    comm: Communicator | None = None,
) -> list[list[TriangularFactor]]:
    """Triangular factors of [design, target], by fold and by kind of label; rows are divided by the labels' size.

    The factors of fold k end on rank k (modulo their number) and are empty on the others. Up to as many ranks as folds,
    they do not depend on the number of ranks.

    Args:
        frames: the training frames.
        folds: (n_frames,) fold of each frame, from 0.
        density, elements, baseline: of the model.
        support: (M_z, n_lm, Q) for each element.
        sets: (n_sets, order) order weights; the columns are the M support points for each set in turn.
        threads: how many.
        progress: called with the fraction done, or None.
        comm: that share the frames [one].

    """
    comm = comm or Communicator()
    sets = np.atleast_2d(np.asarray(sets, float))
    terms = wigner_terms(density.lmax, sets.shape[1])
    counts = [len(s) for s in support]
    blocks = [in_blocks(s) for s in support]
    n_columns = len(sets) * sum(counts) + 1
    factors = [[TriangularFactor(n_columns) for _ in range(3)] for _ in range(max(folds) + 1)]

    def work(frame):
        return frame_design(frame, density, elements, terms, sets, blocks, counts)

    holders = deal(np.add(label_counts(frames), [len(f) for f in frames]), folds, comm.size)
    own = np.flatnonzero(holders == comm.rank)
    for first in range(0, len(own), 4 * threads):
        batch = own[first : first + 4 * threads]
        for n, design in zip(batch, run_threads(work, [frames[k] for k in batch], threads), strict=True):
            values, kind, size = fit_targets([frames[n]], elements, baseline)
            rows = np.column_stack([design.reshape(len(values), -1), values]) / size[:, None]
            for k in np.unique(kind):
                factors[folds[n]][k].add(rows[kind == k])
        if progress:
            progress((first + len(batch)) / len(own))
    for fold, of_fold in enumerate(factors):
        for factor in of_fold:
            factor.collect(comm, fold % comm.size, np.unique(holders[np.asarray(folds) == fold]))
    return factors


def deal(costs, folds, n_ranks: int) -> np.ndarray:
    """Rank (n,) that each frame is given to.

    Fold after fold goes to rank after rank. Where there are more ranks than folds, those that share a fold have about
    equal work.

    Args:
        costs: (n,) predicted work of each frame.
        folds: (n,) of each frame, from 0.
        n_ranks: how many.

    """
    costs, folds = np.asarray(costs, float), np.asarray(folds)
    n_folds, out = int(folds.max()) + 1, folds % n_ranks
    for fold in range(n_folds if n_ranks > n_folds else 0):
        frames = np.flatnonzero(folds == fold)
        comm = np.arange(fold, n_ranks, n_folds)
        done = np.cumsum(costs[frames]) - 0.5 * costs[frames]
        out[frames] = comm[(done / costs[frames].sum() * len(comm)).astype(int)]
    return out
