"""Wigner kernels of orders 1 to 6 between one environment and LANES support points, with their derivatives.

Arrays have rows of LANES support points. k1 (n, LANES) is the nu = 1 kernel, k2 and k3 (2n, LANES) the iterated
ones with both parities, n = sum of (2l + 1)^2. The invariants come from splitting the order,
k^(nu + nu') = sum_{L,sigma} <k^(nu), k^(nu')> / (2L + 1), so that order 4 needs one iteration and order 6 two.
`weights` (order,) are the factors a_nu in k = sum_nu a_nu k^(nu).
"""

import numpy as np
from numba import njit

from .lanes import LANES, bilinear, bilinear_pair


@njit(cache=True)
def workspace(terms, order):
    """Zeroed arrays (k1, k2, k3), the last two empty where `order` does not need them."""
    n = terms.norm.shape[0] // 2
    k1 = np.zeros((n, LANES))
    k2 = np.zeros((2 * n if order > 2 else 0, LANES))
    k3 = np.zeros((2 * n if order > 4 else 0, LANES))
    return k1, k2, k3


@njit(cache=True)
def iterate(terms, k):
    """Fill k2 and k3 from k1."""
    k1, k2, k3 = k
    k2[:] = 0.0
    k3[:] = 0.0
    bilinear(terms.square, k1, k1, k2)
    bilinear(terms.cube, k2, k1, k3)


@njit(cache=True)
def iterate_tangent(terms, k, t):
    """Fill the derivatives t2, t3 of k2, k3 along the direction t1 of k1."""
    k1, k2, _ = k
    t1, t2, t3 = t
    t2[:] = 0.0
    t3[:] = 0.0
    bilinear_pair(terms.square, k1, t1, t1, k1, t2)
    bilinear_pair(terms.cube, t2, k1, k2, t1, t3)


@njit(cache=True, fastmath=True)
def _inner(norm, x, y, out):
    out[:] = 0.0
    for i in range(min(x.shape[0], y.shape[0])):
        for s in range(LANES):
            out[s] += norm[i] * x[i, s] * y[i, s]


@njit(cache=True)
def invariants(terms, k, out):
    """Fill out (order, LANES) with k^(1), ..., k^(order)."""
    k1, k2, k3 = k
    order = out.shape[0]
    out[0] = k1[0]
    if order > 1:
        _inner(terms.norm, k1, k1, out[1])
    if order > 2:
        _inner(terms.norm, k2, k1, out[2])
    if order > 3:
        _inner(terms.norm, k2, k2, out[3])
    if order > 4:
        _inner(terms.norm, k3, k2, out[4])
    if order > 5:
        _inner(terms.norm, k3, k3, out[5])


@njit(cache=True, fastmath=True)
def _add(out, factor, norm, x):
    """out += factor * norm * x over the rows of out."""
    for i in range(out.shape[0]):
        f = factor * norm[i]
        for s in range(LANES):
            out[i, s] += f * x[i, s]


@njit(cache=True)
def _seeds(terms, weights, k2, k3, g2, g3):
    """Partial derivatives of orders 4 to 6 with respect to k2 and k3 (linear in k2, k3)."""
    g2[:] = 0.0
    g3[:] = 0.0
    order = weights.shape[0]
    if order > 3:
        _add(g2, 2 * weights[3], terms.norm, k2)
    if order > 4:
        _add(g2, weights[4], terms.norm, k3)
        _add(g3, weights[4], terms.norm, k2)
    if order > 5:
        _add(g3, 2 * weights[5], terms.norm, k3)


@njit(cache=True)
def gradient(terms, weights, k, g):
    """Fill g1 with the derivative of sum_nu a_nu k^(nu) with respect to k1; g2 and g3 are overwritten."""
    k1, k2, k3 = k
    g1, g2, g3 = g
    order = weights.shape[0]
    g1[:] = 0.0
    g1[0] += weights[0]
    if order > 1:
        _add(g1, 2 * weights[1], terms.norm, k1)
    if order > 2:
        _add(g1, 3 * weights[2], terms.norm, k2)
    if order > 3 and np.any(weights[3:] != 0.0):
        _seeds(terms, weights, k2, k3, g2, g3)
        if order > 4:
            bilinear(terms.cube_grad1, g3, k2, g1)
            bilinear(terms.cube_grad2, g3, k1, g2)
        bilinear(terms.square_grad, g2, k1, g1)


@njit(cache=True)
def gradient_tangent(terms, weights, k, g, t, h):
    """Fill h1 with the derivative of g1 along t1. Needs g as `gradient` left it and t from `iterate_tangent`."""
    k1, k2, _ = k
    _, g2, g3 = g
    t1, t2, t3 = t
    h1, h2, h3 = h
    order = weights.shape[0]
    h1[:] = 0.0
    if order > 1:
        _add(h1, 2 * weights[1], terms.norm, t1)
    if order > 2:
        _add(h1, 3 * weights[2], terms.norm, t2)
    if order > 3 and np.any(weights[3:] != 0.0):
        _seeds(terms, weights, t2, t3, h2, h3)
        if order > 4:
            bilinear_pair(terms.cube_grad1, h3, k2, g3, t2, h1)
            bilinear_pair(terms.cube_grad2, h3, k1, g3, t1, h2)
        bilinear_pair(terms.square_grad, h2, k1, g2, t1, h1)
