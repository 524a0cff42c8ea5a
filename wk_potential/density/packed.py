"""The density of an atom in vector form: the layout of the tables, and the loops of an MD step.

All neighbours of one atom are treated together. They are sorted by element; the radial functions of a neighbour
fill whole vectors, the harmonics of one component (l, m) are a row over neighbours.
"""

from typing import NamedTuple

import numpy as np

from ..atoms.kinds import MIN_DISTANCE
from ..compute.jit import njit
from ..compute.simd import WIDTH, fma, item, load, mul, padded, splat, store, total
from .expansion import Density

ROWS = 4  # components (l, m) whose sums are formed together


class PackedDensity(NamedTuple):
    """A `Density` laid out for vectors.

    Attributes:
        lmax, cutoff: of the density, the latter in Angstrom.
        nodes: (n_grid, lmax + 1, 2, K) values and slopes of the radial functions, K a multiple of WIDTH.
        norms: (lmax + 1, lmax + 1) factors of the harmonics (l, m).
        rows: (lmax + 2,) first row of each l where the components of l are padded to multiples of ROWS.
        projection: (n_elements, lmax + 1, Q, n_elements * K) by central element.
        saturation: as in `Density`.

    """

    lmax: int
    cutoff: float
    nodes: np.ndarray
    norms: np.ndarray
    rows: np.ndarray
    projection: np.ndarray
    saturation: float


def pack(density: Density) -> PackedDensity:
    """Lay out a density for vectors. With one element the projection is absorbed in the radial functions."""
    lmax, radial, projection, saturation = density
    n_elements, _, _, channels = projection.shape
    values, slopes = radial.values, radial.slopes
    if n_elements == 1 and channels <= padded(values.shape[2], WIDTH):
        values, slopes = (np.einsum("gln,lnq->glq", x, projection[0]) for x in (values, slopes))
        projection = np.broadcast_to(np.eye(channels), (1, lmax + 1, channels, channels))
    n = values.shape[2]
    nodes = np.zeros((len(values), lmax + 1, 2, padded(n, WIDTH)))
    nodes[:, :, 0, :n], nodes[:, :, 1, :n] = values, slopes
    matrix = np.zeros((n_elements, lmax + 1, channels, n_elements, nodes.shape[3]))
    split = projection.reshape(n_elements, lmax + 1, n_elements, n, channels)
    matrix[..., :n] = np.moveaxis(split, 4, 2)
    norms = np.zeros((lmax + 1, lmax + 1))
    for l in range(lmax + 1):
        norm = np.sqrt((2 * l + 1) / (4 * np.pi))
        for m in range(l + 1):
            if m > 0:
                norm /= np.sqrt((l + m) * (l - m + 1))
            norms[l, m] = norm * (np.sqrt(2.0) if m > 0 else 1.0)
    first = np.cumsum([0] + [padded(2 * l + 1, ROWS) for l in range(lmax + 1)])
    return PackedDensity(lmax, radial.cutoff, nodes, norms, first, matrix.reshape(*matrix.shape[:3], -1), saturation)


class Neighbourhood(NamedTuple):
    """Work space of one atom; n is the room for neighbours, a multiple of WIDTH.

    Attributes:
        first: (n_elements + 1,) where the neighbours of each element begin, multiples of WIDTH.
        atom: (n,) atom of each neighbour, -1 in the padding between elements.
        unit: (3, n) directions. Zero in the padding.
        r: (n,) distances, the cutoff in the padding.
        harmonics: (4, n_rows, WIDTH) values and r times the three derivatives, of WIDTH neighbours.
        radial: (2, lmax + 1, WIDTH, K) values and derivatives, of WIDTH neighbours.
        work: (lmax + 4, lmax + 2, WIDTH) cos, sin and q of `fill_harmonics`; what is 1 there stays.
        full: (n_elements, n_rows, K) coefficients before projection, or the gradient with respect to them.

    """

    first: np.ndarray
    atom: np.ndarray
    unit: np.ndarray
    r: np.ndarray
    harmonics: np.ndarray
    radial: np.ndarray
    work: np.ndarray
    full: np.ndarray


@njit
def neighbourhood(density, n_elements, most):
    """Work space for atoms with up to `most` neighbours."""
    n = padded(most + (WIDTH - 1) * n_elements, WIDTH)
    n_rows, width = density.rows[-1], density.nodes.shape[3]
    work = np.zeros((density.lmax + 4, density.lmax + 2, WIDTH))
    work[0, 0], work[2, 0] = 1.0, 1.0
    return Neighbourhood(
        np.zeros(n_elements + 1, np.int64),
        np.zeros(n, np.int64),
        np.zeros((3, n)),
        np.zeros(n),
        np.zeros((4, n_rows, WIDTH)),
        np.zeros((2, density.lmax + 1, WIDTH, width)),
        work,
        np.zeros((n_elements, n_rows, width)),
    )


