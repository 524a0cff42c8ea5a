import re
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io import write
from hypothesis import given
from hypothesis import strategies as st
from oracles.systems import crystal, labelled

import wk_potential.atoms.reading as data
from wk_potential.atoms.dataset import data_hash, label_table
from wk_potential.atoms.frame import Frame
from wk_potential.atoms.kinds import KINDS
from wk_potential.atoms.reading import read_frames
from wk_potential.atoms.sources import selected
from wk_potential.errors import DataError
from wk_potential.training.doubts import unit_warnings


@pytest.fixture
def npz(tmp_path):
    """Write an archive with three frames of a dimer, changed by the arguments."""

    def write_npz(drop=(), **changes):
        rng = np.random.default_rng(0)
        arrays = {
            "nuclear_charges": np.array([1, 8], np.uint8),
            "coords": np.array([[0, 0, 0], [0, 0, 1.0]]) + rng.normal(0, 0.1, (3, 2, 3)),
            "energies": np.array([-10.0, -20.0, -30.0]),
            "forces": rng.normal(size=(3, 2, 3)),
            "old_energies": np.zeros(3),
            "old_forces": np.zeros((3, 2, 3)),
        }
        arrays |= changes
        np.savez(tmp_path / "file.npz", **{key: array for key, array in arrays.items() if key not in drop})
        return tmp_path / "file.npz", arrays

    return write_npz


# --- what is read ---


def test_extxyz_round_trip(xyz):
    images = [crystal(0), crystal(1), labelled(molecule("H2O"))]
    images[1].info["config_type"] = "bulk"
    path = xyz(images)
    for i, (frame, atoms) in enumerate(zip(read_frames(path), images, strict=True)):
        assert frame.source == f"{path}, frame {i}"
        assert frame.config_type == ("bulk" if i == 1 else "")
        assert len(frame) == len(atoms)
        assert frame.numbers.dtype == np.int64
        np.testing.assert_array_equal(frame.numbers, atoms.numbers)
        np.testing.assert_array_equal(frame.pbc, atoms.pbc)
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-8)
        np.testing.assert_allclose(frame.cell, atoms.cell.array, atol=1e-8)
        np.testing.assert_allclose(frame.energy, atoms.get_potential_energy(), rtol=1e-12)
        np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-8)
        if i < 2:
            np.testing.assert_allclose(frame.stress, atoms.get_stress(), atol=1e-8)
            assert frame.volume == pytest.approx(atoms.get_volume())
        else:
            assert frame.stress is None
            assert frame.volume == 0
        again = Frame.from_atoms(frame.to_atoms())
        assert data_hash([again]) == data_hash([frame])
        assert again.config_type == frame.config_type


@pytest.mark.parametrize("name", ["file.traj", "file.json", "file@2.xyz"])
def test_other_files_that_ase_reads(tmp_path, name):
    write(tmp_path / name, [crystal(0), crystal(1)])
    frames = read_frames(tmp_path / name)
    assert [frame.source for frame in frames] == [f"{tmp_path / name}, frame {i}" for i in (0, 1)]
    np.testing.assert_allclose(frames[1].stress, crystal(1).get_stress(), atol=1e-8)


def test_raw_forces_on_constrained_atoms(tmp_path):
    atoms = labelled(molecule("H2O"))
    forces = atoms.get_forces()
    atoms.set_constraint(FixAtoms([0]))
    assert not atoms.get_forces()[0].any()
    write(tmp_path / "file.traj", atoms)
    np.testing.assert_array_equal(read_frames(tmp_path / "file.traj")[0].forces, forces)
    np.testing.assert_array_equal(Frame.from_atoms(atoms).forces, forces)


def test_labels_of_other_positions_are_not_used():
    atoms = labelled(molecule("H2O"))
    atoms.positions[0] += 0.1
    frame = Frame.from_atoms(atoms)
    assert frame.energy is None
    assert frame.forces is None
    assert frame.to_atoms().calc is None


