"""Mapped tensor kernels, their derivatives and symmetry; training; files; the calculator."""

import numpy as np
import pytest
from helpers import central_difference, coefficients, make_density, random_environment
from test_tensor_kernel import tensor_kernels

from wk_potential.density.packed import pack
from wk_potential.kernel.tensor_forms import LANES
from wk_potential.mapping.samples import Samples
from wk_potential.mapping.tensor_packing import pack_tensor
from wk_potential.mapping.tensors import TensorSupport, compressed, exact_form
from wk_potential.neighbours import find_neighbours
from wk_potential.potential import Structure
from wk_potential.tensor_potential import TensorLayer, evaluate_tensors

WEIGHTS = np.array([0.5, 0.3, 0.2, 0.1])


def environments(lmax, n, seed=0):
    density = make_density(lmax, 2, 1e-2)
    return np.array([coefficients(density, *random_environment(seed + k, 5, 2)) for k in range(n)])


def random_tensor_support(lmax, momentum, n=7, seed=3):
    rng = np.random.default_rng(seed)
    return TensorSupport(environments(lmax, n, 100), rng.normal(size=(n, 2 * momentum + 1)))


@pytest.mark.parametrize(
    ("lmax", "order", "momentum"), [(1, 1, 1), (2, 2, 0), (2, 3, 2), (2, 4, 0), (3, 4, 1), (3, 4, 2)]
)
def test_polynomial_is_the_sum_over_support_points(lmax, order, momentum):
    support, c = random_tensor_support(lmax, momentum), environments(lmax, 4)
    form = exact_form(support, momentum, WEIGHTS[:order])
    kernels = np.array([tensor_kernels(lmax, order, momentum, x, support.coefficients) for x in c])
    expected = np.einsum("o,eomsn,sn->em", WEIGHTS[:order], kernels, support.weights)
    assert form.values(c) == pytest.approx(expected, abs=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("momentum", [0, 1, 2])
def test_small_form_keeps_to_its_tolerance(momentum):
    support, rng = random_tensor_support(2, momentum), np.random.default_rng(0)
    c = environments(2, 30)
    samples = Samples(c, 0.3 * rng.normal(size=c.shape))
    (exact,) = compressed([support], momentum, WEIGHTS[None], [samples], 0.0)
    scale = np.sqrt(np.mean(exact.values(c) ** 2))
    (small,) = compressed([support], momentum, WEIGHTS[None], [samples], 1e-2 * scale)
    assert 0 < np.sqrt(np.mean((small.values(c) - exact.values(c)) ** 2)) < 1e-2 * scale
    n_small, n_exact = (sum(f.vectors.size for f in form.factors) for form in (small, exact))
    assert n_small < 0.2 * n_exact


def random_structure(seed=0, periodic=False, n=11):
    rng = np.random.default_rng(seed)
    cell = np.diag([5.0, 5.5, 6.0]) + 0.3 * rng.normal(size=(3, 3))
    positions = rng.uniform(0, 1, (60, 3)) @ cell
    kept = [positions[0]]
    for r in positions[1:]:
        if len(kept) < n and min(np.linalg.norm(r - s) for s in kept) > 1.2:
            kept.append(r)
    return np.array(kept), cell * periodic, rng.integers(2, size=len(kept)), np.full(3, periodic)


def evaluated(layers, positions, cell, elements, pbc, derivatives=False, threads=1):
    structure = Structure(positions, cell, elements, find_neighbours(positions, cell, pbc, 4.0))
    return evaluate_tensors(layers, structure, threads, derivatives)


def random_layers(lmax, momentum, order=4):
    density = pack(make_density(lmax, 2, 1e-2))
    forms = [
        pack_tensor(exact_form(random_tensor_support(lmax, momentum, 5, s), momentum, WEIGHTS[:order])) for s in (0, 1)
    ]
    return [TensorLayer(density, momentum, forms)]


@pytest.mark.parametrize("momentum", [0, 1, 2])
def test_compiled_form_is_the_polynomial(momentum):
    lmax = 3
    positions, cell, elements, pbc = random_structure(periodic=True, n=2 * LANES + 3)
    layers = random_layers(lmax, momentum)
    values, none = evaluated(layers, positions, cell, elements, pbc)
    neighbours = find_neighbours(positions, cell, pbc, 4.0)
    vectors, density = neighbours.vectors(positions, cell), make_density(lmax, 2, 1e-2)
    assert len(none) == 0
    for i, element in enumerate(elements):
        own = slice(neighbours.first[i], neighbours.first[i + 1])
        c = coefficients(density, vectors[own], elements[neighbours.neighbour[own]], element)
        form = exact_form(random_tensor_support(lmax, momentum, 5, element), momentum, WEIGHTS)
        assert values[i] == pytest.approx(form.values(c[None])[0], abs=1e-10 * np.abs(values).max())


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("momentum", [0, 1, 2])
def test_derivatives_are_those_of_the_values(momentum, periodic):
    positions, cell, elements, pbc = random_structure(1, periodic)
    layers = random_layers(2, momentum)
    values, slopes = evaluated(layers, positions, cell, elements, pbc, True, 2)
    plain, _ = evaluated(layers, positions, cell, elements, pbc)
    assert values == pytest.approx(plain, abs=1e-13 * np.abs(plain).max())

    def total(r):
        return evaluated(layers, r, cell, elements, pbc)[0].sum(axis=0)

    expected = np.moveaxis(central_difference(total, positions, 1e-4), -1, 0)
    assert slopes == pytest.approx(expected, abs=1e-7 * np.abs(expected).max())
