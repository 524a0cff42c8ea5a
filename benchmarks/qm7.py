"""QM7 (Rupp et al., PRL 108, 058301 (2012)): learning curve of atomisation energies beside a SOAP kernel, same run.

The SOAP kernel compares atoms of the same element by the squared cosine of their SOAP vectors (dscribe) and adds up
over pairs; kernel ridge regression (scikit-learn) with a regularisation chosen by 5-fold cross-validation. Frames of
the file are shuffled already; the last ones are the test. Needs `pip install dscribe scikit-learn` for SOAP.
"""

import time

import numpy as np
from ase.io import read
from common import draw, parser, show, trained

KCAL = 0.0433641  # eV
ELEMENTS = ("H", "C", "N", "O", "S")


def soap_kernel(frames) -> np.ndarray:
    """Kernel (F, F) of all frames: sums over pairs of atoms of the same element."""
    from dscribe.descriptors import SOAP

    soap = SOAP(species=ELEMENTS, r_cut=5.0, n_max=6, l_max=4, sigma=0.4, periodic=False)
    total = np.zeros((len(frames), len(frames)))
    for symbol in ELEMENTS:
        sites = [[k for k, s in enumerate(frame.symbols) if s == symbol] for frame in frames]
        some = [k for k, own in enumerate(sites) if own]
        vectors = [soap.create(frames[k], centers=sites[k]) for k in some]
        x = np.concatenate(vectors).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        first = np.concatenate([[0], np.cumsum([len(v) for v in vectors])])
        for a in range(0, len(some), 100):
            b = min(a + 100, len(some))
            squares = (x[first[a] : first[b]] @ x[first[a] :].T) ** 2
            columns = np.add.reduceat(squares, first[a:-1] - first[a], axis=1)
            block = np.add.reduceat(columns, first[a:b] - first[a], axis=0)
            total[np.ix_(some[a:b], some[a:])] += block
    return np.triu(total) + np.triu(total, 1).T


def soap_errors(train, test, sizes) -> dict[int, tuple[float, float]]:
    """Mean absolute errors (eV) and seconds for each number of training frames."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV

    start = time.perf_counter()
    kernel = soap_kernel([*train, *test])
    kernel /= np.mean(np.diag(kernel))
    seconds, found = time.perf_counter() - start, {}
    counts = np.array([[list(f.symbols).count(s) for s in ELEMENTS] for f in [*train, *test]], float)
    energies = np.array([f.get_potential_energy() for f in [*train, *test]])
    for n in sizes:
        start = time.perf_counter()
        baseline = np.linalg.lstsq(counts[:n], energies[:n], rcond=None)[0]
        rest = energies - counts @ baseline
        grid = {"alpha": 10.0 ** np.arange(-9, -2)}
        fit = GridSearchCV(KernelRidge(kernel="precomputed"), grid, scoring="neg_mean_absolute_error", cv=5)
        fit.fit(kernel[:n, :n], rest[:n])
        predicted = fit.predict(kernel[len(train) :, :n])
        error = float(np.abs(predicted - rest[len(train) :]).mean())
        found[n] = error, time.perf_counter() - start + seconds * (n / len(train)) ** 2
    return found


def main():
    p = parser(__doc__)
    p.add_argument("--frames", type=int, nargs="*", default=[100, 300, 1000, 5000], help="numbers of training frames")
    p.add_argument("--tests", type=int, default=1000, help="number of test frames")
    args = p.parse_args()
    file = args.data / "qm7" / "qm7_pbe0_atomization.xyz"
    frames = read(file, ":")
    try:
        soap = soap_errors(frames[: max(args.frames)], frames[-args.tests :], args.frames)
    except ImportError as error:
        print(f"No SOAP column: {error}")
        soap = {}
    rows = []
    for n in args.frames:
        options = [file, "--frames", f":{n}", "--estimator", "full", "--no-map", "--no-uncertainty"]
        e = trained(args, f"qm7_{n}", options, {"errors": [file, "--frames", f"-{args.tests}:"]})["errors"]
        other = soap.get(n, (float("nan"), float("nan")))
        rows.append([n, e["energy_mae"] / KCAL, other[0] / KCAL, round(e["training_seconds"]), other[1]])
    columns = ["frames", "this package", "SOAP", "training s", "SOAP s"]
    show(f"QM7, MAE of {args.tests} test frames, kcal/mol", columns, rows, args.out / "qm7.json")
    _, ours, others, *_ = map(list, zip(*rows, strict=True))
    curves = {"this package": ours, "SOAP": others}
    draw(args.out / "qm7.png", args.frames, {"error of test molecules, kcal/mol": curves})


if __name__ == "__main__":
    main()
