"""Long dynamics with trained models: energy conservation of ethanol, a silicon crystal held at 1000 K.

The models are those that rmd17.py and mlearn.py write.
"""

import time

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import natural_cutoffs, neighbor_list
from common import parser, show

from wk_potential import WKCalculator, read_frames


def ethanol_nve(model, data, picoseconds: float, threads):
    """Drift (meV/atom/ps) by linear fit of the total energy, its fluctuation, and whether all bonds held."""
    atoms = read_frames(data / "rmd17" / "ethanol_train.npz", "0", "kcal/mol")[0].to_atoms()
    atoms.calc = WKCalculator(model, threads=threads)
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(1))
    Stationary(atoms)
    ZeroRotation(atoms)
    bonds = bonded(atoms)
    md = VelocityVerlet(atoms, 0.5 * units.fs)
    times, energies, held = [], [], True
    for step in range(0, round(picoseconds * 2000) + 1, 10):
        if step:
            md.run(10)
        times.append(step * 5e-4)
        energies.append(atoms.get_total_energy())
        held = held and bonded(atoms, 1.4) >= bonds
    per_atom = 1e3 * (np.array(energies) - energies[0]) / len(atoms)
    slope, _ = np.polyfit(times, per_atom, 1)
    return float(slope), float(per_atom.std()), bool(held)


def bonded(atoms, stretch: float = 1.0) -> set:
    """Pairs of atoms closer than the sum of their covalent radii, times 1.15 and the stretch."""
    radii = [1.15 * stretch * r for r in natural_cutoffs(atoms)]
    return set(zip(*(k.tolist() for k in neighbor_list("ij", atoms, radii)), strict=True))


def silicon_nvt(model, picoseconds: float, threads):
    """Mean temperature, largest and rms displacement from the lattice (Angstrom), and whether it stayed a crystal."""
    atoms = bulk("Si", cubic=True).repeat(3)
    sites = atoms.positions.copy()
    atoms.calc = WKCalculator(model, threads=threads)
    rng = np.random.default_rng(1)
    thermalize_momenta(atoms, temperature_K=1000, rng=rng)
    Stationary(atoms)
    md = Bussi(atoms, 2 * units.fs, temperature_K=1000, taut=100 * units.fs, rng=rng)
    temperatures, largest, mean = [], 0.0, 0.0
    for _ in range(round(picoseconds * 500) // 50):
        md.run(50)
        moved = atoms.positions - sites
        moved -= moved.mean(axis=0)
        distance = np.linalg.norm(moved, axis=1)
        temperatures.append(atoms.get_temperature())
        largest, mean = max(largest, distance.max()), float(np.sqrt(np.mean(distance**2)))
    # Lindemann: a crystal as long as atoms stay within a good part of half the bond length of their sites
    return float(np.mean(temperatures)), float(largest), mean, bool(largest < 0.5 * 2.35)


def main():
    p = parser(__doc__)
    p.add_argument("--ethanol-ps", type=float, default=20.0, help="length of the ethanol run; 0 leaves it out")
    p.add_argument("--silicon-ps", type=float, default=10.0, help="length of the silicon run; 0 leaves it out")
    args = p.parse_args()
    if args.ethanol_ps:
        start = time.perf_counter()
        result = ethanol_nve(args.out / "rmd17_ethanol.wkp", args.data, args.ethanol_ps, args.threads)
        columns = ["ps", "drift meV/atom/ps", "fluctuation meV/atom", "all bonds held", "seconds"]
        row = [args.ethanol_ps, *result, round(time.perf_counter() - start)]
        show("ethanol, NVE, 300 K, 0.5 fs", columns, [row], args.out / "stability_ethanol.json")
    if args.silicon_ps:
        start = time.perf_counter()
        result = silicon_nvt(args.out / "mlearn_Si.wkp", args.silicon_ps, args.threads)
        columns = ["ps", "mean T K", "largest displacement Å", "final rms displacement Å", "crystal", "seconds"]
        row = [args.silicon_ps, *result, round(time.perf_counter() - start)]
        show("216 Si atoms, NVT, 1000 K, 2 fs", columns, [row], args.out / "stability_silicon.json")


if __name__ == "__main__":
    main()
