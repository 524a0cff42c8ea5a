"""rMD17 with 50 training frames: train and evaluate from the shell, defaults only, beside published errors.

Published: F. Bigi, S. N. Pozdnyakov, M. Ceriotti, arXiv:2303.04124, Table I (MAE; meV and meV/Angstrom).
"""

import json

from common import parser, show, thread_option, wk_potential

WIGNER_KERNELS = {  # energy, forces
    "aspirin": (17.0, 50.2), "azobenzene": (7.9, 25.6), "benzene": (0.131, 1.31), "ethanol": (5.9, 30.8),
    "malonaldehyde": (8.9, 43.8), "naphthalene": (2.5, 12.5), "paracetamol": (10.2, 37.2), "salicylic": (6.8, 31.9),
    "toluene": (3.4, 16.4), "uracil": (5.1, 27.8),
}  # fmt: skip
MACE = {
    "aspirin": (17.0, 43.9), "azobenzene": (5.4, 17.7), "benzene": (0.7, 2.7), "ethanol": (6.7, 32.6),
    "malonaldehyde": (10.0, 43.3), "naphthalene": (2.1, 9.2), "paracetamol": (9.7, 31.5), "salicylic": (6.5, 28.4),
    "toluene": (3.1, 12.1), "uracil": (4.4, 25.9),
}  # fmt: skip


def main():
    p = parser(__doc__)
    p.add_argument("molecules", nargs="*", default=["ethanol"], help=f"any of {', '.join(WIGNER_KERNELS)}, or all")
    p.add_argument("--frames", default=":50", help="slice of the training file")
    args = p.parse_args()
    molecules = list(WIGNER_KERNELS) if args.molecules == ["all"] else args.molecules
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in molecules:
        model, result = args.out / f"rmd17_{name}.wkp", args.out / f"rmd17_{name}_errors.json"
        data, unit, more = args.data / "rmd17", ["--energy-unit", "kcal/mol"], thread_option(args.threads)
        seconds = wk_potential(
            "train", data / f"{name}_train.npz", "-o", model, "--frames", args.frames, *unit, *more
        )  # fmt: skip
        wk_potential("evaluate", model, data / f"{name}_test.npz", *unit, "--json", result, *more)
        errors = json.loads(result.read_text())
        ours = [1e3 * errors["energy_mae"], 1e3 * errors["forces_mae"]]
        rows.append([name, *ours, *WIGNER_KERNELS[name], *MACE[name], round(seconds)])
    columns = ["molecule", "E meV", "F meV/Å", "WK paper E", "WK paper F", "MACE E", "MACE F", "training s"]
    show(f"rMD17, training frames {args.frames}, MAE on 1000 test frames", columns, rows, args.out / "rmd17.json")


if __name__ == "__main__":
    main()
