"""Learning in rounds: of several runs with the same model, the frame that it knows least of is labelled.

On the fly the reference is called as soon as a bound is passed, for a frame that is hardly new. Here all runs go on
until they end or the model has lost its way, and of all frames the most uncertain is labelled, so that bars that are
too short or too long in general matter little.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from ..errors import DynamicsError
from ..simulation.dynamics import run_md
from ..simulation.integrators import MDSettings
from .learner import FAR, ActiveLearner
from .reference import clash


class _Lost(Exception):
    """The model is no guide any more."""


class _Scout:
    """Looks at every step of a dynamics and keeps the one with the largest excess of which there is something to learn.

    Attributes:
        atoms, excess, step: of that one.

    """

    def __init__(self, learner: ActiveLearner, dynamics: Any):
        self.learner, self.dynamics = learner, dynamics
        self.atoms: Atoms | None = None
        self.excess, self.step = 0.0, 0
        self._last: tuple[Atoms, float, int] | None = None

    def __call__(self) -> None:
        """Look at a step.

        Raises:
            _Lost: it is far beyond the bounds, or atoms are upon each other.

        """
        atoms, sane = self.dynamics.atoms, clash(self.dynamics.atoms) is None
        excess = self.learner.excess(atoms)
        lost = excess >= FAR or not sane
        if lost and self.atoms is None and self._last is not None:  # all was well until now
            self._keep(*self._last)
        elif sane and excess > self.excess and (not lost or self._last is None):
            self._keep(atoms, excess, self.dynamics.nsteps)
        if lost:
            self.excess = max(self.excess, 1.0)  # there is something to learn, however little the bars say of it
            raise _Lost
        self._last = atoms.copy(), excess, self.dynamics.nsteps

    def _keep(self, atoms: Atoms, excess: float, step: int) -> None:
        if not self.learner.labelled.knows(atoms):
            self.atoms, self.excess, self.step = atoms.copy(), excess, step


def explore(learner: ActiveLearner, runs: Sequence[tuple[Atoms, MDSettings]], folder: str | Path) -> bool:
    """Learn from several runs until none of them finds anything beyond the bounds of the learner.

    In every round all runs are made anew, from their beginnings, and one frame is labelled. An interrupted exploration
    goes on with the same call: labelled frames are saved before they are used.

    Args:
        learner: with the bounds, the limit of calls, and the model.
        runs: structures and what to run from each, without a watch of the extrapolation grade.
        folder: for the trajectories run0.traj, run1.traj and so on of the last round.

    Returns:
        Whether nothing is beyond the bounds: else the calls of the reference were used up before.

    Raises:
        ActiveLearningError: the reference failed; all files are whole, and the same call goes on.
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
    """Run to the end, or until the model has lost its way."""
    scouts: list[_Scout] = []

    def prepare(dynamics: Any) -> None:
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
