"""Running scripts on several ranks, and the structures that the ways of running are tested on."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, diamond111

SILICON = Path(__file__).parents[2] / "models" / "Si.wkp"
ASPIRIN = [
    (2.01, -1.18, -0.02), (1.21, 1.29, -0.66), (2.95, -0.43, -0.74),
    (2.45, 0.73, -1.2), (-2.8, 2.46, 0.4), (0.64, -0.82, 0.29),
    (0.34, 0.52, 0.01), (-1.38, -1.62, 1.39), (-1.68, 1.39, -1.46),
    (0.21, -3.05, 0.52), (-0.29, -1.79, 0.86), (-1.72, 1.66, -0.31),
    (-0.82, 1.12, 0.6), (-0.18, -3.73, 1.05), (2.37, -2.09, 0.44),
    (0.93, 2.3, -0.92), (3.91, -0.87, -0.97), (3.13, 1.49, -1.68),
    (-2.62, 3.47, 0.55), (-3.76, 2.57, -0.16), (-2.77, 1.96, 1.42),
]  # fmt: skip


def mpiexec() -> str | None:
    """Return the program beside this Python, or on the path."""
    return shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def needs(*modules):
    """Mark a test that starts mpiexec; it is skipped where that is missing, or one of the modules."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    missing += [] if mpiexec() else ["mpiexec"]
    skip = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install 'wk-potential[test]'")
    return lambda test: pytest.mark.mpi(skip(test))


def run_ranks(n, *command, timeout=120, **options):
    """Run a Python command on n ranks, one thread each."""
    tests = Path(__file__).parents[1]
    paths = [str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [mpiexec(), "-n", str(n), sys.executable, *map(str, command)],
        capture_output=True, text=True, timeout=timeout, env=variables, **options,
    )  # fmt: skip


def crystal(repeat, seed=0, rattle=0.1):
    atoms = bulk("Si", cubic=True) * repeat
    atoms.rattle(rattle, seed=seed)
    return atoms


def structures() -> dict[str, Atoms]:
    """Structures of all kinds, by name: silicon, but for the molecule."""
    aspirin = Atoms("C7O3C2OH8", ASPIRIN)
    half_empty = crystal((3, 3, 3))
    half_empty.cell[2] *= 2
    slab = diamond111("Si", (3, 4, 3), a=5.43)
    slab.rattle(0.1, seed=1)
    skewed = bulk("Si")
    skewed.set_cell(skewed.cell.array @ (np.eye(3) + 0.1 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    skewed.rattle(0.2, seed=2)
    skewed.positions[1] += 2 * skewed.cell[0] - skewed.cell[2]
    cluster = crystal((2, 2, 1), seed=3)
    cluster.pbc = False
    cluster.cell = None
    pair = Atoms("Si2", [[0, 0, 0], [0, 0, 2.4]])
    return {
        "aspirin": aspirin,
        "crystal of 64": crystal((2, 2, 2)),
        "crystal of 4096": crystal((8, 8, 8)),
        "half empty": half_empty,
        "slab": slab,
        "smaller than the cutoff": skewed,
        "cluster": cluster,
        "pair, ranks without atoms": pair,
        "one atom and its images": Atoms("Si", cell=[3.0, 3.2, 9.0], pbc=[True, True, False]),
        "no atoms": Atoms(),
    }
