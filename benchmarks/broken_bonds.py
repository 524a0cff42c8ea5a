"""Which broken bonds the extrapolation grade sees: bonds of test frames stretched to 1.6 times their length.

One atom of a bond is moved away from the other. Counted are bonds of which one of the two atoms has a grade above the
limit, and unchanged test frames in which no atom has.
"""

from dataclasses import replace

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from common import parser, show, trained

from wk_potential import Model, read_frames

STRETCH, BOND = 1.6, 1.25  # times the length; times the sum of the covalent radii
KCAL = ["--energy-unit", "kcal/mol"]
SETS = {  # training set and its options, test set and its slice
    "ethanol": (["rmd17/ethanol_train.npz", "--frames", ":50", *KCAL], ["rmd17/ethanol_test.npz", ":300", "kcal/mol"]),
    "water": (["water/train.xyz", "--frames", ":40"], ["water/test.xyz", ":40", None]),
    "SiO2": (["sio2_pol/train.xyz"], ["sio2_pol/test.xyz", ":", None]),
    "Cu": (["mlearn/Cu_train.xyz"], ["mlearn/Cu_test.xyz", ":", None]),
    "Si": (["mlearn/Si_train.xyz"], ["mlearn/Si_test.xyz", ":", None]),
    "LLZO": (["llzo/train.xyz", "--frames", ":140"], ["llzo/train.xyz", "140:", None]),
}


def stretched(frames, per_frame, rng):
    """Frames in each of which one bond is stretched, with the numbers of its two atoms."""
    found = []
    for frame in frames:
        radii = covalent_radii[frame.numbers]
        i, j, d, vectors = neighbor_list("ijdD", frame.to_atoms(), 3.5)
        bonds = np.flatnonzero(d < BOND * (radii[i] + radii[j]))
        for b in rng.choice(bonds, min(per_frame, len(bonds)), replace=False):
            positions = frame.positions.copy()
            positions[j[b]] += (STRETCH - 1) * vectors[b]
            found.append((replace(frame, positions=positions), (i[b], j[b])))
    return found


def main():
    p = parser(__doc__)
    p.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    p.add_argument("--limit", type=float, default=2.0, help="grade above which an atom is outside the training set")
    args = p.parse_args()
    rows = []
    for name in args.sets:
        train, (test, part, unit) = SETS[name]
        trained(args, f"bonds_{name}", [args.data / train[0], *train[1:]], {})
        model = Model.load(args.out / f"bonds_{name}.wkp")
        frames = read_frames(args.data / test, part, energy_unit=unit)
        broken = stretched(frames, 3 if len(frames) < 100 else 1, np.random.default_rng(0))
        grades = [p.extrapolation_grade for p in model.predict(frames, args.threads)]
        of_broken = [p.extrapolation_grade for p in model.predict([f for f, _ in broken], args.threads)]
        seen = [g[list(pair)].max() > args.limit for g, (_, pair) in zip(of_broken, broken, strict=True)]
        below = np.mean([g.max() <= args.limit for g in grades])
        rows.append([name, len(frames), float(below), len(broken), float(np.mean(seen))])
    columns = ["set", "test frames", "below the limit", "bonds", "seen"]
    show("Bonds stretched to 1.6 times their length", columns, rows, args.out / "broken_bonds.json")


if __name__ == "__main__":
    main()
