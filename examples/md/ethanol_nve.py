"""Train on a few frames of ethanol from Python and run energy-conserving dynamics.

python examples/md/ethanol_nve.py [--frames 50] [--steps 2000]
"""

import argparse
from pathlib import Path

from ase import units
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet

import wk_potential
from wk_potential import TrainingOptions, WKCalculator, read_frames, train

DATA = Path(wk_potential.__file__).parent / "demo_data" / "ethanol.xyz"


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=50, help="frames to train on")
    parser.add_argument("--steps", type=int, default=2000, help="of 0.5 fs")
    args = parser.parse_args(arguments)

    frames = read_frames(DATA, f":{args.frames}")
    model = train(frames, TrainingOptions(), log=print)
    model.save("ethanol.wkp")

    atoms = frames[0].to_atoms()
    atoms.calc = WKCalculator(model)  # or WKCalculator("ethanol.wkp")
    thermalize_momenta(atoms, temperature_K=300)
    Stationary(atoms)
    ZeroRotation(atoms)
    start = atoms.get_total_energy()
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs, trajectory="ethanol.traj")
    dynamics.run(args.steps)
    change = 1e3 * (atoms.get_total_energy() - start) / len(atoms)
    print(f"total energy changed by {change:.3f} meV/atom in {args.steps * 5e-4:g} ps")
    return change


if __name__ == "__main__":
    main()
