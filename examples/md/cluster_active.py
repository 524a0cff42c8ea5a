"""Active learning of a rare event: a gold atom flies to a copper cluster and hits it.

Most of the time nothing happens. In every round, molecular dynamics is run with the present model from several
starts, and the most uncertain frame of all is labelled. For comparison, frames are taken at random times of runs that
the reference drives, and a model is trained on them in the same way, from the same first frames. The figure shows
errors of forces on frames of other runs against the number of calls of the reference. ASE's EMT potential is the
reference, so that this takes minutes and not days.

    python examples/md/cluster_active.py [--runs 6] [--calls 30] [--seeds 0]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read

from wk_potential import Frame, TrainingOptions
from wk_potential.active.explore import explore
from wk_potential.active.learner import ActiveLearner
from wk_potential.active.model import GrowingModel
from wk_potential.simulation.dynamics import run_md
from wk_potential.simulation.integrators import MDSettings, set_velocities

KELVIN, ENERGY = 300.0, 2.0  # of the cluster; eV of the gold atom
FORCES_LIMIT = 0.25  # eV/Angstrom, above which there is something to learn
OPTIONS = TrainingOptions(lmax=2, order=3, estimator="full")
NAMES = ("active learning", "random times")
SAMPLES = np.array([5, 8, 10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80])  # numbers of calls at which errors are taken


def collision(seed, distance):
    """Four copper atoms at rest but for their heat, a gold atom on its way to them from anywhere."""
    rng = np.random.default_rng(seed)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    cluster = Atoms("Cu4", 0.85 * corners)
    set_velocities(cluster, KELVIN, rng)
    way = rng.normal(size=3)
    way /= np.linalg.norm(way)
    gold = Atoms("Au", [distance * way + 0.5 * rng.normal(size=3)])
    gold.set_velocities([-np.sqrt(2 * ENERGY / gold.get_masses()[0]) * way])
    return cluster + gold


def settings(seed, time):
    return MDSettings(
        "nvt-langevin", temperature=KELVIN, timestep=2, time=time, friction=0.3, seed=seed, keep_velocities=True
    )


def reference_frames(seed, args):
    """All frames of a run that the reference drives."""
    atoms = collision(seed, args.distance)
    atoms.calc = EMT()
    run_md(atoms, settings(seed, args.time), args.folder / f"reference{seed}.traj")
    return [Frame.from_atoms(frame) for frame in read(args.folder / f"reference{seed}.traj", ":")]


def learn(seeds, args):
    """Frames in the order in which the reference was asked for them."""
    runs = [(collision(seed, args.distance), settings(seed, args.time)) for seed in seeds]
    path = args.folder / f"active{seeds[0]}.wkp"
    learner = ActiveLearner(
        runs[0][0], EMT(), path, options=OPTIONS, forces_limit=FORCES_LIMIT, most_calls=args.calls, threads=args.threads
    )
    explore(learner, runs, args.folder / f"runs{seeds[0]}")
    return learner.labelled.frames


def errors(frames, test, threads):
    """Rms error of test forces after some numbers of frames, the model growing as in the run."""
    counts = [n for n in SAMPLES if n < len(frames)] + [len(frames)]
    curve, growing = [], None
    for n in counts:
        if growing is None:
            growing = GrowingModel(frames[:n], OPTIONS, threads)
        for frame in frames[len(growing.data) : n]:
            growing.add([frame])
        found = growing.model.predict(test, threads)
        deviations = np.concatenate([p.forces - f.forces for p, f in zip(found, test, strict=True)])
        curve.append(np.sqrt(np.mean(deviations**2)))
    return np.array(counts), 1e3 * np.array(curve)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=6, help="collisions to learn from")
    parser.add_argument("--tests", type=int, default=6, help="collisions to test with")
    parser.add_argument("--calls", type=int, default=30, help="of the reference, at most")
    parser.add_argument("--distance", type=float, default=20.0, help="Å, of the gold atom at first")
    parser.add_argument("--time", type=float, default=1.7, help="ps, of each")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="of the whole, one after the other")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, default=Path("cluster_active"))
    args = parser.parse_args(arguments)

    args.folder.mkdir(exist_ok=True)
    test = [f for k in range(args.tests) for f in reference_frames(90_000 + k, args)[::2]]
    figure, axes = plt.subplots()
    results = []
    for seed in args.seeds:
        first = 100 * (2 * seed)
        active = learn(range(first, first + args.runs), args)
        pool = [frame for k in range(args.runs) for frame in reference_frames(first + 100 + k, args)]
        drawn = np.random.default_rng(seed).permutation(len(pool))[: 2 * len(active)]
        start = [f for f in active if f.config_type == "start"]
        chance = [*start, *(pool[k] for k in drawn)]
        curves = [errors(frames, test, args.threads) for frames in (active, chance)]
        for (counts, curve), name, style in zip(curves, NAMES, ("C0o-", "C1s--"), strict=True):
            axes.loglog(counts, curve, style, alpha=0.7, label=name if seed == args.seeds[0] else None)
            print(f"seed {seed}, {name}: " + ", ".join(f"{n} {e:.0f}" for n, e in zip(counts, curve, strict=True)))
        results.append(curves)
    axes.set(xlabel="reference calls", ylabel="rms error of test forces (meV/Å)")
    axes.legend()
    figure.savefig("cluster_active.png", dpi=150)
    plt.close(figure)
    return results


if __name__ == "__main__":
    main()
