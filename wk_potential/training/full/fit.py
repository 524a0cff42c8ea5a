"""The full estimator: exact Gaussian process regression, exported as support points.

Every representer of a label is a derivative of the kernel at a training environment; all that share an environment
add up to one weight and one tangent, so the exact model is a set of support points.
"""

import warnings

import numpy as np

from ...atoms.dataset import label_counts, sampled_frames
from ...density.frames import frame_environments
from ...model.scale import Scale
from ...model.support import SupportPoints
from ..baseline import Labels, fit_targets
from ..doubts import stress_doubt, virials_without_stress
from ..task import Fit, LeftOut, Task, part_of, predict_cost
from .gram import FlatEnvironments, add_covariance, flatten, force_gram, gram_cost, label_rows, some_frames
from .likelihood import SEARCH_ENVIRONMENTS, SEARCH_LABELS, SEARCH_MEMORY, choose_hyperparameters, solve


def fit_full(task: Task) -> Fit:
    """Choose hyperparameters on Gram matrices, solve, and turn the result into support points.

    Ranks share the rows of the matrices; what is done with them is left to the first, which has them whole.
    """
    options, n_elements = task.options, len(task.elements)
    scales = _environments(task)
    labels = Labels(*fit_targets(task.frames, task.elements, task.baseline))
    label_first = scales[0].label_first
    most_labels = min(SEARCH_LABELS, int(np.sqrt(SEARCH_MEMORY / (8e-9 * _n_matrices(task)))))
    limits = (np.diff(label_first), most_labels), (np.diff(scales[0].frame_first), SEARCH_ENVIRONMENTS)
    chosen = min((sampled_frames(*limit, 1, options.seed) for limit in limits), key=len)
    searched = [some_frames(flat, chosen) for flat in scales]
    _predict(task, scales, searched)
    gram = _gram_matrices(task, searched)
    part = labels.of_frames(chosen, label_first)
    weights, noise, score = task.comm.first(_hyperparameters, task, gram, part, searched[0].label_first)
    by_scale = weights.reshape(len(scales), n_elements, options.order)
    kernel = None if gram is None else np.tensordot(weights, gram, 1)
    del gram
    if len(chosen) < len(task.frames):
        kernel = _covariance(task, scales, by_scale)
    return _solved(task, scales, labels, kernel, by_scale, noise, score)


def refit_full(task: Task, order_weights, noise) -> Fit:
    """Fit again, to more frames perhaps, with hyperparameters that stay.

    Args:
        task: with the densities of the earlier fit.
        order_weights: (n_scales, n_elements, order).
        noise: (3,) of each kind of label.

    """
    scales = _environments(task)
    labels = Labels(*fit_targets(task.frames, task.elements, task.baseline))
    return _solved(task, scales, labels, _covariance(task, scales, order_weights), order_weights, np.asarray(noise))


def _solved(task: Task, scales: list[FlatEnvironments], labels: Labels, kernel, order_weights, noise, score=0.0) -> Fit:
    """Solve for the covariance (N, N) of the labels, which is overwritten."""
    label_first = scales[0].label_first
    alpha, residuals, log_likelihood = task.comm.first(solve, kernel, noise, labels, label_first, task.threads)
    errors = leave_one_out_errors(task, labels, residuals)
    task.log("Expected errors (leave one frame out, exact): " + _describe(errors))
    found = []
    for density, flat, w in zip(task.densities, scales, order_weights, strict=True):
        shape = (task.options.lmax + 1) ** 2, density.projection.shape[3]
        found.append(Scale(density, w, full_support(flat, alpha, len(task.elements), shape)))
    left_out = None
    if len(task.frames) > 1:
        by_frame = np.split(residuals, label_first[1:-1])
        left_out = LeftOut(lambda frames: [by_frame[k] for k in frames])
    return Fit(found, noise, errors, {"log_likelihood": log_likelihood}, score, left_out)


def _n_matrices(task: Task) -> int:
    """Gram matrices of the search, of each length scale, element and order."""
    return len(task.densities) * len(task.elements) * task.options.order


def _environments(task: Task) -> list[FlatEnvironments]:
    """Environments of all frames for each length scale."""
    scales = []
    for n, density in enumerate(task.densities):
        environments = []
        for k, frame in enumerate(task.frames):
            environments.append(frame_environments(frame, density, task.elements))
            task.progress("environments", (n + (k + 1) / len(task.frames)) / len(task.densities))
        scales.append(flatten(task.frames, environments))
    return scales


def _gram_matrices(task: Task, scales: list[FlatEnvironments]) -> np.ndarray | None:
    """Matrices (n, N, N) of each length scale, element and order; None on all ranks but the first."""
    lmax, order, n_elements, n = task.options.lmax, task.options.order, len(task.elements), scales[0].n_labels
    report = part_of(task, "Gram matrices", len(scales))
    out = np.zeros((len(scales), n_elements, order, n, n))  # pages come when written to
    for flat, own in zip(scales, out, strict=True):
        force_gram(flat, lmax, order, n_elements, task.threads, report, task.comm, own)
    return out.reshape(-1, n, n) if task.comm.rank == 0 else None


