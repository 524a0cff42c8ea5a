"""From frames to a model: the steps of training in their order."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from threadpoolctl import threadpool_limits

from .. import __version__
from ..atoms.dataset import data_hash, kind_counts, label_counts
from ..atoms.frame import Frame
from ..atoms.kinds import KINDS
from ..atoms.neighbours import find_neighbours
from ..atoms.reading import FrameSource, frames_of
from ..compute.ranks import Communicator, MPICommunicator
from ..compute.threads import thread_count
from ..errors import DataError, OptionsError
from ..model.error_bars import Uncertainty
from ..model.model import Model
from .baseline import fit_baseline
from .channels import model_density
from .error_bars.rigidity import fit_uncertainty, frames_of_error_bars
from .full.fit import fit_full
from .mapping.mapping import MappingError, map_model
from .options import TrainingOptions
from .repulsion import choose_repulsion
from .search import SUPPORT_POINTS, optimise
from .sparse.fit import fit_sparse
from .task import Fit, LeftOut, Log, Progress, Task
from .tensors.fit import fit_tensors, tensor_counts, tensor_score
from .trials import tried

FULL_LABELS = 8000  # `auto` takes the full estimator up to here: 5 GB and some minutes
FULL_ENVIRONMENTS = 3000
MAPPING_SECONDS = 1200.0  # that mapping may take, as predicted
UNITS = {"length": "Angstrom", "energy": "eV", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3"}


def train(
    data: FrameSource | Sequence[Frame],
    options: TrainingOptions | Mapping[str, Any] | None = None,
    threads: int | None = None,
    log: Log | None = None,
    progress: Progress | None = None,
    comm: Any = None,
    search_file: str | Path | None = None,
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
        keywords: options by name; they win over `options`.

    Raises:
        DataError: the data cannot be read, have no labels, or isolated-atom energies do not cover the elements.
        OptionsError: an option is unknown, not allowed, or contradicts another.
        NotEnoughMemoryError: the predicted memory is not there; says what to change.

    """
    if not isinstance(options, TrainingOptions):
        options = TrainingOptions.checked(dict(options or {}), "options")
    if keywords:
        given = {name: getattr(options, name) for name in options.model_fields_set}
        options = TrainingOptions.checked({**given, **keywords}, "train")
    own = {name: value for name, value in options.reading.items() if name in options.model_fields_set}
    frames = frames_of(data, **{name: value for name, value in own.items() if name in keywords or not _read(data)})
    comm = comm if comm is None or isinstance(comm, Communicator) else MPICommunicator(comm)
    return train_frames(
        frames, options, threads, log, progress, comm, None if search_file is None else Path(search_file)
    )


def _read(data: Any) -> bool:
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
) -> Model:
    """Train on frames; arguments and errors as those of `train`."""
    comm = comm or Communicator()
    log, progress = log or (lambda text: None), progress or (lambda stage, fraction: None)
    if comm.rank > 0:
        log, progress = lambda text: None, lambda stage, fraction: None
    start, n_threads = time.perf_counter(), thread_count(threads, comm.cores)
    if options.order_weights is not None and len(options.order_weights) != options.order:
        raise OptionsError(f"order_weights has {len(options.order_weights)} numbers, but the order is {options.order}")
    frames = _with_used_labels(frames, options)
    counts = kind_counts(frames)
    with_energy, tensors = any(counts.values()), tensor_counts(frames)
    if not with_energy and not tensors:
        raise DataError("no energies, forces, stresses, dipoles or polarisabilities to train on")
    estimator = _choose_estimator(frames, options, sum(counts.values()), log) if with_energy else "full"
    _check_neighbours(frames, options.cutoff)
    search: dict[str, Any] = {}
    score = partial(_score, estimator=estimator, threads=n_threads, comm=comm)
    given = options
    if with_energy:
        options = tried(frames, options, estimator, score, log)
    if options.optimise:
        options, search = optimise(frames, options, estimator, score, log, progress, search_file, comm)
    task = _task(frames, options, estimator, n_threads, log, progress, comm)
    fit = Fit([], np.zeros(len(KINDS)), {}, {}, 0.0)
    if with_energy:
        _say_densities(task)
        fit = _fit(task)
    # a density that was found for energies says nothing of that for tensors
    targets, facts = fit_tensors(replace(task, options=given) if with_energy else task)
    info = header(task, fit, search, facts, time.perf_counter() - start)
    _say_hyperparameters(fit, info, log)
    model = Model(task.elements, fit.scales, task.baseline, task.compositions, info, targets)
    return completed(model, task, fit) if with_energy else model


def _with_used_labels(frames: Sequence[Frame], options: TrainingOptions) -> Sequence[Frame]:
    """Return the frames without the labels that the options leave out."""
    if not options.use_stress:
        frames = [replace(frame, stress=None) for frame in frames]
    if not options.use_energy:
        frames = [replace(frame, energy=None, forces=None, stress=None) for frame in frames]
    return frames


def _say_densities(task: Task) -> None:
    energies = ", ".join(f"{symbol} {e:.4f} eV" for symbol, e in _named_baseline(task).items())
    task.log(f"Baseline ({_origin(task.options)}): {energies}")
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


