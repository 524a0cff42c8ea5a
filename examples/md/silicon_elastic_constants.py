"""Elastic constants of silicon: stress against strain, with and without relaxation of the atoms in the cell.

Takes ten seconds.

    python examples/md/silicon_elastic_constants.py [--model models/Si.wkp]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from wk_potential import WKCalculator

MODEL = Path(__file__).parents[2] / "models" / "Si.wkp"
STRAINS = np.linspace(-0.01, 0.01, 5)


def stresses(crystal, direction, relax):
    """Stress (n, 6) in GPa for each of STRAINS of one Voigt component."""
    out = []
    for strain in STRAINS:
        voigt = np.zeros(6)
        voigt[direction] = strain
        xx, yy, zz, yz, xz, xy = voigt
        matrix = np.eye(3) + np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell.array @ matrix, scale_atoms=True)
        atoms.calc = crystal.calc
        if relax:
            BFGS(atoms, logfile=None).run(fmax=1e-4, steps=100)
        out.append(atoms.get_stress() / units.GPa)
    return np.array(out)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    args = parser.parse_args(arguments)

    crystal = bulk("Si", a=5.47, cubic=True)
    crystal.calc = WKCalculator(args.model)
    BFGS(FrechetCellFilter(crystal, hydrostatic_strain=True), logfile=None).run(fmax=1e-4)
    axial, shear, clamped = (stresses(crystal, *case) for case in ((0, True), (3, True), (3, False)))
    slope = {
        "C11": np.polyfit(STRAINS, axial[:, 0], 1)[0],
        "C12": np.polyfit(STRAINS, axial[:, 1:3].mean(axis=1), 1)[0],
        "C44": np.polyfit(STRAINS, shear[:, 3], 1)[0],
        "C44, atoms clamped": np.polyfit(STRAINS, clamped[:, 3], 1)[0],
    }
    print(f"lattice constant {crystal.cell.lengths()[0]:.3f} Å")
    for name, value in slope.items():
        print(f"{name:20s} {value:6.1f} GPa")
    print(f"{'bulk modulus':20s} {(slope['C11'] + 2 * slope['C12']) / 3:6.1f} GPa")

    for label, values in (("C11", axial[:, 0]), ("C12", axial[:, 1]), ("C44", shear[:, 3]), ("clamped", clamped[:, 3])):
        plt.plot(100 * STRAINS, values, "o-", label=label)
    plt.xlabel("strain (%)")
    plt.ylabel("stress (GPa)")
    plt.legend()
    plt.savefig("silicon_elastic_constants.png", dpi=150)
    plt.close()
    return slope


if __name__ == "__main__":
    main()
