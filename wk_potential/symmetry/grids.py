"""Rotations over which averages are exact up to some angular momentum, and characters of rotations."""

import numpy as np
from scipy.spatial.transform import Rotation

# The rotations of tetrahedron, octahedron and icosahedron have no invariant of angular momentum 1 to 2, 3 and 5
GROUPS = {2: "T", 3: "O", 5: "I"}
# Grids are turned by these Euler angles (degrees) on both sides: they must map neither crystals along the axes onto
# themselves, nor the grid along which a calculator is not symmetric
TURN = (37.0, 71.0, 113.0)


def rotation_grid(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (n, 3, 3) and weights (n,) of a quadrature over all rotations; the weights add up to 1.

    Averages of functions without parts of an angular momentum above the degree are exact. Up to degree 5 they are the
    rotations of a polyhedron (12, 24 or 60), then products of angles (A. D. McLaren, Math. Comp. 17, 361 (1963); Gauss
    and equidistant points in Euler angles).

    Args:
        degree: of angular momentum, 0 or more.

    """
    turn = Rotation.from_euler("zyz", TURN, degrees=True)
    if degree <= max(GROUPS):
        group = Rotation.create_group(GROUPS[min(d for d in GROUPS if d >= degree)])
        matrices = (turn * group * turn).as_matrix()
        return matrices, np.full(len(matrices), 1 / len(matrices))
    angles = 360 * np.arange(degree + 1) / (degree + 1)
    cosines, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    a, cosine, b = (x.ravel() for x in np.meshgrid(angles, cosines, angles, indexing="ij"))
    euler = np.stack([a, np.degrees(np.arccos(cosine)), b], axis=1)
    matrices = (turn * Rotation.from_euler("zyz", euler, degrees=True) * turn).as_matrix()
    return matrices, np.tile(np.repeat(weights / 2, len(angles)), len(angles)) / len(angles) ** 2


def random_rotations(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return n uniformly random rotations (n, 3, 3) and their equal weights (n,)."""
    return Rotation.random(n, random_state=np.random.default_rng(seed)).as_matrix(), np.full(n, 1 / n)


def characters(rotations: np.ndarray, lmax: int) -> np.ndarray:
    """Characters chi_l (lmax + 1, ...) of rotations (..., 3, 3): 1 + 2 cos w + ... + 2 cos l w of the angle w."""
    cosine = np.clip((np.trace(rotations, axis1=-2, axis2=-1) - 1) / 2, -1.0, 1.0)
    angle = np.arccos(cosine)
    steps = [np.ones_like(angle), *(2 * np.cos(l * angle) for l in range(1, lmax + 1))]
    return np.cumsum(steps, axis=0)


def unaveraged(rotations: np.ndarray, weights: np.ndarray, lmax: int) -> np.ndarray:
    """Share (lmax + 1,) of the variance of each angular momentum that an average over a grid leaves.

    It is the mean over all turns of the grid, sum_gh w_g w_h chi_l(g^-1 h) / (2l + 1): 0 where the quadrature is exact,
    1 for l = 0.
    """
    relative = np.einsum("iab,jac->ijbc", rotations, rotations)
    sums = np.einsum("lij,i,j->l", characters(relative, lmax), weights, weights)
    return np.maximum(sums / (2 * np.arange(lmax + 1) + 1), 0.0)
