import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from oracles.oriented import Oriented
from scipy.spatial.transform import Rotation

from wk_potential.errors import OptionsError
from wk_potential.symmetry import average
from wk_potential.symmetry.average import SymmetrisedCalculator
from wk_potential.testing import check_forces, check_permutation, check_rotations, check_stress, check_translation

ANY = Rotation.from_euler("xyz", [20, 70, 130], degrees=True).as_matrix()


def crystal():
    atoms = bulk("CuAu", "rocksalt", a=4.4)
    atoms.set_cell(atoms.cell.array + 0.2 * np.random.default_rng(0).normal(size=(3, 3)), scale_atoms=True)
    atoms.rattle(0.1, seed=0)
    return atoms


STRUCTURES = {"molecule": molecule("CH3CH2OH"), "crystal": crystal(), "atom": Atoms("Cu")}


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_isotropic_part_is_left(name):
    atoms = STRUCTURES[name]
    plain, averaged = Oriented(), SymmetrisedCalculator(Oriented(1, 2, 3), degree=3, inversion=False)
    for calculator in (plain, averaged):
        calculator.calculate(atoms)
    for key in ("energy", "forces", *(["stress"] if atoms.pbc.all() else [])):
        assert averaged.results[key] == pytest.approx(plain.results[key], abs=1e-12), key


@pytest.mark.parametrize("l", [4, 6])
def test_the_error_falls_with_the_degree(l):
    """The part of angular momentum l is there below the degree l, and gone from it on."""
    atoms = STRUCTURES["crystal"]
    plain = Oriented()
    plain.calculate(atoms)
    left = {}
    for degree in (2, 3, 5, 6):
        averaged = SymmetrisedCalculator(Oriented(l), degree=degree, inversion=False)
        averaged.calculate(atoms)
        left[degree] = abs(averaged.results["energy"] - plain.results["energy"])
    assert left[6] < 1e-12
    assert (left[5] < 1e-12) == (l <= 5)
    assert left[3] > 1e-5 or l == 6


def test_inversion_removes_odd_parts():
    atoms = STRUCTURES["molecule"]
    energies = []
    for inversion in (False, True):
        atoms.calc = SymmetrisedCalculator(Oriented(7, 9), degree=0, inversion=inversion)
        energies.append(atoms.get_potential_energy())
    atoms.calc = Oriented()
    expected = atoms.get_potential_energy()
    assert energies[1] == pytest.approx(expected, abs=1e-12)
    assert abs(energies[0] - expected) > 1e-6


@pytest.mark.parametrize("name", ["molecule", "crystal"])
def test_forces_and_stress_are_derivatives(name):
    """Also where the average is not exact."""
    atoms = STRUCTURES[name].copy()
    atoms.calc = SymmetrisedCalculator(Oriented(2, 4, 5), degree=2, inversion=False)
    rows = [*check_forces(atoms, components=6, limit=1e-7), *check_stress(atoms, limit=1e-7)]
    assert [str(row) for row in rows if not row.passed] == []


def test_checks_pass_when_the_degree_suffices():
    atoms = STRUCTURES["crystal"].copy()
    atoms.calc = Oriented(1, 2)
    assert not all(row.passed for row in check_rotations(atoms))
    atoms.calc = SymmetrisedCalculator(Oriented(1, 2), degree=2, inversion=False)
    rows = [row for check in (check_rotations, check_permutation, check_translation) for row in check(atoms)]
    assert [str(row) for row in rows if not row.passed] == []


def test_spread_and_error_of_random_rotations():
    atoms = STRUCTURES["crystal"]
    averaged = SymmetrisedCalculator(Oriented(2), inversion=False, random=100, seed=3)
    averaged.calculate(atoms)
    found, plain = averaged.results, Oriented()
    plain.calculate(atoms)
    error = abs(found["energy"] - plain.results["energy"])
    assert found["orientation_error"] == pytest.approx(found["orientation_std"] / 10)
    assert 0 < error < 4 * found["orientation_error"]


def test_turned_structures_are_the_same_structure():
    atoms = STRUCTURES["crystal"].copy()
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_initial_charges([1.0, -1.0])
    found = average.turned(atoms, ANY)
    assert found.get_all_distances(mic=True) == pytest.approx(atoms.get_all_distances(mic=True))
    assert not found.constraints
    assert found.get_initial_charges().tolist() == [1.0, -1.0]
    atoms.calc = SymmetrisedCalculator(Oriented(2))
    forces = atoms.get_forces(apply_constraint=False)
    assert abs(forces[0]).max() > 1e-3  # the constraint does not reach the calculator that is averaged


def test_arguments_that_make_no_sense():
    with pytest.raises(OptionsError, match="degree"):
        SymmetrisedCalculator(Oriented(2), degree=-1)
    with pytest.raises(OptionsError, match="random"):
        SymmetrisedCalculator(Oriented(2), random=0)
    with pytest.raises(OptionsError, match="no ASE calculator"):
        SymmetrisedCalculator(3)
