"""Model files of every format and kind, and the models of the project, predict what they did when they were written."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from scripts.model_files import KINDS

from wk_potential import Model, WKCalculator
from wk_potential.model.container import FORMAT

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "tests" / "corpus" / "model_files"
FILES = sorted(KEPT.glob("format*/*.wkp"))
MODELS = json.loads((KEPT / "models.json").read_text())  # as version control knew them when they were recorded
TOLERANCE = 1e-12  # of the largest value: another order of the same sums
# Energies have the rounding errors of the terms of the kernel, which are larger than their sum: as large as those of
# forces. The code that wrote the files has the same errors where it has just been compiled and not loaded from disk.
PARTS = {"energy": ("energies", "forces"), "energies": ("energies", "forces")}


def check(path, record):
    """Compare the predictions of a model file with the recorded ones."""
    atoms, stated = Atoms(**record["structure"]), record["predictions"]
    uncertainty = any(name.endswith("_std") for name in stated)
    calculator = WKCalculator(path, threads=1, uncertainty=uncertainty)
    for name, expected in stated.items():
        found = calculator.get_property(name, atoms)
        assert np.shape(found) == np.shape(expected), name
        size = max(np.abs(stated[part]).max() for part in PARTS.get(name, (name,)) if part in stated)
        assert np.abs(np.subtract(found, expected)).max() <= TOLERANCE * size, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_kept_files_predict_what_their_writers_did(path):
    check(path, json.loads(path.with_suffix(".json").read_text()))


@pytest.mark.parametrize("name", MODELS)
def test_models_of_the_project_predict_what_they_did(name):
    path = ROOT / "models" / f"{name}.wkp"
    if not path.exists():
        pytest.skip("the models are not in the source distribution")
    check(path, MODELS[name])


def test_every_model_of_the_project_is_recorded():
    assert {path.stem for path in (ROOT / "models").glob("*.wkp")} <= set(MODELS)


def test_every_format_and_kind_is_kept():
    kinds = {k: {path.stem for path in FILES if path.parent.name == f"format{k}"} for k in range(1, FORMAT + 1)}
    of_format = {4: {"model_below"}, 3: {"saturation", "element_mixing", "tensor_error_bars"}, 2: {"repulsion"}}
    expected = set(KINDS)
    for k in range(FORMAT, 0, -1):
        assert kinds[k] == expected, k
        expected = expected - of_format.get(k, set())
    for path in FILES:
        number = path.parent.name.removeprefix("format")
        assert path.read_bytes().startswith(f"wk_potential model format={number} ".encode())
        assert path.stat().st_size < 60_000


def test_kinds_are_what_they_are_called():
    models = {path.stem: Model.load(path) for path in FILES if path.parent.name == f"format{FORMAT}"}
    assert not models["direct"].is_mapped
    assert models["mapped"].is_mapped
    assert len(models["two_scales"].scales) == 2
    assert models["full"].scales[0].support[0].tangents is not None
    assert models["energies_alone"].scales[0].support[0].tangents is None
    assert models["repulsion"].repulsion is not None
    assert models["saturation"].scales[0].density.saturation == 1.0
    assert str(models["model_below"].baseline_potential) == "direct.wkp"
    assert models["error_bars"].error_bars == ["energy"]
    assert models["tensor_error_bars"].error_bars == ["dipole", "polarizability"]
    assert set(models["tensors"].tensors) == set(models["tensors_alone"].tensors) == {"dipole", "polarizability"}
    assert models["tensors"].scales
    assert not models["tensors_alone"].scales
