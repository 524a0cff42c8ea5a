"""Training data: names of labels, and what cannot be right."""

import re
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st
from oracles.systems import crystal, labelled

from wk_potential.atoms.frame import Frame
from wk_potential.atoms.reading import read_frames
from wk_potential.errors import DataError
from wk_potential.training.doubts import stress_doubt

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
numbers6 = st.lists(st.floats(-10, 10), min_size=6, max_size=6).map(np.array)


# --- names of labels ---

ENERGY_KEYS = ["energy", "Energy", "free_energy", "dft_energy", "DFT_energy", "REF_energy", "ref_energy"]
ENERGY_KEYS += ["QM_energy", "TotEnergy", "total_energy", "potential_energy", "U0"]
FORCES_KEYS = ["force", "dft_forces", "DFT_forces", "dft_force", "REF_forces", "ref_forces", "Forces"]


@pytest.mark.parametrize("key", ENERGY_KEYS)
def test_energy_keys(xyz, key):
    atoms = molecule("H2O")
    atoms.info |= {key: -3.5, "other": 1.0}
    frame = read_frames(xyz(atoms))[0]
    assert frame.energy == -3.5
    assert frame.keys == (("energy", key),)


@pytest.mark.parametrize("key", FORCES_KEYS)
def test_forces_keys(xyz, key):
    atoms = molecule("H2O")
    atoms.arrays[key] = np.arange(9.0).reshape(3, 3)
    frame = read_frames(xyz(atoms))[0]
    np.testing.assert_array_equal(frame.forces, atoms.arrays[key])
    assert frame.keys == (("forces", key),)


@given(numbers6, st.sampled_from(["stress", "REF_stress", "virial", "dft_virial"]), st.integers(0, 3))
def test_stress_layouts(stress, key, layout):
    atoms = crystal()
    atoms.calc = None
    value = -stress * atoms.get_volume() if "virial" in key else stress
    full = np.zeros((3, 3))
    for (i, j), x in zip(VOIGT, value, strict=True):
        full[i, j] = full[j, i] = x
    skew = np.array([[0, 1, 2], [-1, 0, 3], [-2, -3, 0]])
    atoms.info[key] = [value, full, full.ravel(), full + skew][layout]
    frame = Frame.from_atoms(atoms)
    np.testing.assert_allclose(frame.stress, stress, rtol=1e-10, atol=1e-12)
    assert frame.keys == (("stress", key),)
    np.testing.assert_allclose(Frame.from_atoms(frame.to_atoms()).stress, frame.stress, rtol=0)


def test_stress_and_virial_of_a_file(xyz):
    plain = crystal()
    atoms = plain.copy()
    full = plain.get_stress(voigt=False)
    atoms.info |= {"REF_stress": full.ravel(), "virial": -full * atoms.get_volume()}
    frame = read_frames(xyz(atoms))[0]  # they agree: no warning
    np.testing.assert_allclose(frame.stress, plain.get_stress())
    frame = read_frames(xyz(atoms), stress_key="virial")[0]
    np.testing.assert_allclose(frame.stress, plain.get_stress())
    assert frame.keys == (("stress", "virial"),)


def test_stress_needs_three_periodic_directions():
    for pbc in ([True, True, False], False):
        atoms = crystal()
        atoms.pbc = pbc
        atoms.calc = SinglePointCalculator(atoms, energy=1.0, stress=np.ones(6))
        assert Frame.from_atoms(atoms).stress is None


def test_energy_beats_free_energy(xyz):
    path = xyz(labelled(molecule("H2O"), energy=-2.0, free_energy=-2.1))
    assert read_frames(path)[0].energy == -2.0  # they differ by nature: no warning
    assert read_frames(path, energy_key="free_energy")[0].energy == -2.1


