"""Radial functions of the atomic density: eigenfunctions of the radial part of the nu = 1 kernel, as splines."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.special import ive

SPACING = 0.02  # Angstrom between spline nodes: values to 3e-7 of their maximum beyond 0.1 Angstrom for widths from 0.2


class RadialTable(NamedTuple):
    """Radial functions phi_nl(r) = sum of cubic Hermite splines on a uniform grid from 0 to the cutoff.

    Attributes:
        cutoff: Angstrom.
        values: (n_grid, lmax + 1, n_radial) phi_nl at the nodes.
        slopes: the same shape, derivatives in 1/Angstrom.

    """

    cutoff: float
    values: np.ndarray
    slopes: np.ndarray


def grid_size(cutoff: float) -> int:
    """Number of nodes of the splines to a cutoff in Angstrom."""
    return int(np.ceil(cutoff / SPACING)) + 1


def cutoff_function(r: npt.ArrayLike, cutoff: float, width: float) -> np.ndarray:
    """Smooth step: 1 below cutoff - width, 0 beyond the cutoff, two continuous derivatives at both ends."""
    x = np.clip((np.asarray(r, float) - (cutoff - width)) / width, 0.0, 1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


def overlap(l: int, r: npt.ArrayLike, r2: npt.ArrayLike, width: float, growth: float) -> np.ndarray:
    """Angular component l of the overlap of two normalised Gaussians at distances r, r2 along one direction.

    R_l(r, r') = 4 pi (A / 2 pi)^(3/2) exp(-A (r - r')^2 / 2) exp(-x) i_l(x), A = 1/(sigma(r)^2 + sigma(r')^2),
    x = A r r', sigma(r) = width exp(r / growth), i_l the modified spherical Bessel function
    (Bigi, Pozdnyakov, Ceriotti, arXiv:2303.04124).
    """
    r, r2 = np.broadcast_arrays(np.asarray(r, float), np.asarray(r2, float))
    a = 1.0 / width**2 / (np.exp(2 * r / growth) + np.exp(2 * r2 / growth))
    x = a * r * r2
    safe = np.maximum(x, 1e-6)
    bessel = np.sqrt(np.pi / (2 * safe)) * ive(l + 0.5, safe)
    leading = x**l / np.prod(np.arange(1, 2 * l + 2, 2))  # i_l(x) for x -> 0
    bessel = np.where(x < 1e-6, leading, bessel)
    return 4 * np.pi * (a / (2 * np.pi)) ** 1.5 * np.exp(-0.5 * a * (r - r2) ** 2) * bessel


def radial_table(
    cutoff: float, cutoff_width: float, width: float, growth: float, lmax: int, tolerance: float
) -> RadialTable:
    """Radial functions with sum_n phi_nl(r) phi_nl(r') = f_c(r) R_l(r, r') f_c(r') up to `tolerance`.

    The kernel is diagonalised by Gauss-Legendre quadrature with the measure r^2 dr (atoms at uniform density),
    each l keeps the functions whose neglect would cost more than `tolerance` of its trace, and the functions are
    extended from the nodes to all r by Nystroem's formula. Those of smaller rank are padded with zeros.

    Args:
        cutoff, cutoff_width: Angstrom.
        width, growth: C and lambda of sigma(r) = C exp(r / lambda), Angstrom.
        lmax: largest angular momentum.
        tolerance: relative trace neglected, for each l.

    """
    nodes, weights = np.polynomial.legendre.leggauss(160)
    nodes = 0.5 * cutoff * (nodes + 1)
    measure = np.sqrt(0.5 * cutoff * weights) * nodes
    cut = cutoff_function(nodes, cutoff, cutoff_width)
    grid = np.linspace(0.0, cutoff, grid_size(cutoff))
    cut_grid = cutoff_function(grid, cutoff, cutoff_width)
    functions = []
    for l in range(lmax + 1):
        kernel = overlap(l, nodes[:, None], nodes, width, growth) * (cut * measure)[:, None] * (cut * measure)
        values, vectors = np.linalg.eigh(kernel)
        values, vectors = values[::-1], vectors[:, ::-1]
        neglected = 1.0 - np.cumsum(values) / np.trace(kernel)
        n = int(np.argmax(neglected < tolerance)) + 1
        extend = overlap(l, grid[:, None], nodes, width, growth) * cut_grid[:, None] * (cut * measure)
        functions.append(extend @ vectors[:, :n] / np.sqrt(values[:n]))
    n_radial = max(f.shape[1] for f in functions)
    phi = np.zeros((len(grid), lmax + 1, n_radial))
    for l, f in enumerate(functions):
        phi[:, l, : f.shape[1]] = f
    spline = CubicSpline(grid, phi, bc_type=("not-a-knot", (1, np.zeros(phi.shape[1:]))))
    return RadialTable(float(cutoff), phi, np.ascontiguousarray(spline(grid, 1)))
