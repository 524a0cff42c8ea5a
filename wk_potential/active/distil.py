"""Distillation: a fast model that learns from a slow potential, on the structures that the fast one visits.

In every round the student runs dynamics, and the teacher labels frames of it. The errors of the student at these
frames, which it has not seen, are measured before it learns them. The number of frames doubles from round to round.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..analysis.evaluation import errors, expected_forces_error
from ..atoms.frame import Frame
from ..atoms.trajectories import read_trajectory
from ..baselines.foreign import load_calculator
from ..baselines.methods import METHODS
from ..baselines.potential import BaselinePotential
from ..calculator import WKCalculator
from ..errors import ActiveLearningError, DynamicsError, OptionsError, ReferenceFailed
from ..model.model import Model, baseline_of
from ..simulation.configurational import configurational_temperature
from ..simulation.dynamics import extrapolation_file, run_md
from ..simulation.integrators import MDSettings
from ..training.options import TrainingOptions
from ..training.task import Log, Progress, quiet
from ..training.train import train_frames
from .reference import LabelledFile, clash
from .teacher_errors import with_errors_of_teacher

T = TypeVar("T")
START_FRAMES = 16  # the starts and rattled copies of them, from which the first student learns
RATTLES = (0.03, 0.06, 0.09)  # Angstrom, of these copies
STRAIN = 0.02  # of copies of crystals, without which their stresses say nothing of volumes
GRADE_LIMIT = 5.0  # of the extrapolation grade, beyond which a run of the student ends
TEMPERATURE_FRAMES = 16  # at most, whose forces and curvatures tell the temperature
LEAST_TEMPERATURE = 300.0  # K: frames of a relaxation tell less
SHARE = 0.7  # of the teacher's error, with which the student is good enough: both together are a fifth more
STALLED = 0.9  # times the error of the round before: larger errors have stopped falling
FEWEST = 8  # frames of a round whose error says something
MOST_ROUNDS = 30
SAME, RELATED = 1e-3, 0.2  # eV per atom, by which labels of this teacher, and of its own reference, may differ from it


@dataclass(frozen=True)
class DistilSettings:
    """What the student is to learn.

    Attributes:
        temperatures: K, of the runs from each start.
        pressure: GPa, of runs at constant pressure; None for constant volume.
        frames: that the teacher labels, at most.
        forces_error: eV/Angstrom, rms error at new frames with which the distillation ends; 0 to go on until the errors
            stop falling.
        spacing: fs between frames of a run.
        timestep: fs.
        seed: of velocities and rattled copies.

    Raises:
        OptionsError: a setting makes no sense.

    """

    temperatures: tuple[float, ...] = (300.0,)
    pressure: float | None = None
    frames: int = 500
    forces_error: float = 0.0
    spacing: float = 50.0
    timestep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.temperatures or not all(0 < t < np.inf for t in self.temperatures):
            raise OptionsError("temperatures must be positive numbers of K")
        if self.seed < 0:
            raise OptionsError(f"the seed must not be negative, not {self.seed}")
        if self.frames < START_FRAMES:
            raise OptionsError(f"frames must be {START_FRAMES} at least, which the first student needs")
        if not 0 <= self.forces_error < np.inf:
            raise OptionsError(f"forces_error must be a number that is not negative, not {self.forces_error}")
        if not 0 < self.timestep <= self.spacing < np.inf:
            raise OptionsError("the time step must be positive and not above the spacing")


def settings_for(frames: Sequence[Frame], teacher: WKCalculator) -> DistilSettings:
    """Return settings for a teacher that was trained on few frames.

    The student visits the temperature of the frames, or `LEAST_TEMPERATURE` if that is higher, until its error is
    `SHARE` of that of the teacher: errors add in quadrature.

    Args:
        frames: of the teacher's training set.
        teacher: the calculator.

    """
    found = configurational_temperature(spread(frames, TEMPERATURE_FRAMES), teacher)
    temperature = float(f"{max(found, LEAST_TEMPERATURE):.2g}")
    return DistilSettings((temperature,), forces_error=SHARE * expected_forces_error(teacher.model))


class Round(NamedTuple):
    """A round.

    Attributes:
        frames: that the student had learned from.
        new: frames that the teacher labelled then.
        energy: eV per atom, rms error of the student at the new frames.
        forces: eV/Angstrom, likewise.
        steps: of dynamics, of all runs.
        stopped: runs that left the training set.

    """

    frames: int
    new: int
    energy: float
    forces: float
    steps: int
    stopped: int


def teacher_of(text: str, threads: int | None = None, baseline: str | None = None) -> Any:
    """Return the calculator that a text stands for: a model file, methods, FILE.py:NAME, MODULE:NAME.

    Args:
        text: of the teacher.
        threads: of a model.
        baseline: what a model adds to, where its file does not hold it.

    Raises:
        OptionsError: it stands for none, or needs no baseline.

    """
    text = text.strip()
    if text.endswith(".wkp"):
        return WKCalculator(text, threads, baseline=baseline)
    if baseline is not None:
        raise OptionsError(f"a baseline is for a teacher that is a model file, not for {text}")
    if text.partition("(")[0].lower().partition("+")[0].strip() in METHODS:
        return BaselineCalculator(baseline_of(text))
    return load_calculator(text, "TEACHER")


class BaselineCalculator(Calculator):
    """ASE calculator of methods with names, and of their sums."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, baseline: BaselinePotential) -> None:
        super().__init__()
        self.baseline = baseline

    def calculate(self, atoms: Atoms | None = None, *properties_and_changes: Any) -> None:
        """Compute energy, forces and, for crystals, stress."""
        super().calculate(atoms, *properties_and_changes)
        assert self.atoms is not None
        found = self.baseline.evaluate(self.atoms)
        self.results = {"energy": found.energy, "forces": found.forces}
        if found.stress is not None:
            self.results["stress"] = found.stress


