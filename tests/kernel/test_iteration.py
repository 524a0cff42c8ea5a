from itertools import product

import numpy as np
import pytest
from oracles.kernels import (
    TINY,
    blocks,
    nu1_kernel,
    oracle_kernels,
    pair_sum,
    polynomial_slope,
    real_harmonics,
    support_energy,
    wigner_d,
    wigner_iteration,
)
from oracles.systems import (
    coefficients,
    lanes_kernels,
    make_density,
    order_weights,
    random_environment,
    random_support,
    rotation_matrix,
    scale_of,
)
from scipy.spatial.transform import Rotation

from wk_potential.kernel.coupling import iteration_terms, kernel_size, real_cg, wigner_terms
from wk_potential.kernel.direct import environment_energy, in_blocks, make_support, pair_kernel
from wk_potential.kernel.hessian import hessian_terms, kernels_with_derivatives
from wk_potential.kernel.iteration import gradient, gradient_tangent, invariants, iterate, iterate_tangent, workspace
from wk_potential.kernel.lanes import lanes_of

CASES = [(lmax, order) for lmax in range(4) for order in range(1, 7)]

LANES = lanes_of(np.float64)


def random_k1(lmax, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, kernel_size(lmax)))


def root_norm(lmax):
    """(2L + 1)^(-1/2), by which the compiled code multiplies the components (n,) of one parity."""
    return np.sqrt(wigner_terms(lmax, 1).norm[: kernel_size(lmax)])


# --- coupling ---


@pytest.mark.parametrize(("l1", "l2"), [*product(range(4), repeat=2)])
def test_coupling_is_orthogonal(l1, l2):
    c = np.concatenate([real_cg(l1, l2, l) for l in range(abs(l1 - l2), l1 + l2 + 1)], axis=2)
    c = c.reshape((2 * l1 + 1) * (2 * l2 + 1), -1)
    assert c.T @ c == pytest.approx(np.eye(c.shape[0]), abs=1e-13)


@pytest.mark.parametrize(("l1", "l2", "l3"), [(1, 1, 1), (1, 2, 3), (2, 2, 3), (3, 3, 2), (6, 5, 6), (6, 6, 6)])
def test_coupling_is_covariant(l1, l2, l3):
    """Coupling rotated harmonics is rotating the coupled ones, so it suits the harmonics of the density."""
    d = wigner_d(6, tuple(map(tuple, rotation_matrix(0))))
    rotated = np.einsum("abc,ax,by->xyc", real_cg(l1, l2, l3), d[l1], d[l2], optimize=True)
    assert rotated == pytest.approx(np.einsum("abc,cz->abz", real_cg(l1, l2, l3), d[l3].T), abs=1e-12)


def test_number_of_terms():
    """The count that estimates of the cost are built on."""
    assert len(iteration_terms(3, 2).w) == 8041


@pytest.mark.parametrize(("lmax", "order"), [(-1, 2), (7, 2), (3, 0), (3, 7)])
def test_limits_of_the_terms(lmax, order):
    with pytest.raises(ValueError, match="lmax must be 0 to 6 and order 1 to 6"):
        wigner_terms(lmax, order)


# --- kernels ---


def lanes_workspaces(lmax, order, k1, n):
    """n workspaces full of rubbish, the first with k1 (LANES, n) in place."""
    spaces = [workspace(wigner_terms(lmax, order), order) for _ in range(n)]
    for space in spaces:
        for array in space:
            array[:] = 1e3
    spaces[0][0][:] = (k1 * root_norm(lmax)).T
    return spaces


@pytest.mark.parametrize(("lmax", "order"), CASES)
def test_kernels_are_integrals_over_rotations(lmax, order):
    k1 = random_k1(lmax, LANES)
    terms, (k,) = wigner_terms(lmax, order), lanes_workspaces(lmax, order, k1, 1)
    iterate(terms, k)
    values = np.zeros((order, LANES))
    invariants(k, values)
    expected, components = wigner_iteration(lmax, order, k1)
    for value, exact in zip(values, expected, strict=True):
        assert value == pytest.approx(exact, abs=1e-12 * scale_of(exact))
    for nu in (2, 3):
        if order > 2 * nu - 2:
            computed = k[nu - 1].T / np.tile(root_norm(lmax), 2)
            assert computed == pytest.approx(components[nu - 1], abs=1e-12 * scale_of(components[nu - 1]))


