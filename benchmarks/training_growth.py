"""How time and memory of a sparse fit grow with frames, elements and support points.

Crystals of fcc metals of 32 atoms are labelled (energies, forces, stresses) with the effective-medium theory of ASE,
one parameter is changed at a time. Nothing is tried before the fit, and no mapped form or error bars are made. Each fit
has a process of its own; memory is its peak. Channels are as many as the elements ask for.
"""

import json
import subprocess
import sys
import time

import numpy as np
from common import parser, show
from growth import frames

DEFAULT = {"frames": 200, "elements": 2, "support_points": 1000}
SCANS = {"frames": [50, 100, 200, 400, 800], "elements": [1, 2, 3, 4, 6], "support_points": [500, 1000, 2000, 4000]}


def fit(n_frames: int, n_elements: int, n_points: int, threads: int) -> None:
    """Print channels, seconds and the peak memory in gigabytes."""
    from resource import RUSAGE_SELF, getrusage

    from wk_potential import train

    options = {
        "estimator": "sparse", "support_points": n_points, "angular_weight": 0.0, "cutoff": 5.0, "cutoff_width": 4.0,
        "lmax": 3, "order": 4, "channel_tolerance": 1e-3, "element_mixing": 0.0, "saturation": 0.0, "map": False,
        "uncertainty": False,
    }  # fmt: skip
    data = frames(n_elements, n_frames, np.random.default_rng(0))
    train(data[:4], options | {"support_points": 16}, threads)  # compiles
    start = time.perf_counter()
    model = train(data, options, threads)
    seconds, channels = time.perf_counter() - start, model.scales[0].density.projection.shape[3]
    print(json.dumps([channels, seconds, getrusage(RUSAGE_SELF).ru_maxrss / 1e6]))


def main():
    p = parser(__doc__)
    p.add_argument("--scans", nargs="+", choices=list(SCANS), default=list(SCANS))
    p.add_argument("--one", nargs=4, type=int, help="used by the script itself: frames, elements, points and threads")
    args = p.parse_args()
    if args.one:
        fit(*args.one)
        return
    from wk_potential.compute.threads import thread_count

    cases = dict.fromkeys(tuple((DEFAULT | {name: value}).values()) for name in args.scans for value in SCANS[name])
    rows = []
    for case in cases:
        command = [sys.executable, __file__, "--one", *map(str, [*case, thread_count(args.threads)])]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append([*case, *json.loads(done.stdout.splitlines()[-1])])
        print(*rows[-1], flush=True)
    columns = [*DEFAULT, "channels", "seconds", "GB"]
    show("fit of the sparse estimator", columns, rows, args.out / "training_growth.json")


if __name__ == "__main__":
    main()
