"""Run under mpiexec by test_uncertainty.py: python ranks_uncertainty.py MODEL OUTPUT."""

import sys

import numpy as np
from ase.build import bulk
from mpi4py import MPI

from wk_potential import WKCalculator

if __name__ == "__main__":
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=5)
    atoms *= (2, 2, 2)
    atoms.calc = WKCalculator(sys.argv[1], threads=1, uncertainty=True, comm=MPI.COMM_WORLD)
    atoms.get_potential_energy()
    if MPI.COMM_WORLD.Get_rank() == 0:
        np.savez(sys.argv[2], **atoms.calc.results)
