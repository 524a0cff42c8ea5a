"""The full estimator: exact Gaussian process regression, exported as support points.

Every representer of a label is a derivative of the kernel at a training environment; all that share an environment
add up to one weight and one tangent, so the exact model is a set of support points.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..model import Scale, SupportPoints
from .baseline import targets
from .doubts import stress_doubt, virials_without_stress
from .environments import frame_environments
from .gram import FlatEnvironments, add_covariance, flatten, gram_cost, gram_matrices, shared_rows, some_frames
from .likelihood import SEARCH_LABELS, Labels, maximise_likelihood, raised_noise, solve
from .task import Fit, LeftOut, Task, label_counts, predict_cost, sampled_frames


def fit_full(task: Task) -> Fit:
    """Choose hyperparameters on Gram matrices, solve, and turn the result into support points.

    Ranks share the rows of the matrices; what is done with them is left to the first, which has them whole.
    """
    options, n_elements = task.options, len(task.elements)
    flats = _environments(task)
    labels = Labels(*targets(task.frames, task.elements, task.baseline))
    label_first = flats[0].label_first
    chosen = sampled_frames(np.diff(label_first), SEARCH_LABELS, 1, options.seed)
    searched = [some_frames(flat, chosen) for flat in flats]
    _predict(task, flats, searched)
    gram = _gram_matrices(task, searched)
    drawn = labels.of_frames(chosen, label_first)
    weights, noise, score = task.ranks.first(_hyperparameters, task, gram, drawn, searched[0].label_first)
    by_scale = weights.reshape(len(task.densities), n_elements, options.order)
    kernel = None if gram is None else np.tensordot(weights, gram, 1)
    del gram
    if len(chosen) < len(task.frames):
        kernel = _covariance(task, flats, by_scale)
    return replace(_solved(task, flats, labels, kernel, by_scale, noise), score=score)


def refit_full(task: Task, order_weights, noise) -> Fit:
    """Fit again, to more frames perhaps, with hyperparameters that stay.

    Args:
        task: with the parts of the earlier fit's kernel.
        order_weights: (n_scales, n_elements, order).
        noise: (3,) of each kind of label.

    """
    flats = _environments(task)
    labels = Labels(*targets(task.frames, task.elements, task.baseline))
    return _solved(task, flats, labels, _covariance(task, flats, order_weights), order_weights, np.asarray(noise))


def _solved(task: Task, flats: list[FlatEnvironments], labels: Labels, kernel, order_weights, noise) -> Fit:
    """Solve for the covariance (N, N) of the labels, which is overwritten; the score is the likelihood."""
    label_first = flats[0].label_first
    alpha, residuals, log_likelihood = task.ranks.first(solve, kernel, noise, labels, label_first, task.threads)
    errors = leave_one_out_errors(task, labels, residuals)
    task.log("Expected errors (leave one frame out, exact): " + _describe(errors))
    found, n_lm = [], (task.options.lmax + 1) ** 2
    for part, flat in zip(task.parts, flats, strict=True):
        support = full_support(flat, alpha, len(task.elements), (n_lm, part.density.projection.shape[3]))
        found.append(Scale(part.density, part.weights(order_weights[part.scale]), support))
    left_out = None
    if len(task.frames) > 1:
        by_frame = np.split(residuals, label_first[1:-1])
        left_out = LeftOut(np.arange(len(by_frame)), lambda frames: [by_frame[k] for k in frames])
    remarks: dict[str, float | int | str] = {"log_likelihood": log_likelihood}
    return Fit(found, order_weights, noise, errors, remarks, log_likelihood, left_out)


def _environments(task: Task) -> list[FlatEnvironments]:
    """Environments of all frames for each part of the kernel."""
    flats = []
    for n, part in enumerate(task.parts):
        environments = []
        for k, frame in enumerate(task.frames):
            environments.append(frame_environments(frame, part.density, task.elements))
            task.progress("environments", (n + (k + 1) / len(task.frames)) / len(task.parts))
        flats.append(flatten(task.frames, environments))
    return flats


def _part_of(task: Task, stage: str) -> Callable[[float], None]:
    """Progress of a stage that every part of the kernel adds to."""
    done = 0.0

    def report(fraction: float) -> None:
        nonlocal done
        done += fraction / len(task.parts)
        task.progress(stage, min(done, 1.0))

    return report


def _gram_matrices(task: Task, flats: list[FlatEnvironments]) -> np.ndarray | None:
    """Matrices (n, N, N) of each length scale, element and order; None on all ranks but the first."""
    order, n_elements, n = task.options.order, len(task.elements), flats[0].n_labels
    report, out = _part_of(task, "Gram matrices"), None
    if task.ranks.rank == 0:
        out = np.empty((len(task.densities), n_elements, order, n, n))
    for part, flat in zip(task.parts, flats, strict=True):
        first, last = part.orders.start, part.orders.stop
        of_part = gram_matrices(flat, task.options.lmax, last, n_elements, task.threads, report, task.ranks, first)
        if out is not None:
            out[part.scale, :, part.orders] = of_part
    return None if out is None else out.reshape(-1, n, n)


def _hyperparameters(task: Task, gram, labels: Labels, label_first) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights (n,) of the Gram matrices (n, N, N), noise (3,), and the highest log likelihood."""
    options = task.options
    task.log("Maximising the marginal likelihood")
    weights, noise, score = maximise_likelihood(gram, labels, options, task.log, task.threads)
    kernel = np.tensordot(weights, gram, 1)
    if options.forces_noise is None and np.any(labels.kind == 1) and len(label_first) > 2:
        noise = raised_noise(kernel, noise, labels, label_first, task.threads)
    if doubt := stress_doubt(*virials_without_stress(kernel, noise, labels)):
        warnings.warn(doubt, stacklevel=2)
    return weights, noise, score


def _covariance(task: Task, flats: list[FlatEnvironments], order_weights) -> np.ndarray:
    """Upper triangle of the kernel of all labels, on the first rank."""
    n, rows, report = flats[0].n_labels, shared_rows(flats[0], task.ranks), _part_of(task, "covariance")
    kernel = np.zeros((n, n))  # pages come when written to
    for part, flat in zip(task.parts, flats, strict=True):
        weights = part.weights(order_weights[part.scale])
        add_covariance(flat, task.options.lmax, weights, kernel, task.threads, report, rows)
    rows.collect(kernel[None])
    return kernel


def _predict(task: Task, flats: list[FlatEnvironments], searched: list[FlatEnvironments]) -> None:
    """Predict memory and time: Gram matrices of the search, the covariance, its factor and inverse."""
    lmax, last = task.options.lmax, [part.orders.stop for part in task.parts]
    n, n_searched = flats[0].n_labels, searched[0].n_labels
    matrices = len(task.densities) * task.options.order * len(task.elements)
    assembly = sum(gram_cost(flat, lmax, order) for flat, order in zip(searched, last, strict=True)) / 2e10
    if n > n_searched:
        costs = (gram_cost(flat, lmax, order, summed=True) for flat, order in zip(flats, last, strict=True))
        assembly += sum(costs) / 2e10
    solutions = 60 * n_searched**3 / 3.5e10 + n**3 / 5e10
    stored = 2 * sum(flat.jacobian.size for flat in flats)
    largest = max((2 * matrices + 4) * n_searched**2, n**2 + matrices * n_searched**2 * (n == n_searched))
    predict_cost(task, 8e-9 * (largest + stored), (assembly / task.ranks.size + solutions) / task.threads)


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