@pytest.mark.parametrize(("lmax", "order"), [(4, 6), (6, 4)])
def test_kernels_of_larger_lmax(lmax, order):
    """The same for coefficients of environments."""
    density = make_density(lmax, 1)
    c, *others = (coefficients(density, *random_environment(seed)) for seed in range(LANES + 2))
    expected = oracle_kernels(lmax, order, nu1_kernel(lmax, c, np.array(others)))
    values = lanes_kernels(lmax, order, c, others)
    for value, exact in zip(values, expected, strict=True):
        assert value == pytest.approx(exact, abs=1e-12 * scale_of(exact))


@pytest.mark.parametrize("n_elements", [1, 2])
def test_kernels_are_averages_of_overlaps(n_elements):
    """To order 3 they are averages over O(3) of powers of one density's overlap with the other, rotated."""
    lmax, order = 3, 3
    density = make_density(lmax, n_elements, 1e-9)
    (x, a), (y, b) = random_environment(1, 4, n_elements), random_environment(2, 5, n_elements)
    values = lanes_kernels(lmax, order, coefficients(density, x, a), [coefficients(density, y, b)])[:, 0]
    angles = 2 * np.pi * np.arange(3 * lmax + 1) / (3 * lmax + 1)
    cosines, weights = np.polynomial.legendre.leggauss(2 * lmax)
    expected = np.zeros(order)
    for alpha, (cosine, weight), gamma in product(angles, zip(cosines, weights, strict=True), angles):
        rotated = y @ Rotation.from_euler("ZYZ", [alpha, np.arccos(cosine), gamma]).as_matrix().T
        for image in (rotated, -rotated):
            overlap = pair_sum(lmax, x, a, image, b)
            expected += weight / (4 * len(angles) ** 2) * overlap ** np.arange(1, order + 1)
    assert values == pytest.approx(expected, rel=2e-6)


def test_kernels_are_products_of_invariants():
    """Order 2 is the product of power spectra, order 3 of bispectra from integrals of three harmonics."""
    lmax = 3
    density = make_density(lmax, 2, 1e-2)
    c, s = (coefficients(density, *random_environment(seed, 5, 2)) for seed in (1, 2))
    values = lanes_kernels(lmax, 3, c, [s])[:, 0]
    power = [
        np.concatenate([(x[b].T @ x[b]).ravel() / np.sqrt(2 * l + 1) for l, b in enumerate(blocks(lmax))])
        for x in (c, s)
    ]
    assert values[1] == pytest.approx(power[0] @ power[1], rel=1e-12)

    cosines, weights = np.polynomial.legendre.leggauss(2 * lmax)
    phi = 2 * np.pi * np.arange(3 * lmax + 1) / (3 * lmax + 1)
    z, phi = (x.ravel() for x in np.meshgrid(cosines, phi, indexing="ij"))
    points = np.stack([np.sqrt(1 - z * z) * np.cos(phi), np.sqrt(1 - z * z) * np.sin(phi), z], axis=1)
    y, weights = real_harmonics(lmax, points), np.repeat(weights, 3 * lmax + 1)
    bispectrum = ([], [])
    for l in product(blocks(lmax), repeat=3):
        coupling = np.einsum("p,pa,pb,pc->abc", weights, *(y[:, b] for b in l), optimize=True)
        norm = np.linalg.norm(coupling)
        if norm > 1e-10:
            for x, features in zip((c, s), bispectrum, strict=True):
                features.append(
                    np.einsum("abc,ap,bq,cr->pqr", coupling / norm, *(x[b] for b in l), optimize=True).ravel()
                )
    bispectrum = [np.concatenate(features) for features in bispectrum]
    assert values[2] == pytest.approx(bispectrum[0] @ bispectrum[1], rel=1e-12)


@pytest.mark.parametrize("lmax", [0, 3])
@pytest.mark.parametrize("improper", [False, True])
def test_rotated_environments_have_equal_kernels(lmax, improper):
    density = make_density(lmax, 2)
    (x, a), (y, b) = random_environment(1, 5, 2), random_environment(2, 6, 2)
    rotation = rotation_matrix(1) * (-1 if improper else 1)
    permuted = np.random.default_rng(0).permutation(6)
    s = [coefficients(density, y, b), coefficients(density, (y @ rotation.T)[permuted], b[permuted])]
    values = lanes_kernels(lmax, 6, coefficients(density, x, a), s)
    assert values[:, 1] == pytest.approx(values[:, 0], rel=1e-12)


