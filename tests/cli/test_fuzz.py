"""Random damage: readers refuse with an error of their own, or read; a model file never gives other predictions."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from corpus.cases import frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wk_potential import Model, WKCalculator
from wk_potential.atoms.reading import read_frames
from wk_potential.atoms.trajectories import read_structure
from wk_potential.errors import DataError, ModelFileError, OptionsError, StructureError
from wk_potential.model.container import read_container
from wk_potential.training.options import TrainingOptions

pytestmark = pytest.mark.filterwarnings("ignore")  # of ASE and NumPy, about what they are given
relaxed = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def attempt(path, content):
    """Read a file in every way there is; only the package's own errors may come of it."""
    path.write_bytes(content)
    try:
        for frame in read_frames(path):
            assert np.isfinite(frame.positions).all()
            for label in (frame.energy, frame.forces, frame.stress):
                assert label is None or np.isfinite(label).all()
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
    try:
        assert np.isfinite(read_structure(path).positions).all()
    except StructureError as error:
        assert str(path) in str(error)  # noqa: PT017


@relaxed
@given(st.binary(max_size=400), st.sampled_from(["xyz", "extxyz", "npz", "traj", "json", "cif", "what"]))
def test_any_bytes(content, ending):
    with tempfile.TemporaryDirectory() as folder:
        attempt(Path(folder) / f"file.{ending}", content)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Sound files of several formats."""
    folder, found = tmp_path_factory.mktemp("originals"), {}
    for name in ("file.xyz", "file.traj", "file.json"):
        write(folder / name, frames(2))
        found[name] = (folder / name).read_bytes()
    rng = np.random.default_rng(0)
    arrays = {"z": np.array([1, 8]), "R": rng.normal(size=(3, 2, 3)), "E": rng.normal(size=3)}
    np.savez(folder / "file.npz", **arrays)
    return found | {"file.npz": (folder / "file.npz").read_bytes()}


@relaxed
@given(st.sampled_from(["file.xyz", "file.traj", "file.json", "file.npz"]), st.data())
def test_damaged_files(originals, name, data):
    content = bytearray(originals[name])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    with tempfile.TemporaryDirectory() as folder:
        attempt(Path(folder) / name, bytes(content[:end]))


@relaxed
@given(st.text(max_size=200))
def test_any_options(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "options.toml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            assert TrainingOptions.from_toml(path) is not None
        except OptionsError as error:
            assert str(path) in str(error)  # noqa: PT017


@relaxed
@given(st.binary(max_size=300), st.booleans())
def test_any_model_file(content, begins_well):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.wkp"
        path.write_bytes(b"wk_potential model format=2 header=10 total=20 sha256=" * begins_well + content)
        with pytest.raises(ModelFileError, match=r"m\.wkp"):
            read_container(path)


def flip(tmp_path, model, number):
    """Change single bits of a model file; returns how many changes were refused."""
    path, rng = tmp_path / "m.wkp", np.random.default_rng(2)
    model.save(path)
    whole = path.read_bytes()
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = WKCalculator(model, threads=1)
    expected, refused = atoms.get_forces(), 0
    for _ in range(number):
        content, at = bytearray(whole), int(rng.integers(len(whole)))
        content[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            atoms.calc = WKCalculator(Model.load(path), threads=1)
        except ModelFileError:
            refused += 1
        else:
            np.testing.assert_array_equal(atoms.get_forces(), expected)
    return refused


def test_flipped_bits_of_a_model(tmp_path, copper_model):
    assert flip(tmp_path, copper_model, 300) == 300


@pytest.mark.slow
def test_ten_thousand_flipped_bits_of_a_model(tmp_path, copper_model):
    assert flip(tmp_path, copper_model, 10_000) == 10_000
