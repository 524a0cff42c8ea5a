"""Products of two coefficients coupled to (L, parity), and their adjoint, for some environments: compiled loops."""

from typing import NamedTuple

import numpy as np

from ..compute.jit import njit
from ..kernel.coupling import real_cg


class CoupledPairs(NamedTuple):
    """Pairs of channels whose coefficients of l1 and l2 are coupled to L.

    Attributes:
        l1, l2: angular momenta of the factors.
        q1, q2: (n,) their channels.
        terms: (n_terms, 3) components m1, m2 of the factors and M of the product.
        couplings: (n_terms,) Clebsch-Gordan coefficients.
        first: column of the first product.

    """

    l1: int
    l2: int
    q1: np.ndarray
    q2: np.ndarray
    terms: np.ndarray
    couplings: np.ndarray
    first: int


def coupled_pairs(l1: int, l2: int, big_l: int, pairs: np.ndarray, first: int) -> CoupledPairs:
    """Return what the loops need of pairs (n, 2) of channels, whose products begin in column `first`."""
    cg = real_cg(l1, l2, big_l)
    terms = np.argwhere(cg)
    q1, q2 = np.ascontiguousarray(pairs.T)
    return CoupledPairs(l1, l2, q1, q2, terms, cg[tuple(terms.T)], first)


@njit
def _gathered(rows, l, channels, out):
    """Fill out (2 l + 1, n) with some channels of the coefficients of l in rows (n_lm, Q)."""
    for m in range(2 * l + 1):
        for p in range(len(channels)):
            out[m, p] = rows[l * l + m, channels[p]]


@njit(nogil=True)
def add_products(pairs, c, d, out):
    """Add to out (n, 2 L + 1, P) the sum of CG c_{l1 q1} d_{l2 q2} of coefficients c and d (n, n_lm, Q)."""
    l1, l2, q1, q2, terms, couplings, first = pairs
    n_pairs = len(q1)
    left, right = np.empty((2 * l1 + 1, n_pairs)), np.empty((2 * l2 + 1, n_pairs))
    for i in range(len(c)):
        _gathered(c[i], l1, q1, left)
        _gathered(d[i], l2, q2, right)
        for t in range(len(terms)):
            x, y, w = left[terms[t, 0]], right[terms[t, 1]], couplings[t]
            z = out[i, terms[t, 2], first : first + n_pairs]
            for p in range(n_pairs):
                z[p] += w * x[p] * y[p]


@njit(nogil=True)
def add_scalar_derivatives(pairs, c, d, factors, rows, out):
    """Add derivatives of products with L = 0 of one environment c (n_lm, Q), times factors (P,), to rows of out (N, P).

    They are those along d (n, n_lm, Q), for row rows[i] (n,) of each.
    """
    l, _, q1, q2, terms, couplings, first = pairs
    n_pairs = len(q1)
    left, right = np.empty((2 * l + 1, n_pairs)), np.empty((2 * l + 1, n_pairs))
    by_left, by_right = np.empty((2 * l + 1, n_pairs)), np.empty((2 * l + 1, n_pairs))
    total = np.empty(n_pairs)
    _gathered(c, l, q1, left)
    _gathered(c, l, q2, right)
    for i in range(len(d)):
        _gathered(d[i], l, q1, by_left)
        _gathered(d[i], l, q2, by_right)
        total[:] = 0.0
        for t in range(len(terms)):
            a, b, w = terms[t, 0], terms[t, 1], couplings[t]
            x, y, u, v = left[a], right[b], by_left[a], by_right[b]
            for p in range(n_pairs):
                total[p] += w * (x[p] * v[p] + u[p] * y[p])
        z, f = out[rows[i], first : first + n_pairs], factors[first : first + n_pairs]
        for p in range(n_pairs):
            z[p] += f[p] * total[p]


@njit(nogil=True)
def add_product_gradients(pairs, c, slopes, out):
    """Add to out (n, n_lm, Q) the gradients in c of its products with itself times slopes (n, 2 L + 1, P)."""
    l1, l2, q1, q2, terms, couplings, first = pairs
    n_pairs = len(q1)
    left, right = np.empty((2 * l1 + 1, n_pairs)), np.empty((2 * l2 + 1, n_pairs))
    by_left, by_right = np.empty((2 * l1 + 1, n_pairs)), np.empty((2 * l2 + 1, n_pairs))
    for i in range(len(c)):
        _gathered(c[i], l1, q1, left)
        _gathered(c[i], l2, q2, right)
        by_left[:] = 0.0
        by_right[:] = 0.0
        for t in range(len(terms)):
            a, b = terms[t, 0], terms[t, 1]
            x, y, w = left[a], right[b], couplings[t]
            z = slopes[i, terms[t, 2], first : first + n_pairs]
            u, v = by_left[a], by_right[b]
            for p in range(n_pairs):
                g = w * z[p]
                u[p] += g * y[p]
                v[p] += g * x[p]
        for m in range(2 * l1 + 1):
            for p in range(n_pairs):
                out[i, l1 * l1 + m, q1[p]] += by_left[m, p]
        for m in range(2 * l2 + 1):
            for p in range(n_pairs):
                out[i, l2 * l2 + m, q2[p]] += by_right[m, p]