def test_kernels_are_positive():
    density = make_density(2, 2)
    c = np.array([coefficients(density, *random_environment(seed, 4, 2)) for seed in range(12)])
    gram = np.array([lanes_kernels(2, 6, x, c) for x in c]).transpose(1, 0, 2)
    for matrix in gram:
        assert matrix == pytest.approx(matrix.T, abs=1e-12 * scale_of(matrix))
        assert np.linalg.eigvalsh(matrix)[0] > -1e-12 * scale_of(matrix)


# --- derivatives with respect to the nu = 1 kernel ---


def slopes(lmax, order, k1, u1):
    """Derivatives (order, ...) of the kernels along u1, by a complex step."""
    return oracle_kernels(lmax, order, k1 + 1j * TINY * u1).imag / TINY


def curvatures(lmax, order, k1, u1, t1):
    """Second derivatives (order, ...) of the kernels along u1 and t1."""
    return polynomial_slope(lambda h: slopes(lmax, order, k1 + h * t1, u1))


@pytest.mark.parametrize("weights", [*map(order_weights, range(1, 7)), np.array([1.0, 2, 3, 0, 0, 0]), np.eye(6)[4]])
@pytest.mark.parametrize("lmax", [0, 2, 3])
def test_gradient(lmax, weights):
    order = len(weights)
    terms, (k1, t1, u1) = wigner_terms(lmax, order), random_k1(lmax, 3, LANES)
    k, g, t, h = lanes_workspaces(lmax, order, k1, 4)
    root = root_norm(lmax)
    t[0][:] = (t1 * root).T
    iterate(terms, k)
    gradient(terms, weights, k, g)
    expected = weights @ slopes(lmax, order, k1, u1)
    assert np.sum(g[0].T * root * u1, axis=1) == pytest.approx(expected, abs=1e-12 * scale_of(expected))
    iterate_tangent(terms, k, t)
    gradient_tangent(terms, weights, k, g, t, h)
    expected = weights @ curvatures(lmax, order, k1, u1, t1)
    assert np.sum(h[0].T * root * u1, axis=1) == pytest.approx(expected, abs=1e-11 * scale_of(expected) + 1e-12)


@pytest.mark.parametrize(("lmax", "order"), CASES)
def test_hessians(lmax, order):
    n = kernel_size(lmax)
    k1, directions = random_k1(lmax), random_k1(lmax, 2, 10, seed=1)
    values, grads, hessians = (np.full((order, *[n] * k), 1e3) for k in range(3))
    kernels_with_derivatives(hessian_terms(lmax), k1, values, grads, hessians)
    assert values == pytest.approx(oracle_kernels(lmax, order, k1), rel=1e-11)
    first, second = slopes(lmax, order, k1, directions[0]), curvatures(lmax, order, k1, *directions)
    for nu in range(order):
        assert directions[0] @ grads[nu] == pytest.approx(first[nu], abs=1e-12 * scale_of(first[nu]))
        products = np.sum(directions[0] @ hessians[nu] * directions[1], axis=1)
        assert products == pytest.approx(second[nu], abs=1e-11 * scale_of(second[nu]) + 1e-12)
        assert hessians[nu] == pytest.approx(hessians[nu].T, abs=1e-12 * scale_of(hessians[nu]))


def test_one_pair_and_many_agree():
    """Values, gradients and Hessian-vector products of the two implementations."""
    lmax, order = 3, 6
    terms, n = wigner_terms(lmax, order), kernel_size(lmax)
    k1, t1 = random_k1(lmax, 2, LANES)
    values, grads, hessians = (np.zeros((order, *[n] * k)) for k in range(3))
    lanes_values, root = np.zeros((order, LANES)), root_norm(lmax)
    for nu in range(order):
        k, g, t, h = lanes_workspaces(lmax, order, k1, 4)
        t[0][:] = (t1 * root).T
        iterate(terms, k)
        iterate_tangent(terms, k, t)
        gradient(terms, np.eye(order)[nu], k, g)
        gradient_tangent(terms, np.eye(order)[nu], k, g, t, h)
        invariants(k, lanes_values)
        for lane in (0, LANES - 1):
            kernels_with_derivatives(hessian_terms(lmax), k1[lane], values, grads, hessians)
            products = hessians[nu] @ t1[lane]
            assert lanes_values[nu, lane] == pytest.approx(values[nu], rel=1e-11)
            assert root * g[0][:, lane] == pytest.approx(grads[nu], abs=1e-12 * scale_of(grads[nu]))
            assert root * h[0][:, lane] == pytest.approx(products, abs=1e-12 * scale_of(products) + 1e-15)


