"""CPU time per atom and step of an exported model beside the compiled form, in turns, on one core."""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk, molecule
from common import HERE, parser, show
from metatomic_ase import MetatomicCalculator

from wk_potential import WKCalculator, export_model, load

PRECISIONS = ("float64", "float32")
WARM_UP = 8  # steps in which TorchScript and the neighbour lists settle


def timings(model, atoms, rounds: int) -> list[list]:
    """Precision, microseconds per atom compiled and exported (medians), and the largest deviation of forces."""
    rng, start, rows = np.random.default_rng(0), atoms.get_positions(), []
    wanted = ["energy", "forces", *(["stress"] if atoms.pbc.all() else [])]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for precision in PRECISIONS:
            path = Path(folder) / f"{precision}.pt"
            export_model(model, path, precision)
            calculators = [WKCalculator(model, 1, precision), MetatomicCalculator(path, device="cpu")]
            spent: list[list[float]] = [[], []]
            for _ in range(WARM_UP + rounds):
                atoms.positions = start + rng.uniform(-0.01, 0.01, start.shape)
                for calculator, times in zip(calculators, spent, strict=True):
                    begin = time.process_time()
                    calculator.calculate(atoms, wanted, ["positions"])
                    times.append(1e6 * (time.process_time() - begin) / len(atoms))
            compiled, exported = (float(np.median(times[WARM_UP:])) for times in spent)
            deviation = abs(calculators[0].results["forces"] - calculators[1].results["forces"]).max()
            rows.append([precision, compiled, exported, exported / compiled, float(deviation)])
    return rows


def main():
    p = parser(__doc__)
    p.add_argument("--models", type=Path, default=HERE.parent / "models", help="folder of the models")
    p.add_argument("--rounds", type=int, default=21)
    args = p.parse_args()
    torch.set_num_threads(1)
    silicon = bulk("Si", cubic=True).repeat(4)
    ethanol = molecule("CH3CH2OH")
    rows = []
    for name, atoms in (("Si", silicon), ("ethanol", ethanol)):
        atoms.rattle(0.05, seed=0)
        found = timings(load(args.models / f"{name}.wkp"), atoms, args.rounds)
        rows += [[name, len(atoms), *row] for row in found]
    columns = ["model", "atoms", "precision", "compiled us", "exported us", "ratio", "dF max, eV/A"]
    show("CPU time per atom and step: energy, forces, stress", columns, rows, args.out / "torch_export.json")


if __name__ == "__main__":
    main()
