"""Molecular dynamics that calls a reference calculator where the model is uncertain, and learns from it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from ..atoms.frame import Frame
from ..calculator import WKCalculator
from ..errors import ActiveLearningError, DynamicsError, FinishedError, ReferenceFailed
from ..model.model import Model
from ..simulation.dynamics import run_md
from ..simulation.integrators import MDSettings
from ..training.options import TrainingOptions
from ..training.task import Log, Progress, quiet
from .model import GrowingModel
from .reference import Facts, LabelledFile, clash

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator
    from ase.md.md import MolecularDynamics

FORCES_LIMIT = 0.2  # eV/Angstrom, of the standard deviation of a force component
GRADE_LIMIT = 5.0  # of the extrapolation grade, which is unreliable for the few frames at the start
START_FRAMES = 5  # labelled if there are no initial frames: the structure and rattled copies
RATTLE = 0.08  # Angstrom, of the last copy; the others are rattled less
FAR = 5.0  # times the bound: the structure makes no sense any more, so the step before it is labelled
AGAIN = 1.5  # times the excess after a label: from there on the reference is called again
MAP_AFTER = 50  # steps with the same model after which the mapped form is worth its cost


class _CallsUsedUp(Exception):
    """The allowed number of calls of the reference is reached."""


@dataclass(frozen=True)
class Call:
    """A call of the reference, as recorded in the labelled frame.

    Attributes:
        number: of the call, from 1.
        step: of the dynamics, None for the initial frames, for which the attributes below are nan.
        grade: largest extrapolation grade in the frame before the model learned it.
        predicted: eV/Angstrom, rms standard deviation of the forces before.
        found: eV/Angstrom, rms error of the forces before.
        energy: eV per atom, error of the energy before.

    """

    number: int
    step: int | None
    grade: float
    predicted: float
    found: float
    energy: float


class ActiveLearner:
    """A model that learns while it drives molecular dynamics.

    The learner checks the error bars after every step. If they pass a bound, it calls the reference, saves the labelled
    frame, updates and saves the model, and the dynamics continues with the new model. If a step is more than five times
    beyond the bound, or two atoms nearly coincide, the dynamics goes back to the step before, and that step is
    labelled. If the frame is still above the bound after its label, the reference is called again when the excess has
    grown by half.

        learner = ActiveLearner(atoms, reference, "cu.wkp")
        learner.run(MDSettings("nvt-langevin", temperature=800, time=10), "cu.traj")

    or with any dynamics of ASE, `learner.attach(dynamics)`.

    It can be interrupted at any moment. A new learner with the same path continues: labelled frames are saved in
    MODEL.labelled.xyz before they are used, and the reference is not called for them again.

    Args:
        atoms: the structure to start from; not changed.
        reference: ASE calculator that provides the labels, or a function that makes one.
        path: of the model file, written after every update; the labelled frames are saved beside it.
        initial: labelled frames to start from. Without them the structure and rattled copies of it are labelled.
        options: of the training; the model always gets error bars.
        forces_limit: eV/Angstrom, bound of the standard deviation of any force component.
        grade_limit: bound of the extrapolation grade of any atom.
        most_calls: limit of the calls of the reference, including those of earlier runs; then `run` ends.
        threads: as in `thread_count`.
        seed: of the rattled copies.
        log: receives lines of text for people.
        progress: receives the name of a stage and the fraction of it that is done.

    Attributes:
        model: as it is now.
        labelled: the file of labelled frames.

    Raises:
        ActiveLearningError: the reference fails, or the structure makes no sense.
        DataError: the labelled frames cannot be read or used.

    """

    def __init__(
        self,
        atoms: Atoms,
        reference: "BaseCalculator | Callable[[], BaseCalculator]",
        path: str | Path,
        initial: Sequence[Frame] = (),
        options: TrainingOptions | None = None,
        forces_limit: float = FORCES_LIMIT,
        grade_limit: float = GRADE_LIMIT,
        most_calls: int | None = None,
        threads: int | None = None,
        seed: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not (forces_limit > 0 and grade_limit > 0):
            raise ActiveLearningError(f"the bounds must be positive, not {forces_limit} eV/Å and {grade_limit}")
        self.path, self.atoms, self.log = Path(path), atoms.copy(), log or quiet
        self.forces_limit, self.grade_limit, self.most_calls = forces_limit, grade_limit, most_calls
        self.progress = progress
        self.threads, self.seconds = threads, {"reference": 0.0, "training": 0.0}
        self.labelled = LabelledFile(labelled_file(self.path), reference)
        if not initial:
            self._label_start(seed)
        begin = time.perf_counter()
        known = Model.load(self.path) if self.path.exists() else None
        if known is not None and "optimised_labels" not in known.info.get("training", {}):
            raise ActiveLearningError(f"{self.path}: this model was not made by active learning; name another file")
        frames = [*initial, *self.labelled.frames]
        self._growing = GrowingModel(frames, options, threads, None, progress, known)
        self.seconds["training"] += time.perf_counter() - begin
        self.model.save(self.path)

    @property
    def model(self) -> Model:
        """The model as it is now."""
        return self._growing.model

    @property
    def calls(self) -> list[Call]:
        """Calls of the reference so far, including those of earlier runs."""
        return read_calls(self.labelled.path)

    def calculator(self) -> WKCalculator:
        """Return a calculator with the model as it is now."""
        return WKCalculator(self.model, self.threads, uncertainty=True)

    def attach(self, dynamics: "MolecularDynamics") -> None:
        """Attach the learner to a dynamics of ASE: its atoms get the model, and every step is checked.

        The observer raises an `ActiveLearningError` if the dynamics cannot continue.
        """
        dynamics.atoms.calc = self.calculator()
        dynamics.attach(_Watch(self, dynamics))

    def run(
        self, settings: MDSettings, trajectory: str | Path, log: str | Path | None = None, atoms: Atoms | None = None
    ) -> bool:
        """Run molecular dynamics from the structure, or continue the trajectory; see `run_md`.

        Args:
            settings, trajectory, log: as for `run_md`.
            atoms: the structure to run [that of the learner].

        Returns:
            True if the dynamics reached its end, False if the allowed calls of the reference were used up before.

        Raises:
            ActiveLearningError: the reference failed, or the dynamics explodes although its last step is labelled;
                model, labelled frames and trajectory are complete, and the same call continues.
            DynamicsError: settings or trajectory do not fit the structure.

        """
        atoms = (self.atoms if atoms is None else atoms).copy()

        def work() -> None:
            while not self._run_on(atoms, settings, trajectory, log):
                self.log("The dynamics exploded; its last step was labelled, and the run continues from the last frame")

        try:
            return self.carry_out(work)
        except FinishedError:
            return True

    def carry_out(self, work: Callable[[], None]) -> bool:
        """Do work that calls the reference, then map the model; return whether the work reached its end.

        Args:
            work: ends by itself, or when the allowed calls of the reference are used up.

        Raises:
            ActiveLearningError: the reference failed; all files are complete.

        """
        ended = True
        try:
            work()
        except _CallsUsedUp:
            ended = False
        except ReferenceFailed as error:
            raise ActiveLearningError(f"{error}; all files are complete, run again to continue") from error
        self.map()
        return ended

    def _run_on(self, atoms: Atoms, settings: MDSettings, trajectory: str | Path, log: str | Path | None) -> bool:
        """Run to the end, or until the dynamics explodes after a step that can be labelled."""
        watches: list[_Watch] = []

        def prepare(dynamics: "MolecularDynamics") -> None:
            watches.append(_Watch(self, dynamics))
            dynamics.attach(watches[0])

        atoms.calc = self.calculator()
        try:
            run_md(atoms, settings, trajectory, log, True, self.progress, prepare)
        except DynamicsError:
            if not watches or not watches[0].label_last():
                raise
            return False
        return True

    def learn(self, atoms: Atoms, step: int | None = None) -> Frame:
        """Call the reference for a structure, save the frame, update and save the model.

        Args:
            atoms: the structure.
            step: number of the step of the dynamics.

        Raises:
            ReferenceFailed: the calculator has raised an error.

        """
        if self.most_calls is not None and len(self.labelled.frames) >= self.most_calls:
            raise _CallsUsedUp
        copy = atoms.copy()
        copy.calc = self.calculator()

        def facts(energy: float, forces: np.ndarray) -> dict[str, Any]:
            results = _evaluated(copy)
            errors = {
                "grade": float(results["extrapolation_grade"].max()),
                "predicted_force_error": _rms(results["forces_std"]),
                "found_force_error": _rms(results["forces"] - forces),
                "found_energy_error": float(results["energy"] - energy) / len(copy),
            }
            return {"config_type": "active", **({} if step is None else {"step": step}), **errors}

        frame = self._label(atoms, facts)
        begin = time.perf_counter()
        self._growing.add([frame])
        self.model.save(self.path)
        self.seconds["training"] += time.perf_counter() - begin
        call = self.calls[-1]
        self.log(
            f"Call {call.number}{'' if step is None else f' at step {step}'}: grade {call.grade:.2f}, error of forces "
            f"{1e3 * call.predicted:.0f} meV/Å predicted, {1e3 * call.found:.0f} found"
        )
        return frame

    def map(self) -> None:
        """Give the model its mapped form if the options want it."""
        begin = time.perf_counter()
        self._growing.map()
        self.model.save(self.path)
        self.seconds["training"] += time.perf_counter() - begin

    def excess(self, atoms: Atoms) -> float:
        """Largest error bar of a structure in units of its bound."""
        results = _evaluated(atoms)
        grade, forces = (results[name].max() for name in ("extrapolation_grade", "forces_std"))
        return float(max(grade / self.grade_limit, forces / self.forces_limit))

    def _label(self, atoms: Atoms, facts: Facts | None = None) -> Frame:
        begin = time.perf_counter()
        try:
            return self.labelled.label(atoms, facts)
        finally:
            self.seconds["reference"] += time.perf_counter() - begin

    def _label_start(self, seed: int) -> None:
        """Label those of the structure and its rattled copies that are not in the file yet."""
        for k in range(START_FRAMES):
            atoms = self.atoms.copy()
            atoms.set_constraint()
            if k:
                atoms.rattle(RATTLE * k / (START_FRAMES - 1), rng=np.random.default_rng([seed, k]))
            if self.labelled.knows(atoms):
                continue
            if k < len(self.labelled.frames):
                raise ActiveLearningError(
                    f"{self.labelled.path}: was made from another structure; name another model file, or remove it"
                )
            if pair := clash(atoms):
                raise ActiveLearningError(f"the initial structure makes no sense: {pair}")
            try:
                self._label(atoms, lambda energy, forces: {"config_type": "start"})
            except ReferenceFailed as error:
                raise ActiveLearningError(f"{error}, for the structure to start from") from error


class _Watch:
    """Observer that checks every step of a dynamics."""

    def __init__(self, learner: ActiveLearner, dynamics: "MolecularDynamics") -> None:
        self.learner, self.dynamics, self.atoms = learner, dynamics, dynamics.atoms
        self.level, self.quiet = 1.0, 0  # excess at which the reference is called; steps since
        self.last: Atoms | None = None  # the step before

    def __call__(self) -> None:
        """Check the error bars of the structure, and learn it if they pass the bound.

        Raises:
            ActiveLearningError: two atoms nearly coincide, and there is no earlier step to learn from.
            ReferenceFailed: the calculator has raised an error.

        """
        excess = self.learner.excess(self.atoms)
        if excess <= 1.0:
            self.level = 1.0
        if excess > self.level:
            self._learn(excess)
        elif self.quiet == MAP_AFTER:
            self.learner.map()
            self.atoms.calc = self.learner.calculator()
        self.quiet += 1
        self.last = self.atoms.copy()

    def label_last(self) -> bool:
        """Learn the last step before the explosion; return False if it has a label already or makes no sense."""
        if self.last is None or self.learner.labelled.knows(self.last) or clash(self.last):
            return False
        self.learner.learn(self.last, self.dynamics.nsteps)
        return True

    def _learn(self, excess: float) -> None:
        labelled = self.learner.labelled
        lost = excess > FAR * self.level or clash(self.atoms) is not None
        if lost and self.last is not None and not labelled.knows(self.last):
            self.atoms.set_cell(self.last.cell)
            self.atoms.set_positions(self.last.positions, apply_constraint=False)
            self.atoms.set_momenta(self.last.get_momenta(), apply_constraint=False)
        if pair := clash(self.atoms):
            raise ActiveLearningError(f"{pair} at step {self.dynamics.nsteps}: use a smaller time step, or start again")
        if not labelled.knows(self.atoms):
            self.learner.learn(self.atoms, self.dynamics.nsteps)
        self.atoms.calc = self.learner.calculator()
        self.level = max(1.0, AGAIN * self.learner.excess(self.atoms))
        self.quiet = 0


def labelled_file(model: str | Path) -> Path:
    """Return the path of the labelled frames of an actively learned model."""
    model = Path(model)
    return model.with_name(f"{model.stem}.labelled.xyz")


def read_calls(path: str | Path) -> list[Call]:
    """Read the calls of the reference from a file of labelled frames."""
    from ase.io import iread

    names = ("grade", "predicted_force_error", "found_force_error", "found_energy_error")
    calls = []
    for number, atoms in enumerate(iread(path, ":"), 1):
        step = int(atoms.info["step"]) if "step" in atoms.info else None
        calls.append(Call(number, step, *(float(atoms.info.get(name, np.nan)) for name in names)))
    return calls


def _evaluated(atoms: Atoms) -> dict[str, Any]:
    """Results of a `WKCalculator` with error bars, of the raw forces."""
    atoms.calc.get_property("extrapolation_grade", atoms)
    return atoms.calc.results


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
