"""Liquid water (the DeePMD example data): train and evaluate from the shell, by default."""

from common import parser, show, trained


def main():
    args = parser(__doc__).parse_args()
    folder = args.data / "water"
    e = trained(args, "water", [folder / "train.xyz"], {"errors": [folder / "test.xyz"]})["errors"]
    rows = [[
        *(1e3 * e[f"energy_per_atom_{kind}"] for kind in ("mae", "rmse")),
        *(1e3 * e[f"forces_{kind}"] for kind in ("mae", "rmse")),
        round(e["training_seconds"]), e["training_gigabytes"],
    ]]  # fmt: skip
    columns = ["E MAE meV/atom", "E RMSE", "F MAE meV/Å", "F RMSE", "training s", "GB"]
    show("Liquid water, 240 training frames, 60 test frames", columns, rows, args.out / "water.json")


if __name__ == "__main__":
    main()
