"""Learning a difference: the labels less the potential to which the model adds."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..atoms.frame import Frame
from ..baselines.labels import less_baseline
from ..baselines.potential import BaselinePotential
from ..compute.ranks import Communicator
from ..errors import BaselineError, DataError, OptionsError
from ..model.model import baseline_of
from .options import TrainingOptions
from .task import Log, Progress, quiet

SMALL = 100  # atoms of a frame that a model file keeps


def without_potential(
    frames: Sequence[Frame],
    options: TrainingOptions,
    given: Any = None,
    threads: int = 1,
    log: Log = quiet,
    progress: Progress = quiet,
    file: Path | None = None,
    comm: Communicator | None = None,
) -> tuple[list[Frame], TrainingOptions, BaselinePotential | None]:
    """Take the baseline out of the labels and of the energies of isolated atoms.

    Args:
        frames: with labels.
        options: of the training.
        given: the baseline, if it is not that of the options.
        threads: frames that are computed side by side.
        log, progress: as in `train`.
        file: keeps what the baseline gives the frames [none].
        comm: ranks that share the work [one].

    Returns:
        The frames, the options, and the baseline with a check; or what was given, and None if there is no baseline.

    Raises:
        DataError: the baseline fails for a frame, or has no stress where a frame has one.
        OptionsError: the baseline is none.

    """
    wanted = options.baseline if given is None else given
    if wanted is None or not frames:
        return list(frames), options, None
    if not options.use_energy:
        raise OptionsError("baseline and use_energy = false exclude each other: a baseline is one of energies")
    baseline = baseline_of(wanted)
    comm = comm or Communicator()
    if comm.rank == 0:
        log(f"Baseline potential: {baseline}; the model learns the difference to it")
        if any("charge" in frame.unused for frame in frames) and "charge=" not in str(baseline):
            warnings.warn(
                f"the frames have a 'charge', which the baseline {baseline} does not get to see: give it as in "
                "gfn2-xtb(charge=1); frames of different charges cannot be trained on together",
                stacklevel=4,
            )
    report = partial(progress, "baseline potential")
    differences = less_baseline(with_wanted_stresses(frames, options), baseline, threads, file, report, comm)
    if options.isolated_atoms is not None:
        energies = {s: e - _of_atom(baseline, s) for s, e in options.isolated_atoms.items()}
        options = options.model_copy(update={"isolated_atoms": energies})
    return differences, options, baseline.with_check(frames[_telling(frames, differences)])


def _telling(frames: Sequence[Frame], differences: Sequence[Frame]) -> int:
    """Return the frame on which the baseline acts most, of the small ones that have more than one atom."""

    def strength(k: int) -> tuple[bool, bool, float]:
        whole, rest, n = frames[k].forces, differences[k].forces, len(frames[k])
        forces = 0.0 if whole is None or rest is None else float(np.sqrt(np.mean((whole - rest) ** 2)))
        return n > 1, n <= SMALL, forces if n <= SMALL else -n

    return max(range(len(frames)), key=strength)


def with_wanted_stresses(frames: Sequence[Frame], options: TrainingOptions) -> Sequence[Frame]:
    """Return the frames, without their stresses if the options leave them out; a baseline need not have them then."""
    return frames if options.use_stress else [replace(frame, stress=None) for frame in frames]


def _of_atom(baseline: BaselinePotential, symbol: str) -> float:
    try:
        return baseline.evaluate(Atoms(symbol)).energy
    except BaselineError as error:
        raise DataError(f"isolated_atoms, {symbol}: {error}") from error
