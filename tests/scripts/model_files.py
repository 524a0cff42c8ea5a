"""Write one small model file of each kind, and beside it what the code that wrote it predicts.

    PYTHONPATH=.:tests python tests/scripts/model_files.py FOLDER

It asks for little of the package, so that older versions can run it too: that is how the files of formats 1 and 2 in
tests/corpus/model_files were made. Kinds that a version does not know are left out. The next format needs only a
folder of its own.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.io import write
from oracles.water import KEYS, water

from wk_potential import TrainingOptions, WKCalculator, read_frames, train

DENSITY = {"cutoff": 3.0, "cutoff_width": 2.0, "density_width": 0.5, "lmax": 2, "order": 3, "short_cutoff": 0.0}
DENSITY |= {"channel_tolerance": 0.05, "radial_tolerance": 0.03}
PLAIN = {"map": False, "uncertainty": False, "repulsion": False, "saturation": 0.0, "element_mixing": 0.0}
SPARSE = {"estimator": "sparse", "support_points": 6}
FULL = {"estimator": "full", "energy_noise": 0.01, "forces_noise": 0.05, "stress_noise": 0.05}
SMALL = {"cutoff": 2.0, "cutoff_width": 1.5}
ENERGIES = {"energy_key": "energy_ev"}
ALONE = {**SMALL, **KEYS, "use_energy": False}
KINDS = {  # name: system, options beside those above
    "direct": ("alloy", SPARSE),
    "full": ("alloy", FULL),
    "two_scales": ("alloy", {**FULL, "short_cutoff": 2.8, "short_density_width": 0.4}),
    "mapped": ("alloy", {**SPARSE, "map": True}),
    "repulsion": ("alloy", {**SPARSE, "repulsion": True}),
    "error_bars": ("alloy", {**SPARSE, "map": True, "uncertainty": True}),
    "saturation": ("alloy", {**SPARSE, "map": True, "saturation": 1.0}),
    "element_mixing": ("alloy", {**SPARSE, "element_mixing": 0.5}),
    "energies_alone": ("methane", {**SMALL, **FULL, **ENERGIES}),
    "tensors": ("water", {**SMALL, **SPARSE, **KEYS, **ENERGIES}),
    "tensors_alone": ("water", ALONE),
    "tensor_error_bars": ("water", {**ALONE, "uncertainty": True}),
    "model_below": ("alloy", {**SPARSE, "order": 2, "baseline": "direct.wkp"}),  # the one beside it
}
PROPERTIES = (
    "energy", "energies", "forces", "stress", "dipole", "polarizability", "dipole_derivatives",
    "polarizability_derivatives", "energy_std", "energies_std", "forces_std", "stress_std", "extrapolation_grade",
    "dipole_std", "polarizability_std",
)  # fmt: skip


def alloy(seed):
    """A strained and rattled cell of copper and gold."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=3.8)
    atoms.symbols = ["Cu", "Au", "Au", "Cu"]
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.1, (4, 3))
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


def methane(seed):
    """A methane molecule with an energy and no forces."""
    rng = np.random.default_rng(seed)
    atoms = molecule("CH4")
    atoms.positions += rng.normal(0, 0.08, (5, 3))
    atoms.info["energy_ev"] = float(4 * np.sum((atoms.get_distances(0, [1, 2, 3, 4]) - 1.09) ** 2))
    return atoms


SYSTEMS = {"alloy": alloy, "methane": methane, "water": water}


def predictions(path, atoms, uncertainty):
    """All that the calculator of a model file gives, as lists."""
    calculator = WKCalculator(path, threads=1, **({"uncertainty": True} if uncertainty else {}))
    found = {}
    for name in PROPERTIES:
        try:
            found[name] = np.asarray(calculator.get_property(name, atoms)).tolist()
        except PropertyNotImplementedError:
            continue
    return found


def make(name, folder):
    """Train, save and predict one kind, and say what it has; or say what this version does not know."""
    system, options = KINDS[name]
    known = TrainingOptions.model_fields
    unknown = [option for option in options if option in {*PLAIN, "baseline"} and option not in known]
    if unknown:
        return f"unknown: {', '.join(unknown)}"
    options = {key: value for key, value in {**DENSITY, **PLAIN, **options}.items() if key in known}
    reading = {key: options.pop(key) for key in (*KEYS, *ENERGIES) if key in options}
    with tempfile.TemporaryDirectory() as work:
        write(Path(work) / "frames.xyz", [SYSTEMS[system](seed) for seed in range(6)])
        frames = read_frames(Path(work) / "frames.xyz", **reading)
    path = folder / f"{name}.wkp"
    here = Path.cwd()
    os.chdir(folder)  # where baselines are
    model = train(frames, TrainingOptions(**options), 1)
    os.chdir(here)
    model.save(path)
    atoms = SYSTEMS[system](100)
    atoms.calc = None
    if options.get("repulsion"):
        atoms.set_distance(0, 1, 1.5, fix=0, mic=True)  # closer than in any frame
    structure = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}
    structure = {key: value.tolist() for key, value in structure.items()}
    found = predictions(path, atoms, options.get("uncertainty"))
    text = json.dumps({"structure": structure, "predictions": found}, indent=1)
    path.with_suffix(".json").write_text(text + "\n")
    return f"{path.stat().st_size} bytes: {', '.join(found)}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for kind in sys.argv[2:] or KINDS:
        print(kind, make(kind, target), flush=True)