class Distillation:
    """A student, and the frames that its teacher has labelled.

    Args:
        starts: structures from which dynamics starts.
        teacher: any ASE calculator.
        path: of the student's model file; the labelled frames are kept beside it, in PATH.labelled.xyz, and what is
            there is not computed again.
        settings: what is to be learned.
        options: of the training.
        known: labelled frames that the student learns as well, such as those from which the teacher was made.
        threads: as in `train`.
        log, progress: as in `train`.

    Attributes:
        model: the student.
        rounds: that have been run.
        labelled: the frames of the teacher.

    """

    def __init__(
        self,
        starts: Sequence[Atoms],
        teacher: Any,
        path: str | Path,
        settings: DistilSettings | None = None,
        options: TrainingOptions | None = None,
        known: Sequence[Frame] = (),
        threads: int | None = None,
        log: Log | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not starts:
            raise ActiveLearningError("there is no structure to start from")
        options = options or TrainingOptions()
        if options.baseline is not None or not options.use_energy:
            raise OptionsError("a student is trained on energies and without a baseline: leave these options out")
        if options.valid_fraction:
            raise OptionsError("a student is compared with new frames in every round: leave valid_fraction out")
        self.path, self.settings, self.known = Path(path), settings or DistilSettings(), list(known)
        self.options, self.threads = options, threads
        self.log, self.progress = log or quiet, progress or quiet
        self.labelled = LabelledFile(self.path.with_suffix(".labelled.xyz"), teacher)
        self._seconds, self._atoms, self._failure = 0.0, 0, ""
        self.rounds: list[Round] = []
        self._rng = np.random.default_rng((self.settings.seed, len(self.labelled.frames)))
        self._runs = [(start.copy(), t) for start in starts for t in self.settings.temperatures]
        self._check_labels()
        self._label_starts(starts)
        self.model = self._trained()

    @property
    def seconds(self) -> float:
        """Of a call of the teacher, for each atom, on average; 0 if there was none."""
        return self._seconds / max(self._atoms, 1)

    def run(self) -> str:
        """Learn in rounds; returns why it ends."""
        for _ in range(MOST_ROUNDS):
            left = self.settings.frames - len(self.labelled.frames)
            if left < 1:
                return f"{len(self.labelled.frames)} frames are labelled"
            structures, steps, stopped = self._visited(min(len(self.labelled.frames), left))
            new = self._label(structures)
            if not new:
                raise ActiveLearningError(f"the teacher fails at all frames of a round: {self._failure}")
            found = errors(new, self.model.predict(new, self.threads, uncertainty=False))
            one = Round(
                len(self.labelled.frames) - len(new), len(new), found["energy_per_atom_rmse"], found["forces_rmse"],
                steps, stopped,
            )  # fmt: skip
            self.rounds.append(one)
            self.log(
                f"Round {len(self.rounds)}: {one.frames} frames learned, errors at {one.new} new ones: "
                f"{1e3 * one.energy:.2f} meV/atom, {1e3 * one.forces:.1f} meV/Å (rms); {stopped} of {len(self._runs)} "
                "runs left the training set"
            )
            self.model = self._trained()
            if one.new >= FEWEST and not stopped:
                if one.forces <= self.settings.forces_error:
                    return f"the error of the forces is below {1e3 * self.settings.forces_error:g} meV/Å"
                if self._has_stalled():
                    return "the errors have stopped falling"
        return f"{MOST_ROUNDS} rounds are over"

    def _has_stalled(self) -> bool:
        """Whether the last two rounds of enough frames, the last with half as many frames more, have similar errors."""
        earlier = [r for r in self.rounds[:-1] if r.new >= FEWEST and not r.stopped]
        last = self.rounds[-1]
        return bool(earlier) and last.frames >= 1.5 * earlier[-1].frames and last.forces > STALLED * earlier[-1].forces

    def _label_starts(self, starts: Sequence[Atoms]) -> None:
        """Label the starts and rattled copies of them, those that are not labelled yet."""
        rng = np.random.default_rng(self.settings.seed)
        copies = [_copy(starts[k % len(starts)], k // len(starts), rng) for k in range(START_FRAMES)]
        if len(self.labelled.frames) < START_FRAMES:
            self._label([atoms for atoms in copies if not self.labelled.knows(atoms)])
        if len(self.labelled.frames) < 2:
            raise ActiveLearningError(f"the teacher fails at the structures to start from: {self._failure}")

    def _check_labels(self) -> None:
        """Compare labels that are there already with the teacher.

        Raises:
            ActiveLearningError: they are of another teacher, or refer to other energies of atoms.
            ReferenceFailed: the teacher fails at one of them.

        """
        for frames, what in ((self.labelled.frames, str(self.labelled.path)), (self.known, "the known frames")):
            frame = next((f for f in frames if f.energy is not None), None)
            if frame is None:
                continue
            far = abs(self.labelled.ask(frame.to_atoms())["energy"] - frame.energy) / len(frame)
            if far > (SAME if frames is self.labelled.frames else RELATED):
                raise ActiveLearningError(
                    f"{what}: the energy of {frame.source} differs from the teacher's by {far:.4g} eV per atom, so "
                    "it is of another teacher, or refers to other energies of atoms"
                )

    def _label(self, structures: Sequence[Atoms]) -> list[Frame]:
        """Return the frames with the labels of the teacher; those at which it fails are left out."""
        found = []
        for k, atoms in enumerate(structures):
            begin = time.perf_counter()
            try:
                found.append(self.labelled.label(atoms))
            except ReferenceFailed as error:
                self._failure = str(error)
                self.log(f"Left out: {error}")
                continue
            finally:
                self.progress("teacher", (k + 1) / len(structures))
            self._seconds += time.perf_counter() - begin
            self._atoms += len(atoms)
        return found

    def _trained(self) -> Model:
        """Train the student anew on all frames, and save it."""
        frames = [*self.known, *self.labelled.frames]
        options = self.options.model_copy(update={"uncertainty": True})
        model = train_frames(frames, options, self.threads, progress=self.progress)
        if isinstance(self.labelled.reference, WKCalculator):
            model = with_errors_of_teacher(model, self.labelled.reference.model, frames, self.threads)
        model.save(self.path)
        return model

    def _visited(self, n: int) -> tuple[list[Atoms], int, int]:
        """Return structures that the student visits, n at most; steps of dynamics; and runs that were stopped."""
        s, each = self.settings, max(1, -(-n // len(self._runs)))
        interval = max(1, round(s.spacing / s.timestep))
        calculator = WKCalculator(self.model, self.threads, uncertainty=True)
        structures: list[Atoms] = []
        steps = stopped = 0
        with TemporaryDirectory() as folder:
            for k, (atoms, temperature) in enumerate(self._runs):
                settings = MDSettings(
                    "nvt-bussi" if s.pressure is None else "npt", temperature, s.timestep, pressure=s.pressure or 0.0,
                    time=each * interval * s.timestep / 1000, interval=interval, log_interval=interval,
                    seed=int(self._rng.integers(2**31)), keep_velocities=atoms.has("momenta"),
                    on_extrapolation="stop", grade_limit=GRADE_LIMIT,
                )  # fmt: skip
                atoms.calc, trajectory = calculator, Path(folder) / f"run{k}.traj"
                try:
                    run_md(atoms, settings, trajectory, progress=self.progress)
                    ended = False
                except DynamicsError:
                    if not trajectory.exists():  # the run did not begin: a setting does not fit
                        raise
                    ended = True
                frames = read_trajectory(trajectory)[1:]
                beyond = extrapolation_file(trajectory)
                last = read_trajectory(beyond)[-1:] if beyond.exists() else []
                steps += interval * len(frames)
                stopped += ended
                structures += [a for a in (*frames, *last) if clash(a) is None]
                if frames and not ended:
                    self._runs[k] = (_moving(frames[-1]), temperature)
        return spread(structures, n), steps, stopped


def spread(items: Sequence[T], n: int) -> list[T]:
    """Return n of the items at most, evenly spread over all."""
    return [items[k] for k in sorted({k * len(items) // n for k in range(n)})] if items else []


def _copy(start: Atoms, k: int, rng: np.random.Generator) -> Atoms:
    """Return a start, or the k-th rattled copy of it, which is strained as well if it is a crystal."""
    atoms = start.copy()
    if k == 0:
        return atoms
    if atoms.pbc.all():
        strain = rng.normal(0, STRAIN, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    atoms.positions += rng.normal(0, RATTLES[k % len(RATTLES)], atoms.positions.shape)
    return atoms


def _moving(atoms: Atoms) -> Atoms:
    """Return a structure with its velocities and nothing else."""
    copy = atoms.copy()
    copy.info, copy.calc = {}, None
    return copy
