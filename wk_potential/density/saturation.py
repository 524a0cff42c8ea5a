"""Saturation: what keeps kernels, polynomials of the density, from growing without limit where atoms crowd.

Coefficients c become s = g c, g a function of x = |c|^2 alone, in two steps:

* beyond R, about the largest x of the training set, x becomes R (1 + d u / (1 + u^3)^(1/3)), u = (x / R - 1) / d, which
  has three continuous derivatives and stays below R (1 + d). Nothing changes in the training set, and no environment,
  however crowded, is much further out;
* with b > 0, x becomes (1 + b) x / (1 + b x), the mean of x being 1 in the training set. For b to infinity the density
  is normalised, as in SOAP kernels (A. P. Bartok, R. Kondor, G. Csanyi, Phys. Rev. B 87, 184115 (2013)), but it stays
  smooth at c = 0.

With h(x) = |s|^2 a change d of c changes s by g (d - beta (s . d) s), beta = (1 - x h' / h) / h, a symmetric matrix:
gradients go back by the same rule. Arrays are flat, (coefficients, lanes): environments, or what belongs to one
environment, side by side.
"""

import numpy as np

from ..compiled import njit

MARGIN = 0.3  # d: how far norms go beyond the largest of the training set


@njit
def saturate(b, largest, c, lanes, factors):
    """Saturate c in place; g and beta of each lane are written to factors (2, lanes)."""
    factors[0, :] = 1.0
    factors[1, :] = 0.0
    if b == 0.0 and largest == np.inf:
        return
    n = c.shape[0] // lanes
    factors[0, :] = 0.0
    for i in range(n):
        for k in range(lanes):
            factors[0, k] += c[i * lanes + k] * c[i * lanes + k]
    for k in range(lanes):
        norm = factors[0, k]
        new, slope = norm, 1.0
        if norm > largest:
            u = (norm / largest - 1.0) / MARGIN
            new = largest * (1.0 + MARGIN * u / (1.0 + u**3) ** (1.0 / 3.0))
            slope = (1.0 + u**3) ** (-4.0 / 3.0)
        slope *= (1.0 + b) / (1.0 + b * new) ** 2
        new *= (1.0 + b) / (1.0 + b * new)
        factors[0, k] = np.sqrt(new / norm) if norm > 0.0 else np.sqrt(1.0 + b)
        factors[1, k] = (1.0 - norm * slope / new) / new if norm > 0.0 else b / (1.0 + b)
    for i in range(n):
        for k in range(lanes):
            c[i * lanes + k] *= factors[0, k]


@njit
def saturate_changes(c, lanes, factors, changes):
    """Turn changes of c into those of s, or gradients by s into those by c, in place; c and factors are as left."""
    n = c.shape[0] // lanes
    along = np.zeros_like(factors[1])
    for i in range(n):
        for k in range(lanes):
            along[k] += c[i * lanes + k] * changes[i * lanes + k]
    for k in range(lanes):
        along[k] *= factors[1, k]
    for i in range(n):
        for k in range(lanes):
            changes[i * lanes + k] = factors[0, k] * (changes[i * lanes + k] - along[k] * c[i * lanes + k])


@njit
def saturated(b, c):
    """Copies of coefficients c (n, ...) of n environments of the training set, saturated."""
    out, factors = c.copy(), np.zeros((2, 1))
    for i in range(out.shape[0]):
        saturate(b, np.inf, out[i].reshape(-1), 1, factors)
    return out
