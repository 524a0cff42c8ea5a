"""Acetylacetone (Batatia et al., arXiv:2205.06643): trained at 300 K, errors of molecular dynamics at 300 K.

Published root mean square errors (total energy, meV; forces, meV/Angstrom) as quoted in the MACE paper, Table 3.
"""

from common import add_baseline, baseline_flags, parser, show, trained

PUBLISHED = {"BOTNet": (0.89, 6.3), "NequIP": (0.81, 5.90), "MACE": (0.9, 5.1)}


def main():
    p = parser(__doc__)
    p.add_argument("--frames", default=":", help="slice of the training file")
    add_baseline(p)
    args = p.parse_args()
    folder = args.data / "acac"
    train = [folder / "train_300K.xyz", "--frames", args.frames, "--estimator", "full", "--no-map", "--no-uncertainty"]
    train += baseline_flags(args)
    e = trained(args, "acac", train, {"300K": [folder / "test_MD_300K.xyz"]})["300K"]
    rows = [["this package", 1e3 * e["energy_rmse"], 1e3 * e["forces_rmse"], round(e["training_seconds"])]]
    rows += [[name, *errors, ""] for name, errors in PUBLISHED.items()]
    columns = ["method", "E meV", "F meV/Å", "training s"]
    show(f"AcAc at 300 K, training frames {args.frames}, RMSE", columns, rows, args.out / "acac.json")


if __name__ == "__main__":
    main()
