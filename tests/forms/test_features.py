"""Features of the mapped form and the recoupling of their products."""

from itertools import product

import numpy as np
import pytest
from oracles.kernels import support_energy
from oracles.systems import random_support, scale_of

from wk_potential.forms.features import add_feature_gradients, all_blocks, feature_derivatives, features, restricted
from wk_potential.forms.quadratic import pack_forms
from wk_potential.kernel.coupling import real_cg
from wk_potential.model.support import SupportPoints
from wk_potential.training.mapping import compression
from wk_potential.training.mapping.compression import channel_counts, dense_form, exact
from wk_potential.training.mapping.recoupling import recoupled, recoupling
from wk_potential.training.mapping.samples import Samples

# lmax and channels of each l
CHANNELS = [(1, (2, 2)), (1, (1, 3)), (2, (3, 1, 2)), (2, (2, 0, 3)), (3, (3, 2, 2, 1)), (3, (1, 2, 1, 2))]
ORDER_WEIGHTS = (0.7, 1.1, 0.9, 1.3)


def support_points(channels, n=5, with_tangents=True, seed=0):
    """Random support points, zero in the padding where an l has fewer channels than another."""
    lmax = len(channels) - 1
    points, weights, tangents = random_support(lmax, n, max(channels), seed)
    for l, used in enumerate(channels):
        points[:, l * l : (l + 1) ** 2, used:] = tangents[:, l * l : (l + 1) ** 2, used:] = 0
    return SupportPoints(points, weights, tangents if with_tangents else None)


def polynomial(blocks, matrices, c):
    """Values (n,) of the sum of x_M^T W x_M over blocks and M for environments c (n, n_lm, Q)."""
    pairs = [(features(block, c), w) for block, w in zip(blocks, matrices, strict=True)]
    return sum(np.einsum("nmp,pq,nmq->n", x, w, x, optimize=True) for x, w in pairs)


# --- features ---


