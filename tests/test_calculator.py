import copy
import dataclasses
import pickle
import warnings
from itertools import combinations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import BFGS, FIRE, LBFGS
from ase.phonons import Phonons
from oracles.mapped import exactly_mapped
from threadpoolctl import threadpool_limits

from wk_potential import Model, WKCalculator
from wk_potential.errors import CompositionWarning, UnknownElementError
from wk_potential.model.repulsion import Repulsion

PROPERTIES = ("energy", "free_energy", "energies", "forces", "stress")


@pytest.fixture(scope="module")
def model(random_model):
    return random_model()


def ethanol(seed=0, rattle=0.05):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(rattle, seed=seed)
    return atoms


def oxide(seed=0):
    """A skewed cell smaller than the cutoff, with atoms outside of it."""
    atoms = bulk("CO", "zincblende", a=3.6)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    atoms.rattle(0.3, seed=seed)
    atoms.positions[1] += 2 * atoms.cell[0] - atoms.cell[2]
    return atoms


def slab():
    """Periodic in two directions, without a third cell vector."""
    atoms = fcc111("C", (1, 2, 2), a=3.4)
    atoms.numbers[1] = 1
    atoms.rattle(0.2, seed=1)
    return atoms


def with_calculator(atoms, model, **options):
    atoms = atoms.copy()
    atoms.calc = WKCalculator(model, **options)
    return atoms


# --- derivatives ---


@pytest.mark.parametrize("make", [ethanol, oxide, slab], ids=lambda f: f.__name__)
@pytest.mark.parametrize("tangents", [True, False])
def test_forces_are_minus_the_slope_of_the_energy(random_model, make, tangents):
    atoms = with_calculator(make(), random_model(tangents=tangents))
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 0.05
    np.testing.assert_allclose(calculate_numerical_forces(atoms, eps=1e-4), forces, atol=1e-6)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-12)


def test_stress_is_the_slope_of_the_energy_by_strain(model):
    atoms = with_calculator(oxide(), model)
    stress = atoms.get_stress()
    assert np.abs(stress).max() > 0.01
    np.testing.assert_allclose(calculate_numerical_stress(atoms, eps=1e-5), stress, atol=1e-8)


def test_stress_of_a_slab_in_a_cell_of_rank_three(model):
    atoms = slab()
    atoms.cell[2] = [0, 0, 12]
    atoms = with_calculator(atoms, model)
    np.testing.assert_allclose(calculate_numerical_stress(atoms, eps=1e-5), atoms.get_stress(), atol=1e-8)


def test_energies_add_up_and_free_energy_is_the_energy(model):
    atoms = with_calculator(oxide(), model)
    energy = atoms.get_potential_energy()
    assert atoms.get_potential_energies().sum() == pytest.approx(energy, abs=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == energy


def test_energy_is_extensive_and_translation_and_order_do_not_matter(model):
    atoms = oxide()
    energy = with_calculator(atoms, model).get_potential_energy()
    assert with_calculator(atoms.repeat((2, 1, 3)), model).get_potential_energy() == pytest.approx(6 * energy)
    moved = atoms.copy()
    moved.positions += [10.3, -7.1, 2.2]
    assert with_calculator(moved, model).get_potential_energy() == pytest.approx(energy, abs=1e-10)
    moved.wrap()
    assert with_calculator(moved[::-1], model).get_potential_energy() == pytest.approx(energy, abs=1e-10)


def test_rotation(model):
    atoms = ethanol()
    forces = with_calculator(atoms, model).get_forces()
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3))
    turn = np.linalg.lstsq(atoms.positions, turned.positions, rcond=None)[0]
    np.testing.assert_allclose(with_calculator(turned, model).get_forces(), forces @ turn, atol=1e-10)


# --- structures of all kinds ---


def test_isolated_atom(model):
    atoms = with_calculator(Atoms("C", [[1.0, 2, 3]]), model)
    assert np.isfinite(atoms.get_potential_energy())
    np.testing.assert_array_equal(atoms.get_forces(), np.zeros((1, 3)))


def test_atoms_beyond_each_others_cutoff_are_isolated(model):
    alone = [with_calculator(Atoms(s), model).get_potential_energy() for s in "CO"]
    pair = with_calculator(Atoms("CO", [[0, 0, 0], [0, 0, 4.2]]), model, skin=0.0)
    assert pair.get_potential_energy() == pytest.approx(sum(alone), abs=1e-12)
    np.testing.assert_array_equal(pair.get_forces(), 0)
    boxed = with_calculator(Atoms("C", cell=[9, 9, 9], pbc=True), model)
    assert boxed.get_potential_energy() == pytest.approx(alone[0], abs=1e-12)
    np.testing.assert_array_equal(boxed.get_stress(), 0)


