"""rMD17: train and evaluate from the shell, defaults only, beside published errors (MAE; meV and meV/Angstrom).

Published from 50 frames: F. Bigi, S. N. Pozdnyakov, M. Ceriotti, arXiv:2303.04124, Table I. Other numbers of frames
stand beside what was published from 950 (and 50 for validation): I. Batatia et al., arXiv:2206.07697, Table 1. A
molecule whose errors are in the output folder already is not trained again.
"""

from common import add_baseline, baseline_flags, parser, show, trained

FEW = ("LE-ACE", "NequIP", "MACE", "Wigner kernels")
FROM_50 = {  # energy and forces of each method
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
MANY = ("MACE", "Allegro", "NequIP", "ACE", "FCHL")
FROM_950 = {
    "aspirin": (2.2, 6.6, 2.3, 7.3, 2.3, 8.2, 6.1, 17.9, 6.2, 20.9),
    "azobenzene": (1.2, 3.0, 1.2, 2.6, 0.7, 2.9, 3.6, 10.9, 2.8, 10.8),
    "benzene": (0.4, 0.3, 0.3, 0.2, 0.04, 0.3, 0.04, 0.5, 0.35, 2.6),
    "ethanol": (0.4, 2.1, 0.4, 2.1, 0.4, 2.8, 1.2, 7.3, 0.9, 6.2),
    "malonaldehyde": (0.8, 4.1, 0.6, 3.6, 0.8, 5.1, 1.7, 11.1, 1.5, 10.3),
    "naphthalene": (0.5, 1.6, 0.2, 0.9, 0.9, 1.3, 0.9, 5.1, 1.2, 6.5),
    "paracetamol": (1.3, 4.8, 1.5, 4.9, 1.4, 5.9, 4.0, 12.7, 2.9, 12.3),
    "salicylic": (0.9, 3.1, 0.9, 2.9, 0.7, 4.0, 1.8, 9.3, 1.8, 9.5),
    "toluene": (0.5, 1.5, 0.4, 1.8, 0.3, 1.6, 1.1, 6.5, 1.7, 8.8),
    "uracil": (0.5, 2.1, 0.6, 1.8, 0.4, 3.1, 1.1, 6.6, 0.6, 4.2),
}


def main():
    p = parser(__doc__)
    p.add_argument("molecules", nargs="*", default=["ethanol"], help=f"any of {', '.join(FROM_50)}, or all")
    p.add_argument("--frames", default=":50", help="slice of the training file")
    p.add_argument("--optimise", action="store_true", help="search the density's parameters as well")
    add_baseline(p)
    p.add_argument("--map", action="store_true", help="add the mapped form, which is not needed here")
    args = p.parse_args()
    molecules = list(FROM_50) if args.molecules == ["all"] else args.molecules
    methods, published = (FEW, FROM_50) if args.frames == ":50" else (MANY, FROM_950)
    flags = ["--estimator", "full", *(["--optimise"] if args.optimise else []), *([] if args.map else ["--no-map"])]
    flags += baseline_flags(args)
    rows = []
    for name in molecules:
        files = [args.data / "rmd17" / f"{name}_{part}.npz" for part in ("train", "test")]
        train = [files[0], "--frames", args.frames, *flags]
        unit = ["--energy-unit", "kcal/mol"]
        errors = trained(args, f"rmd17_{name}", train, {"errors": [files[1]]}, unit)["errors"]
        ours = [1e3 * errors["energy_mae"], 1e3 * errors["forces_mae"]]
        pairs = zip(published[name][::2], published[name][1::2], strict=True)
        rows.append([name, *ours, *(f"{e}, {f}" for e, f in pairs), round(errors["training_seconds"])])
    columns = ["molecule", "E meV", "F meV/Å", *methods, "training s"]
    known = 50 if methods is FEW else 950
    title = f"rMD17, training frames {args.frames}, MAE on 1000 test frames; published: from {known}"
    show(title, columns, rows, args.out / "rmd17.json")


if __name__ == "__main__":
    main()
