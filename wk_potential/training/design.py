"""The design matrix of the sparse estimator: what each support point adds to each label, streamed frame by frame."""

from collections.abc import Callable, Sequence

import numpy as np

from ..density.saturation import saturated
from ..kernel.coupling import wigner_terms
from ..kernel.direct import in_blocks, kernel_rows, kernel_rows_with_gradients
from ..parallel.communicator import OneRank, Ranks
from ..threads import run_threads
from .baseline import targets
from .data import Frame
from .environments import frame_environments
from .gram import label_slots
from .parts import KernelPart
from .regression import TriangularFactor
from .task import label_counts


def kernel_matrices(support: list[np.ndarray], lmax: int, order: int) -> np.ndarray:
    """Kernels (order, M, M) among environments (n, n_lm, Q) of each element, elements one after the other."""
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


def saturated_support(support: list[np.ndarray], part: KernelPart) -> list[np.ndarray]:
    """Support points as a part of the kernel sees them."""
    return [saturated(part.density.saturation, points) for points in support]


def support_kernels(support: list[np.ndarray], parts: Sequence[KernelPart]) -> np.ndarray:
    """Kernels (order, M, M) of all orders among the support points (M_z, n_lm, Q) of each element."""
    matrices = []
    for part in parts:
        points = saturated_support(support, part)
        matrices.append(kernel_matrices(points, part.density.lmax, part.orders.stop)[part.orders])
    return np.concatenate(matrices)


class PartDesign:
    """A part of the kernel, ready to be evaluated between support points and frames, for the sets that it is in."""

    def __init__(self, part: KernelPart, support: list[np.ndarray], sets):
        weights = part.weights(sets)
        self.own = np.flatnonzero(weights.any(axis=1))
        self.density, self.sets = part.density, np.ascontiguousarray(weights[self.own])
        self.terms = wigner_terms(part.density.lmax, part.orders.stop)
        self.blocks = [in_blocks(points) for points in saturated_support(support, part)]

    def add(self, frame: Frame, elements, counts, out) -> None:
        """Add to the design matrix (labels, n_sets, M) of a frame."""
        environments = frame_environments(frame, self.density, elements)
        slots, n_sets = label_slots(frame), len(self.sets)
        first = np.concatenate([[0], np.cumsum(counts)])
        for i, z in enumerate(environments.centres):
            if counts[z] == 0:
                continue
            blocks, c = self.blocks[z], environments.coefficients[i]
            n = blocks.shape[0] * blocks.shape[2]
            values, grads = np.zeros((n_sets, n)), np.zeros((blocks.shape[1], n_sets, n))
            kernel_rows_with_gradients(self.terms, self.density.lmax, self.sets, c, blocks, values, grads)
            columns = slice(first[z], first[z + 1])
            if slots[0] >= 0:
                out[slots[0], self.own, columns] += values[:, : counts[z]]
            rows = slice(environments.first[i], environments.first[i + 1])
            if rows.stop > rows.start:
                product = environments.jacobian[rows] @ grads.reshape(len(grads), -1)
                own = slots[environments.label[rows]]  # an environment has each label once
                out[own[:, None], self.own, columns] += product.reshape(-1, n_sets, n)[:, :, : counts[z]]


def stream_design(
    frames: Sequence[Frame],
    folds,
    parts: Sequence[KernelPart],
    elements,
    baseline,
    support: list[np.ndarray],
    sets,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
    ranks: Ranks | OneRank | None = None,
) -> list[list[TriangularFactor]]:
    """Triangular factors of [design, target], by fold and by kind of label; rows are divided by the labels' size.

    The factors of fold k end on rank k (modulo their number) and are empty on the others. Up to as many ranks as folds,
    they do not depend on the number of ranks.

    Args:
        frames: the training frames.
        folds: (n_frames,) fold of each frame, from 0.
        parts: of the kernel, of one length scale.
        elements, baseline: of the model.
        support: (M_z, n_lm, Q) for each element, not saturated.
        sets: (n_sets, order) order weights; the columns are the M support points for each set in turn.
        threads: how many.
        progress: called with the fraction done, or None.
        ranks: that share the frames [one].

    """
    ranks = ranks or OneRank()
    sets = np.atleast_2d(np.asarray(sets, float))
    counts = [len(s) for s in support]
    designs = [PartDesign(part, support, sets) for part in parts]
    n_columns = len(sets) * sum(counts) + 1
    factors = [[TriangularFactor(n_columns) for _ in range(3)] for _ in range(max(folds) + 1)]

    def work(frame):
        out = np.zeros((label_slots(frame).max() + 1, len(sets), sum(counts)))
        for design in designs:
            design.add(frame, elements, counts, out)
        return out

    holders = deal(np.add(label_counts(frames), [len(f) for f in frames]), folds, ranks.size)
    own = np.flatnonzero(holders == ranks.rank)
    for first in range(0, len(own), 4 * threads):
        batch = own[first : first + 4 * threads]
        for n, design in zip(batch, run_threads(work, [frames[k] for k in batch], threads), strict=True):
            values, kind, size = targets([frames[n]], elements, baseline)
            rows = np.column_stack([design.reshape(len(values), -1), values]) / size[:, None]
            for k in np.unique(kind):
                factors[folds[n]][k].add(rows[kind == k])
        if progress:
            progress((first + len(batch)) / len(own))
    for fold, of_fold in enumerate(factors):
        for factor in of_fold:
            factor.collect(ranks, fold % ranks.size, np.unique(holders[np.asarray(folds) == fold]))
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
        ranks = np.arange(fold, n_ranks, n_folds)
        done = np.cumsum(costs[frames]) - 0.5 * costs[frames]
        out[frames] = ranks[(done / costs[frames].sum() * len(ranks)).astype(int)]
    return out
