"""The full estimator for very many labels: exact regression whose cost is proportional to the number of frames."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from ...atoms.dataset import Dataset
from ...atoms.kinds import LabelKind
from ...density.frames import Environments
from ..limits import FullLimits
from ..options import TrainingOptions
from ..sparse.design import Design, kernel_matrices
from ..sparse.regression import Basis
from ..sparse.selection import candidates, with_rattled
from ..task import Task, predict_cost
from .conjugate import Preconditioner, Solution, solve_by_iteration
from .gram import FlatEnvironments, add_covariance, some_frames
from .implicit import ImplicitCovariance
from .inverse import mirror

ITERATIONS = 90  # about as many are needed, for predicting the time


def is_large(data: Dataset, options: TrainingOptions, limits: FullLimits) -> bool:
    """Whether the covariance of all labels is not formed; that of orders above 4 always is."""
    return data.n_labels > limits.direct_labels and options.order <= 4


def solve_iteratively(
    task: Task, scales: Sequence[FlatEnvironments], order_weights: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """Dual coefficients (N,) of the labels, and the errors of some frames by a fit without these.

    Args:
        task, scales: the training set and its environments of each length scale.
        order_weights: (n_scales, n_elements, order).
        noise: (3,) of each kind of label.

    Raises:
        OptionsError: the equations have not converged.

    """
    limits, labels, n_frames = task.limits.full, task.labels, len(task.data)
    deviation = noise[labels.kind] * labels.size
    covariance = ImplicitCovariance(scales, task.densities, order_weights, task.threads, task.comm)
    _predict(task, scales, covariance)
    features = _features(task, order_weights, deviation)
    roots = _roots(task, scales, order_weights, deviation, features)
    held = np.zeros(n_frames, bool)
    if n_frames > 1:
        n_held = max(1, round(limits.held_out * n_frames))
        held[np.random.default_rng(task.options.seed).permutation(n_frames)[:n_held]] = True
    with threadpool_limits(task.threads, user_api="blas"):
        preconditioner = Preconditioner(features, roots, ~held)

    def times(vector: np.ndarray) -> np.ndarray:
        return covariance.times(task.comm.share(vector, 0) / deviation) / deviation

    def solved(frames: np.ndarray, stage: str, start: Solution | None = None) -> Solution:
        counted, report = np.repeat(frames, np.diff(labels.first)), partial(task.progress, stage)
        found = solve_by_iteration(
            times, preconditioner, labels.values / deviation, labels.kind, counted, limits.residual, limits.iterations,
            _compositions(task, deviation, frames), start, report,
        )  # fmt: skip
        task.log(f"  {stage}: {found.iterations} iterations")
        return found

    task.log(f"Solving the equations of {len(deviation)} labels by conjugate gradients")
    errors: list[np.ndarray | None] = [None] * n_frames
    found: Solution | None = None
    if held.any():
        found = solved(~held, "left-out frames")
        for k in np.flatnonzero(held):
            own = slice(labels.first[k], labels.first[k + 1])
            errors[k] = labels.values[own] - deviation[own] * found.predicted[own]
        with threadpool_limits(task.threads, user_api="blas"):
            preconditioner.count(np.ones(n_frames, bool))
    alpha = solved(np.ones(n_frames, bool), "all frames", found).alpha
    return task.comm.share(alpha / deviation, 0), task.comm.share(errors, 0)


def _compositions(task: Task, deviation: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Directions (k, N), orthonormal, in which the energies of frames (F,) change with the energies of the elements."""
    data, labels = task.data, task.labels
    own = np.flatnonzero((labels.kind == LabelKind.ENERGY) & np.repeat(frames, np.diff(labels.first)))
    changes = np.zeros((len(deviation), len(task.elements)))
    changes[own] = data.element_counts[data.frame_of_label[own]] / deviation[own, None]
    vectors, sizes, _ = np.linalg.svd(changes, full_matrices=False)
    return vectors[:, sizes > 1e-8 * sizes.max()].T


def _n_points(task: Task) -> int:
    """Number of environments by which the equations are preconditioned."""
    limits = task.limits.full
    return min(limits.preconditioner_points, int(limits.preconditioner_share * task.data.n_labels))


def _features(task: Task, order_weights: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Features (N, r) of the labels in units of their noise, float32: their kernels with some environments, whitened.

    The environments are drawn from the frames and from a rattled copy of each.
    """
    data, lmax = task.data, task.options.lmax
    extended, n_elements = with_rattled(data, 1, task.limits.sparse.rattle, task.options.seed), len(task.elements)
    most = max(1, _n_points(task) // n_elements)
    pools = [candidates(Environments(extended, d), most, task.options.seed) for d in task.densities]
    scales = list(zip(task.densities, pools, order_weights, strict=True))
    basis = Basis(*(
        sum(kernel_matrices(points[z], lmax, weights[z : z + 1], task.threads)[0] for _, points, weights in scales)
        for z in range(n_elements)
    ))  # fmt: skip
    designs = [Design(Environments(data, d), points, weights[:, None]) for d, points, weights in scales]
    first = task.labels.first

    def rows_of(k: int) -> np.ndarray:
        return sum(design.of_frame(k)[:, 0] for design in designs) / deviation[first[k] : first[k + 1], None]

    out = np.empty((len(deviation), basis.rank), np.float32)
    batch = 16 * task.threads * task.comm.size
    for start in range(0, len(data), batch):
        frames = range(start, min(start + batch, len(data)))
        rows = np.concatenate(task.comm.each(rows_of, frames, task.threads))
        with threadpool_limits(task.threads, user_api="blas"):
            out[first[frames[0]] : first[frames[-1] + 1]] = basis.features(rows)
        task.progress("preconditioner", (frames[-1] + 1) / len(data))
    return out


def _roots(
    task: Task,
    scales: Sequence[FlatEnvironments],
    order_weights: np.ndarray,
    deviation: np.ndarray,
    features: np.ndarray,
) -> list[np.ndarray]:
    """Lower triangles L of each frame's block 1 + share (K - G G^T) = L L^T, in units of the noise."""
    first, share = task.labels.first, task.limits.full.block_share

    def of_frame(k: int) -> np.ndarray:
        own = slice(first[k], first[k + 1])
        block = np.zeros((own.stop - own.start,) * 2)
        for flat, weights in zip(scales, order_weights, strict=True):
            add_covariance(some_frames(flat, np.array([k])), task.options.lmax, weights, block)
        mirror(block)
        described = features[own].astype(float)
        rest = block / np.outer(deviation[own], deviation[own]) - described @ described.T
        values, vectors = np.linalg.eigh(rest)
        return np.linalg.cholesky(np.eye(len(block)) + share * (vectors * np.maximum(values, 0.0)) @ vectors.T)

    return task.comm.each(of_frame, range(len(task.data)), task.threads)


def _predict(task: Task, scales: Sequence[FlatEnvironments], covariance: ImplicitCovariance) -> None:
    """Predict memory and time of the iterations."""
    speeds, n_labels, points = task.limits.speeds, covariance.n_labels, _n_points(task)
    stored = 2 * sum(flat.jacobian.size for flat in scales) + 0.75 * n_labels * points + 3.0 * points**2
    stored += covariance.n_stored
    products = ITERATIONS * covariance.cost / speeds.kernel_products
    features = 2 * n_labels * float(points) ** 2 / speeds.normal_products
    predict_cost(task, 8e-9 * stored, (products + features) / (task.threads * task.comm.size))
