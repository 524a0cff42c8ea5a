"""Phonons of silicon by finite displacements: bands along a path, and density of states.

Takes ten seconds.

    python examples/md/silicon_phonons.py [--model models/Si.wkp] [--repeat 5]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.phonons import Phonons

from wk_potential import WKCalculator

MODEL = Path(__file__).parents[2] / "models" / "Si.wkp"
TERAHERTZ = 1 / (2 * np.pi * units._hbar / units._e * 1e12)  # of an eV


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--repeat", type=int, default=5, help="primitive cells along each side of the supercell")
    args = parser.parse_args(arguments)

    calculator = WKCalculator(args.model)
    crystal = bulk("Si", a=5.47)
    crystal.calc = calculator
    BFGS(FrechetCellFilter(crystal, hydrostatic_strain=True), logfile=None).run(fmax=1e-4)
    phonons = Phonons(crystal, calculator, (args.repeat,) * 3, delta=0.02, name="silicon_phonons")
    phonons.run()
    phonons.read(acoustic=True)
    phonons.clean()

    path = crystal.cell.bandpath("GXWKGL", npoints=120)
    bands = TERAHERTZ * phonons.get_band_structure(path).energies[0]
    x, ticks, labels = path.get_linear_kpoint_axis()
    at = {label: bands[int(np.argmin(np.abs(x - tick)))] for label, tick in zip(labels, ticks, strict=True)}
    for label, place in (("G", "zone centre"), ("X", "X"), ("L", "L")):
        print(f"{place}: " + ", ".join(f"{f:.1f}" for f in at[label]) + " THz")

    figure, (left, right) = plt.subplots(1, 2, sharey=True, width_ratios=(3, 1), layout="constrained")
    left.plot(x, bands, color="C0", linewidth=1)
    left.set_xticks(ticks, labels)
    left.set_ylabel("frequency (THz)")
    density = phonons.get_dos(kpts=(15, 15, 15)).sample_grid(npts=300, width=1.5e-4, xmin=0)
    right.plot(density.get_weights(), TERAHERTZ * density.get_energies())
    right.set_xlabel("density of states")
    right.set_ylim(bottom=min(0, bands.min()))
    figure.savefig("silicon_phonons.png", dpi=150)
    plt.close(figure)
    return at


if __name__ == "__main__":
    main()