def test_no_atoms(model):
    atoms = with_calculator(Atoms(), model)
    assert atoms.get_potential_energy() == 0
    assert atoms.get_forces().shape == (0, 3)


def test_molecule_in_a_box_is_the_molecule_without(model):
    free = with_calculator(ethanol(), model)
    boxed = ethanol()
    boxed.center(vacuum=5)
    boxed = with_calculator(boxed, model)
    np.testing.assert_allclose(boxed.get_forces(), free.get_forces(), atol=1e-12)
    boxed.pbc = True
    assert boxed.get_potential_energy() == pytest.approx(free.get_potential_energy(), abs=1e-12)


def test_stress_only_for_cells_of_rank_three(model):
    for atoms in (ethanol(), slab()):
        atoms = with_calculator(atoms, model)
        atoms.get_forces()
        assert "stress" not in atoms.calc.results
        with pytest.raises(NotImplementedError):
            atoms.get_stress()


@pytest.mark.parametrize("pbc", list(combinations([True, False, True, False], 3)))
def test_mixed_boundaries(model, pbc):
    atoms = oxide()
    atoms.pbc = pbc
    atoms = with_calculator(atoms, model)
    forces = atoms.get_forces()
    np.testing.assert_allclose(calculate_numerical_forces(atoms, 1e-4, [1]), forces[1:2], atol=1e-6)


# --- caching and the neighbour list ---


class Counting(WKCalculator):
    """Counts evaluations."""

    n_evaluations = 0

    def calculate(self, *args, **kwargs):
        self.n_evaluations += 1
        super().calculate(*args, **kwargs)


def test_all_properties_come_from_one_evaluation(model):
    atoms = oxide()
    atoms.calc = Counting(model)
    for _ in range(2):
        for name in PROPERTIES:
            atoms.calc.get_property(name, atoms)
        atoms.get_potential_energy()
        atoms.get_stress()
    assert atoms.calc.n_evaluations == 1
    atoms.positions[0, 0] += 0.1
    atoms.get_forces()
    assert atoms.calc.n_evaluations == 2


def test_results_are_not_stale(model):
    atoms = with_calculator(oxide(), model)
    atoms.get_forces()
    rng = np.random.default_rng(0)
    changes = [
        lambda: atoms.rattle(0.2, rng=rng),
        lambda: atoms.set_cell(atoms.cell.array * 1.1, scale_atoms=True),
        lambda: atoms.set_cell(atoms.cell.array * 1.05),
        lambda: atoms.set_pbc([True, False, True]),
        lambda: atoms.set_atomic_numbers([8, 8]),
        lambda: atoms.extend(Atoms("H", [[0.3, 0.9, 0.7]])),
        lambda: atoms.__delitem__(0),
    ]
    for change in changes:
        change()
        fresh = with_calculator(atoms, model)
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-12)
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-12)


def test_skin_changes_nothing_but_the_number_of_lists(model):
    with_skin, without = (with_calculator(oxide().repeat(2), model, skin=skin) for skin in (0.8, 0.0))
    rng = np.random.default_rng(3)
    for step in range(25):
        move = 0.05 * rng.normal(size=with_skin.positions.shape)
        for atoms in (with_skin, without):
            atoms.positions += move
            if step % 5 == 0:
                atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.01 * np.eye(3, k=1)), scale_atoms=True)
        np.testing.assert_allclose(with_skin.get_forces(), without.get_forces(), atol=1e-11)
        np.testing.assert_allclose(with_skin.get_stress(), without.get_stress(), atol=1e-11)
    assert with_skin.calc.neighbour_list.n_built < without.calc.neighbour_list.n_built == 25


def test_one_calculator_for_several_structures(model):
    shared = WKCalculator(model)
    structures = [ethanol(), oxide(), ethanol(1), slab(), oxide(1)]
    for atoms in structures * 2:
        energy = shared.get_potential_energy(atoms)
        assert energy == pytest.approx(with_calculator(atoms, model).get_potential_energy(), abs=1e-12)