# --- energies of environments ---


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("with_tangents", [False, True])
@pytest.mark.parametrize("n", [1, LANES + 3])
def test_environment_energy(order, with_tangents, n):
    lmax, channels = 2, 3
    weights = order_weights(order)
    points, w, tangents = random_support(lmax, n, channels)
    tangents = tangents if with_tangents else None
    c = random_support(lmax, 1, channels, seed=1)[0][0]
    grad = np.full(c.shape, 1e3)
    support = make_support(points, w, tangents)
    energy = environment_energy(wigner_terms(lmax, order), lmax, weights, support, c, grad)
    expected = support_energy(lmax, weights, c, points, w, tangents)
    assert energy == pytest.approx(expected, rel=1e-11, abs=1e-11)
    u = random_support(lmax, 4, channels, seed=2)[0]
    exact = polynomial_slope(lambda h: support_energy(lmax, weights, c + h * u, points, w, tangents))
    assert np.tensordot(u, grad, 2) == pytest.approx(exact, abs=1e-11 * scale_of(exact))


def energy_and_gradient(dtype, lmax, weights, c, points, w, tangents):
    grad = np.full(c.shape, 1e3)
    support = make_support(points, w, tangents, dtype)
    assert all(array.dtype == dtype for array in support)
    energy = environment_energy(wigner_terms(lmax, len(weights), dtype), lmax, weights, support, c, grad)
    return energy, grad


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("with_tangents", [False, True])
@pytest.mark.parametrize("n", [1, 3 * LANES])
def test_single_precision(order, with_tangents, n):
    """Float32 energies and gradients are right to their last digits, those of the terms whose sum they are."""
    lmax, channels = 3, 5
    weights = order_weights(order)
    points, w, tangents = random_support(lmax, n, channels)
    c = random_support(lmax, 1, channels, seed=1)[0][0]
    tangents = tangents if with_tangents else None
    energy, grad = energy_and_gradient(np.float32, lmax, weights, c, points, w, tangents)
    exact, slope = energy_and_gradient(np.float64, lmax, weights, c, points, w, tangents)
    summands = [
        energy_and_gradient(np.float64, lmax, own, c, points[s], w[s], tangents[s] if with_tangents else None)[0]
        for own in np.diag(weights)
        for s in np.arange(n)[:, None]
    ]
    assert exact == pytest.approx(sum(summands), abs=1e-13 * np.abs(summands).sum())
    assert energy == pytest.approx(exact, abs=1e-6 * np.abs(summands).sum())
    assert grad == pytest.approx(slope, abs=1e-6 * scale_of(slope))


def test_one_precision():
    points, w, _ = random_support(1, 2, 3)
    support, grad = make_support(points, w, dtype=np.float32), np.zeros(points.shape[1:])
    with pytest.raises(TypeError, match="of one floating point type"):
        environment_energy(wigner_terms(1, 2), 1, np.ones(2), support, points[0], grad)


def test_pair_kernel():
    lmax, channels = 3, 4
    points = random_support(lmax, LANES, channels)[0]
    c = random_support(lmax, 1, channels, seed=1)[0][0]
    k1 = np.full((kernel_size(lmax), LANES), 1e3)
    pair_kernel(lmax, c, in_blocks(points.reshape(LANES, -1))[0], k1)
    assert pytest.approx(nu1_kernel(lmax, c, points) * root_norm(lmax), abs=1e-13) == k1.T


def test_blocks_of_support_points():
    rows = np.arange(3.0 * (2 * LANES + 1)).reshape(-1, 3)
    packed = in_blocks(rows)
    assert packed.shape == (3, 3, LANES)
    assert np.array_equal(packed.transpose(0, 2, 1).reshape(-1, 3)[: len(rows)], rows)
    assert np.all(packed[2, :, 1:] == 0)
    support = make_support(rows[:, :, None], rows[:, 0])
    assert support.tangents.shape == (0, 3, LANES)
    assert np.array_equal(support.weights, packed[:, 0])
