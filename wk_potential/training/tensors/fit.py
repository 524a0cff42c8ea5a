"""Training of dipoles and polarisabilities: Gaussian process regression on frames, one for each L.

The parts of different L are independent. The kernel of angular momentum L is a sum over length scales, central elements
and orders, with weights that maximise the marginal likelihood together with the noise (`kernels`). The model has a
vector of weights for each training or support environment, and is stored as polynomials of the density.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ...atoms.dataset import Dataset, Labels
from ...atoms.kinds import TENSOR_UNITS, TENSORS, LabelKind
from ...atoms.tensor_labels import centre_of_mass
from ...density.expansion import Density
from ...density.frames import Environments
from ...errors import DataError
from ...forms.bilinear import BilinearForm
from ...model.tensor_error_bars import TensorSpread
from ...model.tensors import TensorPart, TensorProperty, to_spherical
from ..channels import model_density
from ..error_bars.tensors import fit_spread
from ..full.likelihood import choose_hyperparameters
from ..limits import DEFAULT, TensorLimits
from ..mapping.samples import Samples, choose_frames, draw_samples
from ..mapping.tensors import compressed
from ..options import TrainingOptions
from ..task import Task, kept_gigabytes, predict_cost
from .kernels import FullKernels, Solution, SparseKernels, most_support


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


def fit_tensors(task: Task) -> tuple[dict[str, TensorProperty], dict[str, Any]]:
    """Fit all kinds of tensors that the frames have; returns them and what the header says of them.

    Raises:
        DataError: more labels than the regression can take, or lmax below L.

    """
    targets, facts = {}, {}
    for name in task.data.tensor_counts:
        with threadpool_limits(1, user_api="blas"):
            targets[name], facts[name] = _fit_target(task, name)
    return targets, facts


def tensor_score(task: Task) -> float:
    """Sum of the scores of all tensors, for the search of the density."""
    with threadpool_limits(1, user_api="blas"):
        regressions = [_Regression(task, name) for name in task.data.tensor_counts]
        return sum(r.fit(momentum)[1].score for r in regressions for momentum in TENSORS[r.name])


class _Regression:
    """Frames, densities and environments of one kind of tensor."""

    def __init__(self, task: Task, name: str) -> None:
        self.task, self.name = task, name
        self.data = task.data.with_tensor(name)
        self.values = np.array([getattr(frame, name) for frame in self.data])
        if not self.values.any():
            raise DataError(
                f"the {name} is exactly zero in all {len(self.values)} frames that have it: there is nothing to learn; "
                f"leave out --{name}-key"
            )
        options = tensor_options(task.options, task.limits.tensors)
        shapes = [shape for shape in (options.long, options.short) if shape]
        rng = np.random.default_rng(task.options.seed)
        self.sampled = choose_frames(self.data, rng, task.limits.samples)
        self.estimator = _choose_estimator(task, name, self.data)
        self.densities = [
            model_density(self.data, options, s, task.comm, task.limits.density, task.threads) for s in shapes
        ]
        _predict(task, name, self.estimator, self.data, self.densities)
        self.kernels = self._kernels()

    def _kernels(self) -> FullKernels | SparseKernels:
        if self.estimator == "full":  # has the coefficients of all environments itself
            return FullKernels(self.task, [Environments(self.data, density) for density in self.densities])
        scales = [Environments(self.data, density, self.task.limits.kept_bytes) for density in self.densities]
        return SparseKernels(self.task, scales, _width(self.name))

    @cached_property
    def samples(self) -> list[list[Samples]]:
        """Environments of each length scale and element, in whose metric forms are made small."""
        return [draw_samples(self.sampled, d, limits=self.task.limits.samples) for d in self.densities]

    def fit(self, momentum: int) -> tuple[np.ndarray, TensorFit, float]:
        """Baseline (n_elements,), regression, and standard deviation of a component beyond the baseline."""
        labels, counts = to_spherical(self.name, momentum, self.values), self.data.element_counts
        baseline = np.zeros(counts.shape[1])
        if momentum == 0:
            baseline = np.linalg.lstsq(counts, labels[:, 0], rcond=1e-8)[0]
        labels = labels - (counts @ baseline)[:, None]
        fit = _fit_momentum(self.task, self.kernels, labels, self.data.n_atoms)
        return baseline, fit, float(np.std(labels))


def _fit_target(task: Task, name: str) -> tuple[TensorProperty, dict[str, Any]]:
    regression = _Regression(task, name)
    parts, facts = [], {}
    for momentum in TENSORS[name]:
        baseline, fit, spread = regression.fit(momentum)
        if name == "dipole":
            _check_origin(task, regression.data.subset(fit.solution.frames), fit.solution.residuals)
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
        "unit": TENSOR_UNITS[name], "frames": len(regression.data), "estimator": regression.estimator, "ranks": facts
    }  # fmt: skip
    return TensorProperty(name, regression.densities, parts), header


def tensor_options(options: TrainingOptions, limits: TensorLimits = DEFAULT.tensors) -> TrainingOptions:
    """Options with the parameters of the densities of tensors."""
    changes = {
        "saturation": 0.0,
        "element_mixing": 0.0,
        "angular_weight": options.angular_weight + limits.angular_weight,
        "density_width": options.density_width * limits.width,
        "short_density_width": options.short_density_width * limits.short_width,
        "short_cutoff": options.short_cutoff * limits.short_cutoff,
    }
    return options.model_copy(update=changes)


def _width(name: str) -> int:
    """Labels of a frame of the L that has most of them."""
    return 2 * max(TENSORS[name]) + 1


def _choose_estimator(task: Task, name: str, data: Dataset) -> str:
    """Choose the full estimator for few labels and environments, unless another is asked for.

    Args:
        task: with the options.
        name: of the tensor.
        data: frames that have it.

    Raises:
        DataError: lmax, order or number of labels do not allow it.

    """
    options, limits, labels = task.options, task.limits.tensors, len(data) * _width(name)
    if max(TENSORS[name]) > options.lmax:
        raise DataError(f"{name}: needs lmax of at least {max(TENSORS[name])}, not {options.lmax}")
    if options.order > 4:
        raise DataError(f"{name}: tensors have kernels of orders 1 to 4, not {options.order}; set order to 4")
    if options.estimator == "full" and labels > limits.full_labels:
        raise DataError(
            f"{name}: {labels} labels, where {limits.full_labels} are the limit of the full estimator; train with the "
            "sparse one, or on fewer frames with --frames"
        )
    small = labels <= limits.full_labels and data.n_environments <= limits.full_environments
    chosen = options.estimator if options.estimator != "auto" else "full" if small else "sparse"
    task.log(f"{name.capitalize()}: {chosen} estimator ({labels} labels at most, {data.n_environments} environments)")
    return chosen


def _predict(task: Task, name: str, estimator: str, data: Dataset, densities: list[Density]) -> None:
    """Predict memory and time: kernels of the search and of the fit, linear algebra, what is stored.

    Args:
        task: with the options.
        name: of the tensor.
        estimator: full or sparse.
        data: frames that have it.
        densities: of each length scale.

    """
    options, labels, n_scales = task.options, len(data) * _width(name), len(densities)
    n_atoms, of_elements = data.n_environments, data.element_counts.sum(axis=0)
    limits, most, speeds = task.limits.tensors, task.limits.sparse.candidates, task.limits.speeds
    searched, matrices = min(labels, limits.search_labels), n_scales * len(task.elements) * options.order
    width = (options.lmax + 1) ** 2 * sum(density.projection.shape[3] for density in densities)
    if estimator == "full":
        passes = 1 + (searched / labels) ** 2 * (searched < labels)  # over the pairs of environments
        pairs = 0.5 * n_scales * passes * np.sum(of_elements**2.0)
        stored, products = 3 * n_atoms * width + 3 * labels**2, labels**3
    else:
        points = most_support(options, n_scales, _width(name), limits)
        columns, candidates = n_scales * points * _width(name), np.minimum(of_elements, most).sum()
        pairs = n_scales * points * ((1 + searched / labels) * n_atoms / len(task.elements) + candidates)
        rows = searched * options.order + limits.left_out_labels
        stored = candidates * (width + points) + 8 * columns**2 + rows * columns
        stored += kept_gigabytes(data, width, task.limits.kept_bytes, rows=1) / 8e-9
        products = 2 * labels * columns**2 + 20 * columns**3
    seconds = speeds.tensor_pair * len(TENSORS[name]) * pairs / (task.threads * task.comm.size)
    seconds += (60 * searched**3 + products) / speeds.kernel_products
    predict_cost(task, 8e-9 * ((matrices + 3) * searched**2 + stored), seconds)


def _fit_momentum(
    task: Task, kernels: FullKernels | SparseKernels, labels: np.ndarray, n_atoms: np.ndarray
) -> TensorFit:
    """Choose hyperparameters by likelihood and solve.

    Args:
        task: with the options.
        kernels: between the frames.
        labels: (F, 2L + 1) spherical components, less a baseline.
        n_atoms: (F,) of each frame.

    """
    options, width = task.options, labels.shape[1]
    everything = tensor_labels(labels, n_atoms)
    chosen = everything.sampled(task.limits.tensors.search_labels, 1, options.seed)
    gram = kernels.matrices((width - 1) // 2, chosen)
    own, part = options.model_copy(update={"energy_noise": None, "order_weights": None}), everything.subset(chosen)
    weights, noise, score = task.comm.first(
        choose_hyperparameters, gram, part, own, task.log, task.threads, task.limits
    )
    by_scale, found = weights.reshape(-1, len(task.elements), options.order), float(noise[LabelKind.ENERGY])
    solution = kernels.solved((width - 1) // 2, by_scale, found, everything, gram, chosen)
    return TensorFit(by_scale, found, solution, score)


def tensor_labels(components: np.ndarray, n_atoms: np.ndarray) -> Labels:
    """Labels of spherical components (F, 2L + 1) of frames with (F,) atoms.

    They count as energies: sums over atoms, whose errors grow with the root of the number of atoms.
    """
    n_frames, width = components.shape
    kind, size = np.full(components.size, LabelKind.ENERGY), np.repeat(np.sqrt(n_atoms), width)
    return Labels(components.ravel(), kind, size, np.arange(n_frames + 1) * width)


def _check_origin(task: Task, data: Dataset, residuals: np.ndarray) -> None:
    """Warn if the errors of dipoles follow the centre of mass: then a charge or an origin is not as stated."""
    shifts = np.array([centre_of_mass(frame) for frame in data])
    errors = residuals[:, [2, 0, 1]]
    square = np.sum(shifts**2)
    if square == 0:
        return
    slope = np.sum(shifts * errors) / square
    uncertainty = np.sqrt(np.mean((errors - slope * shifts) ** 2) / square)
    limits = task.limits.tensors
    if abs(slope) > max(limits.origin_slope, limits.origin_significance * uncertainty):
        task.log(
            f"Warning: the dipoles change by {slope:.2f} e per Angstrom by which the centre of mass is displaced, "
            "which no structure explains: set the charge and the dipole_origin that the labels have"
        )


def _forms(regression: _Regression, momentum: int, fit: TensorFit) -> list[list[BilinearForm]]:
    """Forms of each length scale and element, small ones unless the tolerance of the mapping is 0."""
    error = np.sqrt(np.mean(fit.solution.residuals**2) / np.mean(regression.data.n_atoms))
    limits, exact = regression.task.limits, regression.task.options.map_tolerance == 0
    tolerance = 0.0 if exact else limits.tensors.mapping_share * error / len(regression.densities)
    return [
        compressed(supports, momentum, weights, samples, tolerance, limits)
        for supports, weights, samples in zip(fit.solution.supports, fit.order_weights, regression.samples, strict=True)
    ]


def _spread(regression: _Regression, momentum: int, fit: TensorFit) -> TensorSpread | None:
    """Error bars, where there are enough frames to leave one out."""
    task, solution = regression.task, fit.solution
    if len(solution.frames) < 2:
        return None
    return fit_spread(
        momentum, regression.densities, solution.supports, fit.order_weights, regression.sampled,
        regression.data.subset(solution.frames), solution.residuals, len(regression.data), task.threads,
        task.options.seed, task.limits,
    )  # fmt: skip
