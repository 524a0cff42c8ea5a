"""Elemental crystals of Zuo et al., J. Phys. Chem. A 124, 731 (2020): train and evaluate from the shell.

Published GAP and MTP errors (MAE; meV/atom and eV/Angstrom) as quoted in ACEpotentials.jl, examples/zuobench.
"""

from common import parser, show, trained

PUBLISHED = {  # GAP energy, forces; MTP energy, forces
    "Si": (2.91, 0.07, 2.21, 0.06), "Cu": (0.46, 0.01, 0.41, 0.01),
    "Mo": (2.24, 0.09, 2.83, 0.09), "Li": (0.49, 0.01, 0.49, 0.01),
}  # fmt: skip


def main():
    p = parser(__doc__)
    p.add_argument("elements", nargs="*", default=["Si"], help="any of Si, Cu, Mo, Li, or all")
    p.add_argument("--optimise", action="store_true", help="search the density's parameters as well")
    args = p.parse_args()
    elements = list(PUBLISHED) if args.elements == ["all"] else args.elements
    flags, rows = ["--optimise"] if args.optimise else [], []
    for name in elements:
        files = [args.data / "mlearn" / f"{name}_{part}.xyz" for part in ("train", "test")]
        e = trained(args, f"mlearn_{name}", [files[0], *flags], {"errors": [files[1]]})["errors"]
        ours = [1e3 * e["energy_per_atom_mae"], e["forces_mae"], 160.2177 * e["stress_mae"]]
        rows.append([name, *ours, *PUBLISHED[name], round(e["training_seconds"]), e["training_gigabytes"]])
    columns = ["element", "E meV/atom", "F eV/Å", "stress GPa", "GAP E", "GAP F", "MTP E", "MTP F", "training s", "GB"]
    show("mlearn, MAE on the test files", columns, rows, args.out / "mlearn.json")


if __name__ == "__main__":
    main()
