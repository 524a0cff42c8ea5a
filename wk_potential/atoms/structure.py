"""Atoms and their neighbours as plain arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..compute.jit import njit
from ..errors import StructureError
from .neighbours import Neighbours


class Structure(NamedTuple):
    """Atoms and their neighbours.

    The first n atoms are centres, n being the rows of the neighbour list; the others, if any, are only neighbours.

    Attributes:
        positions: (N, 3) Angstrom.
        cell: (3, 3) Angstrom.
        species: (N,) element of each atom, as its index in the model's elements.
        neighbours: rows (n,) of the centres.

    """

    positions: np.ndarray
    cell: np.ndarray
    species: np.ndarray
    neighbours: Neighbours


@njit
def neighbour_vector(structure: Structure, i: int, p: int) -> tuple[float, float, float]:
    """Vector (x, y, z) from centre i to the neighbour that is entry p of the list, Angstrom."""
    positions, cell, _, neighbours = structure
    j, shift = neighbours.neighbour[p], neighbours.shift
    x, y, z = positions[j, 0] - positions[i, 0], positions[j, 1] - positions[i, 1], positions[j, 2] - positions[i, 2]
    for k in range(3):
        x += shift[p, k] * cell[k, 0]
        y += shift[p, k] * cell[k, 1]
        z += shift[p, k] * cell[k, 2]
    return x, y, z


class StructureLike(Protocol):
    """What ASE's `Atoms` and a `Frame` have in common."""

    @property
    def numbers(self) -> Any:
        """Atomic numbers (N,)."""

    @property
    def positions(self) -> Any:
        """Positions (N, 3), Angstrom."""

    @property
    def cell(self) -> Any:
        """Cell vectors (3, 3), Angstrom."""

    @property
    def pbc(self) -> Any:
        """Periodic directions (3,)."""


def as_structures(atoms: Any) -> tuple[bool, list[StructureLike]]:
    """Return whether several structures were given, and a list of them.

    Raises:
        StructureError: something is neither a structure nor a sequence of structures.

    """
    if hasattr(atoms, "numbers"):
        return False, [atoms]
    found = list(atoms) if isinstance(atoms, Sequence) and not isinstance(atoms, str) else None
    if found is None or not all(hasattr(x, "numbers") and hasattr(x, "positions") for x in found):
        raise StructureError(f"expected ase.Atoms, a Frame, or a list of them, not {type(atoms).__name__}")
    return True, found


def name_of(structure: StructureLike, k: int) -> str:
    """Name a structure in a message: its source if it has one, else its place in the list."""
    return getattr(structure, "source", "") or f"structure {k}"


def check_finite(structure: StructureLike, k: int = 0) -> None:
    """Refuse positions and cells that are not finite.

    Raises:
        StructureError: the message names the structure and the atom.

    """
    positions = np.asarray(structure.positions)
    if not np.isfinite(positions).all():
        bad = int(np.argmax(~np.isfinite(positions).all(axis=1)))
        raise StructureError(f"{name_of(structure, k)}: the position of atom {bad} is not finite: {positions[bad]}")
    if not np.isfinite(np.asarray(structure.cell)).all():
        raise StructureError(f"{name_of(structure, k)}: the cell has components that are not finite")
