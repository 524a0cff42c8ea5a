"""A vacancy in silicon: its formation energy, and the barrier of its hop by a climbing nudged elastic band.

Takes half a minute.

    python examples/md/silicon_vacancy.py [--model models/Si.wkp] [--repeat 3] [--images 7]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.mep import NEB
from ase.optimize import BFGS, FIRE

from wk_potential import WKCalculator

MODEL = Path(__file__).parents[2] / "models" / "Si.wkp"


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--repeat", type=int, default=3, help="cubic cells along each side")
    parser.add_argument("--images", type=int, default=7, help="of the band, with both ends")
    parser.add_argument("--fmax", type=float, default=0.02, help="eV/Å")
    args = parser.parse_args(arguments)

    calculator = WKCalculator(args.model)
    cell = bulk("Si", a=5.47, cubic=True)
    cell.calc = calculator
    BFGS(FrechetCellFilter(cell, hydrostatic_strain=True), logfile=None).run(fmax=1e-4)
    crystal = cell.repeat(args.repeat)
    crystal.calc = calculator
    per_atom = crystal.get_potential_energy() / len(crystal)

    hopping = int(np.argsort(crystal.get_distances(0, range(len(crystal)), mic=True))[1])  # a neighbour of atom 0
    start = crystal.copy()
    end = crystal.copy()
    end.positions[hopping] = crystal.positions[0]
    for atoms in (start, end):
        del atoms[0]
        atoms.calc = calculator
        BFGS(atoms, logfile=None).run(fmax=args.fmax, steps=200)
    formation = start.get_potential_energy() - len(start) * per_atom

    images = [start, *(start.copy() for _ in range(args.images - 2)), end]
    for image in images:
        image.calc = calculator
    band = NEB(images, climb=True, allow_shared_calculator=True, method="improvedtangent")
    band.interpolate(mic=True)
    FIRE(band, logfile=None).run(fmax=2 * args.fmax, steps=300)
    energies = np.array([image.get_potential_energy() for image in images]) - start.get_potential_energy()
    print(f"formation energy {formation:.2f} eV, barrier of a hop {energies.max():.2f} eV ({len(start)} atoms)")

    plt.plot(np.linspace(0, 1, len(images)), energies, "o-")
    plt.xlabel("path")
    plt.ylabel("energy (eV)")
    plt.savefig("silicon_vacancy.png", dpi=150)
    plt.close()
    return formation, energies


if __name__ == "__main__":
    main()