def test_threads_agree(model):
    atoms = oxide().repeat(2)
    one, two = with_calculator(atoms, model, threads=1), with_calculator(atoms, model, threads=2)
    assert one.get_potential_energy() == pytest.approx(two.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(one.get_forces(), two.get_forces(), atol=1e-13)
    np.testing.assert_allclose(one.get_stress(), two.get_stress(), atol=1e-13)


# --- copies and files ---


def test_copies(model):
    atoms = with_calculator(ethanol(), model)
    forces = atoms.get_forces()
    for other in (copy.deepcopy(atoms), pickle.loads(pickle.dumps(atoms))):
        np.testing.assert_array_equal(other.get_forces(), forces)
        other.rattle(0.1, seed=3)
        np.testing.assert_allclose(other.get_forces(), with_calculator(other, model).get_forces(), atol=1e-12)
    assert atoms.copy().calc is None
    np.testing.assert_array_equal(atoms.get_forces(), forces)


@pytest.mark.parametrize("as_text", [True, False])
def test_from_a_file(tmp_path, model, as_text):
    path = tmp_path / "model.wkp"
    model.save(path)
    atoms = with_calculator(ethanol(), str(path) if as_text else path)
    assert atoms.get_potential_energy() == with_calculator(ethanol(), model).get_potential_energy()


def test_results_survive_extended_xyz(tmp_path, model):
    atoms = with_calculator(oxide(), model)
    atoms.get_stress()
    write(tmp_path / "a.xyz", atoms)
    loaded = read(tmp_path / "a.xyz")
    assert loaded.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    np.testing.assert_allclose(loaded.get_forces(), atoms.get_forces(), atol=1e-7)
    np.testing.assert_allclose(loaded.get_stress(), atoms.get_stress(), atol=1e-7)
    np.testing.assert_allclose(loaded.get_potential_energies(), atoms.get_potential_energies(), atol=1e-7)


def test_nothing_global_changes(model):
    state, errors = np.random.get_state()[1].copy(), np.geterr()  # noqa: NPY002 - the global state is meant
    with_calculator(oxide(), model).get_forces()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert np.geterr() == errors


# --- other parts of ASE ---


@pytest.mark.parametrize("optimiser", [BFGS, LBFGS, FIRE])
@pytest.mark.parametrize("cell", [True, False])
def test_optimisers(copper_model, optimiser, cell):
    atoms = with_calculator(bulk("Cu", a=3.65, cubic=True), copper_model)
    atoms.rattle(0.05, seed=0)
    target = FrechetCellFilter(atoms) if cell else atoms
    with threadpool_limits(1, "blas"):  # the filter's tiny systems are slow with more
        assert optimiser(target, logfile=None).run(fmax=5e-3, steps=200)
    if cell:
        np.testing.assert_allclose(atoms.get_stress(), 0, atol=5e-4)
        assert atoms.cell.lengths() == pytest.approx([3.59] * 3, abs=0.03)


def test_constrained_atoms_stay(copper_model):
    atoms = with_calculator(bulk("Cu", cubic=True), copper_model)
    atoms.rattle(0.05, seed=0)
    atoms.set_constraint(FixAtoms([0]))
    fixed = atoms.positions[0].copy()
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=50)
    np.testing.assert_array_equal(atoms.positions[0], fixed)
    assert np.abs(atoms.get_forces(apply_constraint=False)[0]).max() < 0.05


def test_phonons(tmp_path, copper_model):
    phonons = Phonons(bulk("Cu"), WKCalculator(copper_model), supercell=(3, 3, 3), name=str(tmp_path / "ph"))
    phonons.run()
    phonons.read(acoustic=True)
    frequencies = phonons.band_structure([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5]]) * 241.799  # eV to THz
    np.testing.assert_allclose(frequencies[0], 0, atol=1e-3)
    assert 4 < frequencies[1:].max() < 11  # measured: 7.3


# --- what is refused, and what is warned of ---


def test_unknown_element_names_the_atom(model):
    atoms = ethanol()
    atoms.numbers[5] = 7
    with pytest.raises(UnknownElementError, match=r"atom 5 is N.*H, C, O only"):
        with_calculator(atoms, model).get_potential_energy()
    atoms.numbers[5] = 79  # beyond the last
    with pytest.raises(UnknownElementError, match="atom 5 is Au"):
        with_calculator(atoms, model).get_potential_energy()


def test_positions_that_are_not_finite(model):
    for bad in (np.nan, np.inf):
        atoms = ethanol()
        atoms.positions[3, 1] = bad
        with pytest.raises(ValueError, match="atom 3 is not finite"):
            with_calculator(atoms, model).get_potential_energy()


