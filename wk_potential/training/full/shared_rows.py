"""Rows of the matrices of all labels, shared among ranks: who fills which, and how they come together."""

from typing import Any

import numpy as np

from ...compute.ranks import Communicator

ROWS = 64  # about as many are filled and sent together


class SharedRows:
    """Blocks of rows of symmetric matrices, from the diagonal on, dealt to ranks by predicted cost.

    Blocks hold the rows of whole frames and do not depend on the number of ranks, so neither do rounding errors.

    Args:
        counts: (F,) rows of each frame.
        sizes: (F,) environments of each frame; a pair of frames costs the product of theirs.
        comm: that share the rows [one].

    Attributes:
        holders: (n_blocks,) rank of each block.

    """

    def __init__(self, counts: np.ndarray, sizes: np.ndarray, comm: Communicator | None = None) -> None:
        self.comm = comm or Communicator()
        self._row_first = np.concatenate([[0], np.cumsum(counts)])
        first = np.flatnonzero(np.diff(self._row_first[:-1] // ROWS, prepend=-1))
        self._frame_first = np.append(first, len(sizes))
        sizes = np.asarray(sizes, float)
        costs = np.add.reduceat(sizes * np.cumsum(sizes[::-1])[::-1], first)
        self.holders, loads = np.zeros(len(costs), int), np.zeros(self.comm.size)
        for block in np.argsort(-costs, kind="stable"):
            self.holders[block] = np.argmin(loads)
            loads[self.holders[block]] += costs[block]

    def _rows(self, block: int | np.integer[Any]) -> slice:
        first, last = self._frame_first[block : block + 2]
        return slice(int(self._row_first[first]), int(self._row_first[last]))

    def own_frames(self) -> np.ndarray:
        """Frames whose rows this rank fills."""
        frames = np.repeat(self.holders, np.diff(self._frame_first)) == self.comm.rank
        return np.flatnonzero(frames)

    def own_rows(self) -> list[slice]:
        """Blocks of rows that this rank fills."""
        return [self._rows(block) for block in np.flatnonzero(self.holders == self.comm.rank)]

    def collect(self, matrices: np.ndarray) -> None:
        """Bring the upper triangles of matrices (n, N, N) to the first rank; the others keep the rows they filled."""
        for block in np.flatnonzero(self.holders > 0):
            if self.comm.rank in (0, self.holders[block]):
                rows = self._rows(block)
                part = np.array(matrices[:, rows, rows.start :], order="C")
                matrices[:, rows, rows.start :] = self.comm.to_first(part, int(self.holders[block]))
