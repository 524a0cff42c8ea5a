"""Elemental crystals of Zuo et al., J. Phys. Chem. A 124, 731 (2020): train and evaluate from the shell, by default.

Published GAP and MTP errors (MAE; meV/atom and eV/Angstrom) as quoted in ACEpotentials.jl, examples/zuobench.
"""

import json
import resource

from common import parser, show, thread_option, wk_potential

PUBLISHED = {  # GAP energy, forces; MTP energy, forces
    "Si": (2.91, 0.07, 2.21, 0.06), "Cu": (0.46, 0.01, 0.41, 0.01),
    "Mo": (2.24, 0.09, 2.83, 0.09), "Li": (0.49, 0.01, 0.49, 0.01),
}  # fmt: skip


def main():
    p = parser(__doc__)
    p.add_argument("elements", nargs="*", default=["Si"], help="any of Si, Cu, Mo, Li, or all")
    args = p.parse_args()
    elements = list(PUBLISHED) if args.elements == ["all"] else args.elements
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in elements:
        model, result = args.out / f"mlearn_{name}.wkp", args.out / f"mlearn_{name}_errors.json"
        more = thread_option(args.threads)
        seconds = wk_potential("train", args.data / "mlearn" / f"{name}_train.xyz", "-o", model, *more)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        wk_potential("evaluate", model, args.data / "mlearn" / f"{name}_test.xyz", "--json", result, *more)
        e = json.loads(result.read_text())
        ours = [1e3 * e["energy_per_atom_mae"], e["forces_mae"], 160.2177 * e["stress_mae"]]
        rows.append([name, *ours, *PUBLISHED[name], round(seconds), memory])
    columns = ["element", "E meV/atom", "F eV/Å", "stress GPa", "GAP E", "GAP F", "MTP E", "MTP F", "training s", "GB"]
    show("mlearn, MAE on the test files", columns, rows, args.out / "mlearn.json")


if __name__ == "__main__":
    main()
