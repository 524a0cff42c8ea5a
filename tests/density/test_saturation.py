"""Saturated densities: bounded, with exact derivatives wherever they are evaluated, kept in files."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from oracles.kernels import central_difference
from oracles.systems import make_density

from wk_potential import Frame, Model, TrainingOptions, WKCalculator, train
from wk_potential.density.expansion import expand
from wk_potential.density.frames import frame_environments
from wk_potential.density.saturation import saturate

ELEMENTS = np.array([1, 8])


def saturated(c, b):
    """By the formula, for environments c (n, n_lm, Q)."""
    norm = np.sum(c**2, axis=(1, 2), keepdims=True)
    return np.sqrt((1 + b) / (1 + b * norm)) * c


def crowd(n, scale=1.0, seed=0):
    """Coefficients of an environment of n neighbours drawn close together."""
    rng = np.random.default_rng(seed)
    density = make_density(2, 2)
    vectors = scale * rng.normal(size=(n, 3)) + [1.0, 0, 0]
    arguments = np.array([0]), np.array([0, n]), vectors, rng.integers(2, size=n)
    return density, arguments


@pytest.mark.parametrize("b", [0.3, 2.0, 50.0])
def test_coefficients_are_those_of_the_formula_and_bounded(b):
    for n in (1, 5, 200):
        density, arguments = crowd(n)
        plain, bounded = expand(density, *arguments), expand(density._replace(saturation=b), *arguments)
        assert bounded == pytest.approx(saturated(plain, b), rel=1e-12)
        assert np.sum(bounded**2) < 1 + 1 / b
    assert np.sum(plain**2) > 100
    assert np.sum(bounded**2) > 0.9 * (1 + 1 / b)


def test_no_saturation_and_no_neighbours():
    density, arguments = crowd(5)
    assert np.array_equal(expand(density._replace(saturation=0.0), *arguments), expand(density, *arguments))
    c, factor = np.zeros(6), np.zeros(2)
    saturate(3.0, c, 2, factor)
    assert np.array_equal(c, np.zeros(6))
    assert factor == pytest.approx(2.0)


def water(seed=0, periodic=False, scale=1.0):
    rng = np.random.default_rng(seed)
    positions = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [2.8, 0.1, 0], [3.4, 0.8, 0.2], [3.1, -0.5, 0.7]])
    positions = scale * (positions + 0.05 * rng.normal(size=(6, 3)))
    numbers = np.array([8, 1, 1, 8, 1, 1])
    cell = np.diag([6.0, 5.0, 5.0]) * periodic
    return Frame(numbers, positions, cell, np.full(3, periodic), energy=0.0, forces=np.zeros((6, 3)))


def test_jacobian_is_the_derivative():
    density, frame = make_density(2, 2)._replace(saturation=2.0), water()
    environments = frame_environments(frame, density, ELEMENTS)
    full = np.zeros((18, *environments.coefficients.shape))
    for i in range(6):
        for row in range(environments.first[i], environments.first[i + 1]):
            full[environments.label[row] - 1, i] += environments.jacobian[row].reshape(full.shape[2:])

    def coefficients(positions):
        return frame_environments(replace(frame, positions=positions), density, ELEMENTS).coefficients

    expected = central_difference(coefficients, frame.positions, 1e-4).reshape(full.shape)
    assert full == pytest.approx(expected, abs=1e-7)


@pytest.fixture(scope="module")
def model():
    """Energies, forces and dipoles of random labels: no physics, all derivatives."""
    rng = np.random.default_rng(0)
    frames = [
        replace(water(seed), energy=rng.normal(), forces=rng.normal(size=(6, 3)), dipole=rng.normal(size=3))
        for seed in range(8)
    ]
    options = TrainingOptions(
        cutoff=4.0, lmax=2, order=3, saturation=2.0, channel_tolerance=1e-2, energy_noise=0.1, forces_noise=0.1,
        order_weights=[1.0, 1.0, 1.0], map_tolerance=1e-3, repulsion=False,
    )  # fmt: skip
    return train(frames, options, threads=1)


@pytest.mark.parametrize("keywords", [{}, {"direct": True}, {"uncertainty": True}])
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_forces_and_stress(model, keywords, scale):
    """Near the training set and where atoms crowd."""
    assert [s.density.saturation for s in model.scales] == [2.0, 2.0]
    atoms = water(9, True, scale).to_atoms()
    atoms.calc = WKCalculator(model, **keywords)
    forces, stress = atoms.get_forces(), atoms.get_stress()

    def energy(positions):
        return atoms.calc.get_potential_energy(Atoms(atoms.numbers, positions, cell=atoms.cell, pbc=True))

    slopes = central_difference(energy, atoms.positions, 1e-4)
    assert forces == pytest.approx(-slopes, abs=1e-6 * np.abs(forces).max())

    def strained(strain):
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ (np.eye(3) + np.diag(strain)), scale_atoms=True)
        return atoms.calc.get_potential_energy(copy)

    slopes = central_difference(strained, np.zeros(3), 1e-4) / atoms.get_volume()
    assert stress[:3] == pytest.approx(slopes, abs=1e-6 * np.abs(stress).max())


def test_derivatives_of_the_dipole(model):
    atoms = water(9).to_atoms()
    atoms.calc = WKCalculator(model)
    slopes = atoms.calc.get_property("dipole_derivatives", atoms)

    def dipole(positions):
        return atoms.calc.get_property("dipole", Atoms(atoms.numbers, positions))

    expected = central_difference(dipole, atoms.positions, 1e-4)
    assert slopes == pytest.approx(expected, abs=1e-6 * np.abs(slopes).max())


def test_members_of_the_ensemble_have_the_derivatives_of_their_energies(model):
    frame, ensemble = water(9, scale=0.9), model.committee

    def deviations(positions):
        atoms = replace(frame, positions=positions).to_atoms()
        calculator = WKCalculator(model)
        neighbours = calculator.neighbour_list.update(atoms.positions, atoms.cell.array, atoms.pbc)
        return ensemble.deviations(model.structure(atoms.numbers, atoms.positions, atoms.cell.array, neighbours))

    forces = deviations(frame.positions).forces
    slopes = central_difference(lambda r: deviations(r).energies.sum(axis=0), frame.positions, 1e-4)
    assert forces == pytest.approx(-slopes[..., : forces.shape[2]], abs=1e-6 * np.abs(forces).max())


def test_file_keeps_it(model, tmp_path):
    model.save(tmp_path / "model.wkp")
    loaded = Model.load(tmp_path / "model.wkp")
    assert [s.density.saturation for s in loaded.scales] == [2.0, 2.0]
    atoms = water(9).to_atoms()
    assert WKCalculator(loaded).get_potential_energy(atoms) == WKCalculator(model).get_potential_energy(atoms)
