"""Calls of the reference method: every label is saved to a file before it is used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii

from ..atoms.frame import Frame
from ..atoms.neighbours import find_neighbours
from ..atoms.reading import read_frames
from ..atoms.trajectories import append_frame, drop_half_frame
from ..baselines.foreign import as_calculator, ask, not_finite
from ..errors import ActiveLearningError, OptionsError, ReferenceFailed

CLASH = 0.5  # of the sum of covalent radii: the reference is not called for atoms closer than that
Facts: TypeAlias = Callable[[float, np.ndarray], dict[str, Any]]
KEPT = ("charge", "spin")  # entries of `info` that the reference gets to see


def clash(atoms: Atoms) -> str | None:
    """Return a text that names two atoms which nearly coincide, or None."""
    radii = covalent_radii[atoms.numbers]
    found = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 2 * CLASH * radii.max())
    distances = np.linalg.norm(found.vectors(atoms.positions, atoms.cell.array), axis=1)
    close = distances < CLASH * (radii[found.centre] + radii[found.neighbour])
    if not close.any():
        return None
    k = int(np.flatnonzero(close)[0])
    i, j = int(found.centre[k]), int(found.neighbour[k])
    return f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) are {distances[k]:.2f} Å apart"


def _calculator(reference: Any) -> BaseCalculator:
    try:
        return as_calculator(reference)
    except OptionsError as error:
        raise ActiveLearningError(str(error)) from None


class LabelledFile:
    """Frames with the labels of a reference calculator, in an extended XYZ file that grows.

    Args:
        path: of the file; if it exists, new frames are appended, and an incomplete last frame is cut off.
        reference: any ASE calculator with energy and forces, or a function that makes one; for periodic cells the
            stress is used if there is one.

    Attributes:
        frames: all frames in the file, as they are read from it.
        calls: number of calls of the reference in this run.

    """

    def __init__(self, path: str | Path, reference: BaseCalculator | Callable[[], BaseCalculator]) -> None:
        self.path, self.reference, self.calls = Path(path), _calculator(reference), 0
        self.frames: list[Frame] = read_frames(self.path) if drop_half_frame(self.path) else []

    def knows(self, atoms: Atoms) -> bool:
        """Whether a structure is in the file."""
        return any(
            np.array_equal(f.numbers, atoms.numbers)
            and np.allclose(f.positions, atoms.positions, rtol=0, atol=1e-6)
            and np.allclose(f.cell, atoms.cell.array, rtol=0, atol=1e-6)
            for f in self.frames
        )

    def label(self, atoms: Atoms, facts: Facts | None = None) -> Frame:
        """Call the reference for a structure, save the labelled frame and return it as it was saved.

        Args:
            atoms: the structure; its constraints are not passed on.
            facts: function of energy (eV) and forces (N, 3) that returns further entries of `info` for the frame.

        Raises:
            ReferenceFailed: the calculator has raised an error, or its labels are not finite.

        """
        copy = atoms.copy()
        copy.set_constraint()
        copy.arrays.pop("momenta", None)
        copy.info = {name: atoms.info[name] for name in KEPT if name in atoms.info}
        results = self.ask(copy)
        self.calls += 1
        copy.info |= facts(results["energy"], results["forces"]) if facts else {}
        copy.calc = SinglePointCalculator(copy, **results)
        append_frame(self.path, copy)
        self.frames.append(read_frames(self.path, str(len(self.frames)))[0])
        return self.frames[-1]

    def ask(self, atoms: Atoms) -> dict[str, Any]:
        """Return energy, forces and stress of the reference, without saving them.

        Raises:
            ReferenceFailed: the calculator has raised an error, or its labels are not finite.

        """
        try:
            results = ask(self.reference, atoms)
        except Exception as error:  # calculators raise errors of any class
            raise ReferenceFailed(f"the reference calculator failed ({type(error).__name__}: {error})") from error
        for name in not_finite(results):
            raise ReferenceFailed(f"the {name} of the reference calculator is not finite")
        return results
