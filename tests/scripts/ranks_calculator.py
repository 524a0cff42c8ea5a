"""Run under mpiexec by test_parallel.py: python ranks_calculator.py MODEL_OF_MOLECULES OUTPUT."""

import os
import pickle
import sys

import numpy as np
from ase import units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from mpi4py import MPI

from scripts.mpi import SILICON, crystal, structures
from wk_potential import Model, WKCalculator

PROPERTIES = ("energy", "energies", "forces", "stress")


def results(atoms, model, **options):
    atoms.calc = WKCalculator(model, threads=1, **options)
    atoms.get_potential_energy()
    return {name: atoms.calc.results[name] for name in PROPERTIES if name in atoms.calc.results}


def run(molecules, comm=None):
    """Results of all structures, a trajectory, and what is refused."""
    silicon, molecules = Model.load(SILICON), Model.load(molecules)
    out, imbalance = {}, {}
    for name, atoms in structures().items():
        out[name] = results(atoms, molecules if name == "aspirin" else silicon, comm=comm)
        if comm is not None:
            imbalance[name] = atoms.calc.parallel.imbalance
    atoms = crystal((2, 2, 3), rattle=0.02)
    rng = np.random.default_rng(1)
    thermalize_momenta(atoms, 2000, rng=rng)
    atoms.calc = WKCalculator(silicon, threads=1, skin=0.1, comm=comm)
    dynamics = Langevin(atoms, 2 * units.fs, temperature_K=2000, friction=0.01 / units.fs, fixcm=False, rng=rng)
    dynamics.run(20)
    out["dynamics"] = {"positions": atoms.positions, "lists": atoms.calc.neighbour_list.n_built}
    return out, imbalance


def refusals(comm):
    """Messages of errors that one rank makes, as this rank gets them."""
    last = comm.Get_rank() == comm.Get_size() - 1
    calculator = WKCalculator(SILICON, threads=1, comm=comm)
    foreign, moved, clash, lost = (crystal((2, 1, 1)) for _ in range(4))
    if last:
        foreign.numbers[3] = 8
        moved.positions[5] += 1e-12
        lost.positions[2, 1] = np.nan
    clash.positions[15] = clash.positions[4] + clash.cell[0]
    out = []
    for atoms in (foreign, moved, lost, clash):
        atoms.calc = calculator
        try:
            atoms.get_forces()
        except ValueError as error:
            out.append((type(error).__name__, str(error)))
    atoms = crystal((2, 1, 1))
    atoms.calc = calculator
    out.append(float(atoms.get_potential_energy()))  # and afterwards all goes on
    return out


if __name__ == "__main__":
    world = MPI.COMM_WORLD
    computed, imbalance = run(sys.argv[1], world)
    del os.environ["OMP_NUM_THREADS"]
    threads = WKCalculator(SILICON, comm=world).threads
    everything = world.gather((computed, imbalance, refusals(world), threads))
    if world.Get_rank() == 0:
        with open(sys.argv[2], "wb") as file:
            pickle.dump(everything, file)
