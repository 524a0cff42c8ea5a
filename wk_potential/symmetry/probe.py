"""How much the energy and the forces of a calculator depend on the orientation, by angular momentum.

M. F. Langer, S. N. Pozdnyakov, M. Ceriotti, Probing the effects of broken symmetries in machine learning, Mach. Learn.:
Sci. Technol. 5, 04LT01 (2024), arXiv:2406.17747.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from ..baselines.foreign import as_calculator
from ..errors import OptionsError
from .average import results_in_frames
from .grids import GROUPS, characters, rotation_grid, unaveraged


@dataclass(frozen=True)
class Left:
    """What an average over rotations leaves of the dependence on the orientation.

    Attributes:
        rotations: how many.
        energy: meV per atom, root mean square.
        forces: eV/Angstrom, root mean square of a component.

    """

    rotations: int
    energy: float
    forces: float


@dataclass(frozen=True)
class OrientationReport:
    """Dependence on the orientation; all values are root mean squares over all rotations.

    Attributes:
        energy: (lmax + 2,) meV per atom, the parts of angular momentum 1 to lmax, of all above, and of all together.
        forces: (lmax + 2,) eV/Angstrom, likewise, of a component in the frame of the structure.
        inversion: meV per atom and eV/Angstrom, half of the difference between the structure and its inverse.
        net_force: eV/Angstrom per atom, size of the sum of all forces divided by the number of atoms.
        torque: eV, size of the torque about the centre of the positions; None for periodic structures.
        energy_range: eV, highest minus lowest energy. A free molecule prefers its best orientation to the worst by
            exp(energy_range / kT).
        left: what averages leave. Parts above lmax are taken to fall as for random rotations.

    """

    energy: np.ndarray
    forces: np.ndarray
    inversion: tuple[float, float]
    net_force: float
    torque: float | None
    energy_range: float
    left: list[Left]


def probe(
    atoms: Atoms,
    calculator: Any = None,
    lmax: int = 4,
    progress: Callable[[float], None] | None = None,
) -> OrientationReport:
    """Measure how much a calculator depends on the orientation of a structure.

    The calculator is called (2 lmax + 3)^2 (lmax + 2) times, and twice for inversion. The part of angular momentum l of
    a function f of the rotation has the mean square (2l + 1) <f(R) f(R') chi_l(R^-1 R')>, the average over both. Parts
    above lmax + 2 are mistaken for others.

    Args:
        atoms: the structure.
        calculator: an ASE calculator [that of the structure].
        lmax: largest angular momentum that is told apart, 1 or more.
        progress: called with the fraction done, or None.

    Raises:
        OptionsError: no calculator, or lmax below 1.

    """
    if lmax < 1:
        raise OptionsError(f"lmax must be 1 or more, not {lmax}")
    calculator = as_calculator(atoms.calc if calculator is None else calculator)
    rotations, weights = rotation_grid(max(2 * lmax + 2, max(GROUPS) + 1))
    energies, forces = np.zeros(len(rotations)), np.zeros((len(rotations), *atoms.positions.shape))
    for k, found in enumerate(results_in_frames(calculator, atoms, rotations)):
        energies[k], forces[k], _ = found
        if progress:
            progress((k + 1) / len(rotations))
    relative = np.einsum("iab,jac->ijbc", rotations, rotations)
    chi = characters(relative, lmax)
    scale = 1e3 / len(atoms)
    of_energy = _by_momentum(scale * energies[:, None], weights, chi)
    of_forces = _by_momentum(forces.reshape(len(forces), -1), weights, chi) / forces[0].size
    (e, f, _), (e_inverse, f_inverse, _) = results_in_frames(calculator, atoms, np.array([np.eye(3), -np.eye(3)]))
    inversion = scale * abs(e - e_inverse) / 2, float(np.sqrt(np.mean((f - f_inverse) ** 2))) / 2
    arms = atoms.positions - atoms.positions.mean(axis=0)
    torques = np.cross(arms, forces).sum(axis=1)
    return OrientationReport(
        energy=np.sqrt(of_energy),
        forces=np.sqrt(of_forces),
        inversion=inversion,
        net_force=_rms_size(forces.mean(axis=1), weights),
        torque=_rms_size(torques, weights) if not atoms.pbc.any() else None,
        energy_range=float(np.ptp(energies)),
        left=[_left(degree, of_energy, of_forces) for degree in GROUPS],
    )


def _by_momentum(values: np.ndarray, weights: np.ndarray, chi: np.ndarray) -> np.ndarray:
    """Mean squares (lmax + 2,) of functions (n, k), added up over k: of l = 1 to lmax, of all above, and of all."""
    values = values - weights @ values
    gram = (weights[:, None] * values) @ (weights[:, None] * values).T
    parts = [max((2 * l + 1) * float(np.sum(gram * chi[l])), 0.0) for l in range(1, len(chi))]
    whole = float(weights @ np.sum(values**2, axis=1))
    return np.array([*parts, max(whole - sum(parts), 0.0), whole])


def _rms_size(vectors: np.ndarray, weights: np.ndarray) -> float:
    """Root mean square size of vectors (n, 3)."""
    return float(np.sqrt(weights @ np.sum(vectors**2, axis=1)))


def _left(degree: int, of_energy: np.ndarray, of_forces: np.ndarray) -> Left:
    """What the average over a grid leaves of mean squares (lmax + 2,) of each angular momentum."""
    rotations, weights = rotation_grid(degree)
    shares = np.append(unaveraged(rotations, weights, len(of_energy) - 2)[1:], 1 / len(weights))
    energy, forces = (float(np.sqrt(shares @ parts[:-1])) for parts in (of_energy, of_forces))
    return Left(len(weights), energy, forces)
