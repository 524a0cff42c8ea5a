"""Time per atom and step of an exported model on a device, from 100 to a million atoms, in both precisions.

Needs the extra `torch` and `pip install metatomic-ase`. A step is energy, forces and stress after all atoms have moved
a little, with the neighbour list of metatomic's ASE calculator; "energy" is the time of the energy alone. Sizes that do
not fit in the memory of the device are rows that say so.
"""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from common import HERE, parser, show
from metatomic_ase import MetatomicCalculator

from wk_potential import export_model, load

SIZES = (100, 1000, 10_000, 100_000, 1_000_000)
WARM_UP = 5  # steps in which TorchScript settles


def crystal(n: int) -> Atoms:
    """Return rattled silicon of about so many atoms."""
    cells = max(1, round((n / 8) ** (1 / 3)))
    atoms = bulk("Si", a=5.43, cubic=True) * (3 * [cells])
    atoms.rattle(0.05, seed=0)
    return atoms


def seconds_of(step, device: str, repeats: int) -> float:
    """Median wall seconds of a step that the device has finished."""
    times = []
    for _ in range(WARM_UP + repeats):
        _finish(device)
        start = time.perf_counter()
        step()
        _finish(device)
        times.append(time.perf_counter() - start)
    return float(np.median(times[WARM_UP:]))


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


class Timed:
    """A model whose calls are timed; everything else is the model's."""

    def __init__(self, model, device: str) -> None:
        self._model, self._device, self.seconds = model, device, []

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def __call__(self, *args, **options):
        """Call the model, and keep how long that took."""
        _finish(self._device)
        start = time.perf_counter()
        out = self._model(*args, **options)
        _finish(self._device)
        self.seconds.append(time.perf_counter() - start)
        return out


def row(calculator: MetatomicCalculator, atoms: Atoms, device: str, repeats: int) -> list:
    """Microseconds per atom of a whole step and of its energy alone, and gigabytes on the device (a dash on a CPU)."""
    rng, start = np.random.default_rng(0), atoms.get_positions()
    model = calculator._model
    timed = Timed(model, device)

    def step():
        atoms.positions = start + rng.uniform(-0.01, 0.01, start.shape)
        calculator.calculate(atoms, ["energy", "forces", "stress"], ["positions"])

    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    calculator._model = timed
    try:
        whole = seconds_of(step, device, repeats)
    finally:
        calculator._model = model
    gigabytes = torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else "-"
    return [1e6 * whole / len(atoms), 1e6 * float(np.median(timed.seconds[WARM_UP:])) / len(atoms), gigabytes]


def main():
    p = parser(__doc__)
    p.add_argument("--model", type=Path, default=HERE.parent / "models" / "Si.wkp", help="model of silicon")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of atoms, about")
    p.add_argument("--repeats", type=int, default=9, help="steps, of which the median counts")
    args = p.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for precision in ("float32", "float64"):
            path = Path(folder) / f"{precision}.pt"
            export_model(load(args.model), path, precision)
            calculator = MetatomicCalculator(path, device=args.device)
            for n in args.sizes:
                atoms = crystal(n)
                try:
                    rows.append([precision, len(atoms), *row(calculator, atoms, args.device, args.repeats), ""])
                except (torch.cuda.OutOfMemoryError, MemoryError) as error:
                    rows.append([precision, len(atoms), "", "", "", f"out of memory: {error}"[:60]])
    columns = ["precision", "atoms", "us per atom", "energy", "GB on the device", "note"]
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"{torch.get_num_threads()} CPU threads"
    show(
        f"Energy, forces, stress of silicon on {name}, wall time per atom and step",
        columns,
        rows,
        args.out / "gpu.json",
    )


if __name__ == "__main__":
    main()
