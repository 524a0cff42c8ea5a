"""Kernels of vectors and tensors between frames, by all environments or by support environments.

Both give the kernel matrices on which hyperparameters are chosen, and the fit with these. With support environments s,
each with 2L + 1 weights, the kernel of two frames is K_ns K_ss^-1 K_sn (Nystroem), and the work grows linearly with the
number of environments and not quadratically.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...atoms.dataset import Labels
from ...atoms.kinds import LabelKind
from ...density.frames import Environments
from ...kernel.tensor import add_tensor_rows, tensor_terms
from ..full.frame_gram import FramePool, add_gram, energy_gram, frame_rows, parts_of
from ..full.likelihood import solve
from ..limits import TensorLimits
from ..mapping.tensors import TensorSupport
from ..options import TrainingOptions
from ..sparse.regression import Basis, NormalEquations, SparseRegression, left_out_errors
from ..sparse.selection import candidates, mean_kernels, select_support
from ..task import Task, part_of


@dataclass(frozen=True)
class Solution:
    """A fit of one L.

    Attributes:
        supports: of each length scale and element.
        frames: (F,) some of the frames, by number.
        residuals: (F, 2L + 1) leave-one-out errors there.

    """

    supports: list[list[TensorSupport]]
    frames: np.ndarray
    residuals: np.ndarray


class FullKernels:
    """All environments of the frames are compared with each other, and those of a frame share its dual coefficients.

    Args:
        task: with the options.
        scales: environments of the frames with labels, by the density of each length scale.

    """

    def __init__(self, task: Task, scales: Sequence[Environments]) -> None:
        self.task, self.data = task, scales[0].data
        # (n, n_lm, Q) of each length scale, element and frame
        self._coefficients: list[list[list[np.ndarray]]] = []
        for scale in scales:
            by_frame = [scale.by_element(k) for k in range(len(self.data))]
            self._coefficients.append([list(of_element) for of_element in zip(*by_frame, strict=True)])

    def matrices(self, momentum: int, frames: np.ndarray) -> np.ndarray | None:
        """Kernels (n, N, N) of L between some frames, of each scale, element and order, on the first rank."""
        task, grams, report = self.task, [], part_of(self.task, "Gram matrices", len(self._coefficients))
        for scale in self._coefficients:
            pools = [FramePool([element[f] for f in frames]) for element in scale]
            lmax, order = task.options.lmax, task.options.order
            grams.append(energy_gram(pools, lmax, momentum, order, task.threads, report, task.comm))
        return np.concatenate([g.reshape(-1, *g.shape[2:]) for g in grams]) if task.comm.rank == 0 else None

    def solved(
        self,
        momentum: int,
        order_weights: np.ndarray,
        noise: float,
        labels: Labels,
        gram: np.ndarray | None,
        searched: np.ndarray,
    ) -> Solution:
        """Fit with these hyperparameters.

        Args:
            momentum: L.
            order_weights: (n_scales, n_elements, order).
            noise: of a component, per sqrt(atom).
            labels: of all frames, 2L + 1 each.
            gram, searched: `matrices` and their frames.

        """
        task, width, n_labels = self.task, 2 * momentum + 1, len(labels)
        kernel = None if gram is None else np.tensordot(order_weights.ravel(), gram, 1)
        if len(searched) < len(self.data):
            kernel = np.zeros((n_labels, n_labels))  # pages come when written to
            report = part_of(task, "covariance", len(self._coefficients))
            for scale, scale_weights in zip(self._coefficients, order_weights, strict=True):
                pools = [FramePool(element) for element in scale]
                rows = frame_rows(pools, momentum, task.comm)
                for pool, a, own in zip(pools, scale_weights, parts_of(report, pools), strict=True):
                    lmax, frames = task.options.lmax, rows.own_frames()
                    add_gram(pool, lmax, momentum, a[None], kernel[None], frames, task.threads, own)
            rows.collect(kernel[None])
        alpha, residuals, _ = task.comm.first(solve, kernel, np.full(len(LabelKind), noise), labels, task.threads)
        by_frame = alpha.reshape(-1, width)
        supports = [
            [TensorSupport(np.concatenate(of_z), np.repeat(by_frame, list(map(len, of_z)), axis=0)) for of_z in scale]
            for scale in self._coefficients
        ]
        return Solution(supports, np.arange(len(self.data)), residuals.reshape(-1, width))


class SparseKernels:
    """Some of the environments stand for all; arguments and methods as those of `FullKernels`.

    Args:
        task: with the options.
        scales: environments of the frames with labels, by the density of each length scale.
        width: labels of a frame, of the L that has most.

    Attributes:
        supports: (n, n_lm, Q) for each length scale and element.

    """

    def __init__(self, task: Task, scales: Sequence[Environments], width: int) -> None:
        self.task, self.scales, self.data = task, scales, scales[0].data
        n_support = most_support(task.options, len(scales), width, task.limits.tensors)
        self.supports = [self._select(n, n_support) for n in range(len(scales))]
        # each support point counts as a frame; None for an element without support points
        self._pools = [[FramePool(list(s[:, None])) if len(s) else None for s in scale] for scale in self.supports]

    def _select(self, n: int, n_support: int) -> list[np.ndarray]:
        task, n_scales = self.task, len(self.scales)
        lmax, order = task.options.lmax, task.options.order

        def report(stage: str) -> Callable[[float], None]:
            return lambda fraction: task.progress(stage, (n + fraction) / n_scales)

        pools = candidates(self.scales[n], task.limits.sparse.candidates, task.options.seed, report("environments"))
        weights = 1.0 / (order * np.maximum(mean_kernels(pools, lmax, order, task.options.seed), 1e-300))
        return select_support(pools, n_support, lmax, weights, task.threads, report("support points"), task.comm)

    def _frame_rows(self, k: int, momentum: int, sets: np.ndarray) -> list[np.ndarray]:
        """Kernels (n_sets, 2L + 1, M (2L + 1)) of a frame with the support points of each length scale and element.

        Args:
            k: number of the frame.
            momentum: L.
            sets: (n_scales, n_elements, n_sets, order) order weights.

        """
        lmax, width, out = self.task.options.lmax, 2 * momentum + 1, []
        terms = tensor_terms(lmax, sets.shape[3], momentum)
        for scale, pools, of_scale in zip(self.scales, self._pools, sets, strict=True):
            for coefficients, pool, own in zip(scale.by_element(k), pools, of_scale, strict=True):
                rows = np.zeros((len(own), width, len(pool.frame) if pool else 0, width))
                if pool:
                    for c in coefficients:
                        add_tensor_rows(terms, lmax, own, c, pool.blocks, pool.columns, rows)
                out.append(rows.reshape(len(own), width, -1))
        return out

    def _rows(
        self, frames: Sequence[int] | np.ndarray, momentum: int, sets: np.ndarray, stage: str
    ) -> Iterator[list[np.ndarray]]:
        """`_frame_rows` of some frames, one after the other, on all ranks."""
        task = self.task
        step = 4 * task.threads * task.comm.size
        for first in range(0, len(frames), step):
            batch = list(frames[first : first + step])
            yield from task.comm.each(lambda k: self._frame_rows(k, momentum, sets), batch, task.threads)
            task.progress(stage, min(1.0, (first + step) / len(frames)))

    def _among(self, momentum: int) -> list[np.ndarray]:
        """Kernels (order, M (2L + 1), M (2L + 1)) among the support points of each length scale and element."""
        options, threads = self.task.options, self.task.threads
        none = np.zeros((options.order, 0, 0))
        return [
            energy_gram([pool], options.lmax, momentum, options.order, threads)[0] if pool else none
            for pools in self._pools
            for pool in pools
        ]

    def matrices(self, momentum: int, frames: np.ndarray) -> np.ndarray | None:
        """Kernels as those of `FullKernels`, by the support points."""
        task, order, width = self.task, self.task.options.order, 2 * momentum + 1
        sets = np.broadcast_to(np.eye(order), (len(self.scales), len(task.elements), order, order)).copy()
        found = list(self._rows(frames, momentum, sets, "kernels of each order"))
        if task.comm.rank > 0:
            return None
        out = []
        for of_frames, kernels in zip(zip(*found, strict=True), self._among(momentum), strict=True):
            for nu in range(order):
                out.append(np.zeros(2 * (width * len(frames),)))
                if kernels[nu].any():
                    known = Basis(kernels[nu]).features(np.concatenate([rows[nu] for rows in of_frames]))
                    out[-1] += known @ known.T
        return np.array(out)

    def solved(
        self,
        momentum: int,
        order_weights: np.ndarray,
        noise: float,
        labels: Labels,
        gram: np.ndarray | None,
        searched: np.ndarray,
    ) -> Solution:
        """Fit with these hyperparameters, see `FullKernels.solved`."""
        task, width = self.task, 2 * momentum + 1
        targets, sizes = (x.reshape(-1, width) for x in (labels.values, labels.size))
        few = labels.sampled(task.limits.tensors.left_out_labels, 2, task.options.seed)
        among = zip(order_weights.reshape(-1, task.options.order), self._among(momentum), strict=True)
        basis = Basis(*(np.tensordot(a, kernels, 1) for a, kernels in among))
        equations, kept = [NormalEquations(basis.rank) for _ in LabelKind], []
        sets = np.ascontiguousarray(order_weights[:, :, None])
        for k, parts in enumerate(self._rows(range(len(self.data)), momentum, sets, "design")):
            rows = np.concatenate([part[0] for part in parts], axis=1)
            if task.comm.rank == 0:
                features = basis.features(rows / sizes[k][:, None])
                equations[LabelKind.ENERGY].add(features, targets[k] / sizes[k])
            if k in few:
                kept.append(rows)

        def fit() -> tuple[np.ndarray, np.ndarray]:
            regression = SparseRegression([equations], basis, limits=task.limits)
            weights, leverage = regression.fitted(1.0, np.full(len(LabelKind), noise))
            residuals = [
                deviation * left_out_errors(rows @ leverage / deviation, (target - rows @ weights) / deviation)
                for rows, target, deviation in zip(kept, targets[few], noise * sizes[few, :1], strict=True)
            ]
            return weights, np.array(residuals)

        weights, residuals = task.comm.first(fit)
        supports: list[list[TensorSupport]] = []
        first = 0
        for scale in self.supports:
            supports.append([])
            for s in scale:
                supports[-1].append(TensorSupport(s, weights[first : first + width * len(s)].reshape(-1, width)))
                first += width * len(s)
        return Solution(supports, few, residuals)


def most_support(options: TrainingOptions, n_scales: int, width: int, limits: TensorLimits) -> int:
    """Support points of each length scale, for L with `width` components."""
    most = limits.columns // (n_scales * width)
    return min(options.support_points or most, most)
