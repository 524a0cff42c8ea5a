"""Neighbour lists in compressed rows, with a Verlet skin."""

from typing import NamedTuple

import numpy as np


class Neighbours(NamedTuple):
    """Full neighbour list: pair p is (centre[p], neighbour[p]), first[centre] <= p < first[centre + 1].

    Attributes:
        first: (N + 1,) int64.
        centre: (P,) int64, sorted.
        neighbour: (P,) int64.
        shift: (P, 3) int32, cell translations of the neighbour.

    """

    first: np.ndarray
    centre: np.ndarray
    neighbour: np.ndarray
    shift: np.ndarray

    def vectors(self, positions, cell):
        """Vectors (P, 3) from each centre to its neighbours, Angstrom."""
        vectors = positions[self.neighbour] - positions[self.centre]
        if self.shift.any():
            vectors += self.shift @ cell
        return vectors


def complete_cell(cell, pbc):
    """Replace the vectors of non-periodic directions by unit normals, so that the cell has rank 3.

    Raises:
        ValueError: a periodic direction has no cell vector or the periodic ones are linearly dependent.

    """
    cell, pbc = np.array(cell, float), np.asarray(pbc, bool)
    periodic = cell[pbc]
    if not np.all(np.isfinite(cell)):
        raise ValueError("the cell has components that are not finite")
    scale = np.prod(np.linalg.norm(periodic, axis=1))
    if np.sqrt(abs(np.linalg.det(periodic @ periodic.T))) <= 1e-8 * scale or (pbc.any() and scale == 0.0):
        raise ValueError(f"the cell vectors of the periodic directions do not span a cell: {cell.tolist()}")
    _, _, normal = np.linalg.svd(periodic if len(periodic) else np.zeros((1, 3)))
    cell[~pbc] = normal[len(periodic) :]
    return cell


def find_neighbours(positions, cell, pbc, cutoff) -> Neighbours:
    """Return the full list of pairs within `cutoff`, self-images included.

    Args:
        positions: (N, 3) Angstrom, inside the cell or not.
        cell: (3, 3) rows are vectors; those of non-periodic directions are ignored.
        pbc: (3,) bool.
        cutoff: Angstrom.

    """
    from vesin import NeighborList

    n = len(positions)
    i, j, shift = NeighborList(cutoff=float(cutoff), full_list=True).compute(
        points=np.ascontiguousarray(positions, float),
        box=complete_cell(cell, pbc),
        periodic=np.asarray(pbc, bool),
        quantities="ijS",
    )
    order = np.argsort(i, kind="stable")
    centre = i[order].astype(np.int64)
    first = np.searchsorted(centre, np.arange(n + 1)).astype(np.int64)
    return Neighbours(first, centre, j[order].astype(np.int64), shift[order].astype(np.int32))


class VerletList:
    """Neighbour list with a skin, rebuilt only when a pair may have come within the cutoff unseen.

    A list to cutoff + skin made for positions r0 and cell h0 still holds every pair within the cutoff if
    s (cutoff + skin) - 2 u >= cutoff, s the smallest stretch of the deformation h0 -> h and u the largest
    displacement beyond it.
    """

    def __init__(self, cutoff: float, skin: float):
        self.cutoff, self.skin = cutoff, skin
        self._made_for: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self.n_built = 0

    def update(self, positions, cell, pbc) -> Neighbours:
        """Return the pairs within cutoff + skin of when the list was made; all within the cutoff are in it."""
        if not self._is_valid(positions, cell, pbc):
            self._list = find_neighbours(positions, cell, pbc, self.cutoff + self.skin)
            self._made_for = (positions.copy(), np.array(cell, float), np.array(pbc, bool))
            self.n_built += 1
        return self._list

    def _is_valid(self, positions, cell, pbc) -> bool:
        if self._made_for is None:
            return False
        old_positions, old_cell, old_pbc = self._made_for
        if len(positions) != len(old_positions) or not np.array_equal(pbc, old_pbc):
            return False
        stretch = 1.0
        moved = positions - old_positions
        if np.any(pbc) and not np.array_equal(cell, old_cell):
            # maps the old periodic vectors to the new ones and leaves what is normal to them
            deformation = np.eye(3) + np.linalg.pinv(old_cell[pbc]) @ (cell[pbc] - old_cell[pbc])
            stretch = np.linalg.svd(deformation, compute_uv=False)[-1]
            moved = positions - old_positions @ deformation
        largest = np.sqrt(np.max(np.sum(moved**2, axis=1), initial=0.0))
        return stretch * (self.cutoff + self.skin) - 2 * largest >= self.cutoff
