"""The full estimator: exact Gaussian process regression, exported as support points.

Every representer of a label is a derivative of the kernel at a training environment; all that share an environment
add up to one weight and one tangent, so the exact model is a set of support points.
"""

import numpy as np

from ..model import SupportPoints
from .baseline import targets
from .environments import frame_environments
from .gram import FlatEnvironments, flatten, gram_cost, gram_matrices
from .likelihood import SEARCH_LABELS, Labels, fit_likelihood
from .task import Fit, Task, label_counts, predict_cost


def fit_full(task: Task) -> Fit:
    """Assemble the Gram matrices, choose hyperparameters, solve, and turn the result into support points."""
    options = task.options
    environments = []
    for k, frame in enumerate(task.frames):
        environments.append(frame_environments(frame, task.density, task.elements))
        task.progress("environments", (k + 1) / len(task.frames))
    flat = flatten(task.frames, environments)
    labels = Labels(*targets(task.frames, task.elements, task.baseline))
    n = flat.n_labels
    gram_seconds = gram_cost(flat, options.lmax, options.order) / (task.threads * 2e10)
    solve_seconds = (40 * min(n, SEARCH_LABELS) ** 3 + n**3) / (task.threads * 3.5e10)
    predict_cost(task, ((options.order + 5) * n**2 + 2 * flat.jacobian.size) * 8e-9, gram_seconds + solve_seconds)
    done = 0.0

    def assembled(part):
        nonlocal done
        done += part
        task.progress("Gram matrices", min(done, 1.0))

    gram = gram_matrices(flat, options.lmax, options.order, task.threads, assembled)
    task.log("Maximising the marginal likelihood")
    fit = fit_likelihood(gram, flat, labels, options, task.log, task.threads)
    shape = (task.density.lmax + 1) ** 2, task.density.projection.shape[3]
    support = full_support(flat, fit.alpha, len(task.elements), shape)
    errors = _leave_one_out_errors(task, labels, fit.residuals)
    task.log("Expected errors (leave one frame out, exact): " + _describe(errors))
    return Fit(fit.order_weights, fit.noise, support, errors, {"log_likelihood": fit.log_likelihood})


def _leave_one_out_errors(task: Task, labels: Labels, residuals) -> dict[str, float]:
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
