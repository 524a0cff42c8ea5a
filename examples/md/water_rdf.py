"""Liquid water at constant temperature: radial distributions, and whether all molecules stay whole.

The nuclei are classical. The reference of the model is PBE0 with a correction for van der Waals forces. Takes about ten
minutes on one core.

    python examples/md/water_rdf.py [--model models/water.wkp] [--side 4] [--steps 20000]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.build import molecule
from ase.geometry.rdf import get_rdf
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.neighborlist import neighbor_list

from wk_potential import WKCalculator

MODEL = Path(__file__).parents[2] / "models" / "water.wkp"
SPACING = 3.104  # Å between molecules: 1 g/cm^3
PAIRS = {"O-O": (8, 8), "O-H": (8, 1), "H-H": (1, 1)}


def whole(atoms):
    """Number of molecules: oxygen atoms with two hydrogen atoms within 1.3 Å."""
    oxygen = atoms.numbers == 8
    i, j = neighbor_list("ij", atoms, 1.3)
    hydrogens = np.bincount(i[oxygen[i] & ~oxygen[j]], minlength=len(atoms))
    return int(np.sum(hydrogens[oxygen] == 2))


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--side", type=int, default=4, help="molecules along each side of the cell")
    parser.add_argument("--steps", type=int, default=20000, help="of 0.5 fs; the first third is not looked at")
    parser.add_argument("--temperature", type=float, default=330, help="K")
    args = parser.parse_args(arguments)

    rng = np.random.default_rng(0)
    atoms = molecule("H2O", cell=3 * [SPACING], pbc=True).repeat(args.side)  # an ice of its own, which melts at once
    atoms.rattle(0.02, rng=rng)
    atoms.calc = WKCalculator(args.model)
    thermalize_momenta(atoms, temperature_K=args.temperature, rng=rng)
    dynamics = Langevin(
        atoms, 0.5 * units.fs, temperature_K=args.temperature, friction=0.01 / units.fs, fixcm=False, rng=rng
    )
    dynamics.run(args.steps // 3)
    reach = min(6.0, 0.49 * min(atoms.cell.lengths()))
    sums, samples = dict.fromkeys(PAIRS, 0.0), 0
    for _ in range(100):
        dynamics.run(max(1, args.steps * 2 // 300))
        for name, pair in PAIRS.items():
            g, r = get_rdf(atoms, reach, int(reach / 0.05), elements=pair)
            sums[name] = sums[name] + g
        samples += 1
    molecules = whole(atoms)
    print(f"{molecules} of {args.side**3} molecules are whole, {atoms.get_temperature():.0f} K")

    figure, axes = plt.subplots(layout="constrained")
    found = {name: total / samples for name, total in sums.items()}
    for name, g in found.items():
        axes.plot(r, g, label=name)
    axes.set(xlabel="distance (Å)", ylabel="radial distribution", ylim=(0, 4))
    axes.legend()
    figure.savefig("water_rdf.png", dpi=150)
    plt.close(figure)
    distances = r[r > 2]
    peak = float(distances[np.argmax(found["O-O"][r > 2])])
    print(f"first peak of O-O at {peak:.2f} Å, {found['O-O'][r > 2].max():.2f} high")
    return molecules, peak


if __name__ == "__main__":
    main()
