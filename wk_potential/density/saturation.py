"""Saturation: the density of an environment is divided by about its own norm, so that no kernel grows without limit.

Coefficients c, of rms norm 1 over the training set, become s = g c, g^2 = (1 + b) / (1 + b |c|^2). Then |s|^2 is below
1 + 1 / b however crowded an environment is, and for b to infinity the density is normalised, as in SOAP kernels
(A. P. Bartok, R. Kondor, G. Csanyi, Phys. Rev. B 87, 184115 (2013)), but it stays smooth at c = 0. A change d of c
changes s by g (d - b / (1 + b) (s . d) s), a symmetric matrix: gradients go back by the same rule.

Arrays are flat, (coefficients, lanes): environments, or what belongs to one environment, side by side.
"""

import numpy as np

from ..compute.jit import njit


@njit
def saturate(b, c, lanes, factor):
    """Multiply c by g of each lane, which is written to factor (lanes,)."""
    factor[:] = 1.0
    if b == 0.0:
        return
    n = c.shape[0] // lanes
    factor[:] = 0.0
    for i in range(n):
        for k in range(lanes):
            factor[k] += c[i * lanes + k] * c[i * lanes + k]
    for k in range(lanes):
        factor[k] = np.sqrt((1.0 + b) / (1.0 + b * factor[k]))
    for i in range(n):
        for k in range(lanes):
            c[i * lanes + k] *= factor[k]


@njit
def saturate_changes(b, c, lanes, factor, changes):
    """Turn changes of c into those of s, or gradients by s into those by c, in place; c and factor are as left."""
    if b == 0.0:
        return
    n = c.shape[0] // lanes
    along = np.zeros_like(factor)
    for i in range(n):
        for k in range(lanes):
            along[k] += c[i * lanes + k] * changes[i * lanes + k]
    for k in range(lanes):
        along[k] *= b / (1.0 + b)
    for i in range(n):
        for k in range(lanes):
            changes[i * lanes + k] = factor[k] * (changes[i * lanes + k] - along[k] * c[i * lanes + k])
