"""Train energy and dipole of water, run dynamics, and compare its infrared spectrum with the harmonic one.

    python examples/md/water_infrared.py FOLDER [--system monomer] [--frames 300] [--time 20] [--temperature 300]

FOLDER holds water_monomer_1000.xyz and water_dimer_1000.xyz with dipoles as `dipole_au`, of A. Grisafi et al., Phys.
Rev. Lett. 120, 036002 (2018), as published with the program TENSOAP.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from wk_potential import TrainingOptions, WKCalculator, read_frames, train
from wk_potential.analysis.plots import spectrum_figure
from wk_potential.analysis.spectra import harmonic_spectrum, peaks, predict_targets, spectrum

STEP = 0.1  # fs: with 0.5 velocity Verlet makes vibrations of hydrogen 20 cm^-1 too fast
EVERY = 20  # steps between frames


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="folder of the water data")
    parser.add_argument("--system", choices=["monomer", "dimer"], default="monomer")
    parser.add_argument("--frames", type=int, default=300, help="frames to train on")
    parser.add_argument("--time", type=float, default=20.0, help="ps")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--resolution", type=float, default=10.0, help="cm^-1")
    args = parser.parse_args(arguments)

    data = args.folder / f"water_{args.system}_1000.xyz"
    spread = f"::{1000 // args.frames}"  # the first frames are alike
    frames = read_frames(data, spread, dipole_key="dipole_au", dipole_unit="e*bohr")
    model = train(frames, TrainingOptions(), log=print)
    model.save(f"water_{args.system}.wkp")

    atoms = min(frames, key=lambda frame: frame.energy).to_atoms()
    atoms.calc = WKCalculator(model)
    BFGS(atoms, logfile=None).run(fmax=1e-5, steps=500)
    harmonic = harmonic_spectrum(atoms)

    # every vibration starts with the energy k_B T, so that bands have their harmonic intensities
    vibrations = harmonic.modes[harmonic.wavenumbers > 50]
    atoms.set_velocities(np.sqrt(2 * units.kB * args.temperature) * vibrations.sum(axis=0))
    trajectory = []
    dynamics = VelocityVerlet(atoms, STEP * units.fs)
    dynamics.attach(lambda: trajectory.append(atoms.copy()), interval=EVERY)
    dynamics.run(round(1000 * args.time / STEP))

    found = spectrum(predict_targets(model, trajectory), EVERY * STEP, args.temperature, args.resolution)
    bands, areas = peaks(found.wavenumbers, found.infrared)
    print(f"\n{len(trajectory)} frames\nharmonic: cm^-1, km/mol")
    for k, intensity in zip(harmonic.wavenumbers, harmonic.infrared, strict=True):
        if k > 50:
            print(f"{k:10.1f} {intensity:8.2f}")
    print("dynamics: cm^-1, km/mol")
    for k, intensity in zip(bands, areas, strict=True):
        print(f"{k:10.1f} {intensity:8.2f}")
    spectrum_figure(found, f"water_{args.system}.png", harmonic)
    return harmonic, bands, areas


if __name__ == "__main__":
    main()
