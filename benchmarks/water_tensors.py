"""Dipole and polarisability of water: learning curves for orders 1 to 4, lambda-SOAP, the sparse estimator, error bars.

Monomer, dimer and Zundel cation of A. Grisafi et al., Phys. Rev. Lett. 120, 036002 (2018), 1000 frames each. 500
frames at random are for training, of which the first n are taken, the others for testing. Errors are root mean squares
over components, in per cent of the standard deviation of the test labels; those of rank 0 less a constant. The
baseline is a linear model of the symmetry-adapted power spectrum (orders 1 and 2, one density), fitted in the same way.
`sparse` is order 4 with the sparse estimator. The second table says how good error bars are. What is in the output
folder already is not trained again.
"""

import json
import time

import numpy as np
from common import draw, parser, show

from wk_potential import TrainingOptions, read_frames, train
from wk_potential.analysis.reliability import reliability
from wk_potential.atoms.frame import TENSORS
from wk_potential.model.tensors import to_spherical

SETS = ("monomer", "dimer", "zundel")
SIZES = (50, 100, 200, 500)
MODELS: dict[str, dict] = {
    **{str(order): {"order": order} for order in (1, 2, 3, 4)},
    "lambda-SOAP": {"order": 2, "short_cutoff": 0.0},
    "sparse": {"estimator": "sparse"},
}
PARTS = [(name, rank) for name, ranks in TENSORS.items() for rank in ranks]
MEASURES = ("miscalibration_area", "spearman")
COLUMNS = ["dipole", "polarisability, isotropic", "polarisability, anisotropic"]


def load(args, name):
    """Training and test frames of a set."""
    charge = {"charge": 1.0, "dipole_origin": "coordinates"} if name == "zundel" else {}
    frames = read_frames(
        args.data / "water_tensors" / f"water_{name}_1000.xyz",
        dipole_key="dipole_au", dipole_unit="e*bohr", polarizability_key="alpha_au", polarizability_unit="bohr^3",
        **charge,
    )  # fmt: skip
    order = np.random.default_rng(0).permutation(len(frames))
    return [frames[k] for k in order[:500]], [frames[k] for k in order[500:]]


def test_errors(model, frames, threads):
    """Errors in per cent of each part, and of dipole and polarisability how good error bars are."""
    predictions = model.predict(frames, threads)
    out = {"bars": reliability(frames, predictions)}
    for column, (name, rank) in zip(COLUMNS, PARTS, strict=True):
        labels, values = (
            to_spherical(name, rank, np.array([getattr(x, name) for x in xs])) for xs in (frames, predictions)
        )
        out[column] = 100 * float(np.sqrt(np.mean((values - labels) ** 2)) / np.std(labels))
    return out


def main():
    p = parser(__doc__)
    p.add_argument("sets", nargs="*", default=SETS, help="any of " + ", ".join(SETS))
    p.add_argument("--sizes", default="50,100,200,500", help="numbers of training frames")
    p.add_argument("--models", default=",".join(MODELS), help="orders, and others")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows, bars, panels, sizes = [], [], {}, [int(n) for n in args.sizes.split(",")]
    for name in args.sets:
        panels |= {f"{name}, {column}, %": {} for column in COLUMNS}
        training, test = load(args, name)
        for kind in args.models.split(","):
            for n in sizes:
                path = args.out / f"water_{name}_{kind}_{n}.json"
                if not path.exists():
                    start = time.process_time()
                    model = train(training[:n], TrainingOptions(use_energy=False, **MODELS[kind]), args.threads, print)
                    seconds = round(time.process_time() - start)
                    path.write_text(json.dumps({"seconds": seconds, **test_errors(model, test, args.threads)}))
                found = json.loads(path.read_text())
                rows.append([name, kind, n, *(found[column] for column in COLUMNS), found["seconds"]])
                for target, measured in found["bars"].items():
                    bars.append([name, kind, n, target, *(measured[m] for m in MEASURES)])
                for column in COLUMNS:
                    label = f"order {kind}" if kind.isdigit() else kind
                    panels[f"{name}, {column}, %"].setdefault(label, []).append(found[column])
    title = "Water: RMSE in per cent of the standard deviation, 500 test frames"
    show(title, ["system", "order", "frames", *COLUMNS, "CPU s"], rows, args.out / "water_tensors.json")
    columns = ["system", "order", "frames", "", *(measure.replace("_", " ") for measure in MEASURES)]
    show("Their error bars", columns, bars, args.out / "water_tensors_bars.json")
    draw(args.out / "water_tensors.png", sizes, panels)


if __name__ == "__main__":
    main()
