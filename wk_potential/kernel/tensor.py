"""Tensor kernels: blocks k^{(nu),L}_{MM'} of true tensors of angular momentum L, for vectors and tensors as targets.

The last product of the iteration keeps the block L instead of the scalar. Orders are split as those of invariants are,
k^(nu + nu')_L = P_L[k^(nu) k^(nu')], so that order 4 needs one iteration and order 6 two. A target T_M of an
environment is sum_{s, M'} k_{MM'} w_{sM'} over support points.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from ..compute.jit import njit
from ..errors import OptionsError
from .coupling import Groups, Terms, WignerTerms, forward_groups, product_terms, wigner_terms
from .direct import pair_kernel
from .iteration import iterate, workspace
from .lanes import add_rows, aligned_zeros, bilinear

SPLITS = ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3))  # orders 2 to 6 as sums of two that the iteration makes


class TensorTerms(NamedTuple):
    """All that kernels of angular momentum L need.

    Attributes:
        iteration: up to the orders whose products are taken.
        momentum: L.
        products: of orders 2 to 6, into (2L + 1)^2 components; empty above the order asked for.

    """

    iteration: WignerTerms
    momentum: int
    products: tuple[Groups, Groups, Groups, Groups, Groups]


@cache
def tensor_terms(lmax: int, order: int, momentum: int) -> TensorTerms:
    """Term lists for kernels of orders 1 to `order` (at most 6) and L = `momentum` (at most lmax).

    Raises:
        OptionsError: the limits of `wigner_terms`, or L is larger than lmax.

    """
    iteration = wigner_terms(lmax, order)
    if not 0 <= momentum <= lmax:
        raise OptionsError(f"tensors of L = {momentum} need lmax of at least {momentum}, not {lmax}")

    def groups(nu: int, nu2: int) -> Groups:
        if nu + nu2 > order:
            no_index = np.zeros(0, np.int32)
            return forward_groups(Terms(np.zeros(1, np.int32), no_index, no_index, np.zeros(0)), False, float)
        terms = product_terms(lmax, nu, nu2, momentum)
        # the components of both factors are divided by (2l + 1)^(1/2)
        scaled = terms._replace(w=terms.w / np.sqrt(iteration.norm[terms.a] * iteration.norm[terms.b]))
        return forward_groups(scaled, nu == nu2, float)

    first, second, third, fourth, fifth = (groups(*split) for split in SPLITS)
    return TensorTerms(iteration, momentum, (first, second, third, fourth, fifth))


@njit
def tensor_blocks(terms, k, out):
    """Fill out (order, (2L + 1)^2, lanes) with k^(1)_{MM'}, ..., k^(order)_{MM'} from k as `iterate` left it."""
    k1, k2, k3 = k
    order, size = out.shape[0], out.shape[1]
    width = 2 * terms.momentum + 1
    first = (width - 2) * (width - 1) * width // 6  # 1^2 + 3^2 + ... + (2L - 1)^2
    out[0] = 0.0
    add_rows(np.sqrt(1.0 * width), k1[first : first + size], out[0])
    if order > 1:
        bilinear(terms.products[0], (k1,), (k1,), out[1])
    if order > 2:
        bilinear(terms.products[1], (k2,), (k1,), out[2])
    if order > 3:
        bilinear(terms.products[2], (k2,), (k2,), out[3])
    if order > 4:
        bilinear(terms.products[3], (k3,), (k2,), out[4])
    if order > 5:
        bilinear(terms.products[4], (k3,), (k3,), out[5])


@njit(nogil=True)
def add_tensor_rows(terms, lmax, sets, c, blocks, columns, out):
    """Add the kernels of one environment with support points to columns of matrices.

    Args:
        terms, lmax: of the kernel.
        sets: (n_sets, order) weights a_nu.
        c: (n_lm, Q) coefficients of the environment.
        blocks: (n_blocks, n_lm * Q, lanes) support points.
        columns: (n_blocks, lanes) column of each, -1 for padding.
        out: (n_sets, 2L + 1, n_columns, 2L + 1), axes M, column, M'.

    """
    order, width = sets.shape[1], out.shape[1]
    k = workspace(terms.iteration, order)
    flat = aligned_zeros(order * width**2, terms.iteration.norm)
    values = flat.reshape((order, width**2, flat.shape[1]))
    for b in range(blocks.shape[0]):
        pair_kernel(lmax, c, blocks[b], k[0])
        iterate(terms.iteration, k)
        tensor_blocks(terms, k, values)
        for n in range(sets.shape[0]):
            for nu in range(order):
                a = sets[n, nu]
                if a == 0.0:
                    continue
                for row in range(width**2):
                    m, m2 = row // width, row % width
                    for s in range(columns.shape[1]):
                        if columns[b, s] >= 0:
                            out[n, m, columns[b, s], m2] += a * values[nu, row, s]
