"""Kernels of vectors and tensors against quadrature on O(3)."""

import numpy as np
import pytest
from oracles.kernels import angular_momenta, nu1_kernel, rotation_quadrature, wigner_d, wigner_iteration
from oracles.systems import coefficients, make_density, random_environment, tensor_kernels
from scipy.spatial.transform import Rotation

from wk_potential.kernel.coupling import iteration_terms, product_terms
from wk_potential.kernel.tensor import tensor_terms

CASES = [(lmax, order, l) for lmax in (1, 2, 3) for order in (1, 2, 3, 4) for l in range(min(lmax, 2) + 1)]


def environments(lmax, n, n_elements=2):
    density = make_density(lmax, n_elements)
    return np.array([coefficients(density, *random_environment(seed, 5, n_elements)) for seed in range(n)])


@pytest.mark.parametrize(("lmax", "order", "momentum"), [*CASES, (3, 6, 1), (3, 6, 2), (4, 4, 2)])
def test_tensor_kernels_are_integrals_over_rotations(lmax, order, momentum):
    """Order by order; to order 3 by splitting nothing, from 4 on by products of two iterated kernels."""
    c, *others = environments(lmax, 19)
    values = tensor_kernels(lmax, order, momentum, c, others)
    k1 = nu1_kernel(lmax, c, np.array(others))
    components = [wigner_iteration(lmax, nu, k1)[1][-1] for nu in range(1, min(order, 3) + 1)]
    pairs = [(1, 0), (2, 0), (3, 0), (2, 2), (3, 2), (3, 3)][:order]
    rows = np.flatnonzero(angular_momenta(lmax) == momentum)
    for value, (nu, nu2) in zip(values, pairs, strict=True):
        expected = components[nu - 1]
        if nu2:
            expected = projected_product(lmax, components[nu - 1], components[nu2 - 1])
        expected = expected[:, rows].reshape(len(others), 2 * momentum + 1, -1)
        assert value.transpose(1, 0, 2) == pytest.approx(expected, abs=1e-12 * np.abs(expected).max())


def projected_product(lmax, x, y):
    """True tensors (..., n) of the product of two kernels with both parities, as functions on O(3)."""
    d, weights = rotation_quadrature(3 * lmax, lmax)
    even = angular_momenta(lmax) % 2 == 0

    def function(k):
        tensor, pseudotensor = np.split(k, 2, axis=-1)
        return [np.where(parity, tensor, pseudotensor) @ d.T for parity in (even, ~even)]

    (e, o), (e2, o2) = function(x), function(y)
    parts = [(f * weights) @ d * (2 * angular_momenta(lmax) + 1) for f in (e * e2 + o * o2, e * o2 + o * e2)]
    return np.where(even, *parts)


@pytest.mark.parametrize("momentum", [0, 1, 2])
@pytest.mark.parametrize("improper", [False, True])
def test_tensor_kernels_are_equivariant(momentum, improper):
    """Rotated or inverted environments have the rotated or inverted kernel, on either side."""
    lmax, order, density = 3, 5, make_density(3, 2)
    (x, a), (y, b) = random_environment(1, 5, 2), random_environment(2, 6, 2)
    proper = Rotation.from_quat(np.random.default_rng(3).normal(size=4)).as_matrix()
    sign = -1 if improper else 1
    d = wigner_d(lmax, tuple(map(tuple, proper)))[momentum] * sign**momentum
    c, s = coefficients(density, x, a), coefficients(density, y, b)
    plain = tensor_kernels(lmax, order, momentum, c, [s])[:, :, 0]
    left = tensor_kernels(lmax, order, momentum, coefficients(density, sign * x @ proper.T, a), [s])[:, :, 0]
    right = tensor_kernels(lmax, order, momentum, c, [coefficients(density, sign * y @ proper.T, b)])[:, :, 0]
    scale = 1e-11 * np.abs(plain).max(axis=(1, 2), keepdims=True)
    assert np.all(np.abs(left - d @ plain) < scale)
    assert np.all(np.abs(right - plain @ d.T) < scale)


@pytest.mark.parametrize("momentum", [0, 1, 2])
def test_tensor_kernels_are_positive(momentum):
    points = environments(3, 8)
    rows = [tensor_kernels(3, 4, momentum, c, points) for c in points]
    for order in range(4):
        matrix = np.concatenate([row[order] for row in rows]).reshape(8 * (2 * momentum + 1), -1)
        assert matrix == pytest.approx(matrix.T, abs=1e-12 * np.abs(matrix).max())
        assert np.linalg.eigvalsh(matrix).min() > -1e-12 * np.trace(matrix)


def test_terms_of_one_block_are_those_of_the_iteration():
    """Outputs of L = 1 with true parity, order 3: the same list, cut out."""
    whole, part = iteration_terms(3, 3), product_terms(3, 2, 1, 1)
    rows = slice(whole.start[1], whole.start[10])
    assert np.array_equal(part.start, whole.start[1:11] - whole.start[1])
    assert np.array_equal(part.a, whole.a[rows])
    assert part.w == pytest.approx(whole.w[rows], abs=0)


def test_L_above_lmax_is_refused():
    with pytest.raises(ValueError, match="tensors of L = 2 need lmax of at least 2, not 1"):
        tensor_terms(1, 4, 2)