def test_reference_beats_plain_and_warns(xyz):
    images = [labelled(molecule("H2O"), i, energy=-1.0) for i in range(3)]
    for i, atoms in enumerate(images):
        atoms.info["REF_energy"] = -1.0 if i == 0 else -2.0
    path = xyz(images)
    text = r"file\.xyz, frame 1: 'REF_energy' and 'energy' differ \(in 2 frames\).*--energy-key"
    with pytest.warns(UserWarning, match=text) as record:
        frames = read_frames(path)
    assert len(record) == 1
    assert [frame.energy for frame in frames] == [-1, -2, -2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [frame.energy for frame in read_frames(path, energy_key="energy")] == [-1] * 3


def test_explicit_keys(xyz):
    atoms = labelled(molecule("H2O"))
    atoms.info["my_energy"] = 7.0
    atoms.arrays["my_forces"] = np.ones((3, 3))
    path = xyz([atoms, labelled(molecule("H2O"), 1)])
    first, second = read_frames(path, energy_key="my_energy", forces_key="my_forces")
    assert first.energy == 7
    np.testing.assert_array_equal(first.forces, 1)
    assert second.energy is None  # never a mixture of the chosen key and others
    assert second.forces is None


@pytest.mark.parametrize("kind", ["energy", "forces", "stress"])
def test_explicit_key_that_is_not_there(xyz, kind):
    path = xyz(labelled(molecule("H2O")))
    text = f"--{kind}-key 'nowhere' is in no frame; keys found: energy, forces"
    with pytest.raises(DataError, match=text):
        read_frames(path, **{f"{kind}_key": "nowhere"})
    with pytest.raises(DataError, match=text):
        Frame.from_atoms(labelled(molecule("H2O")), **{f"{kind}_key": "nowhere"})


def test_no_label_at_all(xyz):
    atoms = molecule("H2O")
    atoms.info["E0"] = 1.0
    text = r"file\.xyz: no energy, forces or stress; keys found: E0.*--energy-key"
    with pytest.raises(DataError, match=text):
        read_frames(xyz(atoms))


def test_labels_may_be_missing_in_some_frames(xyz):
    bare = molecule("H2O")
    frames = read_frames(xyz([bare, labelled(bare)]))
    assert [frame.energy is None for frame in frames] == [True, False]


# --- errors ---


def test_file_errors(tmp_path):
    with pytest.raises(DataError, match=r"no\.xyz: file not found; check the path"):
        read_frames(tmp_path / "no.xyz")
    with pytest.raises(DataError, match="no training data in this folder"):
        read_frames(tmp_path)
    for name in ("a.xyz", "a.npz"):
        (tmp_path / name).touch()
        with pytest.raises(DataError, match=rf"{re.escape(name)}: the file is empty"):
            read_frames(tmp_path / name)
    for name in ("a.xyz", "a.npz", "a.strange"):
        (tmp_path / name).write_text("some\nrubbish\n")
        with pytest.raises(DataError, match=rf"{re.escape(name)}: cannot be read \(\w+: .*\); check"):
            read_frames(tmp_path / name)


def test_broken_frame_is_named(xyz):
    path = xyz([labelled(molecule("H2O"), i) for i in range(3)])
    lines = path.read_text().splitlines()
    lines[8] = lines[8].replace("H", "Jx")
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"file\.xyz, frame 1: cannot be read"):
        read_frames(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(xyz, value):
    def broken(change):
        bad = crystal(1)
        change(bad)
        return xyz([crystal(0), bad])

    def position(atoms):
        atoms.positions[2, 1] = value

    def cell(atoms):
        atoms.cell[0, 0] = value

    def forces(atoms):
        atoms.calc.results["forces"][5, 0] = value

    def energy(atoms):
        atoms.calc.results["energy"] = value

    def stress(atoms):
        atoms.calc.results["stress"][3] = value

    for change, where in (
        (position, r"frame 1, atom 2 \(Si\): position"),
        (cell, "frame 1: cell"),
        (forces, r"frame 1, atom 5 \(Si\): forces 'forces'"),
        (energy, "frame 1: energy 'energy'"),
        (stress, "frame 1: stress 'stress'"),
    ):
        with pytest.raises(DataError, match=rf"file\.xyz, {where} is NaN or infinite; "):
            read_frames(broken(change))


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("U0", "abc", "energy"),
        ("REF_energy", np.ones(3), "energy"),
        ("energy", True, "energy"),
        ("REF_forces", np.ones(9), "forces"),
        ("dft_stress", np.ones(5), "stress"),
        ("virial", np.ones((2, 3)), "stress"),
    ],
)
def test_wrong_shape_or_type(key, value, kind):
    atoms = crystal()
    atoms.calc = None
    atoms.info[key] = value
    with pytest.raises(DataError, match=rf"x, frame 4: '{key}' is no {kind}: .* see --{kind}-key"):
        Frame.from_atoms(atoms, source="x, frame 4")


