"""Learning curves of a molecule of rMD17, energies and forces, for kernels of orders 1 to 4.

Defaults but for the order, full estimator; the first frames of the training file, mean absolute errors of the first 250
test frames. What is in the output folder already is not trained again.
"""

import numpy as np
from common import draw, parser, show, trained

ORDERS = (1, 2, 3, 4)


def main():
    p = parser(__doc__)
    p.add_argument("molecule", nargs="?", default="ethanol", help="of the folder rmd17")
    p.add_argument("--frames", type=int, nargs="*", default=[10, 20, 50, 100], help="numbers of training frames")
    args = p.parse_args()
    train, test = (args.data / "rmd17" / f"{args.molecule}_{part}.npz" for part in ("train", "test"))
    unit, rows = ["--energy-unit", "kcal/mol"], []
    for n in args.frames:
        row: list[float] = [n]
        for order in ORDERS:
            options = [
                train,
                "--frames",
                f":{n}",
                "--order",
                order,
                "--estimator",
                "full",
                "--no-map",
                "--no-uncertainty",
            ]
            tests = {"errors": [test, "--frames", ":250"]}
            errors = trained(args, f"{args.molecule}_{order}_{n}", options, tests, unit)["errors"]
            row += [1e3 * errors["energy_mae"], 1e3 * errors["forces_mae"]]
        rows.append(row)
    columns = ["frames", *(f"{kind} nu {order}" for order in ORDERS for kind in ("E", "F"))]
    show(f"{args.molecule}, MAE, meV and meV/Å", columns, rows, args.out / f"{args.molecule}_curves.json")
    energies, forces = (
        dict(zip((f"order {order}" for order in ORDERS), np.array(rows).T[first::2].tolist(), strict=True))
        for first in (1, 2)
    )
    panels = {"error of energies, meV": energies, "error of forces, meV/Å": forces}
    draw(args.out / f"{args.molecule}_curves.png", args.frames, panels)


if __name__ == "__main__":
    main()