@njit
def gather(atom, cutoff, structure, out, clash):
    """Fill first, atom, unit and r with the neighbours of an atom within the cutoff.

    A neighbour closer than `MIN_DISTANCE` is left out and written to `clash` (2,) with the atom.
    """
    positions, cell, species, neighbours = structure
    start, end = neighbours.first[atom], neighbours.first[atom + 1]
    n_elements = out.first.shape[0] - 1
    x0, y0, z0 = positions[atom, 0], positions[atom, 1], positions[atom, 2]
    n = 0
    for e in range(n_elements):
        out.first[e] = n
        for p in range(start, end):
            j = neighbours.neighbour[p]
            if n_elements > 1 and species[j] != e:
                continue
            a, b, c = neighbours.shift[p, 0], neighbours.shift[p, 1], neighbours.shift[p, 2]
            x, y, z = positions[j, 0] - x0, positions[j, 1] - y0, positions[j, 2] - z0
            if a != 0 or b != 0 or c != 0:
                x += a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
                y += a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
                z += a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]
            square = x * x + y * y + z * z
            if square < MIN_DISTANCE * MIN_DISTANCE:
                clash[0], clash[1] = atom, j
            elif square < cutoff * cutoff:
                r = np.sqrt(square)
                inverse = 1.0 / r
                out.atom[n], out.r[n] = j, r
                out.unit[0, n], out.unit[1, n], out.unit[2, n] = x * inverse, y * inverse, z * inverse
                n += 1
        while n % WIDTH != 0:
            out.atom[n], out.r[n] = -1, cutoff
            out.unit[0, n] = out.unit[1, n] = out.unit[2, n] = 0.0
            n += 1
    out.first[n_elements] = n


@njit
def fill_radial(density, hood, first, derivatives):
    """Fill `hood.radial` for WIDTH neighbours by cubic Hermite interpolation.

    Args:
        density: a `PackedDensity`.
        hood: the gathered neighbours, a `Neighbourhood`.
        first: the first of the WIDTH neighbours, a multiple of WIDTH.
        derivatives: whether to fill those too.

    """
    nodes, radial = density.nodes, hood.radial
    width = nodes.shape[3]
    per_node, part = (density.lmax + 1) * 2 * width, (density.lmax + 1) * WIDTH * width
    h = density.cutoff / (nodes.shape[0] - 1)
    for j in range(WIDTH):
        s = hood.r[first + j] / h
        i = min(int(s), nodes.shape[0] - 2)
        t = s - i
        u = 1.0 - t
        inside = 1.0 if hood.r[first + j] < density.cutoff else 0.0
        a, b = splat(inside * (1 + 2 * t) * u * u), splat(inside * t * t * (3 - 2 * t))
        c, d = splat(inside * h * t * u * u), splat(-inside * h * t * t * u)
        slope = inside * 6 * t * u / h
        da, db = splat(-slope), splat(slope)
        dc, dd = splat(inside * u * (1 - 3 * t)), splat(inside * t * (3 * t - 2))
        at, out = i * per_node, j * width
        for _ in range(density.lmax + 1):
            for n in range(0, width, WIDTH):
                v0, s0 = load(nodes, at + n), load(nodes, at + width + n)
                v1, s1 = load(nodes, at + per_node + n), load(nodes, at + per_node + width + n)
                store(radial, out + n, fma(a, v0, fma(b, v1, fma(c, s0, mul(d, s1)))))
                if derivatives:
                    store(radial, part + out + n, fma(da, v0, fma(db, v1, fma(dc, s0, mul(dd, s1)))))
            at, out = at + 2 * width, out + WIDTH * width


@njit
def fill_harmonics(density, hood, first, derivatives):
    """Fill `hood.harmonics` for WIDTH neighbours: polynomials in x, y, z.

    The harmonic (l, m) is norm q[l, m] cos or sin, where cos + i sin = (x + i y)^m and q is the associated Legendre
    function / (sin theta)^m (Bigi et al., J. Chem. Phys. 159, 064802 (2023)). Arguments as in `fill_radial`; the
    derivatives are r times the gradient of the function of direction.
    """
    lmax, unit, out, norms, work = density.lmax, hood.unit, hood.harmonics, density.norms, hood.work
    part, n_max = out.shape[1] * WIDTH, unit.shape[1]
    side = (lmax + 2) * WIDTH
    cos, sin, q = 0, side, 2 * side
    zero = splat(0.0)
    x, y, z = load(unit, first), load(unit, n_max + first), load(unit, 2 * n_max + first)
    minus_y = mul(splat(-1.0), y)
    for m in range(1, lmax + 1):
        c, s = load(work, cos + (m - 1) * WIDTH), load(work, sin + (m - 1) * WIDTH)
        store(work, cos + m * WIDTH, fma(x, c, mul(minus_y, s)))
        store(work, sin + m * WIDTH, fma(x, s, mul(y, c)))
    for m in range(lmax + 1):
        at = q + m * side + m * WIDTH
        if m > 0:
            store(work, at, mul(splat(2.0 * m - 1.0), load(work, at - side - WIDTH)))
        if m < lmax:
            store(work, at + side, mul(mul(splat(2.0 * m + 1.0), z), load(work, at)))
        for l in range(m + 2, lmax + 1):
            at = q + l * side + m * WIDTH
            leading = mul(mul(splat((2.0 * l - 1.0) / (l - m)), z), load(work, at - side))
            store(work, at, fma(splat(-(l + m - 1.0) / (l - m)), load(work, at - 2 * side), leading))
    for l in range(lmax + 1):
        for m in range(l + 1):
            norm = splat(norms[l, m])
            at = q + l * side + m * WIDTH
            value = mul(norm, load(work, at))
            below = mul(norm, load(work, at - side)) if l > m else zero
            beside = mul(norm, load(work, at - side + WIDTH)) if l > m + 1 else zero
            for sign in (1, -1):
                if m == 0 and sign < 0:
                    continue
                t = load(work, (cos if sign > 0 else sin) + m * WIDTH)
                target = (density.rows[l] + l + sign * m) * WIDTH
                store(out, target, mul(value, t))
                if derivatives:
                    tx, ty = zero, zero
                    if m > 0:
                        c, s = load(work, cos + (m - 1) * WIDTH), load(work, sin + (m - 1) * WIDTH)
                        tx = mul(splat(float(m)), c if sign > 0 else s)
                        ty = mul(splat(float(-m)), s) if sign > 0 else mul(splat(float(m)), c)
                    away = mul(splat(-1.0), mul(beside, t))
                    gx = fma(away, x, mul(value, tx))
                    gy = fma(away, y, mul(value, ty))
                    gz = mul(mul(splat(float(l + m)), below), t)
                    # the solid harmonic grows as r^l: remove the radial part
                    along = mul(splat(-1.0), fma(gx, x, fma(gy, y, mul(gz, z))))
                    store(out, part + target, fma(along, x, gx))
                    store(out, 2 * part + target, fma(along, y, gy))
                    store(out, 3 * part + target, fma(along, z, gz))


