"""What to do when a model extrapolates."""

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
    """Observer of the extrapolation grade during a run: attach it to any dynamics or optimiser of ASE.

    An excursion begins when the largest grade of all atoms passes the limit, and ends when it falls below. The action
    `warn` gives an `ExtrapolationWarning` at the first excursion. `save` also appends the structure at the beginning of
    each excursion to a file. `stop` saves the structure and raises an `ExtrapolationError`.

        guard = ExtrapolationGuard(atoms, "save", "unknown.xyz")
        dynamics.attach(guard, interval=1)

    Args:
        atoms: with a `WKCalculator(..., uncertainty=True)`.
        action: warn, save or stop.
        path: for `save` and `stop`, a .traj file, or else extended XYZ.
        limit: grade above which an atom counts as outside.
        step: function that returns the number of the step, for messages.

    Attributes:
        excursions: number of excursions so far.
        largest: largest grade so far.

    """

    def __init__(
        self,
        atoms: Atoms,
        action: Action = "warn",
        path: str | Path | None = None,
        limit: float = LIMIT,
        step: Callable[[], int] | None = None,
    ) -> None:
        if action not in ACTIONS:
            raise OptionsError(f"unknown action {action!r}: choose one of {', '.join(ACTIONS)}")
        if action != "warn" and path is None:
            raise OptionsError(f"{action} needs a file for the structures")
        self.atoms, self.action, self.limit, self.step = atoms, action, limit, step
        self.path = None if path is None or action == "warn" else Path(path)
        self.excursions, self.largest, self._outside = 0, 0.0, False

    def __call__(self) -> None:
        """Check the structure.

        Raises:
            ExtrapolationError: an excursion begins and the action is `stop`.
            UncertaintyError: the calculator has no error bars.

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
