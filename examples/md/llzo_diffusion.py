"""Diffusion of lithium in the solid electrolyte Li7La3Zr2O12: mean square displacement and activation energy.

Starts from the tetragonal crystal (J. Awaka et al., J. Solid State Chem. 182, 2046 (2009)), whose lithium is ordered
and hardly moves. Runs at zero pressure with a cell that is free to change: the hot crystal becomes cubic, and its
lithium flows. The slope of the mean square displacement is six times the diffusion coefficient.

Twelve minutes on two cores; --temperatures 1000 1200 --time 5 takes one. A second call continues trajectories that
were interrupted. Where the extrapolation grade is above 2, the model is not to be trusted.

    python examples/md/llzo_diffusion.py [--model models/LLZO.wkp] [--temperatures 1000 1200 1500] [--time 40]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.io import read
from ase.spacegroup import crystal

from wk_potential import MDSettings, WKCalculator, run_md

MODEL = Path(__file__).parents[2] / "models" / "LLZO.wkp"
EVERY = 20  # steps of 2 fs between frames
SITES = [
    ("Li", (0.0, 0.25, 0.375)), ("Li", (0.1813, 0.4313, 0.125)), ("Li", (0.0796, 0.0857, 0.8079)),
    ("La", (0.0, 0.25, 0.125)), ("La", (0.1270, 0.0, 0.25)), ("Zr", (0.0, 0.0, 0.0)),
    ("O", (-0.0335, 0.0546, 0.1528)), ("O", (0.0536, 0.8527, 0.5343)), ("O", (0.1494, 0.0283, 0.4461)),
]  # fmt: skip


def tetragonal():
    """Return the cell of 192 atoms, I4_1/acd."""
    symbols, positions = zip(*SITES, strict=True)
    cell = [13.134, 13.134, 12.663, 90, 90, 90]
    return crystal(symbols, positions, spacegroup=142, setting=2, cellpar=cell)


def mean_square_displacement(positions: np.ndarray, most: int) -> np.ndarray:
    """Mean over atoms and starting times, for each number of frames below `most`.

    Args:
        positions: (n_frames, n_atoms, 3), not wrapped into the cell.
        most: number of frames.

    """
    change = (positions[n:] - positions[: len(positions) - n] for n in range(most))
    return np.array([np.mean(np.sum(d**2, axis=2)) for d in change])


def diffusion(frames, step):
    """Time (ps), mean square displacement (Å^2) of lithium, and its diffusion coefficient (cm^2/s).

    Args:
        frames: of dynamics, without its beginning.
        step: time between them, ps.

    """
    lithium = frames[0].symbols == "Li"
    framework = np.array([atoms.positions[~lithium].mean(axis=0) for atoms in frames])
    moved = np.array([atoms.positions[lithium] for atoms in frames]) - framework[:, None]
    squares = mean_square_displacement(moved, len(frames) // 2)
    time = step * np.arange(len(squares))
    late = time > 0.2 * time[-1]  # after the vibrations
    slope = np.polyfit(time[late], squares[late], 1)[0]
    return time, squares, 1e-4 * slope / 6  # 1 Å^2/ps is 1e-4 cm^2/s


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--temperatures", type=float, nargs="*", default=[1000, 1200, 1500], help="K")
    parser.add_argument("--time", type=float, default=40.0, help="ps at each temperature; a fifth is not counted")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)

    atoms, coefficients = tetragonal(), []
    atoms.calc = WKCalculator(args.model)
    trusting = WKCalculator(args.model, uncertainty=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for kelvin in args.temperatures:
        trajectory = Path(f"llzo_{kelvin:g}K.traj")
        settings = MDSettings(
            "npt-flexible", temperature=kelvin, timestep=2.0, time=args.time, interval=EVERY, log_interval=EVERY,
            seed=args.seed,
        )  # fmt: skip
        frames = read(trajectory, ":") if trajectory.exists() else []
        if EVERY * (len(frames) - 1) < settings.steps // EVERY * EVERY:
            run_md(atoms, settings, trajectory, restart=True)
            frames = read(trajectory, ":")
        frames = frames[len(frames) // 5 :]
        time, squares, found = diffusion(frames, EVERY * settings.timestep / 1000)
        coefficients.append(found)
        grade = trusting.get_property("extrapolation_grade", frames[-1]).max()
        lengths = np.mean([f.cell.lengths() for f in frames], axis=0)
        print(f"{kelvin:g} K: cell {lengths.round(2)} Å, D = {found:.2g} cm^2/s, extrapolation grade {grade:.2f}")
        left.plot(time, squares, label=f"{kelvin:g} K")
    left.set(xlabel="time (ps)", ylabel="mean square displacement of Li (Å$^2$)")
    left.legend()
    kelvins, coefficients = np.array(args.temperatures), np.array(coefficients)
    right.semilogy(1000 / kelvins, coefficients, "o")
    barrier = None
    if len(kelvins) > 1 and (coefficients > 0).all():
        slope, offset = np.polyfit(1 / kelvins, np.log(coefficients), 1)
        right.semilogy(1000 / kelvins, np.exp(offset + slope / kelvins), ":")
        barrier = -units.kB * slope
        print(f"activation energy {barrier:.2f} eV")
    right.set(xlabel="1000 K / temperature", ylabel="diffusion coefficient (cm$^2$/s)")
    figure.savefig("llzo_diffusion.png", dpi=150)
    plt.close(figure)
    return dict(zip(args.temperatures, coefficients.tolist(), strict=True)), barrier


if __name__ == "__main__":
    main()
