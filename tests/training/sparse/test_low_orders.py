"""Explicit functions of orders 1 and 2: their inner products are kernels, and support points stand for them."""

import numpy as np
import pytest

from wk_potential.kernel.coupling import wigner_terms
from wk_potential.kernel.direct import in_blocks, kernel_rows
from wk_potential.training.sparse.low_orders import LowOrders, choose_low_orders


def kernels(order_weights, one, other, lmax):
    """Kernels (n, m) of environments with others, by Wigner iterations."""
    order, blocks = len(order_weights), in_blocks(other)
    rows = np.zeros((order, blocks.shape[0] * blocks.shape[2]))
    out = []
    for c in one:
        kernel_rows(wigner_terms(lmax, order), lmax, order, c, blocks, rows)
        out.append(order_weights @ rows[:, : len(other)])
    return np.array(out)


@pytest.fixture(scope="module")
def parts(sparse_parts):
    """Some environments of each element, and all functions of orders 1 and 2."""
    environments = sparse_parts[0]
    n_elements = len(environments.data.elements)
    found = [environments.of_frame(k, derivatives=False).by_element(n_elements) for k in (0, 1, 2, 14, 15, 16)]
    pools = [np.concatenate(of_z) for of_z in zip(*found, strict=True)]
    weights = np.array([0.7, 0.2, 0.05, 0.01])
    low = choose_low_orders(pools, environments.density, weights, 10**6)
    assert isinstance(low, LowOrders)
    return low, pools


def test_inner_products_are_kernels(parts):
    low, pools = parts
    for z, pool in enumerate(pools):
        values = low.values(z, pool)
        expected = kernels(np.array([0.7, 0.2, 0.0, 0.0]), pool, pool, low.lmax)
        assert values @ values.T == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_derivatives(parts):
    low, pools = parts
    c, step = pools[0][0], 1e-5
    directions = np.random.default_rng(0).normal(size=(4, *c.shape)) * (c != 0)
    expected = [
        (low.values(0, (c + step * d)[None]) - low.values(0, (c - step * d)[None]))[0] / (2 * step) for d in directions
    ]
    assert low.derivatives(0, c, directions) == pytest.approx(np.array(expected), abs=1e-8)


def test_the_functions_that_vary_most_are_kept(parts, sparse_parts):
    low, pools = parts
    few = choose_low_orders(pools, sparse_parts[0].density, low.order_weights, 40 * len(pools))
    assert few.counts == [40] * len(pools)
    for z, pool in enumerate(pools):
        n_single = few.blocks[z].n_single - 1
        everything, kept = low.values(z, pool), few.values(z, pool)
        assert kept[:, :n_single] == pytest.approx(everything[:, :n_single])
        spread = np.sort(everything[:, n_single:].std(axis=0))[::-1]
        assert np.sort(kept[:, n_single:].std(axis=0))[::-1] == pytest.approx(spread[: 40 - n_single])


def test_no_room_or_no_higher_order(parts, sparse_parts):
    low, pools = parts
    density = sparse_parts[0].density
    assert choose_low_orders(pools, density, low.order_weights, len(pools) - 1) is None
    assert choose_low_orders(pools, density, low.order_weights[:2], 100) is None
    assert choose_low_orders(pools, density, np.array([0.7, 0.0, 0.1, 0.1]), 100) is None


@pytest.mark.parametrize("n_functions", [None, 40])
def test_support_points_that_stand_for_functions(n_functions, parts, sparse_parts):
    """Their kernels of all orders are the functions, and take the low orders of the support points away."""
    low, pools = parts
    if n_functions:
        low = choose_low_orders(pools, sparse_parts[0].density, low.order_weights, n_functions * len(pools))
    rng = np.random.default_rng(1)
    for z, pool in enumerate(pools):
        support, others = pool[:2], pool[2:]
        coefficients, weights = rng.normal(size=low.counts[z]), rng.normal(size=2)
        points, factors = low.points(z, coefficients, support, weights)
        found = kernels(low.order_weights, others, np.concatenate([support, points]), low.lmax)
        high = kernels(np.array([0.0, 0.0, 0.05, 0.01]), others, support, low.lmax) @ weights
        expected = low.values(z, others) @ coefficients + high
        assert found @ np.concatenate([weights, factors]) == pytest.approx(expected, rel=1e-6, abs=1e-7)
