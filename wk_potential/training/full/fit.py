"""The full estimator: exact Gaussian process regression, exported as support points.

The representer of a label is a derivative of the kernel at training environments. Those at one environment add up to
one weight and one tangent, so the exact model is a set of support points.
"""

import warnings
from functools import partial

import numpy as np
from scipy.linalg import LinAlgError

from ...atoms.dataset import Dataset
from ...atoms.kinds import LabelKind
from ...density.frames import Environments
from ...errors import OptionsError
from ...model.scale import Scale
from ...model.support import SupportPoints
from ..doubts import predicted_without, slope_doubt, stress_doubt
from ..task import Fit, LeftOut, Task, part_of, predict_cost
from .gram import (
    FlatEnvironments,
    add_covariance,
    flatten,
    force_gram,
    gram_cost,
    label_rows,
    some_frames,
    weights_and_tangents,
)
from .iterative import is_large, solve_iteratively
from .likelihood import NOT_POSITIVE, choose_hyperparameters, solve

# what the header and the log call the errors
ERRORS = {LabelKind.ENERGY: "energy_per_atom", LabelKind.FORCES: "forces", LabelKind.STRESS: "virial_per_atom"}


def fit_full(task: Task) -> Fit:
    """Choose hyperparameters on Gram matrices, solve, and turn the result into support points.

    Ranks share the rows of the matrices. The first rank collects them and does the rest.
    """
    options, data, limits = task.options, task.data, task.limits.full
    scales = _environments(task)
    large = is_large(data, options, limits)
    wanted = limits.fewer_search_labels if large else limits.search_labels
    most_labels = min(wanted, int(np.sqrt(limits.search_gigabytes / (8e-9 * _n_matrices(task)))))
    chosen = data.sampled(most_labels, 1, options.seed, limits.search_environments)
    searched = [some_frames(flat, chosen) for flat in scales]
    _predict(task, scales, searched)
    gram = _gram_matrices(task, searched)
    weights, noise, score = task.comm.first(_hyperparameters, task, gram, chosen)
    by_scale = weights.reshape(len(scales), len(data.elements), options.order)
    if large:
        del gram
        return _solved_iteratively(task, scales, by_scale, noise, score)
    kernel = None if gram is None else np.tensordot(weights, gram, 1)
    del gram
    if len(chosen) < len(data):
        kernel = _covariance(task, scales, by_scale)
    try:
        return _solved(task, scales, kernel, by_scale, noise, score)
    except LinAlgError:
        raise OptionsError(NOT_POSITIVE) from None


def refit_full(task: Task, order_weights: np.ndarray, noise: np.ndarray) -> Fit:
    """Fit again, perhaps to more frames, with given hyperparameters.

    Args:
        task: with the densities of the earlier fit.
        order_weights: (n_scales, n_elements, order).
        noise: (3,) of each kind of label.

    """
    scales, noise = _environments(task), np.asarray(noise)
    if is_large(task.data, task.options, task.limits.full):
        return _solved_iteratively(task, scales, order_weights, noise)
    return _solved(task, scales, _covariance(task, scales, order_weights), order_weights, noise)


def _solved(
    task: Task,
    scales: list[FlatEnvironments],
    kernel: np.ndarray | None,
    order_weights: np.ndarray,
    noise: np.ndarray,
    score: float = 0.0,
) -> Fit:
    """Solve for the covariance (N, N) of the labels, which is overwritten."""
    alpha, residuals, log_likelihood = task.comm.first(solve, kernel, noise, task.labels, task.threads)
    errors = leave_one_out_errors(task.data, residuals)
    task.log("Expected errors (leave one frame out, exact): " + _describe(errors))
    left_out = None
    if len(task.data) > 1:
        by_frame = np.split(residuals, task.data.label_first[1:-1])
        left_out = LeftOut(lambda frames: [by_frame[k] for k in frames])
    found = _scales(task, scales, order_weights, alpha)
    return Fit(found, noise, errors, {"log_likelihood": log_likelihood}, score, left_out)


def _solved_iteratively(
    task: Task, scales: list[FlatEnvironments], order_weights: np.ndarray, noise: np.ndarray, score: float = 0.0
) -> Fit:
    """Solve without the covariance of the labels."""
    alpha, by_frame = solve_iteratively(task, scales, order_weights, noise)
    known = [k for k, residuals in enumerate(by_frame) if residuals is not None]
    errors, left_out = {}, None
    if known:
        errors = leave_one_out_errors(task.data.subset(np.array(known)), np.concatenate([by_frame[k] for k in known]))
        task.log(f"Expected errors ({len(known)} frames left out): " + _describe(errors))
        left_out = LeftOut(lambda frames: [by_frame[k] for k in frames])
    return Fit(_scales(task, scales, order_weights, alpha), noise, errors, {}, score, left_out)


def _scales(task: Task, scales: list[FlatEnvironments], order_weights: np.ndarray, alpha: np.ndarray) -> list[Scale]:
    """Length scales of the model from the dual coefficients (N,) of the labels."""
    found = []
    for density, flat, w in zip(task.densities, scales, order_weights, strict=True):
        shape = (task.options.lmax + 1) ** 2, density.projection.shape[3]
        found.append(Scale(density, w, full_support(flat, alpha, len(task.elements), shape)))
    return found


def _n_matrices(task: Task) -> int:
    """Number of Gram matrices of the search: one for each length scale, element and order."""
    return len(task.densities) * len(task.elements) * task.options.order


def _environments(task: Task) -> list[FlatEnvironments]:
    """Environments of all frames for each length scale."""
    found, n_scales = [], len(task.densities)
    for n, density in enumerate(task.densities):
        report = partial(lambda n, fraction: task.progress("environments", (n + fraction) / n_scales), n)
        found.append(flatten(Environments(task.data, density), report))  # needed once: nothing is kept
    return found


