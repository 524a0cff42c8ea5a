"""The sparse estimator: support environments with weights, chosen by the kernel, fitted by cross-validation."""

import warnings

import numpy as np
from ase.data import chemical_symbols

from ...atoms.dataset import label_counts, sampled_frames
from ...kernel.coupling import wigner_terms
from ...kernel.direct import in_blocks
from ...model.scale import Scale
from ...model.support import SupportPoints
from ..baseline import fit_targets
from ..doubts import stress_doubt
from ..task import Fit, LeftOut, Task, predict_cost, score_of_errors
from .design import frame_design, kernel_matrices, stream_design
from .regression import SparseRegression, left_out_errors
from .selection import MAX_CANDIDATES, candidates, mean_kernels, select_support

SEARCH_SUPPORT = 400  # support points with which the order weights are chosen
SEARCH_LABELS = 20_000
N_FOLDS = 4
LEFT_OUT_LABELS = 8000  # of which the errors by fits without their frames are found
START_NOISE = np.array([0.01, 0.1, 0.03])  # of the rms of energies, forces and virials: where the search begins


def fit_sparse(task: Task) -> Fit:
    """Select support points, choose hyperparameters by cross-validation, and fit the weights."""
    options, density = task.options, task.densities[0]
    order = options.order
    n_atoms = sum(map(len, task.frames))
    n_support = min(options.support_points, n_atoms)
    _predict(task, n_atoms, n_support)
    pools = candidates(
        task.frames, density, task.elements, options.seed, lambda fraction: task.progress("environments", fraction)
    )
    mean = mean_kernels(pools, density.lmax, order, options.seed)
    weights = np.array(options.order_weights) if options.order_weights is not None else 1.0 / (order * mean)
    support = select_support(
        pools, n_support, density.lmax, weights, task.threads,
        lambda fraction: task.progress("support points", fraction), task.comm,
    )  # fmt: skip
    chosen = ", ".join(f"{chemical_symbols[z]} {len(s)}" for z, s in zip(task.elements, support, strict=True))
    task.log(f"Support points: {chosen}")
    fixed = (options.energy_noise, options.forces_noise, options.stress_noise)
    noise = None
    if options.order_weights is None:
        weights, noise = _search_order_weights(task, support, mean, fixed)
    kernel = np.tensordot(weights, kernel_matrices(support, density.lmax, order), 1)
    factors = _stream(task, task.frames, support, weights[None], "design")
    regression = SparseRegression(factors, kernel[None], task.comm)
    amplitude = np.ones(1)
    noise = START_NOISE * regression.rms() if noise is None else noise
    errors, score = {}, float("-inf")
    if regression.n_folds > 1:
        searched = lambda fraction: task.progress("noise", fraction)  # noqa: E731
        amplitude, noise = regression.choose(amplitude, noise, fixed, [[1.0]], 40, searched)
        names = ("energy_per_sqrt_atom", "forces", "virial_per_sqrt_atom")
        held_out = regression.errors(amplitude, noise)
        score = score_of_errors(held_out[regression.kinds], regression.kinds)
        errors = {f"cross_validation_{names[k]}_rmse": float(held_out[k]) for k in regression.kinds}
        found = ", ".join(f"{names[k].replace('_', ' ')} {held_out[k]:.3g}" for k in regression.kinds)
        task.log(f"Expected errors ({N_FOLDS}-fold cross-validation, rmse, eV and Å): {found}")
        _warn_of_contradiction(task, regression, amplitude, noise, held_out)
        _warn_of_sign(task, regression, amplitude, noise)

    (solution, leverage), order_weights = regression.fitted(amplitude, noise), weights * amplitude[0]
    parts = np.split(solution, np.cumsum([len(s) for s in support])[:-1])
    points = [SupportPoints(c, w) for c, w in zip(support, parts, strict=True)]
    scale = Scale(density, np.tile(order_weights, (len(points), 1)), points)
    left_out = None
    if regression.n_folds > 1:
        left_out = _left_out(task, support, order_weights, solution, leverage, noise)
    return Fit([scale], noise, errors, {}, score, left_out)


def _left_out(task: Task, support, order_weights, solution, leverage, noise) -> LeftOut:
    """Errors at some of the frames by the fit without each."""
    density, blocks, counts = task.densities[0], [in_blocks(s) for s in support], [len(s) for s in support]
    terms, sets = wigner_terms(density.lmax, len(order_weights)), order_weights[None]

    def residual(k: int) -> np.ndarray:
        frame = task.frames[k]
        design = frame_design(frame, density, task.elements, terms, sets, blocks, counts)[:, 0]
        values, kind, size = fit_targets([frame], task.elements, task.baseline)
        deviation = size * noise[kind]
        rows = design @ leverage / deviation[:, None]
        return deviation * left_out_errors(rows, (values - design @ solution) / deviation)

    def residuals(frames) -> list[np.ndarray | None]:
        counts = np.array(label_counts(task.frames))[frames]
        few = [frames[n] for n in sampled_frames(counts, LEFT_OUT_LABELS, 2, task.options.seed)]
        found = dict(zip(few, task.comm.each(residual, few, task.threads), strict=True))
        return [found.get(k) for k in frames]

    return LeftOut(residuals)


