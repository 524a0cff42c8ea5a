"""Active learning in rounds: several runs with one model, then a label for the most uncertain frame of all.

Learning on the fly (`learner`) calls the reference as soon as a frame passes a bound, when the frame is hardly new. In
rounds, each run goes on until it ends or leaves the bounds far behind. The choice of the most uncertain frame needs
only the order of the error bars, so it tolerates error bars that are all too small or all too large.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms

from ..errors import DynamicsError
from ..simulation.dynamics import run_md
from ..simulation.integrators import MDSettings
from .learner import FAR, ActiveLearner
from .reference import clash

if TYPE_CHECKING:
    from ase.md.md import MolecularDynamics


class _Lost(Exception):
    """The run is so far beyond the bounds that its structures make no sense."""


class _Scout:
    """Observer of a run that keeps the step with the largest excess among those that have no label yet.

    Attributes:
        atoms, excess, step: of that step.

    """

    def __init__(self, learner: ActiveLearner, dynamics: "MolecularDynamics") -> None:
        self.learner, self.dynamics = learner, dynamics
        self.atoms: Atoms | None = None
        self.excess, self.step = 0.0, 0
        self._last: tuple[Atoms, float, int] | None = None

    def __call__(self) -> None:
        """Compare a step with the largest excess so far.

        Raises:
            _Lost: the step is far beyond the bounds, or two atoms nearly coincide.

        """
        atoms, sane = self.dynamics.atoms, clash(self.dynamics.atoms) is None
        excess = self.learner.excess(atoms)
        lost = excess >= FAR or not sane
        if lost and self.atoms is None and self._last is not None:  # no step was beyond the bounds before this one
            self._keep(*self._last)
        elif sane and excess > self.excess and (not lost or self._last is None):
            self._keep(atoms, excess, self.dynamics.nsteps)
        if lost:
            self.excess = max(self.excess, 1.0)  # a clash is worth a label even where the error bars are small
            raise _Lost
        self._last = atoms.copy(), excess, self.dynamics.nsteps

    def _keep(self, atoms: Atoms, excess: float, step: int) -> None:
        if not self.learner.labelled.knows(atoms):
            self.atoms, self.excess, self.step = atoms.copy(), excess, step


def explore(learner: ActiveLearner, runs: Sequence[tuple[Atoms, MDSettings]], folder: str | Path) -> bool:
    """Learn from several runs until none of them passes the bounds of the learner.

    Every round repeats all runs from their start and labels one frame. After an interruption the same call continues:
    labelled frames are saved before they are used.

    Args:
        learner: with the bounds, the limit of calls, and the model.
        runs: structures, and the settings of the run from each; `on_extrapolation` is not used.
        folder: for the trajectories of the last round, run0.traj, run1.traj and so on.

    Returns:
        True if no run passes the bounds, False if the allowed calls of the reference are used up.

    Raises:
        ActiveLearningError: the reference failed; all files are complete, and the same call continues.
        DynamicsError: settings do not fit a structure.

    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def work() -> None:
        while True:
            found = [_scout(learner, *run, folder / f"run{k}.traj") for k, run in enumerate(runs)]
            best = max(found, key=lambda scout: scout.excess)
            if best.atoms is None or best.excess < 1.0:
                return
            learner.log(f"Run {found.index(best)} is beyond the bounds, {best.excess:.1f} times at step {best.step}")
            learner.learn(best.atoms, best.step)

    return learner.carry_out(work)


def _scout(learner: ActiveLearner, atoms: Atoms, settings: MDSettings, trajectory: Path) -> _Scout:
    """Run to the end, or until a step is far beyond the bounds."""
    scouts: list[_Scout] = []

    def prepare(dynamics: "MolecularDynamics") -> None:
        scouts.append(_Scout(learner, dynamics))
        dynamics.attach(scouts[0])

    atoms = atoms.copy()
    atoms.calc = learner.calculator()
    try:
        run_md(atoms, settings, trajectory, progress=learner.progress, prepare=prepare)
    except _Lost:
        pass
    except DynamicsError:
        if not scouts or scouts[0].atoms is None:
            raise
    return scouts[0]
