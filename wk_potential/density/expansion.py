"""Density coefficients of atomic environments and their Jacobian. Plain arrays, compiled.

An environment has the species of its centre, its neighbours' vectors (n, 3) and their species (n,): indices of
elements. Its density sum_j f_c(r_j) g(x - r_j) has the coefficients c[l m, (a, n)] = sum_j phi_nl(r_j) Y_lm(r_j), a the
element of j. The model projects the channels (a, n) of each central element and l on Q leading ones, and saturates
them.
"""

from typing import Any, NamedTuple

import numpy as np

from ..compute.jit import njit
from .harmonics import spherical_harmonics
from .radial import RadialTable
from .saturation import saturate, saturate_changes


class Density(NamedTuple):
    """What turns neighbours into density coefficients.

    Attributes:
        lmax: largest angular momentum.
        radial: the radial functions.
        projection: (n_elements, lmax + 1, n_elements * n_radial, Q), by central element and l.
        saturation: b of `wk_potential.density.saturation`, 0 for none.

    """

    lmax: int
    radial: RadialTable
    projection: np.ndarray
    saturation: float = 0.0


def density_to_arrays(density: Density) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return numbers and arrays of a density, for a file."""
    facts = {"lmax": density.lmax, "cutoff": density.radial.cutoff, "saturation": density.saturation}
    radial = {"radial_values": density.radial.values, "radial_slopes": density.radial.slopes}
    return facts, {**radial, "projection": density.projection}


def density_from_arrays(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Density:
    """Inverse of `density_to_arrays`; older files know no saturation."""
    radial = RadialTable(float(facts["cutoff"]), arrays["radial_values"], arrays["radial_slopes"])
    return Density(int(facts["lmax"]), radial, arrays["projection"], float(facts.get("saturation", 0.0)))


def full_density(lmax: int, radial: RadialTable, n_elements: int) -> Density:
    """Return the density with all its channels (a, n), unscaled, without saturation."""
    n = n_elements * radial.values.shape[2]
    return Density(lmax, radial, np.broadcast_to(np.eye(n), (n_elements, lmax + 1, n, n)).copy())


@njit
def _radial_functions(radial, r, phi, dphi):
    """Fill phi, dphi (lmax + 1, n_radial) with the radial functions and derivatives at r."""
    values, slopes = radial.values, radial.slopes
    h = radial.cutoff / (values.shape[0] - 1)
    i = min(int(r / h), values.shape[0] - 2)
    t = r / h - i
    a, b = (1 + 2 * t) * (1 - t) ** 2, t * t * (3 - 2 * t)
    c, d = h * t * (1 - t) ** 2, h * t * t * (t - 1)
    da = 6 * t * (t - 1) / h
    dc, dd = (1 - t) * (1 - 3 * t), t * (3 * t - 2)
    for l in range(values.shape[1]):
        for n in range(values.shape[2]):
            v0, v1, s0, s1 = values[i, l, n], values[i + 1, l, n], slopes[i, l, n], slopes[i + 1, l, n]
            phi[l, n] = a * v0 + b * v1 + c * s0 + d * s1
            dphi[l, n] = da * (v0 - v1) + dc * s0 + dd * s1


@njit
def _neighbour(density, vector, phi, dphi, y, dy):
    """Radial functions and harmonics of one neighbour; returns its distance, 0 beyond the cutoff."""
    r = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    if r >= density.radial.cutoff:
        return 0.0
    _radial_functions(density.radial, r, phi, dphi)
    spherical_harmonics(density.lmax, vector[0] / r, vector[1] / r, vector[2] / r, y, dy)
    return r


@njit
def _buffers(density):
    shape = density.radial.values.shape[1:]
    n_lm = (density.lmax + 1) ** 2
    return np.zeros(shape), np.zeros(shape), np.zeros(n_lm), np.zeros((n_lm, 3))


@njit
def _expand_environment(density, centre, vectors, species, out):
    """Write the coefficients of one environment to out (n_lm, Q); returns the factor of their saturation."""
    phi, dphi, y, dy = _buffers(density)
    n_radial = phi.shape[1]
    full = np.zeros((out.shape[0], density.projection.shape[2]))
    for j in range(vectors.shape[0]):
        if _neighbour(density, vectors[j], phi, dphi, y, dy) > 0.0:
            first = species[j] * n_radial
            for l in range(density.lmax + 1):
                for i in range(l * l, (l + 1) ** 2):
                    for n in range(n_radial):
                        full[i, first + n] += y[i] * phi[l, n]
    for l in range(density.lmax + 1):
        for i in range(l * l, (l + 1) ** 2):
            out[i] = 0.0
            for k in range(full.shape[1]):
                for q in range(out.shape[1]):
                    out[i, q] += full[i, k] * density.projection[centre, l, k, q]
    factor = np.zeros(1)
    saturate(density.saturation, out.reshape(-1), 1, factor)
    return factor


@njit
def environment_jacobian(density, centre, vectors, species, out):
    """Write the derivatives of the coefficients by the neighbours' vectors to out (n, 3, n_lm, Q)."""
    phi, dphi, y, dy = _buffers(density)
    n_radial = phi.shape[1]
    out[:] = 0.0
    for j in range(vectors.shape[0]):
        r = _neighbour(density, vectors[j], phi, dphi, y, dy)
        if r > 0.0:
            first = species[j] * n_radial
            for l in range(density.lmax + 1):
                projection = density.projection[centre, l, first : first + n_radial]
                for i in range(l * l, (l + 1) ** 2):
                    for x in range(3):
                        for n in range(n_radial):
                            d = y[i] * dphi[l, n] * vectors[j, x] / r + dy[i, x] * phi[l, n] / r
                            for q in range(out.shape[3]):
                                out[j, x, i, q] += d * projection[n, q]
    c = np.zeros(out.shape[2:])
    factor = _expand_environment(density, centre, vectors, species, c)
    for j in range(out.shape[0]):
        for x in range(3):
            saturate_changes(density.saturation, c.reshape(-1), 1, factor, out[j, x].reshape(-1))


@njit(nogil=True)
def expand(density, centres, first, vectors, species):
    """Coefficients (n, n_lm, Q) of n environments.

    Args:
        density: a `Density`.
        centres: (n,) element indices of the centres.
        first: (n + 1,) where the neighbours of each centre begin.
        vectors, species: (n_pairs, 3) in Angstrom and (n_pairs,), neighbours sorted by centre.

    """
    n = centres.shape[0]
    out = np.zeros((n, (density.lmax + 1) ** 2, density.projection.shape[3]))
    for i in range(n):
        span = slice(first[i], first[i + 1])
        _expand_environment(density, centres[i], vectors[span], species[span], out[i])
    return out
