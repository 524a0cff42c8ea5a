"""Labels that are well-formed and yet probably wrong: how they are recognised, and what to do."""

from collections.abc import Sequence

import numpy as np
from ase import units
from scipy.linalg import cho_factor, cho_solve

from ..atoms.dataset import Labels
from ..atoms.frame import Frame
from ..atoms.kinds import ENERGY_UNITS, LabelKind
from .limits import DEFAULT, DoubtLimits


def unit_warnings(frames: Sequence[Frame], limits: DoubtLimits = DEFAULT.doubts) -> list[str]:
    """Say which unit the energies or forces seem to have, if not eV.

    Energies are compared with those of the free atoms with all electrons: none is much larger, and those of many codes
    are close. Valence-only and atomisation energies are not doubted, nor forces below 10 eV/Angstrom.
    """
    found = []
    ratios = np.array([f.energy / _free_atoms(f.numbers) for f in frames if f.energy is not None])
    suspects = {name: 1 / factor for name, factor in ENERGY_UNITS.items() if name not in ("eV", "Ha")}
    suspects |= {f"eV that was converted from {name}": ENERGY_UNITS[name] for name in ("Hartree", "kcal/mol")}
    # all frames have to agree: valence energies come close to the ratios below 1 by chance
    looks = [name for name, ratio in suspects.items() if (abs(ratios / ratio - 1) < 0.05).all()]
    if len(ratios) and (looks or np.median(ratios) > 2):
        text = f"energies are {np.median(ratios):.3g} times those of the free atoms with all electrons"
        found.append(f"{text}: they look like {(*looks, 'another unit than eV')[0]}; see --energy-unit")
    rms = [np.sqrt(np.mean(f.forces**2)) for f in frames if f.forces is not None and len(f) > 1]
    if rms and (typical := np.median(rms)) > limits.large_force:
        text = f"forces are {typical:.3g} eV/Å (root mean square of the median frame), where 1 is usual"
        found.append(f"{text}: they look like a smaller unit, such as kcal/mol/Å; see --energy-unit")
    return found


def _free_atoms(numbers: np.ndarray) -> float:
    """Total energy of the free atoms (eV): Hartree-Fock to Be, then Schwinger's expansion (1 % to Xe)."""
    z = numbers.astype(float)
    energies = -0.7687 * z ** (7 / 3) + 0.5 * z**2 - 0.2699 * z ** (5 / 3)
    energies[z < 5] = np.array([0, -0.5, -2.862, -7.433, -14.573])[numbers[z < 5]]
    return float(energies.sum() * units.Hartree)


def label_warnings(frames: Sequence[Frame], limits: DoubtLimits = DEFAULT.doubts) -> list[str]:
    """Say where forces seem to be zeroed by constraints, and stresses to be in GPa or kbar."""
    found = []
    zeroed = [(frame, n) for frame in frames if (n := _zeroed(frame, limits.small_force))]
    often = len(zeroed) > limits.seldom * sum(f.forces is not None for f in frames)
    if zeroed := [(frame, n) for frame, n in zeroed if n > 1 or often]:
        frame, n = zeroed[0]
        text = f"forces of {n} atom{'s' if n > 1 else ''} are exactly zero in {frame.source}"
        found.append(
            f"{text} ({len(zeroed)} such frames): if constraints did that, write the raw forces, or leave the forces "
            "of these frames out"
        )
    stresses = [np.sqrt(np.mean(f.stress**2)) for f in frames if f.stress is not None]
    if stresses and (typical := np.median(stresses)) > limits.large_stress:
        text = f"stresses are {typical:.3g} eV/Å^3 (root mean square of the median frame), where 0.05 is usual"
        found.append(f"{text}: they look like GPa or kbar; an eV/Å^3 is 160.2 GPa or 1602 kbar")
    return found


def _zeroed(frame: Frame, small: float) -> int:
    """Number of atoms without any force among others that are not at rest; symmetry hardly zeroes all components."""
    if frame.forces is None or len(frame) < 2:
        return 0
    still = ~frame.forces.any(axis=1)
    moving = frame.forces[~still]
    return int(still.sum()) if len(moving) and np.sqrt(np.mean(moving**2)) > small else 0


def stress_doubt(predicted: np.ndarray, labelled: np.ndarray, limits: DoubtLimits = DEFAULT.doubts) -> str:
    """Return a warning if virials (n,) contradict those predicted from energies and forces alone, else nothing."""
    correlation = predicted @ labelled / ((np.linalg.norm(predicted) * np.linalg.norm(labelled)) or 1.0)
    # the six components of a stress count as one number, for they are correlated
    if correlation > limits.opposite or correlation * np.sqrt(len(predicted) / 6) > -limits.significance:
        return ""
    return (
        f"the stresses have the opposite sign of what energies and forces imply (correlation "
        f"{correlation:.2f}): here tension is positive, so change their sign, or leave them out with "
        "--no-use-stress"
    )


def virials_without_stress(kernel: np.ndarray, noise: np.ndarray, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Predict virials from the other labels; returns them and those labelled, per sqrt(atom).

    Args:
        kernel: (N, N) of the labels, of which the upper triangle counts.
        noise: (3,) of each kind of label.
        labels: N numbers to fit.

    """
    stress = labels.kind == LabelKind.STRESS
    if not stress.any() or stress.all():
        return np.zeros(0), np.zeros(0)
    symmetric = np.triu(kernel) + np.triu(kernel, 1).T
    size = labels.size[stress]
    covariance = symmetric + np.diag((noise[labels.kind] * labels.size) ** 2)
    alpha = cho_solve(cho_factor(covariance[np.ix_(~stress, ~stress)]), labels.values[~stress])
    return symmetric[np.ix_(stress, ~stress)] @ alpha / size, labels.values[stress] / size
