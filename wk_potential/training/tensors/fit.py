"""Training of dipoles and polarisabilities: Gaussian process regression on frames, one for each L.

The parts of different L are independent. The kernel of angular momentum L is a sum over length scales, central elements
and orders. Their weights maximise the marginal likelihood together with the noise (`kernels`). The model has a vector
of weights for each training or support environment, and is kept as polynomials of the density.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ...atoms.dataset import sampled_frames
from ...atoms.frame import Frame
from ...atoms.kinds import TENSOR_UNITS, TENSORS
from ...atoms.tensor_labels import centre_of_mass
from ...density.expansion import Density
from ...errors import DataError
from ...forms.bilinear import BilinearForm
from ...model.tensor_error_bars import TensorSpread
from ...model.tensors import TensorPart, TensorProperty, to_spherical
from ..baseline import Labels
from ..channels import model_density
from ..error_bars.tensors import fit_spread
from ..full.likelihood import choose_hyperparameters
from ..mapping.samples import choose_frames, draw_samples
from ..mapping.tensors import compressed
from ..options import TrainingOptions
from ..sparse.selection import MAX_CANDIDATES
from ..task import Task, predict_cost
from .kernels import LEFT_OUT_LABELS, FullKernels, Solution, SparseKernels, most_support

SEARCH_LABELS = 1500  # the likelihood is maximised on this many labels, drawn by frames, where there are more
MOST_LABELS = 10_000  # of the full estimator: 1.6 GB and a few minutes
MOST_ENVIRONMENTS = 10_000  # up to which it is the default: some minutes
PAIR_SECONDS = 1.2e-6  # of the kernel of two environments, measured with lmax 3
MAPPING_SHARE = 0.1  # of the expected error, within which the small form stays
# How the densities of tensors differ from those of energies, by likelihood and left-out errors on water dimers
WIDTHS = 5 / 3, 3 / 4  # factors of the Gaussian widths of the two densities
SHORT_CUTOFF = 5 / 6  # factor of the short cutoff
ANGULAR_WEIGHT = -1.1  # added to the exponent p of the factors (2l + 1)^p of angular momenta
SLOPE = 0.05  # e: residuals that change so with the centre of mass reveal a charge or a wrong origin
SIGNIFICANT = 4.0  # standard deviations of such a slope


@dataclass(frozen=True)
class TensorFit:
    """Regression of one L.

    Attributes:
        order_weights: (n_scales, n_elements, order).
        noise: of a component, per sqrt(atom).
        solution: the fit with these.
        score: of the left-out errors of the labels searched.

    """

    order_weights: np.ndarray
    noise: float
    solution: Solution
    score: float


def tensor_counts(frames: Sequence[Frame]) -> dict[str, int]:
    """Number of frames with each kind of tensor, of those that there are."""
    counts = {name: sum(getattr(frame, name) is not None for frame in frames) for name in TENSORS}
    return {name: n for name, n in counts.items() if n}


def fit_tensors(task: Task) -> tuple[dict[str, TensorProperty], dict[str, Any]]:
    """Targets of all kinds of tensors that frames have, and what the header says of them.

    Raises:
        DataError: more labels than the regression can take, or lmax below L.

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
        return sum(r.fit(momentum)[1].score for r in regressions for momentum in TENSORS[r.name])


