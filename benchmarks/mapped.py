"""Mapped against direct: deviation of forces on test frames, errors of both, time of both through ASE, in turns."""

import time
from pathlib import Path

import numpy as np
from common import parser, show

from wk_potential import WKCalculator, load, read_frames
from wk_potential.atoms.neighbours import find_neighbours


def deviations(model, frames, precision: str) -> list[float]:
    """MAE of energy (per atom, meV) and forces (meV/A), direct and mapped; largest and rms deviation of forces."""
    parts: dict[str, list] = {"e0": [], "e1": [], "f0": [], "f1": [], "d": []}
    for frame in frames:
        neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, model.cutoff)
        structure = model.structure(frame.numbers, frame.positions, frame.cell, neighbours)
        direct = model.evaluate(structure, potential=model.potential(direct=True))
        mapped = model.evaluate(structure, potential=model.potential(precision))
        parts["e0"].append(abs(direct.energies.sum() - frame.energy) / len(frame))
        parts["e1"].append(abs(mapped.energies.sum() - frame.energy) / len(frame))
        parts["f0"].append(abs(direct.forces - frame.forces).ravel())
        parts["f1"].append(abs(mapped.forces - frame.forces).ravel())
        parts["d"].append(abs(mapped.forces - direct.forces).ravel())
    joined = {name: 1e3 * np.concatenate([np.atleast_1d(x) for x in values]) for name, values in parts.items()}
    means = [float(joined[name].mean()) for name in ("e0", "e1", "f0", "f1")]
    return [*means, float(joined["d"].max()), float(np.sqrt(np.mean(joined["d"] ** 2)))]


def timings(model, frame, rounds: int) -> list[float]:
    """Microseconds of CPU time per atom and step, direct, mapped in float64 and in float32: medians, in turns."""
    rng = np.random.default_rng(0)
    cases = [{"direct": True}, {}, {"precision": "float32"}]
    systems = []
    for case in cases:
        atoms = frame.to_atoms()
        atoms.calc = WKCalculator(model, 1, **case)
        atoms.get_forces()
        systems.append(atoms)
    spent: list[list[float]] = [[] for _ in cases]
    for _ in range(rounds):
        for atoms, times in zip(systems, spent, strict=True):
            atoms.positions = frame.positions + rng.uniform(-0.01, 0.01, frame.positions.shape)
            start = time.process_time()
            atoms.get_forces()
            if atoms.pbc.all():
                atoms.get_stress()
            times.append(1e6 * (time.process_time() - start) / len(atoms))
    return [float(np.median(t)) for t in spent]


def main():
    p = parser(__doc__)
    p.add_argument("model", type=Path)
    p.add_argument("train", type=Path, help="frames the model was trained on")
    p.add_argument("test", type=Path, help="frames to compare on")
    p.add_argument("--energy-unit", default=None)
    p.add_argument("--train-frames", default=":")
    p.add_argument("--test-frames", default=":")
    p.add_argument("--tolerances", nargs="+", type=float, default=[1e-4, 1e-3])
    p.add_argument("--rounds", type=int, default=15)
    args = p.parse_args()
    model = load(args.model)
    train = read_frames(args.train, args.train_frames, args.energy_unit)
    test = read_frames(args.test, args.test_frames, args.energy_unit)
    rows = []
    for tolerance in args.tolerances:
        start = time.perf_counter()
        mapped = model.map(train, tolerance, args.threads)
        seconds = time.perf_counter() - start
        direct, double, single = timings(mapped, test[0], args.rounds)
        for name, micro in (("float64", double), ("float32", single)):
            found = deviations(mapped, test, name)
            rows.append([tolerance, name, *found, direct, micro, direct / micro, round(seconds, 1)])
    columns = [
        "tolerance", "precision", "E direct", "E mapped", "F direct", "F mapped", "dF max", "dF rms", "direct us",
        "mapped us", "ratio", "mapping s",
    ]  # fmt: skip
    show(f"{args.model.stem}: meV/atom, meV/A, us per atom", columns, rows, args.out / f"mapped_{args.model.stem}.json")


if __name__ == "__main__":
    main()
