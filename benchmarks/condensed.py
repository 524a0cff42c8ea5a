"""Crystals, alloys and liquids: train by default, evaluate on training and test frames, beside published errors.

Errors on training frames that are as large as those on test frames say that the model underfits; much smaller ones,
that it lacks frames.
"""

from typing import NamedTuple

from common import parser, show, trained
from mlearn import PUBLISHED


class DataSet(NamedTuple):
    """Files of a data set, beside the folder of the data.

    Attributes:
        train, test: the files.
        published: an error of others, and whose.

    """

    train: str
    test: str
    published: str = ""


NEP = "arXiv:2504.15925, training frames"
SETS = {
    "llzo": DataSet("llzo/train.xyz", "llzo/test.xyz", published=f"NEP F RMSE 24 ({NEP})"),
    "llzo25": DataSet("llzo/train.xyz@:25", "llzo/test.xyz", published=f"NEP F RMSE 36 ({NEP})"),
    "mapbi3": DataSet("mapbi3/train.xyz", "mapbi3/test.xyz"),
    "mgo": DataSet("mgo/train.xyz", "mgo/test.xyz"),
    "monbtaw": DataSet("monbtaw/train.xyz", "monbtaw/test.xyz"),
    "inp": DataSet("inp/train.xyz", "inp/test.xyz", published="POD F MAE 5.8 to 58, SNAP 21 to 44 (own split)"),
    "pbte": DataSet("pbte/train.xyz", "pbte/test.xyz", published="NEP F RMSE 39 (training frames)"),
    "sio2": DataSet("sio2_pol/train.xyz", "sio2_pol/test.xyz"),
    "water": DataSet("water/train.xyz", "water/test.xyz"),
    **{
        element.lower(): DataSet(
            f"mlearn/{element}_train.xyz",
            f"mlearn/{element}_test.xyz",
            published=f"GAP {gap_e}, {1e3 * gap_f:g}; MTP {mtp_e}, {1e3 * mtp_f:g} (MAE)",
        )
        for element, (gap_e, gap_f, mtp_e, mtp_f) in PUBLISHED.items()
    },
}


def main():
    p = parser(__doc__)
    p.add_argument("sets", nargs="*", default=["llzo"], help=f"any of {', '.join(SETS)}, or all")
    args = p.parse_args()
    rows, types = [], []
    for name in list(SETS) if args.sets == ["all"] else args.sets:
        s = SETS[name]
        files = [[f"{args.data / part}"] for part in (s.train, s.test)]
        found = trained(args, name, files[0], {"train": files[0], "test": files[1]})
        test = found["test"]
        rows.append([
            name, *_errors(test), 1e3 * found["train"]["forces_rmse"], test["training_seconds"] / 60,
            test["training_gigabytes"], s.published,
        ])  # fmt: skip
        groups = {f"{z} atoms": e for z, e in test["forces_by_element"].items()} | test["by_config_type"]
        types += [[name, group, *_errors(e)] for group, e in groups.items() if len(groups) > 1 and group]
    errors = ["E MAE meV/atom", "E RMSE", "F MAE meV/Å", "F RMSE"]
    columns = ["set", *errors, "F RMSE, training", "min", "GB", "published"]
    show("Test frames of condensed matter", columns, rows, args.out / "condensed.json")
    show("By element and config_type", ["set", "part", *errors], types, args.out / "condensed_parts.json")


def _errors(table: dict) -> list:
    """Errors of energies per atom and of forces in meV and Angstrom; a dash where there are no labels."""
    names = ("energy_per_atom_mae", "energy_per_atom_rmse", "forces_mae", "forces_rmse")
    return [1e3 * table[name] if table.get(name) is not None else "-" for name in names]


if __name__ == "__main__":
    main()
