"""Silicon at zero pressure and several temperatures: volume, energy and radial distribution.

A perfect crystal melts only far above its melting point (near 1500 K with PBE). So the highest temperature is 2500 K.
Takes some minutes.

    python examples/md/silicon_melting.py [--model models/Si.wkp] [--repeat 3] [--steps 10000]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.build import bulk
from ase.geometry.rdf import get_rdf
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import Stationary, thermalize_momenta

from wk_potential import WKCalculator

MODEL = Path(__file__).parents[2] / "models" / "Si.wkp"


def heated(crystal, kelvin, steps, rng):
    """Run at constant temperature and no pressure; returns the atoms and a table of (ps, Å^3/atom, eV/atom)."""
    atoms = crystal.copy()
    atoms.calc = crystal.calc
    thermalize_momenta(atoms, temperature_K=kelvin, rng=rng)
    Stationary(atoms)
    dynamics = IsotropicMTKNPT(
        atoms, 2 * units.fs, temperature_K=kelvin, pressure_au=0.0, tdamp=100 * units.fs, pdamp=1000 * units.fs
    )
    course = []

    def note():
        row = dynamics.get_time() / (1000 * units.fs), atoms.get_volume(), atoms.get_potential_energy()
        course.append((row[0], row[1] / len(atoms), row[2] / len(atoms)))

    dynamics.attach(note, interval=max(1, steps // 200))
    dynamics.run(steps)
    return atoms, np.array(course)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--repeat", type=int, default=3, help="cubic cells along each side")
    parser.add_argument("--steps", type=int, default=10000, help="of 2 fs, at each temperature")
    parser.add_argument("--temperatures", type=float, nargs="*", default=[300, 1500, 2500], help="K")
    args = parser.parse_args(arguments)

    rng = np.random.default_rng(0)
    crystal = bulk("Si", a=5.47, cubic=True).repeat(args.repeat)
    crystal.calc = WKCalculator(args.model)
    figure, (top, bottom) = plt.subplots(2, 1, layout="constrained")
    peaks = {}
    for kelvin in args.temperatures:
        atoms, course = heated(crystal, kelvin, args.steps, rng)
        reach = 0.49 * min(atoms.cell.lengths())
        g, r = get_rdf(atoms, reach, int(reach / 0.05))
        second = (r > 3.2) & (r < 4.4)  # the second shell of the crystal, at 3.9 Å
        peaks[kelvin] = float(g[second].max())
        volume = course[len(course) // 2 :, 1].mean()
        print(f"{kelvin:5g} K: {volume:.2f} Å^3/atom, second peak of the radial distribution {peaks[kelvin]:.2f}")
        top.plot(course[:, 0], course[:, 1], label=f"{kelvin:g} K")
        bottom.plot(r, g, label=f"{kelvin:g} K")
    top.set(xlabel="time (ps)", ylabel="volume (Å$^3$/atom)")
    bottom.set(xlabel="distance (Å)", ylabel="radial distribution")
    top.legend()
    figure.savefig("silicon_melting.png", dpi=150)
    plt.close(figure)
    return peaks


if __name__ == "__main__":
    main()
