"""Files that were changed on purpose are refused by name, or are as good as before: no crash, no hang, no NaN."""

import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from oracles.mutations import mutated, outcome, packed, unpack

from wk_potential import Model
from wk_potential.atoms.structure import as_structures
from wk_potential.errors import ModelFileError
from wk_potential.model.container import read_container
from wk_potential.model.environments import as_arrays

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

KEPT = Path(__file__).parents[1] / "corpus" / "model_files"
POSITIONS = [[0, 0, 0], [1.9, 0, 0], [0, 2.0, 0.1], [0.1, 0, 2.1], [1.9, 1.9, 0.3], [1.7, 0.2, 1.9]]
PREDICTED = (
    "energy", "energies", "forces", "stress", "energy_std", "forces_std", "extrapolation_grade", "dipole", "dipole_std",
    "polarizability", "polarizability_std",
)  # fmt: skip
KINDS = ("mapped", "error_bars", "tensors", "tensor_error_bars", "two_scales", "full", "repulsion", "saturation")


def numbers_of(path):
    """All numbers that a model gives for six atoms, as text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Model.load(path)
        atoms = Atoms(np.resize(model.elements, 6), positions=POSITIONS, cell=[6, 6, 6], pbc=True)
        prediction = model.predict(atoms, 1)
        found = [getattr(prediction, name) for name in PREDICTED if getattr(prediction, name) is not None]
        if model.scales:
            structure = as_arrays(as_structures(atoms)[1][0], model.elements, model.cutoff)
            found += model.evaluate(structure, 1, model.direct)[:2]
        found.append(model.kernel(atoms))
    numbers = np.concatenate([np.ravel(x) for x in found])
    return "not a number" if not np.isfinite(numbers).all() else " ".join(f"{x:.12g}" for x in numbers)


def check_changes(tmp_path, name, seeds):
    data, path = (KEPT / f"{name}.wkp").read_bytes(), tmp_path / "changed.wkp"
    expected = np.array(numbers_of(KEPT / f"{name}.wkp").split(), float)
    refused = 0
    for seed in seeds:
        content, what, weights = mutated(data, seed)
        path.write_bytes(content)
        found = outcome(path, numbers_of)
        if found.startswith("refused"):
            refused += 1
            continue
        assert found.partition(":")[0] not in ("crash", "hang", "fault", "not a number"), (
            f"{name} {seed} {what}: {found}"
        )
        numbers = np.array(found.split(), float)
        same = numbers.shape == expected.shape and np.allclose(numbers, expected, rtol=1e-8, atol=1e-8)
        assert same or weights, f"{name} {seed}: other numbers by {what}"
    assert refused > len(seeds) / 2


@pytest.mark.train
@pytest.mark.parametrize("kind", KINDS)
def test_one_thing_changed(tmp_path, kind):
    check_changes(tmp_path, f"format3/{kind}", range(20))


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"format{k}/{kind}" for k in (1, 2, 3) for kind in KINDS[:6]])
def test_many_things_changed(tmp_path, name):
    if (KEPT / f"{name}.wkp").exists():
        check_changes(tmp_path, name, range(1000, 1400))


def refusal(tmp_path, header, arrays):
    """What the refusal of a file of this content says."""
    path = tmp_path / "m.wkp"
    path.write_bytes(packed(header, arrays))
    found = outcome(path, numbers_of)
    assert found.startswith(f"refused: {path}: "), found
    return found.partition(f"{path}: ")[2]


def set_at(value, place, new):
    """Set a value in nested lists and dictionaries."""
    for key in place[:-1]:
        value = value[key]
    value[place[-1]] = new


@pytest.mark.parametrize(
    ("name", "place", "value", "what"),
    [
        ("mapped", ("scales", 0, "lmax"), 7, "scales.0.lmax: .* less than or equal to 6"),
        ("mapped", ("scales", 0, "lmax"), 1, "scale0_radial_values has the shape"),
        ("mapped", ("scales", 0, "lmax"), True, "scales.0.lmax: .*integer"),
        ("mapped", ("scales", 0, "cutoff"), 1e6, "scales.0.cutoff: .* less than or equal to 20"),
        ("mapped", ("scales", 0, "cutoff"), 2.99, "cutoff is 3, but that of the densities 2.99|radial_slopes|vanish"),
        ("mapped", ("scales", 0, "saturation"), 1.0, "options.saturation is 0, but scales.0 has 1"),
        ("mapped", ("scales", 0, "saturated"), 1.0, "scales.0.saturated: .*not permitted"),
        ("mapped", ("scales", 0, "mapped_blocks", 0, 0), 5, "mapped_blocks.0 is of element 5 of 2"),
        ("mapped", ("scales", 0, "mapped_blocks", 0, 1), 6, "mapped_blocks.0 has L = 6, with lmax = 2"),
        ("mapped", ("scales", 0, "mapped_blocks", 0, 3), 500, "mapped_blocks.0 has 500 of . channels"),
        ("mapped", ("scales", 0, "mapped_blocks", 0, 4), 2**31, "mapped_blocks.0.*less than"),
        ("mapped", ("scales", 0, "mapped_blocks", 0, 5, 0), [4, 4, 1], "couples l = 4 and 4 to L = 0, with lmax = 2"),
        ("mapped", ("scales", 0, "mapped_blocks", 0, 5, 0), [0, 2, 1], "couples l = 0 and 2 to L = 0"),
        ("mapped", ("scales", 0, "mapped_blocks"), 200_000 * [[0, 0, 0, 0, 0, []]], "200000 blocks, of which"),
        ("mapped", ("elements",), ["Cu", "Ag"], "elements of the header are not"),
        ("mapped", ("training", "support_points"), 7, "training.support_points is 7"),
        ("mapped", ("training", "frames"), "x", "training.frames: .*integer"),
        ("error_bars", ("uncertainty", "channels"), 0, "uncertainty.channels is 0"),
        ("error_bars", ("uncertainty", "blocks"), [], "uncertainty.blocks has 0 parts for 1 scales"),
        ("tensors", ("tensors", "dipole", "parts", 0, "momentum"), 2, r"have the angular momenta \(2,\)"),
        ("tensors", ("tensors", "dipole", "parts", 0, "forms", 0, "couplings", 0, 1), 99, "block that is not there"),
        ("tensors", ("tensors", "quadrupole"), {}, "tensors.quadrupole"),
    ],
)  # fmt: skip
def test_fields_are_named(tmp_path, name, place, value, what):
    header, arrays = unpack((KEPT / "format3" / f"{name}.wkp").read_bytes())
    set_at(header, place, value)
    assert re.search(what, refusal(tmp_path, header, arrays))


ARRAYS = {
    "mapped_pairs|holds numbers that are not from 0": ("mapped", "scale0_mapped_pairs", lambda x: x * 0 + 32767),
    "mapped_pairs|repeat or are not sorted": ("mapped", "scale0_mapped_pairs", lambda x: x[::-1].copy()),
    "mapped_pairs|but the blocks hold": ("mapped", "scale0_mapped_pairs", lambda x: x[:-1]),
    "projection|has the shape": ("mapped", "scale0_projection", lambda x: x[:, :, :3, :]),
    "support_coefficients|has the shape": ("mapped", "scale0_projection", lambda x: x[..., :1]),
    "uncertainty_members|has 3 columns": ("error_bars", "uncertainty_members", lambda x: x[:, :3]),
    "uncertainty_largest|holds a zero": ("error_bars", "uncertainty_largest", lambda x: 0 * x),
    "support_weights|not from": ("mapped", "scale0_support_weights", lambda x: x * np.nan),
    "support_counts|do not add up": ("mapped", "scale0_support_counts", lambda x: x + 1),
    "radial_slopes|are no slopes": ("mapped", "scale0_radial_slopes", lambda x: 1.01 * x),
    "radial_values|do not vanish": ("mapped", "scale0_radial_values", lambda x: x + 1),
    "elements|ascending order": ("mapped", "elements", lambda x: x[::-1].copy()),
    "elements|not from 1 to 118": ("mapped", "elements", lambda x: x + 118),
    "compositions|are not orthonormal": ("mapped", "compositions", lambda x: 2 * x),
    "baseline|of the header is not that": ("mapped", "baseline", lambda x: x + 1),
    "repulsion_inner|is not below": ("repulsion", "repulsion_inner", lambda x: x + 9),
    "repulsion_charges|are not those": ("repulsion", "repulsion_charges", lambda x: x + 1),
    "order_weights|has the shape": ("mapped", "scale0_order_weights", lambda x: x[0]),
    "mapped_vectors|has the type": ("mapped", "scale0_mapped_vectors", lambda x: x.astype("<f2")),
    "extra|belong to no part": ("mapped", "extra", None),
}


@pytest.mark.parametrize("expected", ARRAYS)
def test_arrays_are_named(tmp_path, expected):
    name, what = expected.split("|")
    kind, array, change = ARRAYS[expected]
    header, arrays = unpack((KEPT / "format3" / f"{kind}.wkp").read_bytes())
    arrays[array] = change(arrays[array]) if change else np.zeros(3)
    text = refusal(tmp_path, header, arrays)
    assert name in text
    assert what in text


def test_shapes_beyond_all_bounds(tmp_path):
    header, arrays = unpack((KEPT / "format3" / "mapped.wkp").read_bytes())
    path = tmp_path / "m.wkp"
    arrays["scale0_support_weights"] = np.zeros((0, 16))
    path.write_bytes(packed(header, arrays).replace(b"[0, 16]", b"[0, 16, 8589934592]"))
    with pytest.raises(ModelFileError):
        Model.load(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_files_without_an_end(tmp_path, kind):
    """A pipe that nobody writes to, a device that never ends, a file larger than the memory."""
    path = tmp_path / "m.wkp"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(2**40)
    found = outcome(path, lambda path: str(read_container(path)))
    assert found.startswith("refused"), found
    if kind == "pipe":
        code = f"from wk_potential import Model; Model.load({str(path)!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert "not a regular file" in done.stderr


@pytest.mark.parametrize("name", [str(p.relative_to(KEPT).with_suffix("")) for p in sorted(KEPT.glob("*/*.wkp"))])
def test_the_sound_files_are_packed_as_the_package_does(tmp_path, name):
    """The writer of these tests makes files that the package reads to the same numbers."""
    header, arrays = unpack((KEPT / f"{name}.wkp").read_bytes())
    path = tmp_path / "m.wkp"
    path.write_bytes(packed(header, arrays))
    below = (KEPT / name).with_name("direct.wkp")  # a model may add to the one beside it
    if below.exists():
        shutil.copy(below, tmp_path)
    assert numbers_of(path) == numbers_of(KEPT / f"{name}.wkp")
