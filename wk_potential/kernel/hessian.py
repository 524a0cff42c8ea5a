"""Wigner kernels of one pair of environments with first and second derivatives, for derivative learning.

Everything is a function of the nu = 1 kernel k1 (n,). The second derivatives are dense (n, n) matrices built from
the Jacobians of the iterated kernels, so that the work is matrix products.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def _jacobian_square(terms, k1, k2, j2):
    """k2 and its Jacobian (2n, n)."""
    k2[:] = 0.0
    j2[:] = 0.0
    for o in range(terms.start.shape[0] - 1):
        for t in range(terms.start[o], terms.start[o + 1]):
            a, b, w = terms.a[t], terms.b[t], terms.w[t]
            k2[o] += w * k1[a] * k1[b]
            j2[o, a] += w * k1[b]
            j2[o, b] += w * k1[a]


@njit(cache=True)
def _jacobian_cube(terms, k1, k2, j2, k3, j3):
    """k3 and its Jacobian (2n, n)."""
    k3[:] = 0.0
    j3[:] = 0.0
    for o in range(terms.start.shape[0] - 1):
        for t in range(terms.start[o], terms.start[o + 1]):
            a, b, w = terms.a[t], terms.b[t], terms.w[t]
            k3[o] += w * k2[a] * k1[b]
            j3[o] += (w * k1[b]) * j2[a]
            j3[o, b] += w * k2[a]


@njit(cache=True)
def _add_square_hessian(terms, g, out):
    """Add the second derivatives of g . k2."""
    for o in range(terms.start.shape[0] - 1):
        for t in range(terms.start[o], terms.start[o + 1]):
            out[terms.a[t], terms.b[t]] += terms.w[t] * g[o]
            out[terms.b[t], terms.a[t]] += terms.w[t] * g[o]


@njit(cache=True)
def _add_cube_hessian(terms, g, k1, j2, out):
    """Add the second derivatives of g . k3."""
    p = np.zeros(j2.shape)
    for o in range(terms.cube.start.shape[0] - 1):
        for t in range(terms.cube.start[o], terms.cube.start[o + 1]):
            p[terms.cube.a[t], terms.cube.b[t]] += terms.cube.w[t] * g[o]
    mixed = np.dot(j2.T, p)
    out += mixed
    out += mixed.T
    _add_square_hessian(terms.square, np.dot(p, k1), out)


@njit(cache=True)
def kernels_with_derivatives(terms, k1, values, grads, hessians):
    """Fill values (order,), grads (order, n) and hessians (order, n, n) of k^(1) ... k^(order) by k1 (n,)."""
    n, order = k1.shape[0], values.shape[0]
    norm = terms.norm
    grads[:] = 0.0
    hessians[:] = 0.0
    values[0] = k1[0]
    grads[0, 0] = 1.0
    if order < 2:
        return
    grads[1] = 2 * norm[:n] * k1
    values[1] = 0.5 * np.dot(grads[1], k1)
    for a in range(n):
        hessians[1, a, a] = 2 * norm[a]
    if order < 3:
        return
    k2, j2 = np.zeros(2 * n), np.zeros((2 * n, n))
    _jacobian_square(terms.square, k1, k2, j2)
    grads[2] = 3 * norm[:n] * k2[:n]
    values[2] = np.dot(grads[2], k1) / 3
    for a in range(n):
        hessians[2, a] = 3 * norm[a] * j2[a]
    if order < 4:
        return
    g2, scaled_j2 = norm * k2, np.zeros((2 * n, n))
    for o in range(2 * n):
        scaled_j2[o] = norm[o] * j2[o]
    values[3] = np.dot(g2, k2)
    grads[3] = 2 * np.dot(j2.T, g2)
    hessians[3] = 2 * np.dot(j2.T, scaled_j2)
    _add_square_hessian(terms.square, 2 * g2, hessians[3])
    if order < 5:
        return
    k3, j3 = np.zeros(2 * n), np.zeros((2 * n, n))
    _jacobian_cube(terms.cube, k1, k2, j2, k3, j3)
    g3 = norm * k3
    values[4] = np.dot(g2, k3)
    grads[4] = np.dot(j3.T, g2) + np.dot(j2.T, g3)
    mixed = np.dot(j3.T, scaled_j2)
    hessians[4] = mixed + mixed.T
    _add_square_hessian(terms.square, g3, hessians[4])
    _add_cube_hessian(terms, g2, k1, j2, hessians[4])
    if order < 6:
        return
    scaled_j3 = np.zeros((2 * n, n))
    for o in range(2 * n):
        scaled_j3[o] = norm[o] * j3[o]
    values[5] = np.dot(g3, k3)
    grads[5] = 2 * np.dot(j3.T, g3)
    hessians[5] = 2 * np.dot(j3.T, scaled_j3)
    _add_cube_hessian(terms, 2 * g3, k1, j2, hessians[5])