def _hyperparameters(task: Task, gram, labels: Labels, label_first) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights (n,) of the Gram matrices (n, N, N), noise (3,), and the score of the left-out errors."""
    task.log("Maximising the marginal likelihood")
    weights, noise, score = choose_hyperparameters(gram, labels, label_first, task.options, task.log, task.threads)
    if np.any(labels.kind == 2):
        predicted, labelled = virials_without_stress(np.tensordot(weights, gram, 1), noise, labels)
        if doubt := stress_doubt(predicted, labelled):
            warnings.warn(doubt, stacklevel=2)
    return weights, noise, score


def _covariance(task: Task, scales: list[FlatEnvironments], order_weights) -> np.ndarray:
    """Upper triangle of the kernel of all labels, on the first rank."""
    n, rows = scales[0].n_labels, label_rows(scales[0], task.comm)
    report = part_of(task, "covariance", len(scales))
    kernel = np.zeros((n, n))  # pages come when written to
    for flat, weights in zip(scales, order_weights, strict=True):
        add_covariance(flat, task.options.lmax, weights, kernel, task.threads, report, rows)
    rows.collect(kernel[None])
    return kernel


def _predict(task: Task, scales: list[FlatEnvironments], searched: list[FlatEnvironments]) -> None:
    """Predict memory and time: Gram matrices of the search, the covariance, its factor and inverse."""
    order, lmax, matrices = task.options.order, task.options.lmax, _n_matrices(task)
    n, n_searched = scales[0].n_labels, searched[0].n_labels
    assembly = sum(gram_cost(flat, lmax, order) for flat in searched) / 2e10
    if n > n_searched:
        assembly += sum(gram_cost(flat, lmax, order, summed=True) for flat in scales) / 2e10
    solutions = 60 * n_searched**3 / 3.5e10 + n**3 / 5e10
    stored = 2 * sum(flat.jacobian.size for flat in scales)
    largest = max((matrices + 4) * n_searched**2, n**2 + matrices * n_searched**2 * (n == n_searched))
    predict_cost(task, 8e-9 * (largest + stored), (assembly / task.comm.size + solutions) / task.threads)


def leave_one_out_errors(task: Task, labels: Labels, residuals) -> dict[str, float]:
    """Mean absolute and rms errors for the header, of residuals (n_labels,) of frames that were left out."""
    names = {0: "energy_per_atom", 1: "forces", 2: "virial_per_atom"}
    atoms = np.repeat([len(f) for f in task.frames], label_counts(task.frames))
    errors = {}
    for kind in np.unique(labels.kind):
        r = residuals[labels.kind == kind] / (atoms[labels.kind == kind] if kind != 1 else 1)
        errors[f"leave_one_out_{names[kind]}_mae"] = float(np.mean(np.abs(r)))
        errors[f"leave_one_out_{names[kind]}_rmse"] = float(np.sqrt(np.mean(r**2)))
    return errors


def _describe(errors: dict[str, float]) -> str:
    """MAE of each kind in the units that people use."""
    units = {"energy_per_atom": "meV/atom", "forces": "meV/Å", "virial_per_atom": "meV/atom"}
    parts = []
    for name, value in errors.items():
        if name.endswith("_mae"):
            kind = name.removesuffix("_mae").removeprefix("leave_one_out_").removeprefix("training_")
            parts.append(f"{kind.replace('_', ' ')} {1e3 * value:.3g} {units[kind]}")
    return ", ".join(parts) + " (MAE)"


def full_support(flat: FlatEnvironments, alpha, n_elements: int, shape: tuple[int, int]) -> list[SupportPoints]:
    """Support points (weight and tangent each) of the exact model, one list entry for each element.

    Args:
        flat: the environments.
        alpha: (N,) dual coefficients.
        n_elements: of the model.
        shape: (n_lm, Q).

    """
    n = len(flat.centres)
    frame = np.repeat(np.arange(len(flat.energy_label)), np.diff(flat.frame_first))
    energy = flat.energy_label[frame]
    weights = np.where(energy >= 0, alpha[energy], 0.0)
    tangents = np.zeros_like(flat.coefficients)
    for i in range(n):
        rows = slice(flat.row_first[i], flat.row_first[i + 1])
        tangents[i] = alpha[flat.label[rows]] @ flat.jacobian[rows]
    points = []
    for z in range(n_elements):
        own = flat.centres == z
        coefficients = flat.coefficients[own].reshape(-1, *shape)
        derivative = tangents[own].reshape(-1, *shape) if len(flat.label) else None
        points.append(SupportPoints(coefficients, weights[own], derivative))
    return points
