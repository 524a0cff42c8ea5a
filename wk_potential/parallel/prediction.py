"""Energy and forces of one structure by many ranks, each of which has all positions and evaluates its share."""

import time
import zlib
from functools import partial

import numpy as np

from ..atoms.neighbours import VerletList, complete_cell
from ..atoms.structure import Structure
from ..compute.ranks import MPICommunicator
from ..errors import ClashError
from ..model.committee import Deviations
from ..model.energy import Potential
from ..model.error_bars import CommitteePotential
from ..model.model import Model
from ..model.prediction import Evaluation
from .bisection import lattice_coordinates, share
from .domain import Domain, make_domain

UNEVEN = 1.05  # largest over mean work above which the first division is made once more


class ParallelPredictor:
    """Predicts structures on all ranks of a communicator together.

    Space is divided by recursive bisection so that the ranks have equal work, predicted from the kernel's cost and the
    number of neighbours; each rank searches the neighbours of its own centres and evaluates them; one reduction
    makes the results, the same on all ranks to the last bit. The division is made again with the neighbour list.

    Attributes:
        seconds: spent by this rank so far in `neighbours`, `evaluation` and `communication`, waiting included.
        imbalance: largest over mean of the ranks' predicted work.

    """

    def __init__(
        self, model: Model, potential: Potential, comm: MPICommunicator, skin: float, threads: int = 1
    ) -> None:
        self.model, self.potential, self.comm, self.threads = model, potential, comm, threads
        self.list = VerletList(model.cutoff, skin, threads)
        self.seconds = dict.fromkeys(("neighbours", "evaluation", "communication"), 0.0)
        self.imbalance = 1.0
        self._work: np.ndarray | None = None

    def predict(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, atomic: bool = False
    ) -> tuple[float, Evaluation]:
        """Energy, and energies, forces and virial of all atoms.

        Args:
            numbers: (N,) atomic numbers.
            positions, cell: (N, 3) and (3, 3), Angstrom.
            pbc: (3,) bool.
            atomic: compute the shares of the atoms in the virial, too.

        Raises:
            RanksDifferError: the arguments are not the same on all ranks.
            ClashError: two atoms are less than 0.1 Angstrom apart.

        """
        comm, pbc, cell = self.comm, np.asarray(pbc, bool), np.array(cell, float)
        start = time.perf_counter()
        comm.check_same(_checksum(numbers, positions, cell, pbc), "positions, cell or elements of the atoms")
        stale = comm.maximum(not self.list.is_valid(positions, cell, pbc))[0]
        self._count("communication", start)
        if stale:
            self._rebuild(numbers, positions, cell, pbc)
        start = time.perf_counter()
        sums = comm.together(self._evaluate, numbers, positions, cell, atomic)
        self._count("evaluation", start)
        start = time.perf_counter()
        sums, n = comm.total(sums), len(numbers)
        self._count("communication", start)
        virial, virials = sums[4 * n : 4 * n + 9].reshape(3, 3), sums[4 * n + 10 :].reshape(-1, 3, 3)
        energies, forces = sums[3 * n : 4 * n].copy(), sums[: 3 * n].reshape(n, 3).copy()
        return float(sums[4 * n + 9]), Evaluation(energies, forces, virial, virials)

    def deviations(
        self, committee: CommitteePotential, species: np.ndarray, positions: np.ndarray, cell: np.ndarray
    ) -> Deviations:
        """Deviations of the committee's members for the structure that was predicted last.

        Args:
            committee: of the model.
            species: (N,) of all atoms.
            positions, cell: as for `predict`.

        """
        domain: Domain = self.list.current
        n, local = len(species), domain.positions(positions, np.array(cell, float))
        structure = Structure(local, np.zeros((3, 3)), species[domain.atoms], domain.neighbours)
        own = self.comm.together(committee.deviations, structure, self.threads)
        energies, forces = np.zeros((n, own.energies.shape[1])), np.zeros((n, *own.forces.shape[1:]))
        energies[domain.centres], unusual = own.energies, np.zeros(n)
        unusual[domain.centres] = own.unusual
        np.add.at(forces, domain.atoms, own.forces)
        return Deviations(*(self.comm.total(x) for x in (energies, forces, own.virial, unusual)))

    def _count(self, part: str, start: float) -> None:
        self.seconds[part] += time.perf_counter() - start

    def _evaluate(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, atomic: bool) -> np.ndarray:
        """Forces, energies, virial and energy of this rank's centres in one row, then shares in the virial."""
        domain: Domain = self.list.current
        local = domain.positions(positions, cell)
        try:
            structure = self.model.structure(numbers[domain.atoms], local, np.zeros((3, 3)), domain.neighbours)
            part = self.model.evaluate(structure, self.threads, self.potential, atomic)
        except ClashError as error:
            raise ClashError(*(int(domain.atoms[i]) for i in error.args)) from None
        n = len(numbers)
        out = np.zeros(4 * n + 10 + 9 * n * atomic)
        for x in range(3):
            out[x : 3 * n : 3] = np.bincount(domain.atoms, part.forces[:, x], n)
        out[3 * n + domain.centres] = part.energies
        out[4 * n : 4 * n + 9] = part.virial.ravel()
        out[4 * n + 9] = part.energies.sum()
        for k in range(9 * atomic):
            out[4 * n + 10 + k :: 9] = np.bincount(domain.atoms, part.virials.reshape(-1, 9)[:, k], n)
        return out

    def _rebuild(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
        """Divide the structure by the work that the last list tells, and make this rank's list."""
        start = time.perf_counter()
        comm, n = self.comm, len(numbers)
        species = comm.together(self.model.species_of, numbers)
        inverse = comm.mpi.bcast(comm.together(lambda: np.linalg.inv(complete_cell(cell, pbc))))
        coordinates = lattice_coordinates(positions, inverse, pbc)
        points = coordinates.scaled * coordinates.heights
        work, divisions = self._work, 1
        if work is None or len(work) != n:
            work = self._work = self.potential.work(species, 0)
            divisions = 2
        for _ in range(divisions):
            centres = share(points, work, comm.rank, comm.size)
            find = partial(make_domain, centres=centres, coordinates=coordinates)
            comm.together(self.list.rebuild, positions, cell, pbc, find)
            counts = np.zeros(n, np.int32)
            counts[centres] = np.diff(self.list.current.neighbours.first)
            work = self._work = self.potential.work(species, comm.total_counts(counts))
            largest = comm.maximum(int(np.sum(work[centres])))[0]
            self.imbalance = float(largest * comm.size / max(np.sum(work), 1.0))
            if self.imbalance < UNEVEN:
                break
        self._count("neighbours", start)


def _checksum(*arrays: np.ndarray) -> int:
    """Checksum of arrays, bit by bit."""
    out = 0
    for array in arrays:
        out = zlib.crc32(np.ascontiguousarray(array).data, out)
    return out
