"""The baseline potential of a model in LAMMPS: computed on the first rank, for the atoms of all ranks."""

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from ..baselines.potential import BaselinePotential, virial_of_molecule
from ..compute.ranks import MPICommunicator
from ..errors import LammpsError


class Whole(NamedTuple):
    """What the baseline gives: of all atoms, but for the forces.

    Attributes:
        energy: eV.
        forces: (n, 3) eV/Angstrom, on the atoms of this rank.
        virial: (3, 3) eV, derivative of the energy by strain.

    """

    energy: float
    forces: np.ndarray
    virial: np.ndarray


class GatheredBaseline:
    """Evaluates a baseline for the atoms of a `lammps` object.

    Args:
        lmp: the object.
        baseline: the potential.
        comm: ranks of LAMMPS.
        threads: of the first rank.

    """

    def __init__(self, lmp: Any, baseline: BaselinePotential, comm: MPICommunicator, threads: int) -> None:
        self._lmp, self._baseline, self._comm, self._threads = lmp, baseline, comm, threads

    def __call__(self, numbers: np.ndarray, tags: np.ndarray, positions: np.ndarray) -> Whole:
        """Energy, forces and virial; all ranks call it together.

        Args:
            numbers: (n,) atomic numbers of the atoms of this rank.
            tags: (n,) their ids.
            positions: (n, 3) Angstrom.

        Raises:
            BaselineError: the baseline fails.
            LammpsError: it has no stress for a periodic box.

        """
        parts = self._comm.mpi.gather((numbers, tags, positions), 0)
        energy, ids, forces, virial = self._comm.first(self._of_all, parts)
        return Whole(energy, forces[np.searchsorted(ids, tags)], virial)

    def _of_all(self, parts: list[tuple[np.ndarray, ...]]) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """Energy, ids (N,) in order, forces (N, 3) in their order, and virial (3, 3)."""
        numbers, tags, positions = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.argsort(tags)  # not that of LAMMPS, which depends on the number of ranks
        low, high, xy, yz, xz, periodic, _ = self._lmp.extract_box()
        lx, ly, lz = np.subtract(high, low)
        cell, pbc = np.array([[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]]), np.array(periodic, bool)
        atoms = Atoms(numbers[order], positions[order], cell=cell if pbc.any() else None, pbc=pbc)
        found = self._baseline.evaluate(atoms, self._threads)
        if found.stress is not None:
            virial = atoms.cell.volume * voigt_6_to_full_3x3_stress(found.stress)
        elif not pbc.any():
            virial = virial_of_molecule(atoms.positions, found.forces)
        else:
            raise LammpsError(f"the baseline {self._baseline} gives no stress, which LAMMPS needs for a periodic box")
        return found.energy, tags[order], found.forces, virial