class _Regression:
    """Frames, densities and environments of one target."""

    def __init__(self, task: Task, name: str):
        self.task, self.name = task, name
        self.frames = [frame for frame in task.frames if getattr(frame, name) is not None]
        self.values = np.array([getattr(frame, name) for frame in self.frames])
        self.counts = np.array([[np.sum(f.numbers == z) for z in task.elements] for f in self.frames])
        options = tensor_options(task.options)
        shapes = [shape for shape in (options.long, options.short) if shape]
        self.sampled = choose_frames(self.frames, task.elements, np.random.default_rng(task.options.seed))
        self.estimator = _choose_estimator(task, name, self.counts)
        self.densities = [model_density(self.frames, task.elements, options, shape, task.comm) for shape in shapes]
        _predict(task, name, self.estimator, self.counts, self.densities)
        self.kernels: FullKernels | SparseKernels = (
            FullKernels(task, self.frames, self.densities)
            if self.estimator == "full"
            else SparseKernels(task, self.frames, self.densities, _width(name))
        )

    def fit(self, momentum: int) -> tuple[np.ndarray, TensorFit, float]:
        """Baseline (n_elements,), regression, and standard deviation of a component beyond the baseline."""
        labels = to_spherical(self.name, momentum, self.values)
        baseline = np.zeros(len(self.task.elements))
        if momentum == 0:
            baseline = np.linalg.lstsq(self.counts, labels[:, 0], rcond=1e-8)[0]
        labels = labels - (self.counts @ baseline)[:, None]
        fit = _fit_momentum(self.task, self.kernels, labels, self.counts.sum(axis=1))
        return baseline, fit, float(np.std(labels))


def _fit_target(task: Task, name: str) -> tuple[TensorProperty, dict[str, Any]]:
    regression = _Regression(task, name)
    parts, facts = [], {}
    for momentum in TENSORS[name]:
        baseline, fit, spread = regression.fit(momentum)
        if name == "dipole":
            _check_origin(task, [regression.frames[k] for k in fit.solution.frames], fit.solution.residuals)
        error = float(np.sqrt(np.mean(fit.solution.residuals**2)))
        task.log(
            f"{name.capitalize()}, L = {momentum}: leave-one-out error {error:.3g} "
            f"{TENSOR_UNITS[name]}, {100 * error / max(spread, 1e-300):.2g} % of the standard deviation "
            "(rms of components)"
        )
        bars = task.comm.first(_spread, regression, momentum, fit) if task.options.uncertainty else None
        parts.append(TensorPart(momentum, baseline, task.comm.first(_forms, regression, momentum, fit), bars))
        facts[str(momentum)] = {
            "order_weights": fit.order_weights.tolist(),
            "noise": fit.noise,
            "leave_one_out_rmse": error,
            "standard_deviation": spread,
        }
    header = {
        "unit": TENSOR_UNITS[name], "frames": len(regression.frames), "estimator": regression.estimator, "ranks": facts
    }  # fmt: skip
    return TensorProperty(name, regression.densities, parts), header


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


def _width(name: str) -> int:
    """Labels of a frame of the L that has most of them."""
    return 2 * max(TENSORS[name]) + 1


def _choose_estimator(task: Task, name: str, counts) -> str:
    """Estimator, and whether it can be: the full one for few labels and environments, unless another is asked for.

    Args:
        task: with the options.
        name: of the target.
        counts: (F, n_elements) atoms of each frame.

    """
    options, labels = task.options, len(counts) * _width(name)
    if max(TENSORS[name]) > options.lmax:
        raise DataError(f"{name}: needs lmax of at least {max(TENSORS[name])}, not {options.lmax}")
    if options.order > 4:
        raise DataError(f"{name}: tensors have kernels of orders 1 to 4, not {options.order}; set order to 4")
    if options.estimator == "full" and labels > MOST_LABELS:
        raise DataError(
            f"{name}: {labels} labels, where {MOST_LABELS} are the limit of the full estimator; train with the sparse "
            "one, or on fewer frames with --frames"
        )
    small = labels <= MOST_LABELS and counts.sum() <= MOST_ENVIRONMENTS
    chosen = options.estimator if options.estimator != "auto" else "full" if small else "sparse"
    task.log(f"{name.capitalize()}: {chosen} estimator ({labels} labels at most, {counts.sum()} environments)")
    return chosen


