"""The design matrix of the sparse estimator: what each support point adds to each label, streamed frame by frame."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from ...atoms.dataset import Dataset
from ...atoms.kinds import LabelKind
from ...compute.ranks import Communicator
from ...compute.threads import run_threads
from ...density.frames import Environments, FrameEnvironments
from ...kernel.coupling import wigner_terms
from ...kernel.direct import in_blocks, kernel_rows, kernel_rows_with_gradients
from .low_orders import LowOrders, high_orders
from .regression import Basis, NormalEquations, blas_threads

CHUNK = 256  # columns of the design at a time: their gradients and products stay in the cache
BATCH = 1000  # labels at least: a triangular solution for few of them waits for memory


def kernel_matrices(points: np.ndarray, lmax: int, sets: np.ndarray, threads: int = 1) -> np.ndarray:
    """Kernels (n_sets, M, M) among support points (M, n_lm, Q) of one element, for sets (n_sets, order) of weights."""
    n, order = len(points), sets.shape[1]
    terms, blocks = wigner_terms(lmax, order), in_blocks(points)
    out = np.zeros((len(sets), n, n))

    def work(i: int) -> None:
        rows = np.zeros((order, blocks.shape[0] * blocks.shape[2]))
        kernel_rows(terms, lmax, order, points[i], blocks, rows)
        out[:, i] = sets @ rows[:, :n]

    run_threads(work, range(n), threads)
    return 0.5 * (out + out.transpose(0, 2, 1))


class Design:
    """Design matrices of frames: what each support point adds to each label.

    Args:
        environments: of the frames.
        support: (M_z, n_lm, Q) support points of each element.
        sets: (n_sets, order) order weights of kernels that are formed side by side, or (n_elements, n_sets, order).
        low: explicit functions, whose columns come before those of the support points; these then have the orders from
            3 on [none].

    """

    def __init__(
        self,
        environments: Environments,
        support: Sequence[np.ndarray],
        sets: np.ndarray,
        low: LowOrders | None = None,
    ) -> None:
        sets = np.atleast_2d(np.asarray(sets, float))
        self._low, self._low_scales = low, None if low is None else np.array([low.scale(weights) for weights in sets])
        sets = sets if low is None else high_orders(sets)
        # a copy: compiled code is made again for what is read-only
        self.environments, self._sets = environments, np.broadcast_to(sets, (len(support), *sets.shape[-2:])).copy()
        self._counts, self._blocks = [len(s) for s in support], [in_blocks(s) for s in support]
        self._terms = wigner_terms(environments.density.lmax, sets.shape[-1])

    def of_frame(self, k: int) -> np.ndarray:
        """Design matrix (labels, n_sets, M) of frame k."""
        environments, slots = self.environments.of_frame(k), self.environments.data.slots(k)
        if not len(environments.label):
            return self._energy(environments)[None][: slots.max() + 1]
        lmax, n_sets = self.environments.density.lmax, self._sets.shape[1]
        explicit = self._explicit(environments, slots)
        n_low = explicit.shape[2]
        out = np.zeros((slots.max() + 1, n_sets, n_low + sum(self._counts)))
        out[:, :, :n_low] = explicit
        for z, chunk, columns in self._chunks(n_low):
            n = chunk.shape[0] * chunk.shape[2]
            values, grads = np.zeros((n_sets, n)), np.zeros((chunk.shape[1], n_sets, n))
            target, kept = out[:, :, columns], columns.stop - columns.start
            for i in np.flatnonzero(environments.centres == z):
                c = environments.coefficients[i]
                kernel_rows_with_gradients(self._terms, lmax, self._sets[z], c, chunk, values, grads)
                if slots[0] >= 0:
                    target[slots[0]] += values[:, :kept]
                rows = slice(environments.first[i], environments.first[i + 1])
                if rows.stop > rows.start:
                    product = environments.jacobian[rows] @ grads.reshape(len(grads), -1)
                    own = slots[environments.label[rows]]  # an environment has each label once
                    target[own] += product.reshape(-1, n_sets, n)[:, :, :kept]
        return out

    def _explicit(self, environments: FrameEnvironments, slots: np.ndarray) -> np.ndarray:
        """What explicit functions add to the labels (labels, n_sets, n), whose positions are `Dataset.slots`."""
        if self._low is None or self._low_scales is None:
            return np.zeros((slots.max() + 1, self._sets.shape[1], 0))
        parts = []
        for z, n in enumerate(self._low.counts):
            part, own = np.zeros((slots.max() + 1, n + 1)), np.flatnonzero(environments.centres == z)
            if slots[0] >= 0:
                part[slots[0], 1:] = self._low.values(z, environments.coefficients[own]).sum(axis=0)
            for i in own if len(environments.label) else ():
                rows, c = slice(environments.first[i], environments.first[i + 1]), environments.coefficients[i]
                directions = environments.jacobian[rows].reshape(-1, *c.shape)
                self._low.add_derivatives(z, c, directions, slots[environments.label[rows]], part)
            parts.append(part[:, 1:])
        return np.concatenate(parts, axis=1)[:, None] * self._low_scales

    def _chunks(self, first: int) -> Iterator[tuple[int, np.ndarray, slice]]:
        """Element, blocks and columns of a few support points at a time; `first` is the column of the first one."""
        for z, blocks in enumerate(self._blocks):
            n = max(1, CHUNK // (blocks.shape[2] * self._sets.shape[1]))
            end = first + self._counts[z]
            for b in range(0, len(blocks), n):
                begin = first + b * blocks.shape[2]
                yield z, blocks[b : b + n], slice(begin, min(begin + n * blocks.shape[2], end))
            first = end

    def _energy(self, environments: FrameEnvironments) -> np.ndarray:
        """What the columns add to an energy (n_sets, M): kernels without derivatives."""
        order, lmax = self._sets.shape[2], self.environments.density.lmax
        own = environments.by_element(len(self._counts))
        found = [self._explicit(environments, np.zeros(1, int))[0]]
        for z, n in enumerate(self._counts):
            rows = np.zeros((order, self._blocks[z].shape[0] * self._blocks[z].shape[2]))
            total = np.zeros_like(rows)
            for c in own[z] if n else ():
                kernel_rows(self._terms, lmax, order, c, self._blocks[z], rows)
                total += rows
            found.append(self._sets[z] @ total[:, :n])
        return np.concatenate(found, axis=1)


class Folds(NamedTuple):
    """Parts of the frames that are left out in turn.

    Attributes:
        of_frame: (F,) fold of each frame, from 0.
        tested: how many of the folds are left out, the first ones.

    """

    of_frame: np.ndarray
    tested: int

    @property
    def number(self) -> int:
        """How many folds there are."""
        return int(self.of_frame.max()) + 1

    @property
    def all_tested(self) -> bool:
        """Whether all are left out; otherwise the others are most of the frames."""
        return self.tested == self.number


def stream_design(
    design: Design,
    bases: Sequence[Basis],
    folds: Folds,
    baseline: np.ndarray,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
    comm: Communicator | None = None,
) -> list[list[list[NormalEquations]]]:
    """Normal equations by set of order weights, fold and kind of label; labels are divided by their size.

    Those of fold k end on rank k (modulo the number of ranks) and are empty on the others. With as many ranks as folds
    or fewer, they do not depend on the number of ranks, unless all ranks share all folds.

    Args:
        design: of all frames.
        bases: of the support points under the kernel of each set.
        folds: of the frames. Where not all are tested, ranks share all folds, since one has most frames.
        baseline: eV, of each element.
        threads: how many.
        progress: called with the fraction done, or None.
        comm: ranks that share the frames [one].

    """
    comm, data = comm or Communicator(), design.environments.data
    of_frame, number = folds.of_frame, folds.number
    out = [[[NormalEquations(basis.rank) for _ in LabelKind] for _ in range(number)] for basis in bases]
    labels = data.labels(baseline)
    holders = deal(data.label_counts + data.n_atoms, of_frame, comm.size, evenly=not folds.all_tested)
    own = np.flatnonzero(holders == comm.rank).tolist()
    controller = ThreadpoolController()
    # a batch is of one fold, so that sums do not depend on which rank has it
    of_folds = [[k for k in own if of_frame[k] == f] for f in range(number)]
    done = 0
    for batch in (b for ks in of_folds for b in in_batches(ks, data.label_counts, 4 * threads)):
        with controller.limit(limits=1, user_api="blas"):
            matrices = run_threads(design.of_frame, batch, threads)
        rows = [slice(labels.first[k], labels.first[k + 1]) for k in batch]
        values, kind, size = (np.concatenate([x[r] for r in rows]) for x in (labels.values, labels.kind, labels.size))
        for n, basis in enumerate(bases):
            # products of a thousand labels pay from smaller matrices on than their decompositions
            with controller.limit(limits=blas_threads(4 * basis.rank, threads), user_api="blas"):
                features = basis.features(np.concatenate([m[:, n] for m in matrices]) / size[:, None])
                for k in np.unique(kind):
                    chosen = kind == k
                    out[n][of_frame[batch[0]]][k].add(features[chosen], values[chosen] / size[chosen])
        done += len(batch)
        if progress:
            progress(done / len(own))
    for of_set in out:
        for f, of_fold in enumerate(of_set):
            for equations in of_fold:
                equations.collect(comm, f % comm.size, np.unique(holders[of_frame == f]))
    return out


def in_batches(frames: Sequence[int], counts: np.ndarray, least: int, most: int = BATCH) -> list[list[int]]:
    """Split frames, of which each has some number of labels (F,), into batches that are treated at a time.

    A batch has the least number of frames, and more until there are `BATCH` labels or the largest number of frames.
    """
    batches, labels = list[list[int]](), 0
    for k in frames:
        if not batches or len(batches[-1]) >= max(most, least) or (labels >= BATCH and len(batches[-1]) >= least):
            batches.append([])
            labels = 0
        batches[-1].append(int(k))
        labels += int(counts[k])
    return batches


def largest_batch(data: Dataset, threads: int) -> int:
    """Number of labels of the largest batch of frames in their order."""
    counts = data.label_counts
    return max(int(counts[batch].sum()) for batch in in_batches(range(len(data)), counts, 4 * threads))


def deal(costs: npt.ArrayLike, folds: npt.ArrayLike, n_ranks: int, evenly: bool = False) -> np.ndarray:
    """Rank (n,) that each frame is given to.

    Fold after fold goes to rank after rank. Where there are more ranks than folds, those that share a fold have about
    equal work.

    Args:
        costs: (n,) predicted work of each frame.
        folds: (n,) of each frame, from 0.
        n_ranks: how many.
        evenly: ranks share all folds, so that all have about equal work.

    """
    costs, folds = np.asarray(costs, float), np.asarray(folds)
    n_folds, out = int(folds.max()) + 1, folds % n_ranks
    if evenly:
        order = np.argsort(folds, kind="stable")
        out[order] = _even(costs[order], np.arange(n_ranks))
        return out
    for fold in range(n_folds if n_ranks > n_folds else 0):
        frames = np.flatnonzero(folds == fold)
        out[frames] = _even(costs[frames], np.arange(fold, n_ranks, n_folds))
    return out


def _even(costs: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Which of the ranks (n,) has each of some frames in a row, so that all have about equal work."""
    done = np.cumsum(costs) - 0.5 * costs
    return ranks[(done / costs.sum() * len(ranks)).astype(int)]