def _gram_matrices(task: Task, scales: list[FlatEnvironments]) -> np.ndarray | None:
    """Matrices (n, N, N) of each length scale, element and order; None on all ranks but the first."""
    lmax, order, n_elements, n = task.options.lmax, task.options.order, len(task.elements), scales[0].n_labels
    task.progress("Gram matrices", 0.0)
    report = part_of(task, "Gram matrices", len(scales))
    out = np.zeros((len(scales), n_elements, order, n, n))  # pages come when written to
    for flat, own in zip(scales, out, strict=True):
        force_gram(flat, lmax, order, n_elements, task.threads, report, task.comm, own)
    return out.reshape(-1, n, n) if task.comm.rank == 0 else None


def _hyperparameters(task: Task, gram: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights (n,) of the Gram matrices (n, N, N) of some frames, noise (3,), the score of the leave-one-out errors."""
    labels = task.labels.subset(frames)
    task.log("Maximising the marginal likelihood (of order weights and noise)")
    task.progress("likelihood", 0.0)
    weights, noise, score = choose_hyperparameters(gram, labels, task.options, task.log, task.threads, task.limits)
    task.progress("likelihood", 1.0)
    if not task.trial:
        _warn_of_contradictions(task, np.tensordot(weights, gram, 1), noise, frames)
    return weights, noise, score


def _warn_of_contradictions(task: Task, kernel: np.ndarray, noise: np.ndarray, frames: np.ndarray) -> None:
    """Warn of stresses of the wrong sign, and of energies and forces whose units do not fit, of some frames."""
    limits, doubts, labels, data = task.limits.doubts, [], task.labels.subset(frames), task.data.subset(frames)
    if labels.has(LabelKind.STRESS):
        predicted, labelled = predicted_without(LabelKind.STRESS, kernel, noise, labels)
        norm = np.linalg.norm(predicted) * np.linalg.norm(labelled)
        doubts.append(stress_doubt(predicted @ labelled / (norm or 1.0), len(labelled), limits))
    if labels.has(LabelKind.ENERGY) and labels.has(LabelKind.FORCES):
        own = data.counts_by_kind[:, LabelKind.ENERGY] > 0
        counts = (data.element_counts / np.sqrt(data.n_atoms)[:, None])[own]
        doubts.append(slope_doubt(*predicted_without(LabelKind.ENERGY, kernel, noise, labels), counts, limits))
    for doubt in filter(None, doubts):
        warnings.warn(doubt, stacklevel=2)


def _covariance(task: Task, scales: list[FlatEnvironments], order_weights: np.ndarray) -> np.ndarray:
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
    order, lmax, matrices, speeds = task.options.order, task.options.lmax, _n_matrices(task), task.limits.speeds
    n, n_searched = scales[0].n_labels, searched[0].n_labels
    products = sum(gram_cost(flat, lmax, order) for flat in searched)
    large = is_large(task.data, task.options, task.limits.full)  # the solution is then predicted when it begins
    if n > n_searched and not large:
        products += sum(gram_cost(flat, lmax, order, summed=True) for flat in scales)
    assembly = products / speeds.kernel_products
    solutions = 60 * n_searched**3 / speeds.likelihood_products + (0 if large else n**3 / speeds.solution_products)
    stored = 2 * sum(flat.jacobian.size for flat in scales)
    largest = max((matrices + 4) * n_searched**2, 0 if large else n**2 + matrices * n_searched**2 * (n == n_searched))
    predict_cost(task, 8e-9 * (largest + stored), (assembly / task.comm.size + solutions) / task.threads)


def leave_one_out_errors(data: Dataset, residuals: np.ndarray) -> dict[str, float]:
    """Mean absolute and rms errors for the header, of leave-one-out residuals (n_labels,)."""
    n_atoms, errors = data.n_atoms[data.frame_of_label], {}
    for kind, name in ERRORS.items():
        own = data.kind == kind
        if own.any():
            r = residuals[own] / (1 if kind == LabelKind.FORCES else n_atoms[own])
            errors[f"leave_one_out_{name}_mae"] = float(np.mean(np.abs(r)))
            errors[f"leave_one_out_{name}_rmse"] = float(np.sqrt(np.mean(r**2)))
    return errors


def _describe(errors: dict[str, float]) -> str:
    """Mean absolute error of each kind, in common units."""
    units = {"energy_per_atom": "meV/atom", "forces": "meV/Å", "virial_per_atom": "meV/atom"}
    parts = []
    for name, value in errors.items():
        if name.endswith("_mae"):
            kind = name.removesuffix("_mae").removeprefix("leave_one_out_")
            parts.append(f"{kind.replace('_', ' ')} {1e3 * value:.3g} {units[kind]}")
    return ", ".join(parts) + " (MAE)"


def full_support(
    flat: FlatEnvironments, alpha: np.ndarray, n_elements: int, shape: tuple[int, int]
) -> list[SupportPoints]:
    """Support points (weight and tangent each) of the exact model, one list entry for each element.

    Args:
        flat: the environments.
        alpha: (N,) dual coefficients.
        n_elements: of the model.
        shape: (n_lm, Q).

    """
    weights, tangents = weights_and_tangents(flat, np.arange(len(flat.centres)), alpha)
    points = []
    for z in range(n_elements):
        own = flat.centres == z
        coefficients = flat.coefficients[own].reshape(-1, *shape)
        derivative = tangents[own].reshape(-1, *shape) if len(flat.label) else None
        points.append(SupportPoints(coefficients, weights[own], derivative))
    return points
