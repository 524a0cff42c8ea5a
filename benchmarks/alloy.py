"""Alloys of six metals: what it brings that neighbours of different elements are alike (`element_mixing`).

100 random solid solutions of 32 atoms, strained and rattled, labelled by the effective-medium theory of ASE: 60 for
training, 40 for testing, mean absolute errors. What is in the output folder already is not trained again.
"""

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from common import parser, show, trained

LATTICE = {"Ag": 4.09, "Au": 4.08, "Cu": 3.61, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92, "Al": 4.05, "C": 3.6}
SIX = ("Ag", "Au", "Cu", "Ni", "Pd", "Pt")
MIXINGS = ("0", "0.6", "0.8", None)  # None: training chooses


def make_frames(n: int, elements: list, seed: int = 1) -> list:
    """Random compositions near their mean lattice constant, with energies, forces and stresses."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = bulk("Cu", "fcc", a=1.0, cubic=True).repeat(2)
        atoms.symbols = rng.choice(elements, len(atoms), p=rng.dirichlet(np.full(len(elements), 0.7)))
        a = np.mean([LATTICE[s] for s in atoms.symbols]) * rng.uniform(0.97, 1.04)
        atoms.set_cell(a * atoms.cell.array @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(rng.uniform(0.03, 0.2), rng=rng)
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    return frames


def main():
    p = parser(__doc__)
    p.add_argument("--estimators", nargs="*", default=["full", "sparse"])
    p.add_argument("--elements", nargs="*", default=SIX, choices=LATTICE, help="of the alloys")
    p.add_argument("--chosen", action="store_true", help="only the mixing that training chooses, with the mapped form")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    name = "alloy" if args.elements == SIX else f"alloy{len(args.elements)}"
    train, test = (args.out / f"{name}_{part}.xyz" for part in ("train", "test"))
    frames = make_frames(100, list(args.elements))
    write(train, frames[:60])
    write(test, frames[60:])
    rows = []
    for estimator in args.estimators:
        for mixing in MIXINGS[-1:] if args.chosen else MIXINGS:
            given = [] if mixing is None else ["--element-mixing", mixing]
            options = [
                train,
                "--estimator",
                estimator,
                *given,
                *([] if args.chosen else ["--no-map", "--no-uncertainty"]),
            ]
            found = trained(args, f"{name}_{estimator}_{mixing or 'chosen'}", options, {"errors": [test]})["errors"]
            errors = (1e3 * found[f"{kind}_mae"] for kind in ("energy_per_atom", "forces"))
            rows.append([estimator, mixing or "chosen", *errors, round(found["training_seconds"])])
    columns = ["estimator", "mixing", "E meV/atom", "F meV/Å", "training s"]
    title = f"{len(args.elements)} elements, 60 frames of 32 atoms, MAE of 40 others"
    show(title, columns, rows, args.out / f"{name}.json")


if __name__ == "__main__":
    main()
