"""The temperature at which structures were drawn, from their forces."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import units

from ..atoms.frame import Frame
from ..baselines.foreign import ask

PROBES = 4  # random directions for each frame, along which the curvature is measured
STEP = 0.01  # Angstrom, of central differences


def configurational_temperature(frames: Sequence[Frame], calculator: Any, seed: int = 0) -> float:
    """Return the temperature (K) of structures of a canonical ensemble, k_B T = <|F|^2> / <tr H>.

    The mean force squared is that of the labels. The trace of the Hessian H is estimated by central differences of the
    calculator's forces along random directions of +1 and -1 (M. F. Hutchinson, Commun. Stat. Simul. Comput. 19, 433
    (1990)). The relation is that of H. H. Rugh, Phys. Rev. Lett. 78, 772 (1997), and of B. D. Butler et al., J. Chem.
    Phys. 109, 6519 (1998).

    Args:
        frames: those without forces do not count.
        calculator: any ASE calculator.
        seed: of the directions.

    Returns:
        The temperature; 0 if there are no forces, or if the mean curvature is not positive.

    """
    rng, squares, traces = np.random.default_rng(seed), 0.0, 0.0
    for frame in frames:
        if frame.forces is None:
            continue
        squares += PROBES * float(np.sum(frame.forces**2))
        for _ in range(PROBES):
            direction = rng.choice([-1.0, 1.0], frame.positions.shape)
            there, back = (_forces(frame, side * STEP * direction, calculator) for side in (1, -1))
            traces += float(np.sum(direction * (back - there))) / (2 * STEP)
    return squares / traces / units.kB if traces > 0 else 0.0


def _forces(frame: Frame, displacement: np.ndarray, calculator: Any) -> np.ndarray:
    atoms = frame.to_atoms()
    atoms.calc = None
    atoms.positions += displacement
    return ask(calculator, atoms)["forces"]
