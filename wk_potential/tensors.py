"""Vectors and tensors as targets: their names, units, and the one place where they are spherical or Cartesian."""

import numpy as np

RANKS = {"dipole": (1,), "polarizability": (0, 2)}  # angular momenta of each target
UNITS = {"dipole": "e*Angstrom", "polarizability": "Angstrom^3"}

_S = np.sqrt(0.5)
# Orthonormal bases (2L + 1, 3) or (2L + 1, 3, 3), m = -L..L in the order of real harmonics
_VECTOR = np.eye(3)[[1, 2, 0]]
_ISOTROPIC = np.eye(3)[None] / np.sqrt(3.0)
_SYMMETRIC = np.array([
    [[0, _S, 0], [_S, 0, 0], [0, 0, 0]],
    [[0, 0, 0], [0, 0, _S], [0, _S, 0]],
    np.diag([-1.0, -1.0, 2.0]) / np.sqrt(6.0),
    [[0, 0, _S], [0, 0, 0], [_S, 0, 0]],
    np.diag([_S, -_S, 0.0]),
])  # fmt: skip
BASES = {"dipole": {1: _VECTOR}, "polarizability": {0: _ISOTROPIC, 2: _SYMMETRIC}}


def to_spherical(name: str, momentum: int, values) -> np.ndarray:
    """Components (..., 2L + 1) of dipoles (..., 3) or symmetric polarisabilities (..., 3, 3); norms are kept."""
    basis = BASES[name][momentum]
    return np.tensordot(values, basis, (tuple(range(1 - basis.ndim, 0)), tuple(range(1, basis.ndim))))


def to_cartesian(name: str, momentum: int, components) -> np.ndarray:
    """Return the part (..., 3) or (..., 3, 3) of a dipole or polarisability that components (..., 2L + 1) make."""
    return np.tensordot(components, BASES[name][momentum], 1)
