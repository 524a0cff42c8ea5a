"""Cost and memory per atom of a model from hundreds to tens of thousands of atoms, on one thread and on all.

Each size runs in a process of its own, the two ends in turns. Memory is the growth of the peak over the smallest size.
"""

import json
import subprocess
import sys
import time

import numpy as np
from common import HERE, parser, show

REPEATS = [8, 12, 16, 20]  # conventional cells along each side; 8 atoms each


def run(model: str, side: int, threads: int, precision: str) -> None:
    """Print microseconds of CPU and wall time per atom and step, and the peak memory in kB."""
    from resource import RUSAGE_SELF, getrusage

    from ase.build import bulk

    from wk_potential import WKCalculator

    calculator = WKCalculator(model, threads, precision)
    atoms = bulk("Si", cubic=True) * (side, side, side)
    atoms.rattle(0.05, seed=0)
    atoms.calc = calculator
    rng = np.random.default_rng(0)
    cpu, wall = [], []
    for _ in range(max(4, 40_000 // len(atoms))):
        atoms.positions += rng.uniform(-0.002, 0.002, atoms.positions.shape)
        start, start_cpu = time.perf_counter(), time.process_time()
        atoms.get_forces()
        atoms.get_stress()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    micro = [1e6 * float(np.median(t[1:])) / len(atoms) for t in (cpu, wall)]
    print(json.dumps([len(atoms), *micro, getrusage(RUSAGE_SELF).ru_maxrss]))


def main():
    p = parser(__doc__)
    p.add_argument("--model", default=str(HERE.parent / "models" / "Si.wkp"))
    p.add_argument("--precision", default="float64", choices=["float64", "float32"])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--one", nargs=2, type=int, help="used by the script itself: side and threads")
    args = p.parse_args()
    if args.one:
        run(args.model, *args.one, args.precision)
        return
    from wk_potential.compute.threads import thread_count

    counts = sorted({1, thread_count(args.threads)})
    results: dict = {}
    for _ in range(args.rounds):
        for side in [4, *REPEATS]:
            for threads in counts:
                command = [sys.executable, __file__, "--model", args.model, "--precision", args.precision]
                command += ["--one", str(side), str(threads)]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results.setdefault((side, threads), []).append(json.loads(out))
    medians = {key: np.median(np.array(values), axis=0) for key, values in results.items()}
    small, rows = medians[4, 1], []
    for (side, threads), (n, cpu, wall, memory) in medians.items():
        kb = (memory - medians[4, threads][3]) / (n - small[0]) if side > 4 else 0.0
        speedup = medians[side, 1][2] / wall
        rows.append([int(n), threads, float(cpu), float(wall), float(cpu / small[1]), float(speedup), float(kb)])
    columns = ["atoms", "threads", "CPU us/atom", "wall us/atom", "relative CPU", "speed-up", "kB/atom"]
    show("cost and memory by size", columns, rows, args.out / "size.json")


if __name__ == "__main__":
    main()