def _predict(task: Task, name: str, estimator: str, counts, densities: list[Density]) -> None:
    """Predict memory and time: kernels of the search and of the fit, linear algebra, what is stored.

    Args:
        task: with the options.
        name: of the target.
        estimator: full or sparse.
        counts: (F, n_elements) atoms of each frame.
        densities: of each length scale.

    """
    options, labels, n_scales = task.options, len(counts) * _width(name), len(densities)
    searched, matrices = min(labels, SEARCH_LABELS), n_scales * len(task.elements) * options.order
    width = (options.lmax + 1) ** 2 * sum(density.projection.shape[3] for density in densities)
    if estimator == "full":
        passes = 1 + (searched / labels) ** 2 * (searched < labels)  # over the pairs of environments
        pairs = 0.5 * n_scales * passes * np.sum(counts.sum(axis=0) ** 2.0)
        stored, products = 3 * counts.sum() * width + 3 * labels**2, labels**3
    else:
        points = most_support(options, n_scales, _width(name))
        columns, candidates = n_scales * points * _width(name), np.minimum(counts.sum(axis=0), MAX_CANDIDATES).sum()
        pairs = n_scales * points * ((1 + searched / labels) * counts.sum() / len(task.elements) + candidates)
        stored = candidates * (width + points) + 8 * columns**2 + (searched * options.order + LEFT_OUT_LABELS) * columns
        products = 2 * labels * columns**2 + 20 * columns**3
    seconds = PAIR_SECONDS * len(TENSORS[name]) * pairs / (task.threads * task.comm.size)
    predict_cost(
        task, 8e-9 * ((matrices + 3) * searched**2 + stored), seconds + (60 * searched**3 + products) / 2e10
    )  # fmt: skip


def _fit_momentum(task: Task, kernels: FullKernels | SparseKernels, labels, n_atoms) -> TensorFit:
    """Choose hyperparameters by likelihood and solve.

    Args:
        task: with the options.
        kernels: between the frames.
        labels: (F, 2L + 1) spherical components, less a baseline.
        n_atoms: (F,) of each frame.

    """
    options, (n_frames, width) = task.options, labels.shape
    momentum = (width - 1) // 2
    chosen = sampled_frames(np.full(n_frames, width), SEARCH_LABELS, 1, options.seed)
    gram = kernels.matrices(momentum, chosen)
    everything = Labels(labels.ravel(), np.zeros(labels.size, int), np.repeat(np.sqrt(n_atoms), width))
    own = options.model_copy(update={"energy_noise": None, "order_weights": None})
    part, first = everything.of_frames(chosen, np.arange(0, labels.size + 1, width)), np.arange(len(chosen) + 1) * width
    weights, noise, score = task.comm.first(choose_hyperparameters, gram, part, first, own, task.log, task.threads)
    by_scale = weights.reshape(-1, len(task.elements), options.order)
    solution = kernels.solved(momentum, by_scale, float(noise[0]), everything, gram, chosen)
    return TensorFit(by_scale, float(noise[0]), solution, score)


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


def _forms(regression: _Regression, momentum: int, fit: TensorFit) -> list[list[BilinearForm]]:
    """Forms of each length scale and element, small ones unless the tolerance of the mapping is 0."""
    task, frames = regression.task, regression.frames
    error = np.sqrt(np.mean(fit.solution.residuals**2) / np.mean([len(frame) for frame in frames]))
    tolerance = MAPPING_SHARE * error / len(regression.densities) if task.options.map_tolerance != 0 else 0.0
    out = []
    for density, supports, weights in zip(
        regression.densities, fit.solution.supports, fit.order_weights, strict=True
    ):  # fmt: skip
        samples = draw_samples(regression.sampled, density, task.elements)
        out.append(compressed(supports, momentum, weights, samples, tolerance))
    return out


def _spread(regression: _Regression, momentum: int, fit: TensorFit) -> TensorSpread | None:
    """Error bars, where there are enough frames to leave one out."""
    task, solution = regression.task, fit.solution
    if len(solution.frames) < 2:
        return None
    return fit_spread(
        momentum, regression.densities, task.elements, solution.supports, fit.order_weights, regression.sampled,
        [regression.frames[k] for k in solution.frames], solution.residuals, len(regression.frames),
        task.threads, task.options.seed,
    )  # fmt: skip
