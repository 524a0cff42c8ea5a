"""Conjugate gradients for the equations of very many labels, with a preconditioner from some environments.

The equations are (K + 1) alpha = y in units of the noise. Features G of some environments, G G^T about K, take most
of the large eigenvalues away: a Nyström preconditioner (K. Cutajar et al., ICML 2016, arXiv:1602.06693). A part of
what these environments do not describe stands in its blocks of frames.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve, solve_triangular

from ...errors import OptionsError

ROWS = 4096  # of the features at a time


class Preconditioner:
    """Inverse of G G^T + B for the labels of some frames; B has a block for each frame.

    Args:
        features: (N, r) G, in float32 to save memory; overwritten by L^-1 G, where B = L L^T.
        roots: lower triangles L of the frames' blocks.
        frames: (F,) whether a frame's labels count.

    """

    def __init__(self, features: np.ndarray, roots: Sequence[np.ndarray], frames: np.ndarray) -> None:
        self._features, self._roots = features, roots
        self._first = np.cumsum([0, *map(len, roots)])
        for root, first, last in self._blocks():
            features[first:last] = solve_triangular(root, features[first:last].astype(float), lower=True)
        self.count(frames)

    def count(self, frames: np.ndarray) -> None:
        """From now on count the labels of these frames (F,)."""
        self._counted = np.repeat(frames, np.diff(self._first))
        matrix = np.zeros(2 * self._features.shape[1:], order="F")
        for _, part in self._parts():
            blas.dsyrk(1.0, part.T, beta=1.0, c=matrix, overwrite_c=True)
        matrix[np.diag_indices(len(matrix))] += 1.0
        self._factor = cho_factor(matrix, overwrite_a=True, check_finite=False)

    def _blocks(self) -> Iterator[tuple[np.ndarray, int, int]]:
        """Root of each frame, with its first label and the first of the next frame."""
        for root, (first, last) in zip(self._roots, pairwise(self._first.tolist()), strict=True):
            yield root, first, last

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Some of the labels that count at a time, with their features."""
        labels = np.flatnonzero(self._counted)
        for k in range(0, len(labels), ROWS):
            yield labels[k : k + ROWS], self._features[labels[k : k + ROWS]].astype(float)

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """Return (G G^T + B)^-1 times a vector (N,) that is zero where labels do not count."""
        out, sums = np.zeros_like(vector), np.zeros(self._features.shape[1])
        for root, first, last in self._blocks():
            out[first:last] = solve_triangular(root, vector[first:last], lower=True)
        for labels, part in self._parts():
            sums += out[labels] @ part
        sums = cho_solve(self._factor, sums, check_finite=False)
        for labels, part in self._parts():
            out[labels] -= part @ sums
        for root, first, last in self._blocks():
            out[first:last] = solve_triangular(root, out[first:last], lower=True, trans="T")
        return np.where(self._counted, out, 0.0)


class Solution(NamedTuple):
    """What conjugate gradients found.

    Attributes:
        alpha: (N,) solution, zero where labels do not count.
        predicted: (N,) K alpha, of all labels.
        iterations: how many it took.

    """

    alpha: np.ndarray
    predicted: np.ndarray
    iterations: int


def solve_by_iteration(
    times: Callable[[np.ndarray], np.ndarray],
    precondition: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    kinds: np.ndarray,
    counted: np.ndarray,
    tolerance: float,
    most: int,
    directions: np.ndarray,
    start: Solution | None = None,
    report: Callable[[float], None] | None = None,
) -> Solution:
    """Solve (K + 1) alpha = y for the labels that count, those of other labels being zero.

    The norm in which conjugate gradients converge hardly sees directions of the largest eigenvalues of K, along which
    a tiny error of alpha is a large one of the predictions: all energies at once. Along given directions the equations
    are solved exactly at the end.

    Args:
        times: returns K v (N,).
        precondition: nearly the inverse, for labels that count.
        values: (N,) y.
        kinds: (N,) kind of each label.
        counted: (N,) whether a label counts.
        tolerance: of the rms residual of each kind of label, in units of the noise.
        most: iterations.
        directions: (k, N) orthonormal, zero where labels do not count.
        start: where to begin [zero].
        report: called with the fraction done, or None.

    Raises:
        OptionsError: it has not converged.

    """
    alpha, predicted = (np.zeros_like(values),) * 2 if start is None else start[:2]
    residual = np.where(counted, values - predicted - alpha, 0.0)
    step = precondition(residual)
    square = float(residual @ step)
    rows = [np.flatnonzero(counted & (kinds == kind)) for kind in np.unique(kinds[counted])]
    first = size = _largest_rms(residual, directions, rows)
    for n in range(most + 1):
        if size <= tolerance:
            return _along(directions, times, alpha, predicted, values, n)
        product = times(step)
        length = square / float(step @ np.where(counted, product + step, 0.0))
        alpha, predicted = alpha + length * step, predicted + length * product
        residual = residual - length * np.where(counted, product + step, 0.0)
        better = precondition(residual)
        before, square = square, float(residual @ better)
        step, size = better + square / before * step, _largest_rms(residual, directions, rows)
        if report:
            report(float(np.clip(np.log(first / size) / np.log(first / tolerance), 0.0, 1.0)))
    raise OptionsError(
        f"the equations of {np.count_nonzero(counted)} labels have not converged in {most} iterations: raise "
        "forces_noise, energy_noise or stress_noise, or take the sparse estimator"
    )


def _largest_rms(residual: np.ndarray, directions: np.ndarray, rows: list[np.ndarray]) -> float:
    """Largest rms residual of some rows each, without what is along the directions."""
    rest = residual - (directions @ residual) @ directions
    return max(float(np.sqrt(np.mean(rest[own] ** 2))) for own in rows)


def _along(
    directions: np.ndarray,
    times: Callable[[np.ndarray], np.ndarray],
    alpha: np.ndarray,
    predicted: np.ndarray,
    values: np.ndarray,
    iterations: int,
) -> Solution:
    """Solution whose residual is zero along the directions."""
    if len(directions):
        products = np.array([times(direction) for direction in directions])
        matrix = directions @ products.T + np.eye(len(directions))
        lengths = np.linalg.solve(matrix, directions @ (values - predicted - alpha))
        alpha, predicted = alpha + lengths @ directions, predicted + lengths @ products
    return Solution(alpha, predicted, iterations)
