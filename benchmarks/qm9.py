"""QM9 (Ramakrishnan et al., Sci. Data 1, 140022 (2014)): learning curve of U0, U, H, G or alpha.

The molecules are drawn with a seed. The same 10,000 are the test for every number of training molecules.
"""

import numpy as np
from common import draw, parser, show, trained

UNITS = {"U0": "Ha", "U": "Ha", "H": "Ha", "G": "Ha", "alpha": "eV"}  # bohr^3 are read as they are
TESTS = slice(108_000, 118_000)  # of the molecules in random order
SEED = 1


def write(path, arrays: dict, chosen: np.ndarray) -> None:
    """Write an archive of some of the molecules."""
    first = np.concatenate([[0], np.cumsum(arrays["counts"], dtype=np.int64)])
    atoms = np.concatenate([np.arange(first[k], first[k + 1]) for k in chosen])
    np.savez(path, **{name: a[atoms if name in ("numbers", "positions") else chosen] for name, a in arrays.items()})


def main():
    p = parser(__doc__)
    p.add_argument("--frames", type=int, nargs="*", default=[1000, 10_000], help="numbers of training molecules")
    p.add_argument("--target", default="U0", choices=UNITS, help="property to learn")
    p.add_argument("--orders", type=int, nargs="*", default=[4], help="largest correlation orders")
    args = p.parse_args()
    with np.load(args.data / "qm9" / "qm9_120k.npz") as archive:
        arrays = dict(archive)
    order = np.random.default_rng(SEED).permutation(len(arrays["counts"]))
    rest = np.concatenate([order[: TESTS.start], order[TESTS.stop :]])
    args.out.mkdir(parents=True, exist_ok=True)
    test = args.out / "qm9_test.npz"
    write(test, arrays, order[TESTS])
    rows, options = [], ["--energy-key", args.target, "--energy-unit", UNITS[args.target]]
    for nu in args.orders:
        for n in args.frames:
            file = args.out / f"qm9_{n}.npz"
            write(file, arrays, rest[:n])
            name = f"qm9_{args.target}_{n}_order{nu}"
            e = trained(args, name, [file, "--order", nu, *options], {"errors": [test, *options]})["errors"]
            bars = e["uncertainty"]["energy"]
            found = [bars["miscalibration_area"], bars["spearman"]]
            rows.append([nu, n, 1e3 * e["energy_mae"], e["training_seconds"] / 60, e["training_gigabytes"], *found])
    unit = "1e-3 bohr^3" if args.target == "alpha" else "meV"
    columns = ["order", "molecules", f"MAE, {unit}", "training min", "GB", "miscalibration", "Spearman"]
    title = f"QM9, {args.target}, 10,000 test molecules"
    show(title, columns, rows, args.out / f"qm9_{args.target}.json")
    curves = {f"order {nu}": [row[2] for row in rows if row[0] == nu] for nu in args.orders}
    draw(args.out / f"qm9_{args.target}.png", args.frames, {f"error of {args.target}, {unit}": curves})


if __name__ == "__main__":
    main()
