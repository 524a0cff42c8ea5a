"""Training of dipoles and polarisabilities: Gaussian process regression on frames, one for each rank.

Ranks are independent. The kernel of rank L is a sum over length scales, central elements and orders whose weights
maximise the marginal likelihood together with the noise; all environments of a frame share its dual coefficients, so
that the exact model has one vector of weights for each training environment. It is kept as polynomials of the density.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..density.expansion import Density
from ..mapping.samples import draw_samples
from ..mapping.tensor_packing import TensorForm
from ..mapping.tensors import TensorSupport, compressed
from ..tensors.targets import RANKS, UNITS, TensorPart, TensorTarget, to_spherical
from .compression import model_density
from .data import DataError, Frame
from .environments import frame_environments
from .frame_gram import FramePool, add_gram, gram_matrices, parts_of, shared_rows
from .likelihood import Labels, choose_hyperparameters, solve
from .options import TrainingOptions
from .task import Task, part_of, predict_cost, sampled_frames
from .tensor_labels import centre_of_mass

SEARCH_LABELS = 1500  # the likelihood is maximised on this many labels, drawn by frames, where there are more
MOST_LABELS = 10_000  # of the exact regression: 1.6 GB and a few minutes
PAIR_SECONDS = 1.2e-6  # of the kernel of two environments, measured with lmax 3
SAMPLE_FRAMES = 60  # from which the environments for the small form are drawn
MAPPING_SHARE = 0.1  # of the expected error, within which the small form stays
# How the densities of tensors differ from those of energies, by likelihood and left-out errors on water dimers
WIDTHS = 5 / 3, 3 / 4  # factors of the Gaussian widths of the two densities
SHORT_CUTOFF = 5 / 6  # factor of the short cutoff
ANGULAR_WEIGHT = -1.1  # added to the exponent p of the factors (2l + 1)^p of angular momenta
SLOPE = 0.05  # e: residuals that change so with the centre of mass reveal a charge or a wrong origin
SIGNIFICANT = 4.0  # standard deviations of such a slope


@dataclass(frozen=True)
class RankFit:
    """Regression of one rank.

    Attributes:
        order_weights: (n_scales, n_elements, order).
        noise: of a component, per sqrt(atom).
        alpha: (F, 2L + 1) dual coefficients.
        residuals: (F, 2L + 1) leave-one-frame-out errors.
        score: of the left-out errors of the labels searched.

    """

    order_weights: np.ndarray
    noise: float
    alpha: np.ndarray
    residuals: np.ndarray
    score: float


def tensor_counts(frames: Sequence[Frame]) -> dict[str, int]:
    """Number of frames with each kind of tensor, of those that there are."""
    counts = {name: sum(getattr(frame, name) is not None for frame in frames) for name in RANKS}
    return {name: n for name, n in counts.items() if n}


def fit_tensors(task: Task) -> tuple[dict[str, TensorTarget], dict[str, Any]]:
    """Targets of all kinds of tensors that frames have, and what the header says of them.

    Raises:
        DataError: more labels than the regression can take, or lmax below the rank.

    """
    targets, facts = {}, {}
    for name in tensor_counts(task.frames):
        with threadpool_limits(1, user_api="blas"):
            targets[name], facts[name] = _fit_target(task, name)
    return targets, facts


def tensor_score(task: Task) -> float:
    """Sum of the scores of all tensors, for the search of the density."""
    with threadpool_limits(1, user_api="blas"):
        regressions = [_Regression(task, name) for name in tensor_counts(task.frames)]
        return sum(r.fit(momentum)[1].score for r in regressions for momentum in RANKS[r.name])


class _Regression:
    """Frames, densities and environments of one target."""

    def __init__(self, task: Task, name: str):
        self.task, self.name = task, name
        self.frames = [frame for frame in task.frames if getattr(frame, name) is not None]
        self.values = np.array([getattr(frame, name) for frame in self.frames])
        self.counts = np.array([[np.sum(f.numbers == z) for z in task.elements] for f in self.frames])
        options = tensor_options(task.options)
        shapes = [shape for shape in (options.long, options.short) if shape]
        _check(task, name, len(self.frames))
        self.densities = [model_density(self.frames, task.elements, options, shape, task.ranks) for shape in shapes]
        _predict(task, name, self.counts, self.densities)
        self.coefficients = [_coefficients(task, self.frames, density) for density in self.densities]

    def fit(self, momentum: int) -> tuple[np.ndarray, RankFit, float]:
        """Baseline (n_elements,), regression, and standard deviation of a component beyond the baseline."""
        labels = to_spherical(self.name, momentum, self.values)
        baseline = np.zeros(len(self.task.elements))
        if momentum == 0:
            baseline = np.linalg.lstsq(self.counts, labels[:, 0], rcond=1e-8)[0]
        labels = labels - (self.counts @ baseline)[:, None]
        fit = fit_rank(self.task, self.coefficients, labels, self.counts.sum(axis=1))
        return baseline, fit, float(np.std(labels))


def _fit_target(task: Task, name: str) -> tuple[TensorTarget, dict[str, Any]]:
    regression = _Regression(task, name)
    parts, facts = [], {}
    for momentum in RANKS[name]:
        baseline, fit, spread = regression.fit(momentum)
        if name == "dipole":
            _check_origin(task, regression.frames, fit.residuals)
        error = float(np.sqrt(np.mean(fit.residuals**2)))
        task.log(
            f"{name.capitalize()}, rank {momentum}: expected error (leave one frame out, exact) {error:.3g} "
            f"{UNITS[name]}, {100 * error / max(spread, 1e-300):.2g} % of the standard deviation (rms of components)"
        )
        parts.append(TensorPart(momentum, baseline, task.ranks.first(_forms, regression, fit)))
        facts[str(momentum)] = {
            "order_weights": fit.order_weights.tolist(),
            "noise": fit.noise,
            "leave_one_out_rmse": error,
            "standard_deviation": spread,
        }
    header = {"unit": UNITS[name], "frames": len(regression.frames), "ranks": facts}
    return TensorTarget(name, regression.densities, parts), header


def tensor_options(options: TrainingOptions) -> TrainingOptions:
    """Options with the parameters of the densities of tensors."""
    changes = {
        "saturation": 0.0,
        "element_mixing": 0.0,
        "angular_weight": options.angular_weight + ANGULAR_WEIGHT,
        "density_width": options.density_width * WIDTHS[0],
        "short_density_width": options.short_density_width * WIDTHS[1],
        "short_cutoff": options.short_cutoff * SHORT_CUTOFF,
    }
    return options.model_copy(update=changes)


def _n_labels(name: str, n_frames: int) -> int:
    """Labels of the rank that has most of them."""
    return n_frames * (2 * max(RANKS[name]) + 1)


def _check(task: Task, name: str, n_frames: int) -> None:
    options, labels = task.options, _n_labels(name, n_frames)
    if max(RANKS[name]) > options.lmax:
        raise DataError(f"{name}: needs lmax of at least {max(RANKS[name])}, not {options.lmax}")
    if options.order > 4:
        raise DataError(f"{name}: tensors have kernels of orders 1 to 4, not {options.order}; set order to 4")
    if labels > MOST_LABELS:
        raise DataError(
            f"{name}: {labels} labels, where {MOST_LABELS} are the limit; train on fewer frames with --frames"
        )


def _predict(task: Task, name: str, counts, densities: list[Density]) -> None:
    """Predict memory and time: kernels of the search, the covariance, coefficients of the environments.

    Args:
        task: with the options.
        name: of the target.
        counts: (F, n_elements) atoms of each frame.
        densities: of each length scale.

    """
    options, labels = task.options, _n_labels(name, len(counts))
    searched, matrices = min(labels, SEARCH_LABELS), len(densities) * len(task.elements) * options.order
    stored = 3 * counts.sum() * (options.lmax + 1) ** 2 * sum(density.projection.shape[3] for density in densities)
    passes = 1 + (searched / labels) ** 2 * (searched < labels)  # over the pairs of environments
    pairs = 0.5 * len(densities) * len(RANKS[name]) * passes * np.sum(counts.sum(axis=0) ** 2.0)
    seconds = PAIR_SECONDS * pairs / (task.threads * task.ranks.size) + (60 * searched**3 + labels**3) / 2e10
    predict_cost(task, 8e-9 * ((matrices + 3) * searched**2 + 3 * labels**2 + stored), seconds)


def _coefficients(task: Task, frames, density: Density) -> list[list[np.ndarray]]:
    """Coefficients (n, n_lm, Q) of the environments of each element and frame."""
    out: list[list[np.ndarray]] = [[] for _ in task.elements]
    for frame in frames:
        environments = frame_environments(frame, density, task.elements, derivatives=False)
        for z, own in enumerate(out):
            own.append(environments.coefficients[environments.centres == z])
    return out


def fit_rank(task: Task, coefficients: list[list[list[np.ndarray]]], labels, n_atoms) -> RankFit:
    """Choose hyperparameters by likelihood and solve.

    Args:
        task: of which lmax and order, options of the search, threads and log count.
        coefficients: for each length scale, element and frame, (n, n_lm, Q).
        labels: (F, 2L + 1) spherical components, less a baseline.
        n_atoms: (F,) of each frame.

    """
    options, (n_frames, width) = task.options, labels.shape
    lmax, momentum, n_elements = options.lmax, (labels.shape[1] - 1) // 2, len(task.elements)
    chosen = sampled_frames(np.full(n_frames, width), SEARCH_LABELS, 1, options.seed)
    grams, report = [], part_of(task, "Gram matrices", len(coefficients))
    for scale in coefficients:
        pools = [FramePool([element[f] for f in chosen]) for element in scale]
        grams.append(gram_matrices(pools, lmax, momentum, options.order, task.threads, report, task.ranks))
    gram = np.concatenate([g.reshape(-1, *g.shape[2:]) for g in grams]) if task.ranks.rank == 0 else None
    del grams
    size = np.repeat(np.sqrt(n_atoms), width)
    everything = Labels(labels.ravel(), np.zeros(labels.size, int), size)
    first = np.arange(0, labels.size + 1, width)
    own = options.model_copy(update={"energy_noise": None, "order_weights": None})
    part, part_first = everything.of_frames(chosen, first), np.arange(len(chosen) + 1) * width
    weights, noise, score = task.ranks.first(
        choose_hyperparameters, gram, part, part_first, own, task.log, task.threads
    )
    by_scale = weights.reshape(len(coefficients), n_elements, options.order)
    kernel = None if gram is None else np.tensordot(weights, gram, 1)
    if len(chosen) < n_frames:
        kernel = np.zeros((labels.size, labels.size))  # pages come when written to
        report = part_of(task, "covariance", len(coefficients))
        for scale, scale_weights in zip(coefficients, by_scale, strict=True):
            pools = [FramePool(element) for element in scale]
            rows = shared_rows(pools, momentum, task.ranks)
            for pool, a, own_report in zip(pools, scale_weights, parts_of(report, pools), strict=True):
                add_gram(pool, lmax, momentum, a[None], kernel[None], rows.own_frames(), task.threads, own_report)
        rows.collect(kernel[None])
    alpha, residuals, _ = task.ranks.first(solve, kernel, noise, everything, first, task.threads)
    return RankFit(by_scale, float(noise[0]), alpha.reshape(labels.shape), residuals.reshape(labels.shape), score)


def _check_origin(task: Task, frames, residuals) -> None:
    """Say so if the errors of dipoles follow the centre of mass: a charge or an origin is not as stated."""
    shifts = np.array([centre_of_mass(frame) for frame in frames])
    errors = residuals[:, [2, 0, 1]]
    square = np.sum(shifts**2)
    if square == 0:
        return
    slope = np.sum(shifts * errors) / square
    uncertainty = np.sqrt(np.mean((errors - slope * shifts) ** 2) / square)
    if abs(slope) > SLOPE and abs(slope) > SIGNIFICANT * uncertainty:
        task.log(
            f"Warning: the dipoles change by {slope:.2f} e per Angstrom by which the centre of mass is displaced, "
            "which no structure explains: set the charge and the dipole_origin that the labels have"
        )


def _forms(regression: _Regression, fit: RankFit) -> list[list[TensorForm]]:
    """Forms of each length scale and element, small ones unless the tolerance of the mapping is 0."""
    task, frames = regression.task, regression.frames
    order = np.random.default_rng(task.options.seed).permutation(len(frames))
    chosen = [frames[k] for k in order[:SAMPLE_FRAMES]]
    scales = list(zip(regression.densities, regression.coefficients, fit.order_weights, strict=True))
    error = np.sqrt(np.mean(fit.residuals**2) / np.mean([len(frame) for frame in frames]))
    tolerance = MAPPING_SHARE * error / len(scales) if task.options.map_tolerance > 0 else 0.0
    out = []
    for density, scale, weights in scales:
        samples = draw_samples(chosen, density, task.elements)
        supports = []
        for element in scale:
            frame_of = np.repeat(np.arange(len(element)), [len(c) for c in element])
            supports.append(TensorSupport(np.concatenate(element), fit.alpha[frame_of]))
        out.append(compressed(supports, (fit.alpha.shape[1] - 1) // 2, weights, samples, tolerance))
    return out