@given(st.integers(1, 8), st.tuples(*[st.none() | st.integers(-10, 10)] * 3).filter(lambda t: t[2] != 0))
def test_select_slices(n, bounds):
    text = ":".join("" if bound is None else str(bound) for bound in bounds)
    expected = list(range(n))[slice(*bounds)]
    if expected:
        assert selected(list(range(n)), text) == expected
    else:
        with pytest.raises(DataError, match=f"'{re.escape(text)}' selects nothing: there are {n} frames"):
            selected(list(range(n)), text)


@given(st.integers(1, 8), st.integers(-10, 10))
def test_select_index(n, index):
    if -n <= index < n:
        assert selected(list(range(n)), str(index)) == [range(n)[index]]
    else:
        with pytest.raises(DataError, match="selects nothing"):
            selected(list(range(n)), str(index))


@pytest.mark.parametrize("text", ["", "a", "1:b", "1:2:3:4", "::0", "1.5"])
def test_select_nonsense(text):
    with pytest.raises(DataError, match=f"--frames '{text}' is neither an index nor a Python slice"):
        selected([1, 2], text)


def test_slice_goes_over_all_files(xyz):
    first = xyz([labelled(molecule("H2O"), i) for i in range(3)], "a.xyz")
    second = xyz([labelled(molecule("H2O"), i) for i in range(3, 5)], "b.xyz")
    sources = [frame.source for frame in read_frames([first, str(second)], "2:4")]
    assert sources == [f"{first}, frame 2", f"{second}, frame 0"]


def test_only_chosen_frames_are_checked(xyz):
    bad = Atoms("H2", [[0, 0, 0], [0, 0, 0.01]])
    path = xyz([labelled(molecule("H2O")), bad])
    assert len(read_frames(path, ":1")) == 1
    with pytest.raises(DataError, match="frame 1"):
        read_frames(path)


# --- units ---


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("eV", 1),
        ("mev", 1e-3),
        ("KCAL/mol", 1 / 23.060547830619026),
        ("kJ/mol", 1 / 96.48533212331),
        ("Hartree", 27.211386245988),
        ("ha", 27.211386245988),
    ],
)
def test_units(xyz, unit, factor):
    atoms = crystal()
    frame = read_frames(xyz(atoms), energy_unit=unit)[0]
    for value, raw in (
        (frame.energy, atoms.get_potential_energy()),
        (frame.forces, atoms.get_forces()),
        (frame.stress, atoms.get_stress()),
    ):
        np.testing.assert_allclose(value, factor * raw, rtol=2e-8, atol=1e-7 * factor)


def test_unknown_unit(xyz):
    with pytest.raises(DataError, match="--energy-unit 'erg': choose one of eV, meV, kcal/mol"):
        read_frames(xyz(crystal()), energy_unit="erg")


def test_npz(npz):
    path, arrays = npz()
    frames = read_frames(path, "1:", energy_unit="kcal/mol")
    assert [frame.source for frame in frames] == [f"{path}, frame 1", f"{path}, frame 2"]
    for frame, i in zip(frames, (1, 2), strict=True):
        np.testing.assert_array_equal(frame.numbers, [1, 8])
        np.testing.assert_array_equal(frame.positions, arrays["coords"][i])
        np.testing.assert_allclose(frame.energy, arrays["energies"][i] * units.kcal / units.mol)
        np.testing.assert_allclose(frame.forces, arrays["forces"][i] * units.kcal / units.mol)
        assert not frame.pbc.any()
        assert frame.keys == (("energy", "energies"), ("forces", "forces"))


def test_npz_short_names_and_explicit_key(npz):
    path, a = npz(["nuclear_charges", "coords", "energies", "forces"], z=np.array([1, 8]))
    np.savez(path, z=a["z"], R=a["coords"], E=a["energies"][:, None], F=a["forces"], other=a["energies"] + 1)
    assert read_frames(path, energy_unit="eV")[1].energy == -20
    assert read_frames(path, energy_unit="eV", energy_key="other")[1].energy == -19


