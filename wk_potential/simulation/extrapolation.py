"""What to do when atoms leave what a model was trained on."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from ase import Atoms

from ..atoms.trajectories import append_frame, store_results
from ..errors import ExtrapolationError, ExtrapolationWarning, OptionsError

Action = Literal["warn", "save", "stop"]
ACTIONS: tuple[str, ...] = get_args(Action)
LIMIT = 2.0  # of the extrapolation grade


class ExtrapolationGuard:
    """Watches the extrapolation grade of a structure during a run: attach it to any dynamics or optimiser of ASE.

    An excursion begins where the largest grade of all atoms passes the limit and ends where it falls below. `warn`
    warns at the first, with an `ExtrapolationWarning`; `save` does, and appends the structure at which each excursion
    begins to a file; `stop` saves it too and raises an `ExtrapolationError`.

        guard = ExtrapolationGuard(atoms, "save", "unknown.xyz")
        dynamics.attach(guard, interval=1)

    Args:
        atoms: with a `WKCalculator(..., uncertainty=True)`.
        action: warn, save or stop.
        path: for `save` and `stop`, a .traj file, or else extended XYZ.
        limit: grade above which an atom counts as outside.
        step: tells the number of the step, for messages.

    Attributes:
        excursions: how many there were.
        largest: grade so far.

    """

    def __init__(
        self,
        atoms: Atoms,
        action: Action = "warn",
        path: str | Path | None = None,
        limit: float = LIMIT,
        step: Callable[[], int] | None = None,
    ):
        if action not in ACTIONS:
            raise OptionsError(f"unknown action {action!r}: choose one of {', '.join(ACTIONS)}")
        if action != "warn" and path is None:
            raise OptionsError(f"{action} needs a file for the structures")
        self.atoms, self.action, self.limit, self.step = atoms, action, limit, step
        self.path = None if path is None or action == "warn" else Path(path)
        self.excursions, self.largest, self._outside = 0, 0.0, False

    def __call__(self) -> None:
        """Look at the structure.

        Raises:
            ExtrapolationError: an excursion begins and the action is `stop`.
            UncertaintyError: the calculator of the atoms gives no grade.

        """
        grade = self.atoms.calc.get_property("extrapolation_grade", self.atoms)
        atom = int(np.argmax(grade))
        self.largest = max(self.largest, float(grade[atom]))
        began = grade[atom] > self.limit and not self._outside
        self._outside = bool(grade[atom] > self.limit)
        if not began:
            return
        self.excursions += 1
        if self.path is not None:
            frame = store_results(self.atoms)
            frame.set_constraint()
            append_frame(self.path, frame)
        where = "" if self.step is None else f" at step {self.step()}"
        text = f"atom {atom} ({self.atoms.symbols[atom]}) left the training set{where}: extrapolation grade "
        text += f"{grade[atom]:.1f}, limit {self.limit:g}" + (f"; saved in {self.path}" if self.path else "")
        if self.action == "stop":
            raise ExtrapolationError(text)
        if self.excursions == 1:
            warnings.warn(text, ExtrapolationWarning, stacklevel=2)