def _check_neighbours(frames: Sequence[Frame], cutoff: float) -> None:
    """Refuse frames in which every atom is alone."""
    pairs = (find_neighbours(f.positions, f.cell, f.pbc, cutoff).neighbour for f in frames)
    if not any(len(found) for found in pairs):
        raise DataError(
            f"no atom in the frames has a neighbour within the cutoff of {cutoff:g} Å, so there is nothing to learn; "
            "add larger structures, or check the unit of length"
        )


def _score(frames, options: TrainingOptions, estimator: str, threads: int, comm: Communicator) -> float:
    """Score of a quiet fit, with fewer support points."""
    fewer = {"support_points": min(SUPPORT_POINTS, options.support_points)}
    task = _task(frames, options.model_copy(update=fewer), estimator, threads, comm=comm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the labels: the fit itself will warn
        return _fit(task).score if any(label_counts(frames)) else tensor_score(task)


def completed(model: Model, task: Task, fit: Fit) -> Model:
    """Return the model with all else: repulsion, mapped form, error bars.

    Where there are two ranks or more, the last two are made at once.
    """
    if task.options.repulsion:
        model = replace(model, repulsion=choose_repulsion(task.frames, model.elements, model.cutoff))
    left_out = fit.left_out
    if task.options.uncertainty and left_out is None:
        task.log("No error bars: they need at least two frames")
    if task.options.uncertainty and left_out is not None:
        left_out = left_out.looked_at(frames_of_error_bars(task.frames, task.options.seed))

    def make(what: str) -> Any:
        return _with_mapped_form(model, task) if what == "form" else _error_bars(model, task, left_out)

    mapped, error_bars = task.comm.each(make, ["form", "error bars"])
    return replace(mapped, uncertainty=error_bars)


def _with_mapped_form(model: Model, task: Task) -> Model:
    """Return the model with its mapped form, or as it is where there is none or none is asked for."""
    if not task.options.map:
        return model
    task.progress("mapping", 0.0)
    try:
        model = map_model(
            model, task.frames, task.options.map_tolerance, task.threads, task.log,
            lambda fraction: task.progress("mapping", fraction), MAPPING_SECONDS,
        )  # fmt: skip
    except MappingError as error:
        task.log(f"Not mapped: {error}")
    task.progress("mapping", 1.0)
    return model


def _error_bars(model: Model, task: Task, left_out: LeftOut | None) -> Uncertainty | None:
    if not task.options.uncertainty or left_out is None:
        return None
    return fit_uncertainty(
        model, task.frames, left_out, task.threads, task.options.seed,
        lambda fraction: task.progress("error bars", fraction),
    )  # fmt: skip


def _named_baseline(task: Task) -> dict[str, float]:
    return {chemical_symbols[z]: float(e) for z, e in zip(task.elements, task.baseline, strict=True)}


def _origin(options: TrainingOptions) -> str:
    return "least squares on the frames" if options.isolated_atoms is None else "isolated atoms, as given"


def header(task: Task, fit: Fit, search: dict[str, Any], tensors: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the header of the file says of the training.

    Args:
        task, fit: what was done.
        search: what `optimise` says of the search for the density.
        tensors: what `fit_tensors` says of its targets.
        seconds: that it took.

    """
    baseline, counts = _named_baseline(task), kind_counts(task.frames)
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
        "baseline": {"origin": _origin(task.options), "energies": baseline},
        "training": {
            "estimator": task.estimator,
            "frames": len(task.frames),
            "atoms": sum(map(len, task.frames)),
            "labels": counts,
            "support_points": sum(len(s) for scale in fit.scales[:1] for s in scale.support),
            "errors": fit.errors,
            **fit.remarks,
            **({"search": search} if search else {}),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "data_hash": data_hash(task.frames),
            **({"tensors": tensors} if tensors else {}),
        },
    }


def _task(
    frames, options: TrainingOptions, estimator: str, threads: int, log: Log | None = None,
    progress: Progress | None = None, comm: Communicator | None = None,
) -> Task:  # fmt: skip
    """Baseline and densities."""
    elements = np.unique(np.concatenate([f.numbers for f in frames]))
    baseline, compositions = fit_baseline(frames, elements, options.isolated_atoms)
    shapes = [shape for shape in (options.long, options.short if estimator == "full" else None) if shape]
    shapes = shapes if any(label_counts(frames)) else []  # tensors have their own
    densities = [model_density(frames, elements, options, shape, comm) for shape in shapes]
    log, progress = log or (lambda text: None), progress or (lambda stage, fraction: None)
    return Task(
        frames, options, elements, baseline, compositions, estimator, densities, threads, log, progress,
        comm or Communicator(),
    )  # fmt: skip


def _fit(task: Task) -> Fit:
    # our threads share the cores; BLAS threads among them, or beside other programs, wait for each other for ever
    with threadpool_limits(1, user_api="blas"):
        return fit_full(task) if task.estimator == "full" else fit_sparse(task)


def _choose_estimator(frames, options: TrainingOptions, n_labels: int, log: Log) -> str:
    n_environments = sum(map(len, frames))
    small = n_labels <= FULL_LABELS and n_environments <= FULL_ENVIRONMENTS
    choice = options.estimator if options.estimator != "auto" else "full" if small else "sparse"
    why = "as asked" if options.estimator != "auto" else f"limit {FULL_LABELS} and {FULL_ENVIRONMENTS}"
    log(f"Estimator: {choice} ({n_labels} labels, {n_environments} environments; {why})")
    return choice