@njit
def expand_atom(density, hood):
    """Fill `full` with the coefficients of the gathered atom."""
    width, n_rows = hood.full.shape[2], hood.full.shape[1]
    harmonics, radial, full = hood.harmonics, hood.radial, hood.full
    full[:] = 0.0
    for e in range(hood.full.shape[0]):
        for j in range(hood.first[e], hood.first[e + 1], WIDTH):
            fill_radial(density, hood, j, False)
            fill_harmonics(density, hood, j, False)
            for l in range(density.lmax + 1):
                for n in range(0, width, WIDTH):
                    for i in range(density.rows[l], density.rows[l + 1], ROWS):
                        at, y = (e * n_rows + i) * width + n, i * WIDTH
                        s0, s1 = load(full, at), load(full, at + width)
                        s2, s3 = load(full, at + 2 * width), load(full, at + 3 * width)
                        for k in range(WIDTH):
                            phi = load(radial, (l * WIDTH + k) * width + n)
                            s0 = fma(splat(item(harmonics, y + k)), phi, s0)
                            s1 = fma(splat(item(harmonics, y + WIDTH + k)), phi, s1)
                            s2 = fma(splat(item(harmonics, y + 2 * WIDTH + k)), phi, s2)
                            s3 = fma(splat(item(harmonics, y + 3 * WIDTH + k)), phi, s3)
                        store(full, at, s0)
                        store(full, at + width, s1)
                        store(full, at + 2 * width, s2)
                        store(full, at + 3 * width, s3)


@njit
def adjoint_atom(density, hood, gradient):
    """Gradient (n, 3) of an energy with respect to the neighbours' vectors, given `full` = dE / d coefficients."""
    width, n_rows = hood.full.shape[2], hood.full.shape[1]
    harmonics, radial, full = hood.harmonics, hood.radial, hood.full
    part, slopes = n_rows * WIDTH, (density.lmax + 1) * WIDTH * width
    zero = splat(0.0)
    for e in range(full.shape[0]):
        for first in range(hood.first[e], hood.first[e + 1], WIDTH):
            fill_radial(density, hood, first, True)
            fill_harmonics(density, hood, first, True)
            for j in range(WIDTH):
                along, fx, fy, fz = zero, zero, zero, zero
                for l in range(density.lmax + 1):
                    row = density.rows[l]
                    for n in range(0, width, WIDTH):
                        h, hx, hy, hz = zero, zero, zero, zero
                        for i in range(row, row + 2 * l + 1):
                            g, at = load(full, (e * n_rows + i) * width + n), i * WIDTH + j
                            h = fma(splat(item(harmonics, at)), g, h)
                            hx = fma(splat(item(harmonics, part + at)), g, hx)
                            hy = fma(splat(item(harmonics, 2 * part + at)), g, hy)
                            hz = fma(splat(item(harmonics, 3 * part + at)), g, hz)
                        at = (l * WIDTH + j) * width + n
                        phi = load(radial, at)
                        along = fma(h, load(radial, slopes + at), along)
                        fx, fy, fz = fma(hx, phi, fx), fma(hy, phi, fy), fma(hz, phi, fz)
                k = first + j
                s, inverse = total(along), 1.0 / hood.r[k]
                gradient[k, 0] = s * hood.unit[0, k] + total(fx) * inverse
                gradient[k, 1] = s * hood.unit[1, k] + total(fy) * inverse
                gradient[k, 2] = s * hood.unit[2, k] + total(fz) * inverse