def _warn_of_contradiction(task: Task, regression: SparseRegression, amplitude, noise, held_out) -> None:
    """Say so where stresses and energies contradict each other, as those of plane-wave codes may (Pulay stress)."""
    if 0 not in regression.kinds or 2 not in regression.kinds:
        return
    without = regression.errors(amplitude, noise * np.array([1, 1, 1e3]))
    favoured = regression.errors(amplitude, noise * np.array([1, 1, 1 / 30]))
    stress_suffers = held_out[2] > 2 * favoured[2] and favoured[0] > 2 * held_out[0]
    energy_suffers = held_out[0] > 2 * without[0] and without[2] > 2 * held_out[2]
    if stress_suffers or energy_suffers:
        task.log(
            "Warning: the stresses contradict the energies. Expected errors (energy, virial, eV per sqrt(atom)): "
            f"{without[0]:.2g}, {without[2]:.2g} fitted to the energies; {favoured[0]:.2g}, {favoured[2]:.2g} fitted "
            "to the stresses. Energies are preferred; set stress_noise to choose otherwise"
        )


def _warn_of_sign(task: Task, regression: SparseRegression, amplitude, noise) -> None:
    """Warn if the stresses have the opposite sign of what the other labels imply."""
    if 2 in regression.kinds and len(regression.kinds) > 1:
        weights = regression.weights(amplitude, noise * np.array([1, 1, 1e3]))
        doubt = stress_doubt(*regression.predicted(2, amplitude, weights))
        if doubt and task.comm.rank == 0:
            warnings.warn(doubt, stacklevel=2)


def _predict(task: Task, n_atoms: int, n_support: int) -> None:
    """Predict memory and time: kernels with gradients, and two passes of QR (the search, the fit)."""
    options, density = task.options, task.densities[0]
    labels, width = sum(label_counts(task.frames)), (density.lmax + 1) ** 2 * density.projection.shape[3]
    searched = min(SEARCH_SUPPORT, n_support) if options.order_weights is None else 0
    columns = options.order * searched
    gigabytes = 8e-9 * (
        6 * max(columns, n_support) ** 2 * -(-N_FOLDS // task.comm.size) + MAX_CANDIDATES * n_support / task.comm.size
        + (min(n_atoms, MAX_CANDIDATES * len(task.elements)) + 8 * task.threads * max(columns, n_support)) * width
    )  # fmt: skip
    share = min(1.0, SEARCH_LABELS / labels)
    pairs = n_atoms * (2 * n_support + share * options.order * searched) / len(task.elements)
    products = labels * (n_support**2 + share * columns**2) + 120 * N_FOLDS * 3 * columns * searched**2
    predict_cost(task, gigabytes, (3e-6 * pairs + products / 1e10) / (task.threads * task.comm.size))


def _folds(task: Task, frames) -> np.ndarray:
    """Fold (F,) of each frame."""
    return np.random.default_rng(task.options.seed).permutation(len(frames)) % min(N_FOLDS, len(frames))


def _stream(task: Task, frames, support, sets, stage: str):
    return stream_design(
        frames, _folds(task, frames), task.densities[0], task.elements, task.baseline, support, sets, task.threads,
        lambda fraction: task.progress(stage, fraction), task.comm,
    )  # fmt: skip


def _search_order_weights(task: Task, support, mean, fixed):
    """Order weights and noise by cross-validation, with some of the support points and of the frames."""
    share = min(1.0, SEARCH_SUPPORT / sum(map(len, support)))
    few = [s[: int(np.ceil(share * len(s)))] for s in support]  # the first chosen are the most different
    rng = np.random.default_rng(task.options.seed)
    shuffled = rng.permutation(len(task.frames))
    n_frames = int(np.searchsorted(np.cumsum(np.array(label_counts(task.frames))[shuffled]), SEARCH_LABELS)) + 1
    frames = [task.frames[k] for k in sorted(shuffled[:n_frames])]
    order = task.options.order
    factors = _stream(task, frames, few, np.eye(order), "kernels of each order")
    regression = SparseRegression(factors, kernel_matrices(few, task.densities[0].lmax, order), task.comm)
    rms = regression.rms()
    # far more labels than weights: the search begins where the kernel hardly holds the weights back
    start, noise = 1e4 * rms[regression.kinds[0]] ** 2 / (order * mean), START_NOISE * rms
    if regression.n_folds == 1:
        return start, noise
    task.log(f"Cross-validating order weights and noise ({sum(map(len, few))} support points, {len(frames)} frames)")
    # two numbers, the size and the tilt from low to high orders: four would be fitted to the few support points
    directions = [np.ones(order), np.arange(order) - (order - 1) / 2]
    return regression.choose(start, noise, fixed, directions, 120, lambda f: task.progress("order weights", f))