def test_strange_atoms(xyz):
    with pytest.raises(DataError, match=r"file\.xyz, frame 0, atom 1: 0 is no atomic number"):
        read_frames(xyz(Atoms("HX", [[0, 0, 0], [0, 0, 1]])))
    with pytest.raises(DataError, match="no atoms"):
        Frame.from_atoms(Atoms())


@pytest.mark.parametrize("n", [2, 300])
def test_close_atoms(xyz, n):
    positions = np.zeros((n, 3))
    positions[:, 0] = 2 * np.arange(n)
    positions[-1] = [0.05, 0, 0]
    bad = Atoms(["O"] + ["H"] * (n - 1), positions)
    text = rf"file\.xyz, frame 1: atom 0 \(O\) and atom {n - 1} \(H\) are 0\.05 Å apart; remove"
    with pytest.raises(DataError, match=text):
        read_frames(xyz([labelled(molecule("H2O")), bad]))


@pytest.mark.parametrize("cell", [[4, 4, 4], [4, 0, 0]])
def test_close_images(cell):
    atoms = Atoms("OH", [[0.02, 1, 1], [3.99, 1, 1]], cell=cell, pbc=np.array(cell) > 0)
    with pytest.raises(DataError, match=r"atom 0 \(O\) and atom 1 \(H\) or its image are 0\.03 Å apart"):
        Frame.from_atoms(atoms)
    atoms.pbc = False
    assert len(Frame.from_atoms(atoms)) == 2


def test_periodic_without_cell(xyz):
    atoms = molecule("H2O", cell=[5, 5, 5])
    atoms.pbc = [True, True, False]
    atoms.cell[2] = 0
    assert len(Frame.from_atoms(atoms)) == 3
    atoms.pbc = True
    with pytest.raises(DataError, match=r'frame 0: periodic, but the cell vector c is zero; .*pbc="F F F"'):
        read_frames(xyz(atoms))
    atoms.cell[2] = atoms.cell[0] + atoms.cell[1]
    with pytest.raises(DataError, match=r"frame 0: periodic, but the cell \[.*\] has no volume"):
        read_frames(xyz(atoms))


def test_duplicates(xyz):
    a, b = labelled(molecule("H2O"), 0), labelled(molecule("H2O"), 1)
    path = xyz([a, b, b, a])
    text = r"2 frames repeat an earlier one .* first .*file\.xyz, frame 1 and .*file\.xyz, frame 2; remove"
    with pytest.warns(UserWarning, match=text) as record:
        assert len(read_frames(path)) == 4
    assert len(record) == 1


def test_few_stresses_say_nothing_of_their_sign():
    """Chance makes them correlate."""

    def doubt(x, y):
        return stress_doubt(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), len(x))

    rng = np.random.default_rng(0)
    for n_frames, expected in ((3, 0), (40, 200)):
        truth = rng.normal(size=(200, 6 * n_frames))
        found = [doubt(x, -x + rng.normal(size=len(x))) for x in truth]
        assert sum("opposite sign" in text for text in found) == expected
        found = [doubt(x, rng.normal(size=len(x))) for x in truth]
        assert sum(map(bool, found)) == 0
    assert stress_doubt(0.0, 0) == ""
