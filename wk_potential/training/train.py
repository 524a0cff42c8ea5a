"""From frames to a model: the steps of training in their order."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np
from ase.data import chemical_symbols

from .. import __version__
from ..density.expansion import Density
from ..model import Model, SupportPoints
from ..threads import thread_count
from .baseline import KINDS, fit_baseline, targets
from .compression import model_density
from .data import DataError, Frame, data_hash
from .environments import frame_environments
from .full import Labels, fit_full, full_support
from .gram import flatten, gram_cost, gram_matrices
from .options import OptionsError, TrainingOptions
from .selection import select_support
from .sparse import SparseRegression, kernel_matrices, stream_design

FULL_LABELS = 5000  # `auto` takes the full estimator up to here: about a gigabyte and a few minutes
FULL_ENVIRONMENTS = 3000
SEARCH_SUPPORT = 400  # support points with which the sparse estimator chooses the order weights
SEARCH_LABELS = 20_000
N_FOLDS = 4
START_NOISE = np.array([0.01, 0.1, 0.03])  # of the rms of energies, forces and virials: where the search begins

Log = Callable[[str], None]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class _Task:
    """What every step needs to know."""

    frames: Sequence[Frame]
    options: TrainingOptions
    elements: np.ndarray
    baseline: np.ndarray
    density: Density
    threads: int
    log: Log
    progress: Progress


@dataclass(frozen=True)
class _Fit:
    """What an estimator returns: the kernel, the support points and what the header says of them."""

    order_weights: np.ndarray
    noise: np.ndarray
    support: list[SupportPoints]
    errors: dict[str, float]
    remarks: dict[str, float | int | str]


def train(
    frames: Sequence[Frame],
    options: TrainingOptions | None = None,
    threads: int | None = None,
    log: Log | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train a model.

    Args:
        frames: structures with energies, forces, stresses, any of them missing anywhere (`read_frames`).
        options: see `TrainingOptions`; the defaults choose noise and order weights by likelihood.
        threads: without it OMP_NUM_THREADS if set, else the cores available.
        log: receives lines of text for people.
        progress: receives the name of a stage and the fraction of it that is done.

    Raises:
        DataError: no labels to train on, or isolated-atom energies that do not cover the elements.
        OptionsError: options that contradict each other.
        MemoryError: the predicted memory is not there; says what to change.

    """
    options = options or TrainingOptions()
    log, progress = log or (lambda text: None), progress or (lambda stage, fraction: None)
    start = time.perf_counter()
    if options.order_weights is not None and len(options.order_weights) != options.order:
        raise OptionsError(f"order_weights has {len(options.order_weights)} numbers, but the order is {options.order}")
    if not options.use_stress:
        frames = [replace(frame, stress=None) for frame in frames]
    counts = {kind: sum(np.size(v) for f in frames if (v := getattr(f, kind)) is not None) for kind in KINDS}
    if not any(counts.values()):
        raise DataError("no energies, forces or stresses to train on")
    elements = np.unique(np.concatenate([f.numbers for f in frames]))
    baseline, compositions = fit_baseline(frames, elements, options.isolated_atoms)
    named = {chemical_symbols[z]: float(e) for z, e in zip(elements, baseline, strict=True)}
    origin = "isolated atoms, as given" if options.isolated_atoms is not None else "least squares on the frames"
    log(f"Baseline ({origin}): " + ", ".join(f"{s} {e:.4f} eV" for s, e in named.items()))
    density = model_density(frames, elements, options)
    log(f"Density: cutoff {options.cutoff:g} Å, lmax {options.lmax}, {density.projection.shape[3]} channels per l")
    task = _Task(frames, options, elements, baseline, density, thread_count(threads), log, progress)
    estimator = _choose_estimator(task, sum(counts.values()))
    fit = (_full if estimator == "full" else _sparse)(task)
    log("Order weights a_nu: " + ", ".join(f"{a:.3g}" for a in fit.order_weights))
    units = ("eV per sqrt(atom)", "eV/Å", "eV per sqrt(atom), virial")
    log("Noise: " + ", ".join(f"{k} {s:.2g} {u}" for k, s, u in zip(KINDS, fit.noise, units, strict=True) if counts[k]))
    seconds = time.perf_counter() - start
    info = {
        "package_version": __version__,
        "units": {"length": "Angstrom", "energy": "eV", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3"},
        "elements": list(named),
        "hyperparameters": {
            "order_weights": fit.order_weights.tolist(),
            "noise": {k: float(s) for k, s in zip(KINDS, fit.noise, strict=True) if counts[k]},
            "channels": int(density.projection.shape[3]),
        },
        "options": options.model_dump(mode="json"),
        "baseline": {"origin": origin, "energies": named},
        "training": {
            "estimator": estimator,
            "frames": len(frames),
            "atoms": int(sum(map(len, frames))),
            "labels": counts,
            "support_points": int(sum(map(len, fit.support))),
            "errors": fit.errors,
            **fit.remarks,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "data_hash": data_hash(frames),
        },
    }
    return Model(elements, density, fit.order_weights, fit.support, baseline, compositions, info)


def _choose_estimator(task: _Task, n_labels: int) -> str:
    n_environments = sum(map(len, task.frames))
    small = n_labels <= FULL_LABELS and n_environments <= FULL_ENVIRONMENTS
    choice = task.options.estimator if task.options.estimator != "auto" else "full" if small else "sparse"
    why = "as asked" if task.options.estimator != "auto" else f"limit {FULL_LABELS} and {FULL_ENVIRONMENTS}"
    task.log(f"Estimator: {choice} ({n_labels} labels, {n_environments} environments; {why})")
    return choice


def _predict(task: _Task, gigabytes: float, seconds: float) -> None:
    """Say what memory and time the fit will take, and refuse what cannot fit.

    Raises:
        MemoryError: more than the machine has free.

    """
    task.log(f"Predicted: {gigabytes:.2g} GB of memory, {max(seconds, 1):.2g} s on {task.threads} threads")
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (AttributeError, ValueError, OSError):  # not on this system
        return
    if gigabytes > 0.95 * free:
        raise MemoryError(
            f"the fit needs {gigabytes:.2g} GB and {free:.2g} GB are free: train on fewer frames, or use the sparse "
            "estimator with fewer support points"
        )


def _full(task: _Task) -> _Fit:
    options = task.options
    environments = []
    for k, frame in enumerate(task.frames):
        environments.append(frame_environments(frame, task.density, task.elements))
        task.progress("environments", (k + 1) / len(task.frames))
    flat = flatten(task.frames, environments)
    labels = Labels(*targets(task.frames, task.elements, task.baseline))
    n = flat.n_labels
    gram_seconds = gram_cost(flat, options.lmax, options.order) / (task.threads * 2.5e10)
    search_seconds = 40 * 1.5 * n**3 / (task.threads * 2.5e10)
    _predict(task, ((options.order + 5) * n**2 + 2 * flat.jacobian.size) * 8e-9, gram_seconds + search_seconds)
    done = 0.0

    def assembled(part):
        nonlocal done
        done += part
        task.progress("Gram matrices", min(done, 1.0))

    gram = gram_matrices(flat, options.lmax, options.order, task.threads, assembled)
    task.log("Maximising the marginal likelihood")
    fit = fit_full(gram, flat, labels, options, task.log)
    shape = (task.density.lmax + 1) ** 2, task.density.projection.shape[3]
    support = full_support(flat, fit.alpha, len(task.elements), shape)
    errors = _leave_one_out_errors(task, labels, fit.residuals)
    task.log("Expected errors (leave one frame out, exact): " + _describe(errors))
    return _Fit(fit.order_weights, fit.noise, support, errors, {"log_likelihood": fit.log_likelihood})


def _leave_one_out_errors(task: _Task, labels: Labels, residuals) -> dict[str, float]:
    names = {0: "energy_per_atom", 1: "forces", 2: "virial_per_atom"}
    per_label = np.concatenate([np.full(n, len(f)) for f, n in zip(task.frames, _labels(task.frames), strict=True)])
    errors = {}
    for kind in np.unique(labels.kind):
        r = residuals[labels.kind == kind] / (per_label[labels.kind == kind] if kind != 1 else 1)
        errors[f"leave_one_out_{names[kind]}_mae"] = float(np.mean(np.abs(r)))
        errors[f"leave_one_out_{names[kind]}_rmse"] = float(np.sqrt(np.mean(r**2)))
    return errors


def _labels(frames) -> list[int]:
    """Number of labels of each frame."""
    return [sum(np.size(v) for k in KINDS if (v := getattr(f, k)) is not None) for f in frames]


def _describe(errors: dict[str, float]) -> str:
    """MAE of each kind in the units that people use."""
    units = {"energy_per_atom": "meV/atom", "forces": "meV/Å", "virial_per_atom": "meV/atom"}
    parts = []
    for name, value in errors.items():
        if name.endswith("_mae"):
            kind = name.removesuffix("_mae").removeprefix("leave_one_out_").removeprefix("training_")
            parts.append(f"{kind.replace('_', ' ')} {1e3 * value:.3g} {units[kind]}")
    return ", ".join(parts) + " (MAE)"


def _sparse(task: _Task) -> _Fit:
    options, density = task.options, task.density
    order = options.order
    coefficients: list[list[np.ndarray]] = [[] for _ in task.elements]
    for k, frame in enumerate(task.frames):
        environments = frame_environments(frame, density, task.elements, derivatives=False)
        for z in range(len(task.elements)):
            coefficients[z].append(environments.coefficients[environments.centres == z])
        task.progress("environments", (k + 1) / len(task.frames))
    pools = [np.concatenate(c) for c in coefficients]
    n_atoms, n_support = sum(map(len, pools)), min(options.support_points, sum(map(len, pools)))
    width = pools[0][0].size if len(pools[0]) else 0
    labels = sum(_labels(task.frames))
    gigabytes = (6 * n_support**2 + 20_000 * n_support + (n_atoms + 2 * task.threads * n_support) * width) * 8e-9
    pair_seconds = n_atoms * n_support / len(task.elements) * 3e-6 * (1 + 4 * SEARCH_SUPPORT / n_support)
    _predict(task, gigabytes, (pair_seconds + 2 * labels * n_support**2 / 2.5e10) / task.threads)

    mean = _mean_kernels(pools, density.lmax, order, options.seed)
    weights = np.array(options.order_weights) if options.order_weights is not None else 1.0 / (order * mean)
    support = select_support(
        pools, n_support, density.lmax, weights, task.threads, options.seed,
        lambda fraction: task.progress("support points", fraction),
    )  # fmt: skip
    chosen = ", ".join(f"{chemical_symbols[z]} {len(s)}" for z, s in zip(task.elements, support, strict=True))
    task.log(f"Support points: {chosen}")
    fixed = (options.energy_noise, options.forces_noise, options.stress_noise)
    noise = None
    if options.order_weights is None:
        weights, noise = _search_order_weights(task, support, mean, fixed)
    kernel = np.tensordot(weights, kernel_matrices(support, density.lmax, order), 1)
    regression = SparseRegression(_stream(task, task.frames, support, weights[None], "design"), kernel[None])
    amplitude = np.ones(1)
    noise = START_NOISE * regression.rms() if noise is None else noise
    if len(regression.folds) > 1:
        amplitude, noise = regression.choose(
            amplitude, noise, fixed, False, 40, lambda f: task.progress("noise", f)
        )  # fmt: skip
        held_out = regression.errors(amplitude, noise)
    solution = regression.weights(amplitude, noise)
    cuts = np.cumsum([len(s) for s in support])[:-1]
    points = [SupportPoints(c, w) for c, w in zip(support, np.split(solution, cuts), strict=True)]
    names = ("energy_per_sqrt_atom", "forces", "virial_per_sqrt_atom")
    errors = {}
    if len(regression.folds) > 1:
        errors = {f"cross_validation_{names[k]}_rmse": float(held_out[k]) for k in regression.kinds}
        task.log("Expected errors (cross-validation, rmse): "
                 + ", ".join(f"{name[17:-5].replace('_', ' ')} {e:.3g}" for name, e in errors.items()) + " (eV, eV/Å)")  # fmt: skip
    return _Fit(weights * amplitude[0], noise, points, errors, {})


def _mean_kernels(pools, lmax: int, order: int, seed: int) -> np.ndarray:
    """Mean kernel (order,) of an environment with itself, over a sample."""
    rng = np.random.default_rng(seed)
    sample = [c for pool in pools for c in pool[rng.permutation(len(pool))[:50]]]
    return np.mean([kernel_matrices([c[None]], lmax, order)[:, 0, 0] for c in sample], axis=0)


def _stream(task: _Task, frames, support, sets, stage: str):
    rng = np.random.default_rng(task.options.seed)
    folds = rng.permutation(len(frames)) % min(N_FOLDS, len(frames))
    return stream_design(
        frames, folds, task.density, task.elements, task.baseline, support, sets, task.threads,
        lambda fraction: task.progress(stage, fraction),
    )  # fmt: skip


def _search_order_weights(task: _Task, support, mean, fixed):
    """Order weights and noise by cross-validation, with some of the support points and of the frames."""
    share = min(1.0, SEARCH_SUPPORT / sum(map(len, support)))
    few = [s[: int(np.ceil(share * len(s)))] for s in support]  # the first chosen are the most different
    rng = np.random.default_rng(task.options.seed)
    shuffled = rng.permutation(len(task.frames))
    n_frames = int(np.searchsorted(np.cumsum(np.array(_labels(task.frames))[shuffled]), SEARCH_LABELS)) + 1
    frames = [task.frames[k] for k in sorted(shuffled[:n_frames])]
    order = task.options.order
    factors = _stream(task, frames, few, np.eye(order), "kernels of each order")
    regression = SparseRegression(factors, kernel_matrices(few, task.density.lmax, order))
    rms = regression.rms()
    start, noise = rms[regression.kinds[0]] ** 2 / (order * mean), START_NOISE * rms
    if len(regression.folds) == 1:
        return start, noise
    task.log(f"Cross-validating order weights and noise ({sum(map(len, few))} support points, {len(frames)} frames)")
    return regression.choose(start, noise, fixed, True, 120, lambda f: task.progress("order weights", f))
