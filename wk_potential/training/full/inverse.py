"""Sums, inverses and traces of the covariance matrices of likelihood search, shared among threads.

BLAS threads wait for each other in busy loops, which costs more than it brings beside other programs; here threads
take up blocks of rows as they come free.
"""

import numpy as np
from scipy.linalg import solve_triangular

from ...compute.jit import njit
from ...compute.products import multiply_add
from ...compute.threads import run_threads

BLOCK = 128
PANEL = 32  # columns of a packed operand: it stays in the nearest cache


@njit(nogil=True)
def _weighted_sum(matrices, weights, first, last, out):
    """Rows `first` to `last` of sum_nu w_nu matrices[nu] up to column `last`."""
    for r in range(first, last):
        for nu in range(len(weights)):
            w = weights[nu]
            for c in range(last):
                out[r, c] = w * matrices[nu, r, c] + (out[r, c] if nu else 0.0)


@njit
def _pack(block, factor, panels):
    """Copy factor * block (k, n) to panels (n / PANEL, k, PANEL)."""
    for k in range(block.shape[0]):
        for c in range(block.shape[1]):
            panels[c // PANEL, k, c % PANEL] = factor * block[k, c]


@njit(nogil=True)
def _subtract(matrix, first, last, left, panels):
    """Rows `first` to `last`, up to the diagonal, plus left (rows, k) times the packed operand."""
    depth = left.shape[1]
    for p in range(-(-last // PANEL)):
        multiply_add(left, panels[p, :depth], matrix[first:last, p * PANEL : (p + 1) * PANEL])


@njit(nogil=True)
def _square(root, first, last, out):
    """Rows `first` to `last` of root^T root, root lower triangular, on both sides of the diagonal."""
    n, rows = root.shape[0], last - first
    columns = -(-last // PANEL)
    sums = np.zeros((rows, columns * PANEL))
    left = np.empty((rows, BLOCK))
    panels = np.zeros((columns, BLOCK, PANEL))
    for start in range(first, n, BLOCK):
        depth = min(BLOCK, n - start)
        for k in range(depth):
            for r in range(rows):
                left[r, k] = root[start + k, first + r]
        _pack(root[start : start + depth, :last], 1.0, panels)
        for p in range(columns):
            multiply_add(left[:, :depth], panels[p, :depth], sums[:, p * PANEL : (p + 1) * PANEL])
    out[first:last, :last] = sums[:, :last]
    for c in range(first):
        for r in range(rows):
            out[c, first + r] = sums[r, c]


@njit(nogil=True, fastmath=True)
def _traces(inverse, alpha, matrices, first, last, out):
    """Add the part of tr[(inverse - alpha alpha^T) matrices[nu]] that lies in rows `first` to `last`."""
    for r in range(first, last):
        for nu in range(len(out)):
            total = 0.0
            for c in range(r):
                total += (inverse[r, c] - alpha[r] * alpha[c]) * matrices[nu, r, c]
            out[nu] += 2 * total + (inverse[r, r] - alpha[r] ** 2) * matrices[nu, r, r]


@njit
def mirror(matrix):
    """Copy the upper triangle to the lower one."""
    n, size = matrix.shape[0], 64
    for top in range(0, n, size):
        for left in range(top, n, size):
            for r in range(top, min(n, top + size)):
                for c in range(max(left, r + 1), min(n, left + size)):
                    matrix[c, r] = matrix[r, c]


def _blocks(n: int) -> list[tuple[int, int]]:
    """Blocks of rows, those that are most work first."""
    return [(first, min(n, first + BLOCK)) for first in range(0, n, BLOCK)][::-1]


def inverse_of_sum(
    matrices: np.ndarray, weights: np.ndarray, diagonal: np.ndarray, threads: int = 1
) -> tuple[np.ndarray, float]:
    """Inverse (n, n) of sum_nu w_nu matrices[nu] + diag(diagonal), and the log determinant of that sum.

    Cholesky factorisation by blocks of columns; the rows below a block hold the inverse of the factor left of it and
    what is still to be factorised right of it, and both change by the same product.

    Raises:
        LinAlgError: not positive definite.

    """
    n = len(diagonal)
    matrix, blocks = np.zeros((n, -(-n // PANEL) * PANEL)), _blocks(n)
    run_threads(lambda rows: _weighted_sum(matrices, weights, rows[0], rows[1], matrix), blocks, threads)
    matrix[np.diag_indices(n)] += diagonal
    panels = np.zeros((matrix.shape[1] // PANEL, BLOCK, PANEL))
    log_det = 0.0
    for first, last in blocks[::-1]:
        own = slice(first, last)
        factor = np.linalg.cholesky(matrix[own, own])  # reads the lower triangle only
        log_det += 2 * np.sum(np.log(np.diag(factor)))
        root = solve_triangular(factor, np.eye(last - first), lower=True, check_finite=False)
        below = matrix[last:, own] @ root.T
        matrix[own, :first] = root @ matrix[own, :first]
        matrix[own, own], matrix[last:, own] = root, 0.0
        _pack(np.concatenate([matrix[own, :last], below.T], axis=1), -1.0, panels)

        def subtract(rows: tuple[int, int], below: np.ndarray = below, last: int = last) -> None:
            if rows[0] >= last:
                _subtract(matrix, rows[0], rows[1], below[rows[0] - last : rows[1] - last], panels)

        run_threads(subtract, blocks, threads)
    inverse = np.empty((n, n))
    # a block's rows of the factor's inverse end at its last column
    for first, last in blocks:
        matrix[first:last, last:] = 0.0
    run_threads(lambda rows: _square(matrix, rows[0], rows[1], inverse), blocks[::-1], threads)
    return inverse, log_det


def traces(inverse: np.ndarray, alpha: np.ndarray, matrices: np.ndarray, threads: int = 1) -> np.ndarray:
    """tr[(inverse - alpha alpha^T) matrices[nu]] for each nu."""

    def work(rows: tuple[int, int]) -> np.ndarray:
        out = np.zeros(len(matrices))
        _traces(inverse, alpha, matrices, rows[0], rows[1], out)
        return out

    return np.sum(run_threads(work, _blocks(len(alpha)), threads), axis=0)
