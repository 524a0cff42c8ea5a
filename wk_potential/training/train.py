"""From frames to a model: the steps of training in their order."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols
from threadpoolctl import threadpool_limits

from .. import __version__
from ..analysis.evaluation import evaluate
from ..atoms.dataset import Dataset, data_hash
from ..atoms.frame import Frame
from ..atoms.kinds import KINDS
from ..atoms.neighbours import find_neighbours
from ..atoms.reading import FrameSource, frames_of
from ..baselines.potential import BaselinePotential
from ..compute.ranks import Communicator, MPICommunicator
from ..compute.threads import thread_count
from ..errors import DataError, MappingError, OptionsError
from ..model.error_bars import Uncertainty
from ..model.model import Model
from .difference import with_wanted_stresses, without_potential
from .doubts import label_warnings, unit_warnings
from .error_bars.rigidity import fit_uncertainty, frames_of_error_bars
from .full.fit import fit_full
from .full.iterative import is_large
from .isolated import with_isolated_atoms
from .limits import DEFAULT, Limits
from .mapping.mapping import map_model
from .options import TrainingOptions
from .repulsion import choose_repulsion
from .search import optimise
from .sparse.fit import fit_sparse
from .task import Fit, LeftOut, Log, Progress, Task, make_task, quiet
from .tensors.fit import fit_tensors, tensor_score
from .trials import importance_of_few, tried

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

UNITS = {"length": "Angstrom", "energy": "eV", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3"}


def train(
    data: FrameSource | Sequence[Frame],
    options: TrainingOptions | Mapping[str, Any] | None = None,
    threads: int | None = None,
    log: Log | None = None,
    progress: Progress | None = None,
    comm: "Intracomm | Communicator | None" = None,
    search_file: str | Path | None = None,
    limits: Limits = DEFAULT,
    valid: FrameSource | Sequence[Frame] | None = None,
    baseline: Any = None,
    baseline_file: str | Path | None = None,
    **keywords: Any,
) -> Model:
    """Train a model on structures with energies, forces, stresses, dipoles or polarisabilities.

    Any label may be missing anywhere. Noise and order weights are chosen by likelihood or cross-validation.

        model = train("frames.xyz", log=print)
        model = train(list_of_atoms, cutoff=5.0, energy_key="REF_energy")

    Args:
        data: a file or files, ASE `Atoms` or a list of them with labels, or frames of `read_frames`.
        options: see `TrainingOptions`; those of how data are read (energy_unit, energy_key, ...) are for files and
            `Atoms`, since frames are in eV and Angstrom.
        threads: without it OMP_NUM_THREADS if set, else the cores available.
        log: receives lines of text for people, such as `print`.
        progress: receives the name of a stage and the fraction of it that is done.
        comm: communicator of mpi4py, such as MPI.COMM_WORLD, whose ranks train together, all with the same arguments.
            All get the model, and only the first logs. The default for `threads` becomes the rank's share of the cores.
        search_file: where the search of `options.optimise` remembers its scores, so that it can be interrupted.
        limits: constants of training, for tests and experts.
        valid: frames to validate the model on, as `data`; they do not take part in the training. The errors are
            logged, and in the header of the model.
        baseline: the potential to which the model adds, as the option of this name, or an ASE calculator or a function
            that makes one. `WKCalculator(model, baseline=...)` then needs it again.
        baseline_file: keeps what the baseline gives the frames (.npz), so that it is not computed again.
        keywords: options by name; they win over `options`.

    Raises:
        DataError: the data cannot be read, have no labels, or isolated-atom energies do not cover the elements.
        OptionsError: an option is unknown, not allowed, or contradicts another.
        NotEnoughMemoryError: the predicted memory is not there; says what to change.

    """
    if not isinstance(options, TrainingOptions):
        options = TrainingOptions.checked(dict(options or {}), "options")
    if isinstance(baseline, str):
        keywords, baseline = keywords | {"baseline": baseline}, None
    if keywords:
        given = {name: getattr(options, name) for name in options.model_fields_set}
        options = TrainingOptions.checked({**given, **keywords}, "train")
    own = {name: value for name, value in options.reading.items() if name in options.model_fields_set}
    if _are_frames(data):  # they have been read: only keywords of this call are refused
        own = {name: value for name, value in own.items() if name in keywords}
    frames = frames_of(data, **own)
    frames, held_out = _without_held_out(frames, options, valid, own)
    ranks = comm if comm is None or isinstance(comm, Communicator) else MPICommunicator(comm)
    if ranks is not None and ranks.rank > 0:
        log = quiet
    else:
        for text in (*unit_warnings(frames, limits.doubts), *label_warnings(frames, limits.doubts)):
            warnings.warn(text, stacklevel=2)
    frames, options, potential = without_potential(
        frames, options, baseline, thread_count(threads, None if ranks is None else ranks.cores),
        log or quiet, progress or quiet, None if baseline_file is None else Path(baseline_file), ranks,
    )  # fmt: skip
    search = None if search_file is None else Path(search_file)
    model = train_frames(frames, options, threads, log, progress, ranks, search, limits, potential)
    return _validated(model, held_out, threads, log or quiet) if held_out else model


def _without_held_out(
    frames: list[Frame], options: TrainingOptions, valid: FrameSource | Sequence[Frame] | None, reading: dict[str, Any]
) -> tuple[list[Frame], list[Frame]]:
    """Return the frames to train on, and those to validate on."""
    if valid is not None:
        if options.valid_fraction:
            raise OptionsError("valid and valid_fraction exclude each other: frames to validate on are given already")
        own = {} if _are_frames(valid) else {name: value for name, value in reading.items() if name != "frames"}
        held_out = frames_of(valid, **own)
        if {data_hash([f]) for f in frames} & {data_hash([f]) for f in held_out}:
            warnings.warn("some frames are both trained on and validated on: errors there say little", stacklevel=3)
        return frames, held_out
    n = round(options.valid_fraction * len(frames))
    chosen = set(np.random.default_rng(options.seed).permutation(len(frames))[:n].tolist())
    parts = [[f for k, f in enumerate(frames) if (k in chosen) == held] for held in (False, True)]
    return parts[0], parts[1]


def _validated(model: Model, frames: list[Frame], threads: int | None, log: Log) -> Model:
    """Return the model with its errors on frames in the header."""
    table = evaluate(model, frames, threads)
    errors = {name: table[name] for name in table if name.endswith(("_mae", "_rmse")) and table[name] is not None}
    found = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in errors.items())
    log(f"Errors on {len(frames)} frames of validation (eV and Å): {found}")
    training = model.info["training"]
    errors = training["errors"] | {f"validation_{name}": value for name, value in errors.items()}
    return replace(model, info=model.info | {"training": training | {"errors": errors}})


def _are_frames(data: object) -> bool:
    """Whether the data are frames, which have been read."""
    return isinstance(data, Frame) or (isinstance(data, Sequence) and all(isinstance(x, Frame) for x in data))


def train_frames(
    frames: Sequence[Frame],
    options: TrainingOptions,
    threads: int | None = None,
    log: Log | None = None,
    progress: Progress | None = None,
    comm: Communicator | None = None,
    search_file: Path | None = None,
    limits: Limits = DEFAULT,
    baseline: BaselinePotential | None = None,
) -> Model:
    """Train on frames, whose labels are less the baseline; arguments and errors as those of `train`."""
    comm = comm or Communicator()
    log, progress = log or quiet, progress or quiet
    if comm.rank > 0:
        log = progress = quiet
    start, n_threads = time.perf_counter(), thread_count(threads, comm.cores)
    if options.order_weights is not None and len(options.order_weights) != options.order:
        raise OptionsError(f"order_weights has {len(options.order_weights)} numbers, but the order is {options.order}")
    data, options = _used(frames, options, log)
    with_energy = data.n_labels > 0
    if not with_energy and not data.tensor_counts:
        raise DataError("no energies, forces, stresses, dipoles or polarisabilities to train on")
    estimator = _choose_estimator(data, options, log, limits) if with_energy else "full"
    large = estimator == "full" and is_large(data, options, limits.full)
    if large and "channel_tolerance" not in options.model_fields_set:
        options = options.model_copy(update={"channel_tolerance": limits.full.channels})
    _check_neighbours(data, options.cutoff)
    search: dict[str, Any] = {}
    score = partial(_score, estimator=estimator, threads=n_threads, comm=comm)
    given = options
    if with_energy:
        tries = limits.trials
        fewer = replace(limits.sparse, falls=tries.falls, energy_falls=tries.energy_falls)
        trial = partial(score, n_support=tries.support_points, limits=replace(limits, sparse=fewer))
        options = tried(data, options, estimator, trial, log, tries, progress)
    if options.optimise:
        score = partial(score, n_support=limits.search.support_points, limits=limits)
        options, search = optimise(data, options, estimator, score, log, progress, search_file, comm, limits)
    task = make_task(data, options, estimator, n_threads, log, progress, comm, limits)
    fit = Fit([], np.zeros(len(KINDS)), {}, {}, 0.0)
    if with_energy:
        _say_densities(task)
        fit = fit_task(task)
    # the density of tensors does not depend on what was chosen for energies
    targets, facts = fit_tensors(replace(task, options=given) if with_energy else task)
    info = header(task, fit, search, facts, time.perf_counter() - start)
    _say_hyperparameters(fit, info, log)
    model = Model(
        task.elements, fit.scales, task.baseline, task.compositions, info, targets, baseline_potential=baseline
    )
    return completed(model, task, fit) if with_energy else model


def _used(frames: Sequence[Frame], options: TrainingOptions, log: Log) -> tuple[Dataset, TrainingOptions]:
    """Return the training set without the labels that the options leave out, and the options with what it says."""
    given = options.isolated_atoms
    frames = with_wanted_stresses(frames, options)
    if not options.use_energy:
        frames = [replace(frame, energy=None, forces=None, stress=None) for frame in frames]
    frames, options = with_isolated_atoms(_weighted(frames, options.config_weights, log), options, log)
    data = Dataset(frames)
    missing = [chemical_symbols[z] for z in data.elements if chemical_symbols[z] not in (options.isolated_atoms or {})]
    if missing and given is not None:
        raise DataError(f"isolated_atoms lacks {', '.join(missing)}, which the training frames hold")
    return data, options


def _weighted(frames: Sequence[Frame], weights: Mapping[str, float], log: Log) -> Sequence[Frame]:
    """Return the frames with the weights of their config_types, times their own."""
    known = {frame.config_type for frame in frames}
    if unknown := [name for name in weights if name not in known]:
        names = ", ".join(sorted(known - {""})) or "none"
        raise OptionsError(f"config_weights: no frame has the config_type {unknown[0]!r}; there are: {names}")
    frames = [replace(frame, weight=frame.weight * weights.get(frame.config_type, 1.0)) for frame in frames]
    others = [frame.weight for frame in frames if frame.weight != 1.0]
    if others:
        log(f"Weights: {len(others)} of {len(frames)} frames have another than 1, {min(others):g} to {max(others):g}")
    return frames


def _say_densities(task: Task) -> None:
    energies = ", ".join(f"{symbol} {e:.4f} eV" for symbol, e in _named_baseline(task).items())
    task.log(f"Baseline ({_origin(task.options)}): {energies}")
    if task.options.isolated_atoms is None:
        task.log(
            "  No energies of isolated atoms: the model knows nothing of atoms apart, so to pull a structure apart "
            "costs next to nothing. Give them with --isolated-atoms, or as frames of one atom"
        )
    for density in task.densities:
        channels = density.projection.shape[3]
        task.log(f"Density: cutoff {density.radial.cutoff:g} Å, lmax {density.lmax}, {channels} channels per l")


def _say_hyperparameters(fit: Fit, info: dict[str, Any], log: Log) -> None:
    for scale in fit.scales:
        for name, row in zip(info["elements"], scale.order_weights, strict=True):
            cutoff = scale.density.radial.cutoff
            log(f"Order weights a_nu to {cutoff:g} Å, {name}: " + ", ".join(f"{a:.3g}" for a in row))
    if noise := info["hyperparameters"]["noise"]:
        log("Noise (eV, Å, per sqrt(atom) but for forces): " + ", ".join(f"{k} {s:.2g}" for k, s in noise.items()))


def _check_neighbours(data: Dataset, cutoff: float) -> None:
    """Refuse frames in which no atom has a neighbour."""
    pairs = (find_neighbours(f.positions, f.cell, f.pbc, cutoff).neighbour for f in data)
    if not any(len(found) for found in pairs):
        raise DataError(
            f"no atom in the frames has a neighbour within the cutoff of {cutoff:g} Å, so there is nothing to learn; "
            "add larger structures, or check the unit of length"
        )


def _score(
    data: Dataset, options: TrainingOptions, estimator: str, n_support: int, threads: int, comm: Communicator,
    limits: Limits,
) -> float:  # fmt: skip
    """Score of a quiet fit, with some number of support points at most."""
    if estimator == "sparse" and data.n_labels:
        counts = data.counts_by_kind.sum(axis=0)
        limits = replace(limits, importance=importance_of_few(limits.importance, counts, limits.trials.doubted))
    fewer = {"support_points": min(n_support, options.support_points or n_support), "minutes": None}
    task = make_task(data, options.model_copy(update=fewer), estimator, threads, comm=comm, limits=limits)
    return fit_task(replace(task, trial=True)).score if data.n_labels else tensor_score(task)


def completed(model: Model, task: Task, fit: Fit) -> Model:
    """Return the model with repulsion, mapped form and error bars.

    Two ranks or more make the mapped form and the error bars at the same time.
    """
    if task.options.repulsion:
        model = replace(model, repulsion=choose_repulsion(task.data, model.cutoff, task.limits.repulsion))
    left_out = fit.left_out
    if task.options.uncertainty and left_out is None:
        task.log("No error bars: they need at least two frames")
    if task.options.uncertainty and left_out is not None:
        left_out = left_out.looked_at(frames_of_error_bars(task.data, task.options.seed, task.limits.error_bars))

    def make(what: str) -> Any:
        return _with_mapped_form(model, task) if what == "form" else _error_bars(model, task, left_out)

    with threadpool_limits(1, user_api="blas"):  # as in `fit_task`
        mapped, error_bars = task.comm.each(make, ["form", "error bars"])
    return replace(mapped, uncertainty=error_bars)


def _with_mapped_form(model: Model, task: Task) -> Model:
    """Return the model with its mapped form, or as it is if there is none or the options want none."""
    if not task.options.map:
        return model
    task.progress("mapping", 0.0)
    try:
        model = map_model(
            model, task.data, task.options.map_tolerance, task.threads, task.log,
            partial(task.progress, "mapping"), task.limits.mapping.seconds, task.limits,
        )  # fmt: skip
    except MappingError as error:
        task.log(f"Not mapped: {error}")
    task.progress("mapping", 1.0)
    return model


def _error_bars(model: Model, task: Task, left_out: LeftOut | None) -> Uncertainty | None:
    if not task.options.uncertainty or left_out is None:
        return None
    return fit_uncertainty(
        model, task.data, left_out, task.threads, task.options.seed,
        partial(task.progress, "error bars"), task.limits,
    )  # fmt: skip


def _named_baseline(task: Task) -> dict[str, float]:
    return {chemical_symbols[z]: float(e) for z, e in zip(task.elements, task.baseline, strict=True)}


def _origin(options: TrainingOptions) -> str:
    return "least squares on the frames" if options.isolated_atoms is None else "isolated atoms"


def header(task: Task, fit: Fit, search: dict[str, Any], tensors: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return what the header of the model file says of the training.

    Args:
        task, fit: the training and its result.
        search: remarks of `optimise`.
        tensors: remarks of `fit_tensors`.
        seconds: that the training took.

    """
    baseline, counts = _named_baseline(task), task.data.kind_counts
    return {
        "package_version": __version__,
        "units": UNITS,
        "elements": list(baseline),
        "hyperparameters": {
            "order_weights": [scale.order_weights.tolist() for scale in fit.scales],
            "noise": {kind: float(s) for kind, s in zip(KINDS, fit.noise, strict=True) if counts[kind]},
            "channels": [int(density.projection.shape[3]) for density in task.densities],
        },
        "options": task.options.model_dump(mode="json"),
        "limits": task.limits.to_json(),
        "baseline": {"origin": _origin(task.options), "energies": baseline},
        "training": {
            "estimator": task.estimator,
            "frames": len(task.data),
            "atoms": task.data.n_environments,
            "labels": counts,
            "support_points": sum(len(s) for scale in fit.scales[:1] for s in scale.support),
            "errors": fit.errors,
            **fit.remarks,
            **({"search": search} if search else {}),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "data_hash": data_hash(task.data),
            **({"tensors": tensors} if tensors else {}),
        },
    }


def fit_task(task: Task) -> Fit:
    """Fit by the estimator of the task; arguments of `Task` say what to."""
    # our threads use all cores; BLAS threads beside them would wait in busy loops
    with threadpool_limits(1, user_api="blas"):
        return fit_full(task) if task.estimator == "full" else fit_sparse(task)


def _choose_estimator(data: Dataset, options: TrainingOptions, log: Log, limits: Limits) -> str:
    """Return the estimator of the options, or the one for data of this size."""
    n_labels, n_environments = data.n_labels, data.n_environments
    most = limits.choice.full_labels, limits.choice.full_environments
    molecular = not any(frame.pbc.any() for frame in data) and not data.energies_alone
    if molecular and is_large(data, options, limits.full):
        most = limits.choice.molecular_labels, limits.choice.molecular_environments
    small = n_labels <= most[0] and n_environments <= most[1]
    choice = options.estimator if options.estimator != "auto" else "full" if small else "sparse"
    why = "as asked" if options.estimator != "auto" else f"the full one up to {most[0]} and {most[1]}"
    log(f"Estimator: {choice} ({n_labels} labels, {n_environments} environments; {why})")
    return choice
