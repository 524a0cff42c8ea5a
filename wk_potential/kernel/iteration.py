"""Wigner kernels of orders 1 to 6 between one environment and a block of support points, with their derivatives.

Arrays have rows of `lanes` support points. k1 (n, lanes) is the nu = 1 kernel, k2 and k3 (2n, lanes) the iterated
ones with both parities, n = sum of (2l + 1)^2, all with their components divided by (2L + 1)^(1/2). The invariants
come from splitting the order, k^(nu + nu') = sum_{L,sigma} <k^(nu), k^(nu')> / (2L + 1), so that they are the inner
products of the scaled kernels, and order 4 needs one iteration, order 6 two. `weights` (order,) are the factors
a_nu in k = sum_nu a_nu k^(nu).
"""

from ..compute.jit import njit
from .lanes import add_rows, aligned_zeros, bilinear, bilinear_adjoint, row_products


@njit
def workspace(terms, order):
    """Zeroed arrays (k1, k2, k3) of the terms' type, the last two empty where `order` does not need them."""
    n = terms.norm.shape[0] // 2
    k1 = aligned_zeros(n, terms.norm)
    k2 = aligned_zeros(2 * n if order > 2 else 0, terms.norm)
    k3 = aligned_zeros(2 * n if order > 4 else 0, terms.norm)
    return k1, k2, k3


@njit
def iterate(terms, k):
    """Fill k2 and k3 from k1."""
    k1, k2, k3 = k
    bilinear(terms.square_groups, (k1,), (k1,), k2)
    bilinear(terms.cube_groups, (k2,), (k1,), k3)


@njit
def iterate_tangent(terms, k, t):
    """Fill the derivatives t2, t3 of k2, k3 along the direction t1 of k1."""
    k1, k2, _ = k
    t1, t2, t3 = t
    bilinear(terms.square_groups, (k1, t1), (t1, k1), t2)
    bilinear(terms.cube_groups, (t2, k2), (k1, t1), t3)


@njit
def inner(x, y, out, o):
    """out[o] = <x, y> over the rows that both have."""
    out[o] = 0.0
    row_products(1.0, min(x.shape[0], y.shape[0]), x, 0, y, 0, 1, out, o)


@njit
def invariants(k, out):
    """Fill out (order, lanes) with k^(1), ..., k^(order)."""
    k1, k2, k3 = k
    order = out.shape[0]
    out[0] = k1[0]
    if order > 1:
        inner(k1, k1, out, 1)
    if order > 2:
        inner(k2, k1, out, 2)
    if order > 3:
        inner(k2, k2, out, 3)
    if order > 4:
        inner(k3, k2, out, 4)
    if order > 5:
        inner(k3, k3, out, 5)


@njit
def _lower_orders(weights, k1, k2, g1):
    """Partial derivatives of orders 2 and 3 with respect to k1 (linear in k1, k2)."""
    g1[:] = 0.0
    if weights.shape[0] > 1:
        add_rows(2 * weights[1], k1, g1)
    if weights.shape[0] > 2:
        add_rows(3 * weights[2], k2, g1)


@njit
def _higher_orders(weights, k2, k3, g2, g3):
    """Partial derivatives of orders 4 to 6 with respect to k2 and k3 (linear in k2, k3)."""
    g2[:] = 0.0
    g3[:] = 0.0
    add_rows(2 * weights[3], k2, g2)
    add_rows(weights[4], k3, g2)
    add_rows(weights[4], k2, g3)
    if weights.shape[0] > 5:
        add_rows(2 * weights[5], k3, g3)


@njit
def gradient(terms, weights, k, g):
    """Fill g1 with the derivative of sum_nu a_nu k^(nu) with respect to k1; g2 and g3 are overwritten."""
    k1, k2, k3 = k
    g1, g2, g3 = g
    order = weights.shape[0]
    _lower_orders(weights, k1, k2, g1)
    g1[0] += weights[0]
    if order == 4:
        bilinear_adjoint(terms.square_adjoint, 2 * weights[3], (k2,), (k1,), (k1,), g1, g1)
    elif order > 4 and (weights[3:] != 0.0).any():
        _higher_orders(weights, k2, k3, g2, g3)
        bilinear_adjoint(terms.cube_adjoint, 1.0, (g3,), (k2,), (k1,), g2, g1)
        bilinear_adjoint(terms.square_adjoint, 1.0, (g2,), (k1,), (k1,), g1, g1)


@njit
def gradient_tangent(terms, weights, k, g, t, h):
    """Fill h1 with the derivative of g1 along t1. Needs g as `gradient` left it and t from `iterate_tangent`."""
    k1, k2, _ = k
    _, g2, g3 = g
    t1, t2, t3 = t
    h1, h2, h3 = h
    order = weights.shape[0]
    _lower_orders(weights, t1, t2, h1)
    if order == 4:
        bilinear_adjoint(terms.square_adjoint, 2 * weights[3], (t2, k2), (k1, t1), (k1, t1), h1, h1)
    elif order > 4 and (weights[3:] != 0.0).any():
        _higher_orders(weights, t2, t3, h2, h3)
        bilinear_adjoint(terms.cube_adjoint, 1.0, (h3, g3), (k2, t2), (k1, t1), h2, h1)
        bilinear_adjoint(terms.square_adjoint, 1.0, (h2, g2), (k1, t1), (k1, t1), h1, h1)
