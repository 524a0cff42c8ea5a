"""Train on a few frames of ethanol, run dynamics at constant energy, and draw the spectrum of the velocities.

Takes about five minutes on one core, most of it training.

    python examples/md/ethanol_nve.py [--frames 50] [--steps 20000] [--resolution 20]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet

import wk_potential
from wk_potential import TrainingOptions, WKCalculator, read_frames, train
from wk_potential.analysis.spectra import correlation_spectrum

DATA = Path(wk_potential.__file__).parent / "demo" / "ethanol.xyz"


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=50, help="frames to train on")
    parser.add_argument("--steps", type=int, default=20000, help="of 0.5 fs")
    parser.add_argument("--resolution", type=float, default=20, help="of the spectrum, cm^-1")
    args = parser.parse_args(arguments)

    frames = read_frames(DATA, f":{args.frames}")
    model = train(frames, TrainingOptions(), log=print)
    model.save("ethanol.wkp")

    atoms = frames[0].to_atoms()
    atoms.calc = WKCalculator(model)  # or WKCalculator("ethanol.wkp")
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    Stationary(atoms)
    ZeroRotation(atoms)
    start = atoms.get_total_energy()
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs, trajectory="ethanol.traj")
    weighted = []  # the spectrum is that of mass-weighted velocities: every vibration counts by its energy
    dynamics.attach(lambda: weighted.append(np.sqrt(atoms.get_masses())[:, None] * atoms.get_positions()), interval=2)
    dynamics.run(args.steps)
    change = 1e3 * (atoms.get_total_energy() - start) / len(atoms)
    print(f"total energy changed by {change:.3f} meV/atom in {args.steps * 5e-4:g} ps")

    wavenumbers, intensity = correlation_spectrum(weighted, 1.0, args.resolution)
    shown = wavenumbers < 4200
    plt.plot(wavenumbers[shown], intensity[shown])
    plt.xlabel("wavenumber (cm$^{-1}$)")
    plt.ylabel("vibrational density of states")
    plt.yticks([])
    plt.savefig("ethanol_spectrum.png", dpi=150)
    plt.close()
    return change, wavenumbers[shown], intensity[shown]


if __name__ == "__main__":
    main()
