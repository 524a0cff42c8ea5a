"""An ASE calculator that averages another one over rotations, and over inversion.

S. Pozdnyakov, M. Ceriotti, Smooth, exact rotational symmetrization for deep learning on point clouds, NeurIPS 2023,
arXiv:2305.19302; M. F. Langer et al., Probing the effects of broken symmetries in machine learning, Mach. Learn.: Sci.
Technol. 5, 04LT01 (2024), arXiv:2406.17747.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from ..baselines.foreign import as_calculator, ask
from ..errors import OptionsError
from .grids import random_rotations, rotation_grid


def turned(atoms: Atoms, rotation: np.ndarray) -> Atoms:
    """Return a copy without constraints, turned by a rotation or reflection (3, 3) together with its cell."""
    copy = Atoms(atoms.numbers, atoms.positions @ rotation.T, cell=atoms.cell.array @ rotation.T, pbc=atoms.pbc)
    copy.info, copy.arrays = dict(atoms.info), {**atoms.arrays, "positions": copy.positions}
    return copy


def results_in_frames(
    calculator: Any, atoms: Atoms, rotations: np.ndarray
) -> Iterator[tuple[float, np.ndarray, np.ndarray | None]]:
    """Yield energy, forces (N, 3) and stress (3, 3) or None of turned structures, the tensors turned back.

    Args:
        calculator: an ASE calculator.
        atoms: the structure.
        rotations: (n, 3, 3), which may be reflections.

    """
    for rotation in rotations:
        found = ask(calculator, turned(atoms, rotation))
        stress = None
        if "stress" in found:
            stress = rotation.T @ voigt_6_to_full_3x3_stress(found["stress"]) @ rotation
        yield found["energy"], found["forces"] @ rotation, stress


class SymmetrisedCalculator(Calculator):
    """Average of another calculator over rotations of the structure, and over inversion.

        atoms.calc = SymmetrisedCalculator(NotInvariant(), degree=5)

    Forces and stress are the derivatives of the averaged energy. What is left of the dependence on the orientation is
    what the calculator has of angular momenta above the degree; `probe` measures it. The calculator is called once for
    each rotation. A grid that is fixed in space gives smooth energies.

    Args:
        calculator: an ASE calculator, or a function that makes one.
        degree: of angular momentum up to which the average is exact: 12 rotations for 2, 24 for 3, 60 for 5, then
            (degree + 1)^2 (degree // 2 + 1).
        inversion: whether to average over inversion as well, which doubles the cost.
        random: take so many random rotations instead, the same ones at each call.
        seed: of the random rotations.

    Besides energy, forces and stress, `results` has `orientation_std`, the standard deviation of the energy over the
    orientations, and `orientation_error`, eV: the standard error of the mean as if the rotations were random. Grids are
    better than that where the energy changes smoothly with the orientation.

    Raises:
        OptionsError: no calculator, or a number that makes no sense.

    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self, calculator: Any, degree: int = 3, inversion: bool = True, random: int | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        if degree < 0:
            raise OptionsError(f"degree must not be negative, not {degree}")
        if random is not None and random < 1:
            raise OptionsError(f"random must be a positive number of rotations, not {random}")
        self.calculator = as_calculator(calculator)
        rotations, weights = rotation_grid(degree) if random is None else random_rotations(random, seed)
        if inversion:
            rotations, weights = np.concatenate([rotations, -rotations]), np.tile(weights / 2, 2)
        self.rotations, self.weights = rotations, weights

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Average energy, forces and, for crystals, stress if the calculator has one."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        energies, forces, stresses = zip(*results_in_frames(self.calculator, self.atoms, self.rotations), strict=True)
        energy = float(self.weights @ energies)
        variance = max(float(self.weights @ np.square(np.array(energies) - energy)), 0.0)
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": np.tensordot(self.weights, np.array(forces), 1),
            "orientation_std": np.sqrt(variance),
            "orientation_error": np.sqrt(variance * float(self.weights @ self.weights)),
        }
        if stresses[0] is not None:
            stress = np.tensordot(self.weights, np.array(stresses), 1)
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
