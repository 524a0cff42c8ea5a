"""The part of a structure that one rank evaluates: its centres, and the halo of images around them."""

from typing import NamedTuple

import numpy as np

from ..atoms.neighbours import Neighbours, find_neighbours
from .bisection import Coordinates


class Domain(NamedTuple):
    """Centres and halo.

    Attributes:
        atoms: (n,) atom of the structure that each local atom is; the centres are the first.
        images: (n, 3) cells by which it is moved.
        neighbours: of the centres, among the local atoms.

    """

    atoms: np.ndarray
    images: np.ndarray
    neighbours: Neighbours

    @property
    def centres(self) -> np.ndarray:
        """Atoms of the structure that are centres."""
        return self.atoms[: len(self.neighbours.first) - 1]

    def positions(self, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Positions (n, 3) of the local atoms, Angstrom."""
        return positions[self.atoms] + self.images @ cell


def _halo(scaled: np.ndarray, centres: np.ndarray, reach: np.ndarray, pbc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (n,) and images (n, 3) in the parallelepiped around the centres, but for the centres themselves."""
    low, high = scaled[centres].min(axis=0) - reach, scaled[centres].max(axis=0) + reach
    # one direction after the other: most atoms and images are out after the first
    atoms, images = np.arange(len(scaled)), np.zeros((len(scaled), 3))
    for k in range(3):
        moves = np.arange(np.floor(low[k]), np.floor(high[k]) + 1) if pbc[k] else np.zeros(1)
        found = []
        for move in moves:
            at = scaled[atoms, k] + move
            inside = np.flatnonzero((at >= low[k]) & (at <= high[k]))
            moved = images[inside]
            moved[:, k] = move
            found.append((atoms[inside], moved))
        atoms, images = (np.concatenate(parts) for parts in zip(*found, strict=True))
    is_centre = np.zeros(len(scaled), bool)
    is_centre[centres] = True
    outside = ~is_centre[atoms] | images.any(axis=1)
    return atoms[outside], images[outside]


def make_domain(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    cutoff: float,
    threads: int = 1,
    *,
    centres: np.ndarray,
    coordinates: Coordinates,
) -> Domain:
    """Make the domain of some centres; time and memory go with their number and that of the halo.

    Args:
        positions, cell: (N, 3) and (3, 3), Angstrom.
        pbc: (3,) bool.
        cutoff: Angstrom.
        threads: how many.
        centres: (n,) atoms.
        coordinates: of `lattice_coordinates`.

    """
    none = Neighbours(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros((0, 3), np.int16))
    if not len(centres):
        return Domain(np.zeros(0, np.int64), np.zeros((0, 3)), none)
    atoms, images = _halo(coordinates.scaled, centres, cutoff / coordinates.heights, pbc)
    atoms = np.concatenate([centres, atoms])
    images = np.concatenate([np.zeros((len(centres), 3)), images]) + coordinates.wrapped[atoms]
    domain = Domain(atoms, images, none)
    points = domain.positions(positions, cell)
    neighbours = find_neighbours(points, np.zeros((3, 3)), np.zeros(3, bool), cutoff, threads, len(centres))
    return domain._replace(neighbours=neighbours)