def test_npz_without_unit(npz):
    path, _ = npz()
    with pytest.warns(UserWarning, match=r"file\.npz: read as eV, .* --energy-unit"):
        assert read_frames(path)[0].energy == -10


def test_npz_old_labels_are_never_read(npz):
    path, _ = npz(["energies", "forces"])
    with pytest.raises(DataError, match="no energy, forces or stress; keys found: old_energies, old_forces"):
        read_frames(path, energy_unit="eV")


@pytest.mark.parametrize(
    "changes",
    [
        {"drop": ["coords"]},
        {"drop": ["nuclear_charges"]},
        {"coords": np.zeros((3, 4, 3))},
        {"coords": np.zeros((2, 3))},
        {"energies": np.zeros(4)},
        {"forces": np.zeros((2, 2, 3))},
        {"lattice": np.eye(3)},
    ],
)
def test_npz_layout(npz, changes):
    path, _ = npz(**changes)
    with pytest.raises(DataError, match=r"file\.npz: expected nuclear_charges .* found .*\(3,\).*; convert"):
        read_frames(path, energy_unit="eV")


def test_npz_wrong_label_shape(npz):
    path, _ = npz(forces=np.zeros((3, 3, 2)))
    with pytest.raises(DataError, match=r"file\.npz, frame 0: 'forces' is no forces: .* shape \(3, 2\)"):
        read_frames(path, energy_unit="eV")


def test_npz_pickles_are_not_loaded(npz):
    path, _ = npz(thing=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"file\.npz: cannot be read .*allow_pickle"):
        read_frames(path, energy_unit="eV")


def test_thousand_npz_frames_are_fast(tmp_path):
    rng = np.random.default_rng(0)
    atoms = molecule("C60")
    coords = atoms.positions + rng.normal(0, 0.05, (1000, 60, 3))
    np.savez(tmp_path / "a.npz", z=atoms.numbers, R=coords, E=rng.normal(size=1000), F=coords)
    start = time.perf_counter()
    assert len(read_frames(tmp_path / "a.npz", energy_unit="eV")) == 1000
    assert time.perf_counter() - start < 2  # 0.1 s on an idle machine


# --- summaries ---


def test_label_table(xyz):
    images = [labelled(molecule("H2O")), crystal(), molecule("CH4")]
    images[0].info["config_type"] = "wet"
    images[2].info["REF_energy"] = -1.0
    assert label_table(read_frames(xyz(images))) == [
        ("energy", "energy", 2, 2),
        ("energy", "REF_energy", 1, 1),
        ("forces", "forces", 2, 33),
        ("stress", "stress", 1, 6),
        ("element", "H", 2, 6),
        ("element", "O", 1, 1),
        ("element", "Si", 1, 8),
        ("element", "C", 1, 1),
        ("config_type", "wet", 1, 3),
        ("config_type", "", 2, 13),
        ("total", "", 3, 16),
    ]
    assert label_table([])[:3] == [("energy", "", 0, 0), ("forces", "", 0, 0), ("stress", "", 0, 0)]


def test_data_hash(xyz):
    a, b = (read_frames(xyz(crystal(i)))[0] for i in (0, 1))
    reference = data_hash([a, b])
    assert re.fullmatch("[0-9a-f]{64}", reference)
    assert data_hash([a, b]) == reference
    assert data_hash([b, a]) != reference
    values = {name: getattr(a, name) for name in ("numbers", "positions", "cell", "pbc", *KINDS)}
    for name, value in values.items():
        changed = ~value if name == "pbc" else value + 1
        assert data_hash([Frame(**values | {name: changed}), b]) != reference
    for name in KINDS:
        assert data_hash([Frame(**values | {name: None}), b]) != reference
    assert data_hash([Frame(**values, source="elsewhere"), b]) == reference


def energies(formula, energy):
    atoms = molecule(formula) if not formula.startswith("*") else bulk(formula[1:])
    return [Frame.from_atoms(labelled(atoms, i, energy=energy + 0.1 * i)) for i in range(3)]


