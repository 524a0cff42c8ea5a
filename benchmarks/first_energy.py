"""Seconds from the start of Python to the first energy: with a warm cache, a cold one, and eight processes at once."""

import os
import subprocess
import sys
import tempfile
import time

import numpy as np
from common import HERE, parser, show

SCRIPT = """
import sys
from ase.build import bulk
from wk_potential import WKCalculator
atoms = bulk("Si", cubic=True) * (2, 2, 2)
atoms.calc = WKCalculator(sys.argv[1], threads=1)
print(f"{atoms.get_potential_energy():.9f} {atoms.get_stress()[0]:.11f}")
"""


def start(model: str, cache: str) -> subprocess.Popen:
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", SCRIPT, model]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def timed(model: str, cache: str, processes: int = 1) -> tuple[float, set[str]]:
    """Wall seconds until all processes are done, and what they printed."""
    begin = time.perf_counter()
    running = [start(model, cache) for _ in range(processes)]
    printed = {p.communicate()[0] for p in running}
    if any(p.returncode for p in running):
        raise SystemExit("a process failed")
    return time.perf_counter() - begin, printed


def main():
    p = parser(__doc__)
    p.add_argument("--model", default=str(HERE.parent / "models" / "Si.wkp"))
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        cold, printed = timed(args.model, first)
        warm = float(np.median([timed(args.model, first)[0] for _ in range(5)]))
        crowd, others = timed(args.model, second, 8)
        crowd_warm, again = timed(args.model, second, 8)
    if len(printed | others | again) != 1:
        raise SystemExit("the processes disagree")
    rows = [["cold", cold], ["warm", warm], ["8 at once, cold", crowd], ["8 at once, warm", crowd_warm]]
    show("first energy, seconds from the start of Python", ["cache", "seconds"], rows, args.out / "first_energy.json")


if __name__ == "__main__":
    main()
