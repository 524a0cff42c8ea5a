"""Oracles that share no code with the package (harmonics, rotations, kernels), and small random systems and labels."""

import dataclasses
from functools import cache

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre

from wk_potential import Frame, TrainingOptions
from wk_potential.density.expansion import expand, full_density
from wk_potential.density.radial import cutoff_function, overlap, radial_table
from wk_potential.kernel.coupling import wigner_terms
from wk_potential.kernel.direct import in_blocks, pair_kernel
from wk_potential.kernel.iteration import invariants, iterate, workspace

try:
    from scipy.special import sph_harm_y
except ImportError:  # SciPy < 1.15
    from scipy.special import sph_harm

    def sph_harm_y(l, m, theta, phi):
        return sph_harm(m, l, phi, theta)


CUTOFF, CUTOFF_WIDTH, WIDTH, GROWTH = 4.0, 1.0, 0.4, 4.0  # of the densities below
# options of quick fits, for tests of active learning
PLAIN = {"cutoff": 4.0, "cutoff_width": 2.0, "lmax": 1, "order": 2, "density_width": 0.5, "channel_tolerance": 1e-2}
QUICK = TrainingOptions(**PLAIN, short_cutoff=0, map=False)
SPARSE = QUICK.model_copy(
    update={"estimator": "sparse", "support_points": 20, "lmax": 2, "order": 3, "saturation": 0.0}
)
SMALL = {"lmax": 2, "cutoff": 4.0, "cutoff_width": 3.0}  # options of small fits
TINY = 1e-100  # of complex steps, whose error is its square

# --- oracles ---


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


# --- small systems ---


@cache
def make_table(lmax, tolerance=1e-4):
    return radial_table(CUTOFF, CUTOFF_WIDTH, WIDTH, GROWTH, lmax, tolerance)


@cache
def make_density(lmax, n_elements, tolerance=1e-4):
    return full_density(lmax, make_table(lmax, tolerance), n_elements)


def random_environment(seed, n=5, n_elements=1, farthest=4.5):
    """Vectors (n, 3) and elements (n,) of neighbours between 0.8 Angstrom and `farthest`."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    return directions * rng.uniform(0.8, farthest, n)[:, None], rng.integers(n_elements, size=n)


def random_support(lmax, n, channels, seed=0):
    """Coefficients, weights and tangents of n support points, of about the norm of real ones."""
    rng = np.random.default_rng(seed)
    shape = (n, (lmax + 1) ** 2, channels)
    return 0.5 * rng.normal(size=shape), rng.normal(size=n), 0.2 * rng.normal(size=shape)


def coefficients(density, vectors, elements, centre=0):
    """Coefficients (n_lm, Q) of one environment."""
    return expand(density, np.array([centre]), np.array([0, len(vectors)]), vectors, elements)[0]


def lanes_kernels(lmax, order, c, others):
    """Kernels (order, n) of coefficients c (n_lm, Q) with others (n, n_lm, Q), by the compiled code."""
    terms, support = wigner_terms(lmax, order), in_blocks(np.reshape(others, (len(others), -1)))
    values = np.zeros((len(support), order, support.shape[2]))
    for block, out in zip(support, values, strict=True):
        k = workspace(terms, order)
        pair_kernel(lmax, c, block, k[0])
        iterate(terms, k)
        invariants(k, out)
    return np.concatenate(values, axis=1)[:, : len(others)]


def labelled(atoms, seed=0, **results):
    """A copy of the structure with random displacements and labels."""
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    results = {"energy": rng.normal(), "forces": rng.normal(size=atoms.positions.shape), **results}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def crystal(seed=0):
    atoms = bulk("Si", cubic=True)
    atoms.cell[1, 0] = 0.3
    return labelled(atoms, seed, stress=np.random.default_rng(seed).normal(size=6))


def scale_of(array):
    return np.abs(array).max()


def order_weights(order, seed=0):
    return np.random.default_rng(seed).normal(size=order)


def rotation_matrix(seed):
    return Rotation.from_quat(np.random.default_rng(seed).normal(size=4)).as_matrix()


def labelled_copper(n, seed=0, strain=0.02):
    """Frames of strained and rattled cells of four copper atoms, labelled by effective-medium theory."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, strain, (3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(Frame.from_atoms(atoms, f"copper {i}"))
    return frames


def rattled_frame(atoms, calculator, seed, rattle=0.1, drop=()):
    """Frame of a rattled structure with the labels of a calculator, less some kinds."""
    atoms = atoms.copy()
    atoms.rattle(rattle, seed=seed)
    atoms.calc = calculator
    atoms.get_potential_energy()
    frame = Frame.from_atoms(atoms, f"frame {seed}")
    return dataclasses.replace(frame, **dict.fromkeys(drop))