@pytest.mark.parametrize(
    ("formula", "energy"),
    [
        ("H2", -6.77),  # plane waves, PAW
        ("H2O", -14.22),
        ("CH4", -24.04),
        ("NH3", -19.54),
        ("LiH", -6.2),
        ("C6H6", -76.0),
        ("*Si", -10.85),
        ("*Cu", -3.73),
        ("*Fe", -8.31),
        ("*W", -12.96),
        ("*Li", -1.9),
        ("H2O", -468.0),  # norm-conserving pseudopotentials
        ("CH4", -219.0),
        ("*Si", -215.0),
        ("*Fe", -3400.0),
        ("H2O", -2079.0),  # all electrons
        ("H2", -31.7),
        ("*Si", -15800.0),
        ("*W", -4.4e5),  # relativistic
        ("CH4", -17.0),  # atomisation
        ("H2O", 0.3),
    ],
)
def test_no_false_alarms(formula, energy):
    assert unit_warnings(energies(formula, energy)) == []


@pytest.mark.parametrize(
    ("energy", "looks"),
    [
        (-2079 * 23.06, "look like kcal/mol;"),
        (-2079 * 96.5, "look like kJ/mol;"),
        (-2079 * 1e3, "look like meV;"),
        (-76.4, "look like Hartree;"),
        (-2079 * 27.2, "look like eV that was converted from Hartree;"),
        (-2079 / 23.06, "look like eV that was converted from kcal/mol;"),
        (-2079 * 5, "look like another unit than eV;"),
    ],
)
def test_energy_alarms(energy, looks):
    (text,) = unit_warnings(energies("H2O", energy))
    assert looks in text
    assert "--energy-unit" in text


def test_force_alarm():
    def frame(scale):
        forces = np.random.default_rng(0).normal(size=(3, 3)) * scale
        return Frame.from_atoms(labelled(molecule("H2O"), energy=-2079.0, forces=forces))

    assert unit_warnings([frame(1.5)] * 4 + [frame(500.0)] * 3) == []
    (text,) = unit_warnings([frame(1.2 * 23.06)] * 5)
    assert re.search("forces are .* eV/Å .*kcal/mol/Å", text)


# --- real data ---


def test_rmd17(shared_data):
    path = shared_data / "rmd17" / "ethanol_train.npz"
    with pytest.warns(UserWarning, match="--energy-unit"):
        assert len(unit_warnings(read_frames(path, ":100"))) == 2
    frames = read_frames(path, energy_unit="kcal/mol")
    assert unit_warnings(frames) == []
    assert len(frames) == 1000
    assert np.mean([frame.energy for frame in frames]) == pytest.approx(-4209.6, abs=0.1)


@pytest.mark.parametrize("name", ["mlearn/Si_train", "mlearn/Li_test", "water/test", "3bpa/iso_atoms"])
def test_other_data_sets(shared_data, name):
    frames = read_frames(shared_data / f"{name}.xyz")
    assert unit_warnings(frames) == []
    assert all(frame.energy is not None for frame in frames)
    assert all((frame.stress is not None) == name.startswith("mlearn") for frame in frames)


def test_bundled_ethanol():
    path = Path(data.__file__).parents[1] / "demo" / "ethanol.xyz"
    frames = read_frames(path)
    assert len(frames) == 100
    assert unit_warnings(frames) == []
    assert label_table(frames)[:2] == [("energy", "energy", 100, 100), ("forces", "forces", 100, 2700)]
    assert max(abs(frame.forces.sum(axis=0)).max() for frame in frames) < 1e-6
    assert path.stat().st_size < 300_000


def test_what_is_left_aside_is_told(xyz):
    images = [labelled(molecule("H2O"), i) for i in range(3)]
    images[1].info["dft_dipole"] = [1.0, 2.0, 3.0]
    for atoms in images:
        atoms.arrays["charge_of_atom"] = np.zeros(len(atoms))
    rows = [row for row in label_table(read_frames(xyz(images))) if row[0] == "left aside"]
    assert sorted(rows) == [("left aside", "charge_of_atom", 3, 0), ("left aside", "dft_dipole", 1, 0)]
