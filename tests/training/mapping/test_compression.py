"""Exact quadratic forms in place of support points."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from oracles.mapped import ORDER_WEIGHTS, SYSTEMS, check, exactly_mapped, predict, rattled

from wk_potential.model.support import SupportPoints


@pytest.fixture(scope="module")
def carbon(random_model):
    """A model of one element in exact mapped form."""
    return exactly_mapped(random_model(numbers=(6,), lmax=3, n=12, order_weights=ORDER_WEIGHTS))


@pytest.fixture(scope="module")
def hydrocarbon(random_model):
    """A model of two elements in exact mapped form."""
    return exactly_mapped(random_model(numbers=(1, 6), n=12, order_weights=ORDER_WEIGHTS))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("n_elements", [1, 2])
def test_exact_form(n_elements, system, request):
    model, atoms = request.getfixturevalue(("carbon", "hydrocarbon")[n_elements - 1]), SYSTEMS[system].copy()
    if n_elements == 1:
        atoms.numbers[:] = 6
    check(model, atoms, 1e-9)
    check(model, atoms, 1e-9, threads=2)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("tangents", [False, True])
@pytest.mark.parametrize("lmax", [0, 1, 3])
def test_exact_form_of_any_kernel(random_model, lmax, order, tangents):
    model = random_model(numbers=(1, 6), lmax=lmax, n=3, tangents=tangents, order_weights=ORDER_WEIGHTS[:order])
    check(exactly_mapped(model), SYSTEMS["crystal"], 1e-9)


def test_exact_form_beyond_lmax_three(random_model):
    model = random_model(numbers=(6,), lmax=4, n=3, order_weights=ORDER_WEIGHTS)
    check(exactly_mapped(model), Atoms("C3", [[0, 0, 0], [1, 1, 0.3], [0.2, -0.9, 0.8]]), 1e-9)


@pytest.mark.parametrize("n", range(1, 18))
def test_any_number_of_atoms(carbon, n):
    """Lanes of the last vectors are partly in use."""
    positions = np.argwhere(np.ones((3, 3, 2))) * 1.8
    atoms = rattled(Atoms(f"C{n}", positions[np.random.default_rng(n).permutation(18)[:n]]), n, 0.2)
    for threads in (1, 2):
        check(carbon, atoms, 1e-9, threads)
        check(carbon, atoms, 1e-4, threads, precision="float32")


def test_more_threads_than_atoms(hydrocarbon):
    check(hydrocarbon, SYSTEMS["atom"], 1e-9, threads=5)
    check(hydrocarbon, SYSTEMS["crystal"], 1e-9, threads=5)


def test_threads_repeat_to_the_last_bit(hydrocarbon):
    atoms = SYSTEMS["molecule"]
    for first, second in zip(predict(hydrocarbon, atoms, 2), predict(hydrocarbon, atoms, 2), strict=True):
        assert np.array_equal(first, second)


def test_no_atoms(hydrocarbon):
    energies, forces, virial = predict(hydrocarbon, Atoms())
    assert energies.shape == (0,)
    assert forces.shape == (0, 3)
    assert np.array_equal(virial, np.zeros((3, 3)))


@pytest.mark.parametrize("n", [0, 1])
def test_element_without_environments(random_model, n):
    """Its support points are none, or isolated atoms only, whose coefficients are zero."""
    model = random_model(numbers=(1, 6), n=12, order_weights=ORDER_WEIGHTS)
    scales = []
    for scale in model.scales:
        shape = (n, *scale.support[0].coefficients.shape[1:])
        nothing = SupportPoints(np.zeros(shape), np.ones(n), np.zeros(shape))
        scales.append(dataclasses.replace(scale, support=[nothing, scale.support[1]]))
    model = dataclasses.replace(model, scales=scales)
    check(exactly_mapped(model), SYSTEMS["molecule"], 1e-9)
