"""The direct kernel: an environment against all its support points, energy and gradient, in blocks of lanes.

Environments and support points are arrays (n_lm, Q) of density coefficients, rows (l, m), columns the channels.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..compute.jit import njit
from .iteration import gradient, gradient_tangent, inner, invariants, iterate, iterate_tangent, workspace
from .lanes import aligned_zeros, lanes_of, row_products, weighted_rows


class Support(NamedTuple):
    """Support points of one central element side by side in blocks, `lanes_of(dtype)` in each.

    Attributes:
        coefficients: (n_blocks, n_lm * Q, lanes) density coefficients.
        tangents: the same shape, or (0, n_lm * Q, lanes) if the model has weights only.
        weights: (n_blocks, lanes); padding has weight zero.

    """

    coefficients: np.ndarray
    tangents: np.ndarray
    weights: np.ndarray


def in_blocks(rows: np.ndarray, dtype: npt.DTypeLike = np.float64) -> np.ndarray:
    """Rearrange (n, ...) into (n_blocks, k, lanes), k the size of a row; the last block is padded with zeros."""
    n, k, lanes = len(rows), int(np.prod(rows.shape[1:])), lanes_of(dtype)
    padded = np.zeros((-(-n // lanes) * lanes, k), dtype)
    padded[:n] = np.reshape(rows, (n, k))
    return np.ascontiguousarray(padded.reshape(-1, lanes, k).transpose(0, 2, 1))


def make_support(
    coefficients: np.ndarray,
    weights: np.ndarray,
    tangents: np.ndarray | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> Support:
    """Support points from coefficients (n, n_lm, Q), weights (n,) and tangents (n, n_lm, Q) or None.

    The kernel is computed in `dtype`; float32 needs the `wigner_terms` of float32 too.
    """
    blocks = in_blocks(coefficients, dtype)
    tangent_blocks = in_blocks(tangents, dtype) if tangents is not None else np.zeros((0, *blocks.shape[1:]), dtype)
    return Support(blocks, tangent_blocks, np.ascontiguousarray(in_blocks(weights[:, None], dtype)[:, 0]))


@njit
def pair_kernel(lmax, c, block, k1):
    """Fill k1 with K^l_{mm'} = (2l + 1)^(-1/2) sum_q c[l m, q] s[l m', q], s a block (n_lm * Q, lanes)."""
    n_channels = c.shape[1]
    row = 0
    for l in range(lmax + 1):
        for m in range(l * l, (l + 1) ** 2):
            for m2 in range(l * l, (l + 1) ** 2):
                weighted_rows((2 * l + 1) ** -0.5, n_channels, c[m], block, m2 * n_channels, k1, row)
                row += 1


@njit
def pair_kernel_adjoint(lmax, g1, block, n_channels, out):
    """Add to out (n_lm * Q, lanes) the gradient with respect to c, given g1 with respect to k1."""
    row = 0
    for l in range(lmax + 1):
        width = 2 * l + 1
        for m in range(l * l, (l + 1) ** 2):
            for q in range(n_channels):
                first, target = l * l * n_channels + q, m * n_channels + q
                row_products(width**-0.5, width, g1, row, block, first, n_channels, out, target)
            row += width


@njit
def environment_energy(terms, lmax, weights, support, c, grad):
    """Energy of one environment c (n_lm, Q), its gradient written to grad (n_lm, Q).

    E = sum_s [w_s k(c, c_s) + d/d eps k(c, c_s + eps delta_s)], k = sum_nu a_nu k^(nu).
    """
    order = weights.shape[0]
    n_channels = c.shape[1]
    k = workspace(terms, order)
    g = workspace(terms, order)
    t = workspace(terms, order)
    h = workspace(terms, order)
    values = aligned_zeros(order, terms.norm)
    grad_lanes = aligned_zeros(c.size, terms.norm)
    with_tangents = support.tangents.shape[0] > 0
    energy = 0.0
    for b in range(support.weights.shape[0]):
        block, w = support.coefficients[b], support.weights[b]
        pair_kernel(lmax, c, block, k[0])
        iterate(terms, k)
        invariants(k, values)
        for nu in range(order):
            for s in range(w.shape[0]):
                energy += weights[nu] * values[nu, s] * w[s]
        gradient(terms, weights, k, g)
        if with_tangents:
            tangent = support.tangents[b]
            pair_kernel(lmax, c, tangent, t[0])
            iterate_tangent(terms, k, t)
            inner(g[0], t[0], values, 0)
            for s in range(w.shape[0]):
                energy += values[0, s]
            gradient_tangent(terms, weights, k, g, t, h)
            h[0][:] += w * g[0]
            pair_kernel_adjoint(lmax, h[0], block, n_channels, grad_lanes)
            pair_kernel_adjoint(lmax, g[0], tangent, n_channels, grad_lanes)
        else:
            g[0][:] *= w
            pair_kernel_adjoint(lmax, g[0], block, n_channels, grad_lanes)
    for i in range(c.size):
        grad[i // n_channels, i % n_channels] = np.sum(grad_lanes[i])
    return energy


@njit(nogil=True)
def kernel_rows(terms, lmax, order, c, blocks, out):
    """Fill out (order, n_blocks * lanes) with the kernels of each order between c (n_lm, Q) and support blocks."""
    k = workspace(terms, order)
    values = aligned_zeros(order, terms.norm)
    lanes = blocks.shape[2]
    for b in range(blocks.shape[0]):
        pair_kernel(lmax, c, blocks[b], k[0])
        iterate(terms, k)
        invariants(k, values)
        for nu in range(order):
            out[nu, b * lanes : (b + 1) * lanes] = values[nu]


@njit(nogil=True)
def kernel_rows_with_gradients(terms, lmax, sets, c, blocks, values_out, grads_out):
    """Kernels between c (n_lm, Q) and support blocks for several sets of order weights, with gradients in c.

    Args:
        terms, lmax: of the kernel.
        sets: (n_sets, order) weights a_nu.
        c: (n_lm, Q).
        blocks: (n_blocks, n_lm * Q, lanes).
        values_out: (n_sets, n_blocks * lanes) output.
        grads_out: (n_lm * Q, n_sets, n_blocks * lanes) output.

    """
    order = sets.shape[1]
    k = workspace(terms, order)
    g = workspace(terms, order)
    values = aligned_zeros(order, terms.norm)
    lanes = blocks.shape[2]
    gradient_lanes = aligned_zeros(c.size, terms.norm)
    for b in range(blocks.shape[0]):
        span = slice(b * lanes, (b + 1) * lanes)
        pair_kernel(lmax, c, blocks[b], k[0])
        iterate(terms, k)
        invariants(k, values)
        for n in range(sets.shape[0]):
            values_out[n, span] = 0.0
            for nu in range(order):
                values_out[n, span] += sets[n, nu] * values[nu]
            gradient(terms, sets[n], k, g)
            gradient_lanes[:] = 0.0
            pair_kernel_adjoint(lmax, g[0], blocks[b], c.shape[1], gradient_lanes)
            grads_out[:, n, span] = gradient_lanes
