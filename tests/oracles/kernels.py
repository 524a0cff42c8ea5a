"""Oracles: harmonics, rotations, kernels by quadrature, pair sums. Of the package they use radial functions only."""

from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre

from wk_potential.density.radial import cutoff_function, overlap

from .systems import CUTOFF, CUTOFF_WIDTH, GROWTH, WIDTH

try:
    from scipy.special import sph_harm_y
except ImportError:  # SciPy < 1.15
    from scipy.special import sph_harm

    def sph_harm_y(l, m, theta, phi):
        return sph_harm(m, l, phi, theta)


TINY = 1e-100  # of complex steps, whose error is its square


def real_harmonics(lmax, vectors):
    """Y_lm (..., (lmax + 1)^2) of vectors (..., 3): sin |m| phi, 1, cos m phi, no Condon-Shortley phase."""
    x, y, z = np.moveaxis(np.asarray(vectors, float), -1, 0)
    theta, phi = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    columns = []
    for l in range(lmax + 1):
        for m in range(-l, l + 1):
            value = (-1) ** m * sph_harm_y(l, abs(m), theta, phi)
            columns.append(value.real if m == 0 else np.sqrt(2) * (value.imag if m < 0 else value.real))
    return np.stack(columns, axis=-1)


def blocks(lmax):
    """Rows of the harmonics of each l."""
    return [slice(l * l, (l + 1) ** 2) for l in range(lmax + 1)]


@cache
def wigner_d(lmax, rotation):
    """Matrices D^l of a rotation (nested tuples), fitted to Y_lm'(R^-1 x) = sum_m Y_lm(x) D^l_mm'."""
    points = np.random.default_rng(1).normal(size=(8 * lmax + 4, 3))
    y, rotated = real_harmonics(lmax, points), real_harmonics(lmax, points @ np.array(rotation))
    return [np.linalg.lstsq(y[:, b], rotated[:, b], rcond=None)[0] for b in blocks(lmax)]


def euler_d(lmax, axis, angles):
    """D^l (n_angles, 2l + 1, 2l + 1) for each l of the rotations about an axis."""
    matrices = [wigner_d(lmax, tuple(map(tuple, Rotation.from_euler(axis, a).as_matrix()))) for a in angles]
    return [np.stack(d) for d in zip(*matrices, strict=True)]


@cache
def rotation_quadrature(degree, lmax):
    """Product quadrature over SO(3), exact to the degree: D^l_mm' (n_rotations, n) to lmax, and weights."""
    angles = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    cosines, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    about_z, about_y = euler_d(lmax, "z", angles), euler_d(lmax, "y", np.arccos(cosines))
    products = (np.einsum("aij,bjk,ckl->abcil", z, y, z) for y, z in zip(about_y, about_z, strict=True))
    d = np.concatenate([x.reshape(-1, x.shape[-1] ** 2) for x in products], axis=1)
    return d, np.tile(np.repeat(weights / 2, len(angles)), len(angles)) / len(angles) ** 2


def angular_momenta(lmax):
    """l of each component of a flat kernel."""
    return np.repeat(np.arange(lmax + 1), (2 * np.arange(lmax + 1) + 1) ** 2)


def real_dot(f, matrix):
    """Product of a real or complex array with a real matrix, faster than NumPy's."""
    return f.real @ matrix + 1j * (f.imag @ matrix) if np.iscomplexobj(f) else f @ matrix


def wigner_iteration(lmax, order, k1):
    """Kernels k^(nu), nu = 1..order, of any nu = 1 kernels k1 (..., n), by quadrature over O(3).

    Returns their invariants (order, ...) and their components, both parities (order, ..., 2n).
    """
    d, weights = rotation_quadrature(3 * lmax, lmax)
    l = angular_momenta(lmax)
    is_even = l % 2 == 0

    def project(f):
        return real_dot(f * weights, d) * (2 * l + 1)

    # e, o: parts of the function on O(3) that are even and odd under inversion, on the proper rotations
    e1, o1 = real_dot(k1 * is_even, d.T), real_dot(k1 * ~is_even, d.T)
    e, o = e1, o1
    values, components = [], []
    for nu in range(1, order + 1):
        if nu > 1:
            e, o = e * e1 + o * o1, e * o1 + o * e1
        even, odd = project(e), project(o)
        e, o = real_dot(even, d.T), real_dot(odd, d.T)
        values.append(even[..., 0])
        tensor, pseudotensor = np.where(is_even, [even, odd], [odd, even])
        components.append(np.concatenate([tensor, pseudotensor], axis=-1))
    return np.array(values), np.array(components)


def oracle_kernels(lmax, order, k1):
    """Kernels (order, ...) of the nu = 1 kernels k1 (..., n), which may be complex."""
    return wigner_iteration(lmax, order, k1)[0]


def nu1_kernel(lmax, c, s):
    """Flat nu = 1 kernel (..., n) of coefficients c (..., n_lm, Q) and s (..., n_lm, Q)."""
    parts = [np.einsum("...mq,...nq->...mn", c[..., b, :], s[..., b, :]) for b in blocks(lmax)]
    return np.concatenate([p.reshape(*p.shape[:-2], -1) for p in parts], axis=-1)


def support_energy(lmax, weights, c, coefficients, w, tangents=None):
    """sum_s w_s k(c, c_s) + d/d eps k(c, c_s + eps delta_s) for c (..., n_lm, Q), k = sum_nu weights_nu k^(nu)."""
    points = coefficients if tangents is None else coefficients + 1j * TINY * tangents
    k1 = nu1_kernel(lmax, c[..., None, :, :], points)
    k = np.tensordot(weights, oracle_kernels(lmax, len(weights), k1), 1)
    return k @ w if tangents is None else k.real @ w + k.imag.sum(-1) / TINY


def cut_overlap(l, r, r2):
    """f_c(r) R_l(r, r') f_c(r')."""
    cut, cut2 = (cutoff_function(x, CUTOFF, CUTOFF_WIDTH) for x in (r, r2))
    return cut * overlap(l, r, r2, WIDTH, GROWTH) * cut2


def pair_sum(lmax, x, a, y, b):
    """Overlap of two densities, neighbours x, y (n, 3) of elements a, b, as a sum over their pairs."""
    r, r2 = np.linalg.norm(x, axis=1)[:, None], np.linalg.norm(y, axis=1)
    cosines, same = x @ y.T / (r * r2), a[:, None] == b
    legendre = [(2 * l + 1) / (4 * np.pi) * eval_legendre(l, cosines) for l in range(lmax + 1)]
    return sum(np.sum(same * cut_overlap(l, r, r2) * legendre[l]) for l in range(lmax + 1))


def central_difference(function, x, h):
    """Derivatives (x.shape + f.shape) of function(x) by the components of x."""
    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    slopes = [(np.asarray(function(x + s)) - function(x - s)) / (2 * h) for s in steps]
    return np.reshape(slopes, x.shape + np.shape(slopes[0]))


def polynomial_slope(function, h=0.2):
    """Derivative at 0 of a polynomial of degree 6 at most, for which this stencil is exact."""
    differences = [function(k * h) - function(-k * h) for k in (1, 2, 3)]
    return (45 * differences[0] - 9 * differences[1] + differences[2]) / (60 * h)
