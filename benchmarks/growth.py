"""How the cost of a step grows with lmax, order, elements and support points, direct and mapped.

Models are trained on crystals of fcc metals labelled with the effective medium theory of ASE, one parameter changed
at a time; the cost is that of 256 atoms on one thread, CPU time.
"""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from common import parser, show

from wk_potential import train
from wk_potential.analysis.timing import measure
from wk_potential.atoms.frame import Frame
from wk_potential.training.options import TrainingOptions

METALS = ("Cu", "Ag", "Au", "Pt", "Pd", "Ni")
DEFAULT = {"lmax": 3, "order": 4, "elements": 1, "support_points": 500}
SCANS = {
    "lmax": [1, 2, 3, 4],
    "order": [1, 2, 3, 4, 5, 6],
    "elements": [1, 2, 3, 4],
    "support_points": [125, 250, 500, 1000, 2000],
}


def crystal(repeats: int, n_elements: int, rng) -> Atoms:
    """Rattled and strained fcc crystal with elements at random, of the mean lattice constant."""
    size = np.mean([bulk(m, cubic=True).cell[0, 0] for m in METALS[:n_elements]])
    atoms = bulk("Cu", "fcc", a=size, cubic=True) * (3 * [repeats])
    atoms.symbols[:] = rng.choice(METALS[:n_elements], len(atoms))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)
    return atoms


def frames(n_elements: int, n_frames: int, rng) -> list[Frame]:
    """Labelled crystals of 32 atoms."""
    out = []
    for k in range(n_frames):
        atoms = crystal(2, n_elements, rng)
        atoms.calc = EMT()
        atoms.get_forces()
        out.append(Frame.from_atoms(atoms, f"crystal {k}"))
    return out


def main():
    p = parser(__doc__)
    p.add_argument("--scans", nargs="+", choices=list(SCANS), default=list(SCANS))
    args = p.parse_args()
    cases: dict[tuple, tuple[str, ...]] = {}
    for name in args.scans:
        for value in SCANS[name]:
            key = tuple({**DEFAULT, name: value}.items())
            cases[key] = (*cases.get(key, ()), name)
    rows = []
    for key in sorted(cases, key=lambda k: (cases[k], k)):
        case = dict(key)
        rng = np.random.default_rng(0)
        data = frames(case["elements"], 20 + case["support_points"] // 30, rng)
        options = TrainingOptions(
            cutoff=5.0, cutoff_width=4.0, estimator="sparse", support_points=case["support_points"], lmax=case["lmax"],
            order=case["order"], order_weights=[1.0] * case["order"],
        )  # fmt: skip
        model = train(data, options, args.threads)
        atoms = crystal(4, case["elements"], rng)
        direct = measure(model, atoms, direct=True, seconds=2.0)
        case["support_points"] = int(model.support_counts.sum())  # fewer than asked where more would be no gain
        cells: list = [*case.values(), model.scales[0].density.projection.shape[3], direct.total]
        if not model.is_mapped:
            cells += ["not mapped", "", "", ""]
        else:
            double, single = (measure(model, atoms, precision=kind) for kind in ("float64", "float32"))
            share = double.floor / double.microseconds["kernel"]
            cells += [double.total, single.total, direct.total / double.total, f"{share:.0%}"]
        rows.append(cells)
        print(*cells, flush=True)
    columns = [*DEFAULT, "channels", "direct us", "mapped us", "float32 us", "ratio", "share of floor"]
    show("microseconds per atom and step", columns, rows, args.out / "growth.json")


if __name__ == "__main__":
    main()
