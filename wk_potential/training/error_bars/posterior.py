"""Posterior of the weights of features in a linear model with normally distributed weights and noise."""

import numpy as np
from scipy.linalg import qr, solve_triangular

ROUNDING = 1e-9


class Posterior:
    """Posterior distribution of the weights of features, after the labels.

    Args:
        rows: (n, R) features as the labels measure them.
        noise: (n,) of the labels.
        prior: (R,) standard deviation of the weights before the labels.

    """

    def __init__(self, rows: np.ndarray, noise: np.ndarray, prior: np.ndarray) -> None:
        self.noise, self.prior = noise, prior
        scaled = np.concatenate([rows * prior / noise[:, None], np.eye(len(prior))])
        self.triangle = qr(scaled, mode="r", overwrite_a=True, check_finite=False)[0][: len(prior)]
        # b b^T are the variances of the labels
        self.whitened = solve_triangular(self.triangle, (rows * prior).T, trans="T", check_finite=False).T

    def left_out_deviations(self, folds: np.ndarray) -> np.ndarray:
        """Standard deviations (n,) of the labels if those of the same fold (n,) were left out."""
        variances = np.zeros(len(self.noise))
        for fold in np.unique(folds):
            own = folds == fold
            told = self.whitened[own] / self.noise[own, None]
            shares, vectors = np.linalg.eigh(told.T @ told)
            # a direction that this fold alone knows has the share 1, or a little more by rounding
            left = np.maximum(1 - shares, ROUNDING)
            variances[own] = np.sum((self.whitened[own] @ vectors) ** 2 / left, axis=1)
        return np.sqrt(variances)

    def draws(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws (R, n) of the weights less their mean, made of orthogonal vectors as far as there are so many."""
        size = len(self.prior)
        normal = rng.normal(size=(size, n))
        for first in range(0, n, max(size, 1)):  # a part that is zero everywhere has no weights
            normal[:, first : first + size] = np.linalg.qr(normal[:, first : first + size])[0] * np.sqrt(size)
        return solve_triangular(self.triangle, normal, check_finite=False) * self.prior[:, None]
