"""Forces on ghost atoms sent home to the ranks that own the atoms."""

import numpy as np

from ..compute.jit import njit
from ..compute.ranks import MPICommunicator
from ..errors import LammpsError


@njit
def _add_rows(rows, index, out):
    """Add rows (n, k) to those of `out` that index (n,) says."""
    for i in range(index.shape[0]):
        for x in range(rows.shape[1]):
            out[index[i], x] += rows[i, x]


class GhostForces:
    """Knows where the ghosts of this rank are at home; made anew when atoms change rank.

    Owners are found through a directory that is spread over the ranks by the atoms' tags, so that no rank ever holds
    more than its share.

    Args:
        comm: all of them make this object together.
        tags: (n,) positive numbers of the atoms here: `n_own` that the rank owns, then ghosts.
        n_own: how many.

    Raises:
        LammpsError: a ghost that nobody owns (the tags are not those of atoms).

    """

    def __init__(self, comm: MPICommunicator, tags: np.ndarray, n_own: int) -> None:
        self._comm = comm
        own, ghosts = np.asarray(tags[:n_own], np.int64), np.asarray(tags[n_own:], np.int64)
        to_directory, counts = self._by_rank(own % comm.size)
        there = np.column_stack([own, np.full(n_own, comm.rank), np.arange(n_own)])[to_directory]
        directory, _ = self._exchange(there, counts)
        directory = directory[np.argsort(directory[:, 0])]

        to_directory, counts = self._by_rank(ghosts % comm.size)
        asked, asked_counts = self._exchange(ghosts[to_directory, None], counts)
        found = np.searchsorted(directory[:, 0], asked[:, 0])
        found = comm.together(self._check_found, directory, found, asked[:, 0])
        answers, _ = self._exchange(directory[found, 1:], asked_counts)
        home = np.zeros((len(ghosts), 2), np.int64)
        home[to_directory] = answers

        self._order, self._sent = self._by_rank(home[:, 0])
        index, self._received = self._exchange(home[self._order, 1:], self._sent)
        self._index = index[:, 0].copy()

    @staticmethod
    def _check_found(directory: np.ndarray, found: np.ndarray, asked: np.ndarray) -> np.ndarray:
        known = np.append(directory[:, 0], -1)[found]
        if np.any(known != asked):
            raise LammpsError(f"no rank owns the atom with tag {asked[np.argmax(known != asked)]}")
        return found

    def _by_rank(self, destination: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Order of things by destination, and how many go to each rank."""
        return np.argsort(destination, kind="stable"), np.bincount(destination, minlength=self._comm.size)

    def _exchange(self, rows: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Send rows (n, k), sorted by destination; return those that come and how many from each rank."""
        comm, rows = self._comm.mpi, np.ascontiguousarray(rows)
        received = np.zeros_like(counts)
        comm.Alltoall(counts, received)
        out = np.zeros((int(received.sum()), rows.shape[1]), rows.dtype)
        width = rows.shape[1]
        comm.Alltoallv([rows, counts * width], [out, received * width])
        return out, received

    def send_home(self, values: np.ndarray) -> None:
        """Add the forces on ghosts, or other numbers, to those on their owners' atoms.

        Args:
            values: (n, k), own atoms and ghosts in the order of the tags; the rows of ghosts stay as they are.

        """
        n_own, width = len(values) - len(self._order), values.shape[1]
        rows = values[n_own:][self._order]
        out = np.zeros((len(self._index), width))
        self._comm.mpi.Alltoallv([rows, width * self._sent], [out, width * self._received])
        _add_rows(out, self._index, values)
