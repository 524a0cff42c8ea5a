"""Run under mpiexec by test_lammps.py: python ranks_lammps_baseline.py OUTPUT."""

import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.calculators.lj import LennardJones
from mpi4py import MPI

from scripts.mpi import SILICON
from scripts.ranks_lammps import KEYWORDS, structures, with_box
from wk_potential import Model
from wk_potential.errors import LammpsError
from wk_potential.lammps import attach
from wk_potential.model.model import baseline_of

NAMES = ["crystal", "skewed cell smaller than the cutoff", "cluster", "ranks without atoms"]


def models():
    """Models of silicon that add to another potential."""
    found = {"LennardJones": baseline_of(LennardJones(sigma=2.0, epsilon=0.3, rc=4.0, smooth=True))}
    try:
        found["d3(pbe)"] = baseline_of("d3(pbe)")
        found["d3(pbe)"].terms[0].method.calculator()
    except Exception:  # not installed
        found.pop("d3(pbe)", None)
    return {name: replace(Model.load(SILICON), baseline_potential=below) for name, below in found.items()}


def one_step(atoms, boundary, model):
    lmp, elements = with_box(atoms, boundary)
    coupling = attach(lmp, model, elements, threads=1)
    lmp.commands_string("neighbor 1.0 bin\nthermo_style custom step " + " ".join(KEYWORDS) + "\nrun 0")
    found = {key: lmp.get_thermo(key) for key in KEYWORDS}
    n = len(atoms)
    for name, key in (("x", "positions"), ("f", "forces")):
        found[key] = np.array(lmp.gather_atoms(name, 1, 3)).reshape(n, 3)
    found["energy"] = coupling.energy
    lmp.close()
    return found


def refusal(model):
    """What is said of a heat flux."""
    lmp, elements = with_box(structures()["crystal"][0])
    try:
        attach(lmp, model, elements, threads=1, heat_flux=True)
    except LammpsError as error:
        return str(error)


def main():
    out = {"refusal": refusal(models()["LennardJones"])}
    for name, model in models().items():
        for kind in NAMES:
            atoms, boundary, _ = structures()[kind]
            out[name, kind] = one_step(atoms, boundary, model)
    comm = MPI.COMM_WORLD.gather(out)
    if comm is not None:
        Path(sys.argv[1]).write_bytes(pickle.dumps(comm))


if __name__ == "__main__":
    main()
