"""Geometry optimisation, and reading and writing of structures."""

import numpy as np
import pytest
from ase.build import molecule

from wk_potential import WKCalculator
from wk_potential.atoms.trajectories import read_structure, write_structure
from wk_potential.errors import RelaxationError, StructureError
from wk_potential.simulation.relaxation import relax


@pytest.mark.parametrize("optimiser", ["LBFGS", "BFGS", "FIRE"])
@pytest.mark.parametrize("with_cell", [True, False])
def test_relax(cell, optimiser, with_cell):
    cell.set_cell(3.65 * np.eye(3), scale_atoms=True)
    cell.rattle(0.05, seed=0)
    seen = []
    summary = relax(cell, optimiser, 1e-3, cell=with_cell, progress=lambda stage, fraction: seen.append(fraction))
    assert summary.converged
    assert summary.fmax < 5e-3
    assert summary.gained > 0
    assert abs(summary.pressure) < 0.1 or not with_cell
    assert seen[-1] == 1


def test_relax_under_pressure(cell):
    summary = relax(cell, fmax=1e-4, cell=True, pressure=3.0)
    assert summary.pressure == pytest.approx(3.0, abs=0.01)


def test_relax_that_does_not_converge_says_so(cell):
    cell.rattle(0.05, seed=0)
    summary = relax(cell, fmax=1e-8, steps=2)
    assert not summary.converged
    assert summary.steps == 2


def test_relax_of_a_molecule(random_model):
    atoms = molecule("CH3CH2OH")
    atoms.calc = WKCalculator(random_model(scale=0.3), threads=1)
    summary = relax(atoms, fmax=0.01, steps=5)
    assert summary.pressure is None
    with pytest.raises(RelaxationError, match="three directions"):
        relax(atoms, cell=True)
    with pytest.raises(RelaxationError, match="unknown optimiser"):
        relax(atoms, "Newton")


# --- structures ---


@pytest.mark.parametrize("name", ["a.xyz", "a.cif", "a.traj", "POSCAR", "a.json"])
def test_structures_are_written_in_the_format_of_their_name(tmp_path, cell, name):
    write_structure(tmp_path / name, cell)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    np.testing.assert_allclose(read_structure(tmp_path / name).positions, cell.positions, atol=1e-6)


def test_structures_that_cannot_be_read_or_written(tmp_path, cell):
    (tmp_path / "bad.xyz").write_text("3\n\nH 0 0 0\n")
    (tmp_path / "good.xyz").write_text("1\n\nH 0 0 0\n")
    (tmp_path / "none.xyz").write_text("0\n\n")
    for name, message in (
        ("missing.xyz", "file not found"),
        ("bad.xyz", "cannot be read"),
        ("none.xyz", "no atoms"),
    ):
        with pytest.raises(StructureError, match=f"{name}: {message}"):
            read_structure(tmp_path / name)
    with pytest.raises(StructureError, match="not a file"):
        read_structure(tmp_path)
    with pytest.raises(StructureError, match="no frame 3"):
        read_structure(tmp_path / "good.xyz", 3)
    with pytest.raises(StructureError, match="no format"):
        write_structure(tmp_path / "a.unknown", cell)
    assert not (tmp_path / "a.unknown").exists()