@pytest.mark.parametrize("with_tangents", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(("lmax", "channels"), [(0, (3,)), *CHANNELS])
def test_forms_are_the_kernel(lmax, channels, order, with_tangents):
    """Each order alone, against integrals over rotations."""
    support = support_points(channels, with_tangents=with_tangents)
    environments = support_points(channels, 7, seed=1).coefficients
    weights = np.eye(order)[-1]
    blocks = all_blocks(lmax, channels)
    matrices = [dense_form(block, support, weights) for block in blocks]
    expected = support_energy(lmax, weights, environments, support.coefficients, support.weights, support.tangents)
    assert polynomial(blocks, matrices, environments) == pytest.approx(expected, abs=1e-12 * scale_of(expected))
    assert all(w == pytest.approx(w.T, abs=1e-13 * scale_of(w)) for w in matrices)


@pytest.mark.parametrize(("lmax", "channels"), CHANNELS)
def test_gradients_of_features(lmax, channels):
    """They are the adjoint of the derivatives along a direction, which are slopes of the features."""
    c, d = (support_points(channels, 4, seed=seed).coefficients for seed in (2, 3))
    rng, h = np.random.default_rng(4), 1e-5
    for block in all_blocks(lmax, channels):
        derivatives = feature_derivatives(block, c, d)
        slopes = (features(block, c + h * d) - features(block, c - h * d)) / (2 * h)
        assert derivatives == pytest.approx(slopes, abs=1e-8 * scale_of(slopes))
        weights, gradients = rng.normal(size=derivatives.shape), np.zeros(c.shape)
        add_feature_gradients(block, c, weights, gradients)
        expected = np.sum(weights * derivatives, axis=(1, 2))
        assert np.sum(gradients * d, axis=(1, 2)) == pytest.approx(expected, abs=1e-12 * scale_of(expected))


def test_more_channels_change_nothing():
    """What is zero in all environments makes features that are zero."""
    support, environments = (support_points((3, 1, 2), n, seed=n) for n in (4, 6))
    assert np.array_equal(channel_counts(environments), (3, 1, 2))
    energies = []
    for channels in ((3, 1, 2), (3, 3, 3)):
        blocks = all_blocks(2, channels)
        matrices = [dense_form(block, support, ORDER_WEIGHTS) for block in blocks]
        energies.append(polynomial(blocks, matrices, environments.coefficients))
    assert energies[0] == pytest.approx(energies[1], rel=1e-12)


@pytest.mark.parametrize(("lmax", "channels"), CHANNELS)
def test_no_feature_vanishes_or_repeats_others(lmax, channels):
    """They are linearly independent functions."""
    for block in all_blocks(lmax, channels):
        x = features(block, support_points(channels, 2 * len(block)).coefficients)
        assert len(block) > 0
        assert np.linalg.matrix_rank(x.reshape(-1, len(block)), tol=1e-6 * scale_of(x)) == len(block)


def test_derivatives_of_features():
    """Features are quadratic: central differences of any step are exact."""
    c, d = (support_points((2, 3, 1), 4, seed=seed).coefficients for seed in (0, 1))
    for block in all_blocks(2, (2, 3, 1)):
        slope = features(block, c + d) - features(block, c - d)
        assert feature_derivatives(block, c, d) == pytest.approx(slope / 2, abs=1e-13)
        assert features(block, c).shape == (4, 2 * block.L + 1, len(block))


def test_restricted_blocks():
    """The products that are kept, in their order, and all that are no products."""
    c, rng = support_points((2, 2, 2), 3).coefficients, np.random.default_rng(0)
    for block in all_blocks(2, (2, 2, 2)):
        keep = rng.random(len(block)) < 0.4
        kept = keep.copy()
        kept[: block.n_single] = True
        assert np.array_equal(features(restricted(block, keep), c), features(block, c)[:, :, kept])


# --- recoupling ---


def invariant(l, pairing, big_l, vectors):
    """(a b)_L . (c d)_L of vectors a, b, c, d in the order of a pairing."""
    (i, j), (k, m) = pairing
    first = np.einsum("abM,na,nb->nM", real_cg(l[i], l[j], big_l), vectors[i], vectors[j])
    second = np.einsum("abM,na,nb->nM", real_cg(l[k], l[m], big_l), vectors[k], vectors[m])
    return np.sum(first * second, axis=1)


@pytest.mark.parametrize("largest", [0, 1, 2, 3])
def test_recoupling_coefficients(largest):
    """On vectors that they were not fitted to; nothing beyond L = 2, and lower is not left for higher."""
    pairings = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
    rng, n = np.random.default_rng(7), 0
    for l in product(range(largest + 1), repeat=4):
        if max(l) < largest or sum(l) % 2:
            continue
        vectors = [rng.normal(size=(6, 2 * x + 1)) for x in l]
        for big_l in range(max(abs(l[0] - l[1]), abs(l[2] - l[3])), min(l[0] + l[1], l[2] + l[3]) + 1):
            coefficients = recoupling(l, big_l)
            expected = invariant(l, pairings[0], big_l, vectors)
            found = sum(x * invariant(l, pairings[k], other, vectors) for k, other, x in coefficients)
            assert found == pytest.approx(expected, abs=1e-11 * scale_of(expected))
            assert all(other <= min(big_l, 2) for _, other, _ in coefficients)
            n += 1
    assert n > 0


@pytest.mark.parametrize(("lmax", "channels"), CHANNELS)
def test_recoupled_polynomials_are_equal(lmax, channels):
    """Any quadratic forms, not only those of kernels, that have no products of degrees 0 and 2 or 0 and 0."""
    rng = np.random.default_rng(0)
    blocks, matrices = all_blocks(lmax, channels), []
    for block in blocks:
        w = rng.normal(size=(len(block), len(block)))
        if block.constant:
            w[0, 0] = 0
            w[0, block.n_single :] = w[block.n_single :, 0] = 0
        matrices.append(w + w.T)
    c = support_points(channels, 9, seed=1).coefficients
    new_blocks, new_matrices = recoupled(blocks, matrices, channels)
    expected = polynomial(blocks, matrices, c)
    assert polynomial(new_blocks, new_matrices, c) == pytest.approx(expected, abs=1e-10 * scale_of(expected))
    assert max(block.L for block in new_blocks) <= min(lmax, 2)
    assert all(w == pytest.approx(w.T, abs=1e-12 * scale_of(w)) for w in new_matrices)


@pytest.mark.parametrize("index", [0, 1, 4])  # invariants, vectors, pseudovectors
def test_products_without_effect_are_left_out_first(index):
    """The form of the others has the same values; a constant times a product counts as well."""
    rng = np.random.default_rng(0)
    block = all_blocks(2, [3, 3, 2])[index]
    n, single = len(block), block.n_single
    products = rng.permutation(np.arange(single, n))
    products, without = products[: len(products) // 3], products[len(products) // 3 :]
    w = rng.normal(size=(n, n))
    w[without] = w[:, without] = 0.0
    if block.constant:
        w[products[0], 1:] = w[1:, products[0]] = 0.0
    c, d = rng.normal(size=(2, 40, 9, 3))
    fewer, small = compression._screened(block, w, Samples(c, d), single + len(products), 0.3)
    assert len(fewer) == single + len(products) == len(small)
    values = [np.einsum("imp,pq,imq->i", x, m, x) for b, m in ((block, w), (fewer, small)) for x in [features(b, c)]]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-10, atol=1e-10)
    assert compression._screened(block, w, Samples(c, d), n, 0.3)[1] is w


def test_packed_type():
    """All numbers of the arithmetic are of one type."""
    factors = exact(support_points((2, 2)), ORDER_WEIGHTS)
    for kind in (np.float64, np.float32):
        forms = pack_forms(factors, kind)
        assert {forms.couplings.dtype, forms.factors.dtype, forms.eigenvalues.dtype} == {np.dtype(kind)}
