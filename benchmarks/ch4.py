"""Random methane (Pozdnyakov et al., PRL 125, 166001 (2020)): learning curves of each order, energies only.

Frames are shuffled; the last 1000 are the test. `--optimise` searches the density's parameters at the largest order
and number of frames. Published: 7.514 kcal/mol from 500 frames, the example output of the Wigner-kernel authors
(github lab-cosmo/wigner_kernels, methane.out; another draw of the same kind of structures).
"""

import numpy as np
from ase.io import read, write
from common import draw, parser, show, trained

KCAL = 0.0433641  # eV


def main():
    p = parser(__doc__)
    p.add_argument("--frames", type=int, nargs="*", default=[100, 200, 500], help="numbers of training frames")
    p.add_argument("--orders", type=int, nargs="*", default=[1, 2, 3, 4], help="correlation orders")
    p.add_argument("--optimise", action="store_true", help="search the density's parameters as well")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    frames = read(args.data / "ch4" / "random_ch4_10k.xyz", ":")
    order = np.random.default_rng(0).permutation(len(frames))
    train, test = args.out / "ch4_train.xyz", args.out / "ch4_test.xyz"
    write(train, [frames[k] for k in order[: max(args.frames)]])
    write(test, [frames[k] for k in order[-1000:]])
    rows = []
    for n in args.frames:
        row = [n]
        for nu in args.orders:
            largest = nu == max(args.orders) and n == max(args.frames)
            search = ["--optimise"] if args.optimise and largest else []
            options = [train, "--frames", f":{n}", "--order", nu, "--estimator", "full", "--no-map", *search]
            row.append(trained(args, f"ch4_{nu}_{n}", options, {"errors": [test]})["errors"]["energy_rmse"] / KCAL)
        rows.append(row)
    columns = ["frames", *(f"order {nu}" for nu in args.orders)]
    curves = dict(zip(columns[1:], np.array(rows).T[1:].tolist(), strict=True))
    draw(args.out / "ch4.png", args.frames, {"error of test frames, kcal/mol": curves})
    show("Random methane, RMSE of 1000 test frames, kcal/mol", columns, rows, args.out / "ch4.json")


if __name__ == "__main__":
    main()
