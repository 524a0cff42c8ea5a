"""rMD17 with 50 training frames: train and evaluate from the shell, defaults only, beside published errors.

Published: F. Bigi, S. N. Pozdnyakov, M. Ceriotti, arXiv:2303.04124, Table I (MAE; meV and meV/Angstrom). A molecule
whose errors are in the output folder already is not trained again.
"""

from common import parser, show, trained

METHODS = ("LE-ACE", "NequIP", "MACE", "Wigner kernels")
PUBLISHED = {  # energy and forces of each method
    "aspirin": (22.4, 59.1, 19.5, 52.0, 17.0, 43.9, 17.0, 50.2),
    "azobenzene": (9.9, 27.5, 6.0, 20.0, 5.4, 17.7, 7.9, 25.6),
    "benzene": (0.135, 1.44, 0.6, 2.9, 0.7, 2.7, 0.131, 1.31),
    "ethanol": (6.6, 32.0, 8.7, 40.3, 6.7, 32.6, 5.9, 30.8),
    "malonaldehyde": (11.3, 50.9, 12.7, 52.5, 10.0, 43.3, 8.9, 43.8),
    "naphthalene": (2.9, 13.9, 2.1, 10.0, 2.1, 9.2, 2.5, 12.5),
    "paracetamol": (14.3, 45.1, 14.3, 39.7, 9.7, 31.5, 10.2, 37.2),
    "salicylic": (8.3, 36.7, 8.0, 35.0, 6.5, 28.4, 6.8, 31.9),
    "toluene": (4.1, 18.4, 3.3, 15.1, 3.1, 12.1, 3.4, 16.4),
    "uracil": (5.7, 30.7, 7.3, 40.1, 4.4, 25.9, 5.1, 27.8),
}


def main():
    p = parser(__doc__)
    p.add_argument("molecules", nargs="*", default=["ethanol"], help=f"any of {', '.join(PUBLISHED)}, or all")
    p.add_argument("--frames", default=":50", help="slice of the training file")
    p.add_argument("--optimise", action="store_true", help="search the density's parameters as well")
    p.add_argument("--map", action="store_true", help="add the mapped form, which is not needed here")
    args = p.parse_args()
    molecules = list(PUBLISHED) if args.molecules == ["all"] else args.molecules
    flags = [*(["--optimise"] if args.optimise else []), *([] if args.map else ["--no-map"])]
    rows = []
    for name in molecules:
        files = [args.data / "rmd17" / f"{name}_{part}.npz" for part in ("train", "test")]
        train = [files[0], "--frames", args.frames, *flags]
        unit = ["--energy-unit", "kcal/mol"]
        errors = trained(args, f"rmd17_{name}", train, {"errors": [files[1]]}, unit)["errors"]
        ours = [1e3 * errors["energy_mae"], 1e3 * errors["forces_mae"]]
        best = [min(PUBLISHED[name][k::2]) for k in (0, 1)]
        rows.append([name, *ours, *best, *PUBLISHED[name][-2:], round(errors["training_seconds"])])
    columns = ["molecule", "E meV", "F meV/Å", "best E", "best F", "WK paper E", "WK paper F", "training s"]
    title = f"rMD17, training frames {args.frames}, MAE on 1000 test frames; best of {', '.join(METHODS)}"
    show(title, columns, rows, args.out / "rmd17.json")


if __name__ == "__main__":
    main()