def test_cells_that_make_no_sense(model):
    atoms = oxide()
    atoms.cell[0] = np.nan
    with pytest.raises(ValueError, match="cell"):
        with_calculator(atoms, model).get_potential_energy()
    atoms = oxide()
    atoms.cell[0] = atoms.cell[1]
    with pytest.raises(ValueError, match="span"):
        with_calculator(atoms, model).get_potential_energy()
    with pytest.raises(ValueError, match="span"):
        with_calculator(Atoms("C", pbc=True), model).get_potential_energy()


def test_two_atoms_on_one_site(model):
    atoms = ethanol()
    atoms.positions[7] = atoms.positions[2]
    with pytest.raises(ValueError, match=r"atoms 2 and 7 are less than 0\.1 Angstrom apart"):
        with_calculator(atoms, model).get_potential_energy()


@pytest.mark.parametrize("options", [{"skin": -0.1}, {"threads": 0}, {"threads": "two"}])
def test_options_that_make_no_sense(model, options):
    with pytest.raises(ValueError, match="must"):
        WKCalculator(model, **options)


def test_warns_of_compositions_that_the_data_leave_open(model):
    direction = np.array([[6, 2, 1]]) / np.sqrt(41)  # H6 C2 O
    open_model = Model(**{**vars_of(model), "compositions": direction})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_calculator(ethanol(), open_model).get_potential_energy()
    atoms = with_calculator(molecule("CH3OH"), open_model)
    with pytest.warns(CompositionWarning, match="composition"):
        atoms.get_potential_energy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        atoms.rattle(0.1)
        atoms.get_potential_energy()


def vars_of(model):
    return {name: getattr(model, name) for name in Model.__dataclass_fields__}


def energy_moment(calculator, atoms, centre):
    """Sum of the atoms' energies times where they are, relative to a centre."""
    atoms.calc = calculator
    return (atoms.positions - centre).T @ atoms.get_potential_energies()


@pytest.mark.parametrize("mapped", [False, True])
def test_stresses_are_those_of_the_heat_flux(random_model, mapped):
    """J = sum_i E_i v_i - W_i v_i is the rate of change of sum_i r_i E_i at fixed energy (finite differences)."""
    model = random_model(cutoffs=(4.0,), order_weights=(0.1, 0.03, 0.01))
    if mapped:
        model = exactly_mapped(model)
    repulsion = Repulsion(np.array([1.0, 6, 8]), np.full((3, 3), 1.0), np.full((3, 3), 2.0))
    model = dataclasses.replace(model, repulsion=repulsion)
    atoms, rng = molecule("CH3CH2OH"), np.random.default_rng(0)
    atoms.rattle(0.1, seed=1)
    velocities, h = rng.normal(size=(len(atoms), 3)), 1e-5
    calculator = WKCalculator(model, threads=2)
    atoms.calc = calculator
    forces, energies = atoms.get_forces(), atoms.get_potential_energies()
    structure = calculator._current(atoms)
    found = model.evaluate(structure, 2, calculator.potential, atomic=True)
    moved = [atoms.copy() for _ in range(2)]
    for sign, one in zip((1, -1), moved, strict=True):
        one.positions += sign * h * velocities
    ahead, behind = (energy_moment(WKCalculator(model, threads=1), one, 0.0) for one in moved)
    # dE_i/dt is what atom i gets by its neighbours; the power of the forces on it belongs to its kinetic energy
    rate = (ahead - behind) / (2 * h) + atoms.positions.T @ np.sum(forces * velocities, axis=1)
    flux = energies @ velocities - np.einsum("ixy,iy->x", found.virials, velocities)
    np.testing.assert_allclose(flux, rate, atol=1e-6 * np.abs(rate).max())
    total = found.virials.sum(axis=0)
    np.testing.assert_allclose(0.5 * (total + total.T), found.virial, atol=1e-10)


def test_stresses_add_up(copper_model, cell):
    calculator = WKCalculator(copper_model, threads=1)
    cell.rattle(0.1, seed=3)
    cell.calc = calculator
    cell.get_forces()
    assert "stresses" not in calculator.results
    stresses = cell.get_stresses()
    assert stresses.shape == (4, 6)
    np.testing.assert_allclose(stresses.sum(axis=0), cell.get_stress(), atol=1e-14)
    again = WKCalculator(copper_model, threads=3).get_property("stresses", cell)
    np.testing.assert_allclose(stresses, again, atol=1e-14)
    free = molecule("N2")
    free.numbers[:] = 29
    free.set_distance(0, 1, 2.3)
    free.calc = calculator
    with pytest.raises(PropertyNotImplementedError):
        free.get_stresses()
