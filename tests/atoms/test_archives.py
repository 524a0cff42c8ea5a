"""Molecules of all sizes: archives in which they stand one after the other, and the files of QM9."""

import numpy as np
import pytest

from wk_potential.atoms.reading import read_frames
from wk_potential.errors import DataError

HARTREE = 27.211386245988

# the first molecule of the set as published, with numbers as its program writes them
METHANE = """5
gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749\t-40.47893\t-40.476062\
\t-40.475117\t-40.498597\t6.469\t
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 0.002150416\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 2.765748*^-4\t 0.133922
H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923
1341.307\t1341.3284\t1341.365
C\tC
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""


@pytest.fixture
def archive(tmp_path):
    """Write water and a hydroxyl, changed by the arguments; returns the path and the arrays."""

    def write(drop=(), **changes):
        rng = np.random.default_rng(0)
        arrays = {
            "counts": np.array([3, 2], np.uint8),
            "numbers": np.array([8, 1, 1, 8, 1], np.uint8),
            "positions": np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1.0]], np.float32),
            "U0": np.array([-76.4, -75.7]),
            "alpha": np.array([6.3, 5.0]),
            "forces": rng.normal(size=(5, 3)),
        } | changes
        np.savez(tmp_path / "many.npz", **{name: array for name, array in arrays.items() if name not in drop})
        return tmp_path / "many.npz", arrays

    return write


def test_molecules_one_after_the_other(archive):
    path, arrays = archive()
    frames = read_frames(path, energy_key="U0", energy_unit="Ha", forces_unit="eV/Angstrom")
    assert [frame.numbers.tolist() for frame in frames] == [[8, 1, 1], [8, 1]]
    assert [frame.energy for frame in frames] == pytest.approx(arrays["U0"] * HARTREE, rel=2e-8)  # ASE has CODATA 2014
    assert frames[1].forces == pytest.approx(arrays["forces"][3:])
    assert frames[1].positions == pytest.approx(arrays["positions"][3:])
    assert frames[1].source == f"{path}, frame 1"
    assert frames[0].unused == ("alpha",)
    assert [f.energy for f in read_frames(path, energy_key="alpha", energy_unit="eV")] == [6.3, 5.0]


def test_a_label_of_molecules_has_to_be_named(archive):
    path, _ = archive(drop=["forces"])
    with pytest.raises(DataError, match="no energy, forces or stress; keys found: U0, alpha"):
        read_frames(path, energy_unit="Ha")


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": np.array([3, 3])},
        {"counts": np.array([3.0, 2.0])},
        {"counts": np.array([6, -1])},
        {"numbers": np.array([8, 1, 1, 8])},
        {"positions": np.zeros((5, 2))},
        {"U0": np.zeros(3)},
        {"lattice": np.eye(3)},
    ],
)
def test_archives_that_are_something_else(archive, changes):
    path, _ = archive(**changes)
    with pytest.raises(DataError, match=r"many\.npz: expected .* counts \(n,\).*, but found .*counts \(2,\)"):
        read_frames(path, energy_key="U0", energy_unit="Ha")


def test_files_of_qm9(tmp_path):
    for k in range(2):
        (tmp_path / f"dsgdb9nsd_{k:06d}.xyz").write_text(METHANE)
    with pytest.warns(UserWarning, match="1 frames repeat"):
        first, _ = read_frames(tmp_path, energy_unit="Ha")
    assert first.numbers.tolist() == [6, 1, 1, 1, 1]
    assert first.positions[2, 2] == 2.765748e-4
    assert first.energy == pytest.approx(-40.47893 * HARTREE, rel=2e-8)  # ASE has CODATA 2014
    (free,) = read_frames(tmp_path / "dsgdb9nsd_000000.xyz", energy_key="G", energy_unit="Ha")
    assert free.energy == pytest.approx(-40.498597 * HARTREE, rel=2e-8)  # ASE has CODATA 2014


def test_files_of_qm9_need_their_unit(tmp_path):
    path = tmp_path / "methane.xyz"
    path.write_text(METHANE)
    with pytest.raises(DataError, match="in Hartree; say so with --energy-unit Ha"):
        read_frames(path)
    assert read_frames(path, unlabelled=True)[0].energy == -40.47893  # as for `map`, which wants no labels


@pytest.mark.parametrize(
    "text", [METHANE + METHANE, "\n".join(METHANE.splitlines()[:5]), METHANE.rstrip() + "\nmore\n"]
)
def test_files_of_qm9_that_are_not_whole(tmp_path, text):
    path = tmp_path / "methane.xyz"
    path.write_text(text)
    with pytest.raises(DataError, match=r"methane\.xyz: \d+ lines, but a file of QM9 has 5 atoms"):
        read_frames(path, energy_unit="Ha")


def test_molecules_of_one_atom_each(tmp_path):
    np.savez(tmp_path / "atoms.npz", counts=[1, 1], numbers=[1, 8], positions=np.zeros((2, 3)), U0=[-0.5, -75.0])
    with pytest.raises(DataError, match="every molecule has one atom"):
        read_frames(tmp_path / "atoms.npz", energy_key="U0", energy_unit="Ha")
