"""Wigner kernels of one pair of environments with first and second derivatives, for derivative learning.

Everything is a function of the nu = 1 kernel k1 (n,). Blocks of coefficients are functions on the rotations, and the
Wigner iteration multiplies two of them. So the derivatives are made of the symmetric matrices M(k), half of which is
"multiply by k": M+(k) where l1 + l2 + L is even and parity stays, M-(k) where it is odd and parity turns. One list of
terms serves all orders, and the work is matrix products.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from ..compute.jit import njit
from ..compute.products import ROWS, multiply_add
from ..compute.simd import WIDTH, padded
from .coupling import block_offsets, iteration_terms, kernel_size


class MultiplicationTerms(NamedTuple):
    """The linear map from k to M(k): upper triangle, entry by entry.

    Attributes:
        start: (n_entries + 1,) first term of each entry.
        place, mirror: (n_entries,) where it stands in a flat (n, padded(n, WIDTH)) array, and where its transpose.
        component: (n_terms,) of k.
        weight: (n_terms,) their coefficients.

    """

    start: np.ndarray
    place: np.ndarray
    mirror: np.ndarray
    component: np.ndarray
    weight: np.ndarray


class HessianTerms(NamedTuple):
    """What second derivatives need.

    Attributes:
        norm: (n,) factors 1/(2L + 1) of the components.
        even, odd: terms of M+ and M-.

    """

    norm: np.ndarray
    even: MultiplicationTerms
    odd: MultiplicationTerms


@cache
def hessian_terms(lmax: int) -> HessianTerms:
    """Terms for angular momenta to `lmax`."""
    n, square = kernel_size(lmax), iteration_terms(lmax, 2)
    widths = 2 * np.arange(lmax + 1) + 1
    norm = np.repeat(1.0 / widths, np.diff(block_offsets(lmax)))
    out = np.repeat(np.arange(2 * n), np.diff(square.start))
    parity, o = out // n, out % n
    lists = []
    for p in (0, 1):
        a, b, w = square.a[parity == p], square.b[parity == p], (square.w * norm[o])[parity == p]
        row = np.concatenate([o[parity == p]] * 2)
        column, index, weight = np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([w, w])
        upper = row <= column
        entry, term, count = np.unique(row[upper] * n + column[upper], return_inverse=True, return_counts=True)
        by_count = np.argsort(count, kind="stable")  # loops of equal length one after the other are foreseen
        order = np.argsort(np.argsort(by_count)[term], kind="stable")
        start = np.concatenate([[0], np.cumsum(count[by_count])])
        row, column = entry[by_count] // n, entry[by_count] % n
        parts = (start, row * padded(n, WIDTH) + column, column * padded(n, WIDTH) + row, index[upper][order])
        # unsigned, or each access would ask whether to count from the end
        start, place, mirror, component = (x.astype(np.uint64) for x in parts)
        lists.append(MultiplicationTerms(start, place, mirror, component, weight[upper][order]))
    return HessianTerms(norm, *lists)


@njit
def _add_multiplication(terms, k, out):
    """Add M(k) of one kind to the symmetric matrix `out` (n, ld)."""
    flat = out.reshape(-1)
    for e in range(terms.place.shape[0]):
        total = flat[terms.place[e]]
        for t in range(terms.start[e], terms.start[e + 1]):
            total += terms.weight[t] * k[terms.component[t]]
        flat[terms.place[e]] = total
        flat[terms.mirror[e]] = total


@njit
def _multiplication(terms, even, odd, out):
    """Fill out (2n, ld) with M(k), k = (even, odd), from the even part of a factor to both parts of the product.

    M(k) k' is twice the product of k and k', since the terms of both orders of the factors add up. `odd` is empty for
    a kernel without odd part.
    """
    n = terms.norm.shape[0]
    out[:] = 0.0
    _add_multiplication(terms.even, even, out[:n])
    _add_multiplication(terms.odd, even, out[n:])
    if odd.shape[0]:
        _add_multiplication(terms.odd, odd, out[:n])
        _add_multiplication(terms.even, odd, out[n:])


@njit
def _divide(x, norm, out):
    """Fill out (2n, ld) with the rows of x divided by their norm (n,)."""
    n = norm.shape[0]
    for p in range(2):
        for o in range(n):
            factor = 1.0 / norm[o]
            for a in range(x.shape[1]):
                out[p * n + o, a] = factor * x[p * n + o, a]


@njit
def _finish(upper, factor, out):
    """Write `factor` times the symmetric matrix of which `upper` (n, ld) holds the upper triangle to `out` (n, n)."""
    for a in range(out.shape[0]):
        for b in range(a, out.shape[0]):
            out[a, b] = factor * upper[a, b]
            out[b, a] = out[a, b]


@njit
def _add_symmetric_product(x, y, out):
    """Add x^T y, x and y (k, ld), to `out` (n, ld) where that is symmetric: the upper triangle only."""
    n = out.shape[0]
    for row in range(0, n, ROWS):
        rows, columns = slice(row, min(n, row + ROWS)), slice(row - row % WIDTH, None)
        multiply_add(x.T[rows], y[:, columns], out[rows, columns])


@njit
def _add_product_and_transpose(x, y, out):
    """Add x^T y + y^T x, x and y (k, ld), to `out` (n, ld)."""
    n = out.shape[0]
    product = np.zeros((out.shape[1], out.shape[1]))
    multiply_add(x.T, y, product)
    out += product[:n]
    out += product.T[:n]


@njit
def hessian_workspace(n, orders):
    """Scratch arrays (k, 2n, ld) of `higher_kernels`."""
    return np.empty((3 if orders < 3 else 7, 2 * n, padded(n, WIDTH)))


@njit
def higher_kernels(terms, k1, values, grads, hessians, work):
    """The same as `kernels_with_derivatives` for the orders from 3 on, which are the first of the three arrays."""
    n, orders = k1.shape[0], values.shape[0]
    norm = terms.norm
    both = np.concatenate((norm, norm))
    wide = np.zeros(padded(n, WIDTH))
    wide[:n] = k1
    m2, j2, upper = work[0], work[1], work[2, :n]  # m: norm times j, the Jacobian of k2 or k3
    _multiplication(terms, k1, k1[:0], m2)
    _divide(m2, norm, j2)
    k2 = 0.5 * np.dot(j2, wide)
    grads[0] = 3 * norm * k2[:n]
    values[0] = np.dot(grads[0], k1) / 3
    _finish(m2, 3.0, hessians[0])
    if orders < 2:
        return
    values[1] = np.dot(both * k2, k2)
    grads[1] = 2 * np.dot(k2, m2)[:n]
    upper[:] = 0.0
    _add_symmetric_product(m2, j2, upper)
    _add_multiplication(terms.even, k2[:n], upper)
    _add_multiplication(terms.odd, k2[n:], upper)
    _finish(upper, 2.0, hessians[1])
    if orders < 3:
        return
    m3, j3, c2, c3 = work[3], work[4], work[5], work[6]
    _multiplication(terms, k2[:n], k2[n:], c2)
    _divide(c2, norm, j3)
    k3 = 0.5 * np.dot(j3, wide)
    m3[:] = c2
    for p in range(2):
        target = m3[p * n : (p + 1) * n]
        multiply_add(m2[:n, :n], j2[p * n : (p + 1) * n], target)
        multiply_add(m2[n:, :n], j2[(1 - p) * n : (2 - p) * n], target)
    m3 *= 0.5
    values[2] = np.dot(both * k2, k3)
    grads[2] = (np.dot(k2, m3) + np.dot(k3, m2))[:n]
    upper[:] = 0.0
    c2 *= 0.5
    c2 += m3
    _add_product_and_transpose(j2, c2, upper)
    _add_multiplication(terms.even, 2 * k3[:n], upper)
    _add_multiplication(terms.odd, 2 * k3[n:], upper)
    _finish(upper, 1.0, hessians[2])
    if orders < 4:
        return
    _multiplication(terms, k3[:n], k3[n:], c3)
    _divide(c3, norm, j3)
    k4 = np.dot(j3, wide)  # twice the fourth iterate
    values[3] = np.dot(both * k3, k3)
    grads[3] = 2 * np.dot(k3, m3)[:n]
    upper[:] = 0.0
    _divide(m3, norm, j3)
    _add_product_and_transpose(m3, j3, upper)
    _add_product_and_transpose(j2, c3, upper)
    _add_multiplication(terms.even, k4[:n], upper)
    _add_multiplication(terms.odd, k4[n:], upper)
    _finish(upper, 1.0, hessians[3])


@njit
def kernels_with_derivatives(terms, k1, values, grads, hessians):
    """Fill values (order,), grads (order, n) and hessians (order, n, n) of k^(1) ... k^(order) by k1 (n,)."""
    n, order = k1.shape[0], values.shape[0]
    grads[:2] = 0.0
    hessians[:2] = 0.0
    values[0] = k1[0]
    grads[0, 0] = 1.0
    if order > 1:
        grads[1] = 2 * terms.norm * k1
        values[1] = 0.5 * np.dot(grads[1], k1)
        for a in range(n):
            hessians[1, a, a] = 2 * terms.norm[a]
    if order > 2:
        higher_kernels(terms, k1, values[2:], grads[2:], hessians[2:], hessian_workspace(n, order - 2))
