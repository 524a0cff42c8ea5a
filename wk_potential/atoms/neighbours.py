"""Neighbour lists in compressed rows, with a Verlet skin."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..compute.jit import njit
from ..errors import StructureError
from .kinds import MIN_DISTANCE


class Neighbours(NamedTuple):
    """Full neighbour list: the pairs of a centre i are p = first[i] .. first[i + 1] - 1.

    Attributes:
        first: (N + 1,) int64.
        neighbour: (P,) int32.
        shift: (P, 3) int16, cell translations of the neighbour.

    """

    first: np.ndarray
    neighbour: np.ndarray
    shift: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """Centre (P,) of each pair."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))

    def vectors(self, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Vectors (P, 3) from each centre to its neighbours, Angstrom."""
        return positions[self.neighbour] - positions[self.centre] + self.shift @ cell


@njit
def _both_ways(n, pairs, shifts):
    """Compressed rows of the first n atoms in the full list, from one that has each pair once."""
    first = np.zeros(n + 1, np.int64)
    for p in range(pairs.shape[0]):
        for side in range(2):
            if pairs[p, side] < n:
                first[pairs[p, side] + 1] += 1
    for i in range(n):
        first[i + 1] += first[i]
    neighbour, shift = np.zeros(first[n], np.int32), np.zeros((first[n], 3), np.int16)
    place = first[:n].copy()
    for p in range(pairs.shape[0]):
        for side in range(2):
            if pairs[p, side] >= n:
                continue
            at = place[pairs[p, side]]
            place[pairs[p, side]] += 1
            neighbour[at] = pairs[p, 1 - side]
            for x in range(3):
                shift[at, x] = shifts[p, x] if side == 0 else -shifts[p, x]
    return first, neighbour, shift


def complete_cell(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Replace the vectors of non-periodic directions by unit normals, so that the cell has rank 3.

    Raises:
        StructureError: a periodic direction has no cell vector or the periodic ones are linearly dependent.

    """
    cell, pbc = np.array(cell, float), np.asarray(pbc, bool)
    periodic = cell[pbc]
    if not np.all(np.isfinite(cell)):
        raise StructureError("the cell has components that are not finite")
    if len(periodic) and MIN_DISTANCE > np.linalg.svd(periodic, compute_uv=False).min() > 1e-8 * np.abs(periodic).max():
        raise StructureError(f"the cell is thinner than {MIN_DISTANCE} Angstrom: {cell.tolist()}")
    scale = np.prod(np.linalg.norm(periodic, axis=1))
    if np.sqrt(abs(np.linalg.det(periodic @ periodic.T))) <= 1e-8 * scale or (pbc.any() and scale == 0.0):
        raise StructureError(f"the cell vectors of the periodic directions do not span a cell: {cell.tolist()}")
    _, _, normal = np.linalg.svd(periodic if len(periodic) else np.zeros((1, 3)))
    cell[~pbc] = normal[len(periodic) :]
    return cell


def find_neighbours(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    cutoff: float,
    threads: int = 1,
    centres: int | None = None,
) -> Neighbours:
    """Return the full list of pairs within `cutoff`, self-images included.

    Args:
        positions: (N, 3) Angstrom, inside the cell or not.
        cell: (3, 3) rows are vectors; those of non-periodic directions are ignored.
        pbc: (3,) bool.
        cutoff: Angstrom.
        threads: how many.
        centres: rows for the first so many atoms only [all].

    Raises:
        StructureError: the cell is singular, or atoms are more than 32767 cells apart.

    """
    from vesin import NeighborList

    search = NeighborList(cutoff=float(cutoff), full_list=False, n_threads=threads)
    pairs, shifts = search.compute(
        points=np.ascontiguousarray(positions, float),
        box=complete_cell(cell, pbc),
        periodic=np.asarray(pbc, bool),
        quantities="PS",
        copy=False,
    )
    if np.max(np.abs(shifts), initial=0) > np.iinfo(np.int16).max:
        raise StructureError("atoms are more than 32767 cells apart: wrap the positions into the cell")
    return Neighbours(*_both_ways(len(positions) if centres is None else centres, pairs, shifts))


class VerletList:
    """Neighbour list with a skin, rebuilt only when a pair outside it may have come within the cutoff.

    A list to cutoff + skin made for positions r0 and cell h0 still holds every pair within the cutoff if
    s (cutoff + skin) - 2 u >= cutoff, s the smallest stretch of the deformation h0 -> h and u the largest
    displacement beyond it.
    """

    def __init__(self, cutoff: float, skin: float, threads: int = 1) -> None:
        self.cutoff, self.skin, self.threads = cutoff, skin, threads
        self._made_for: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self.current: Any = None  # what `find` has returned: `Neighbours` by default
        self.n_built = 0

    def update(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Neighbours:
        """Return the list; it contains all pairs within the cutoff, and some beyond."""
        if not self.is_valid(positions, cell, pbc):
            self.rebuild(positions, cell, pbc)
        return self.current

    def rebuild(
        self,
        positions: np.ndarray,
        cell: np.ndarray,
        pbc: np.ndarray,
        find: Callable[[np.ndarray, np.ndarray, np.ndarray, float, int], Any] = find_neighbours,
    ) -> None:
        """Rebuild the list, `current`, by a function with the arguments of `find_neighbours`."""
        self.clear()  # two lists at once would need twice the memory
        self.current = find(positions, cell, pbc, self.cutoff + self.skin, self.threads)
        self._made_for = (positions.copy(), np.array(cell, float), np.array(pbc, bool))
        self.n_built += 1

    def clear(self) -> None:
        """Forget the list, so that the next one does not depend on earlier positions."""
        self._made_for, self.current = None, None

    def is_valid(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> bool:
        """Whether every pair within the cutoff is still in the list."""
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
