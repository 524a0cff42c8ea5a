"""Labels that are well-formed and yet probably wrong: how they are recognised, and what to do."""

from collections.abc import Sequence

import numpy as np
from ase import units
from scipy.linalg import cho_factor, cho_solve

from ..atoms.dataset import Labels
from ..atoms.frame import Frame
from ..atoms.kinds import KINDS, LabelKind
from ..atoms.units import ENERGY_UNITS, LENGTH_UNITS
from .limits import DEFAULT, DoubtLimits


def unit_warnings(frames: Sequence[Frame], limits: DoubtLimits = DEFAULT.doubts) -> list[str]:
    """Say which unit the energies or forces seem to have, if not eV.

    Energies are compared with those of the free atoms with all electrons: none is much larger, and those of many codes
    are close. Valence-only and atomisation energies are not doubted, nor forces below 10 eV/Angstrom.
    """
    found = []
    ratios = np.array([f.energy / _free_atoms(f.numbers) for f in frames if f.energy is not None])
    suspects = {name: 1 / factor for name, factor in ENERGY_UNITS.items() if name not in ("eV", "Ha", "Ry")}
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
    """Say which labels stand for labels that are missing, and where few frames have a kind of label.

    Forces may have been zeroed by constraints, other labels by programs that write zeros for what they did not compute;
    stresses may be in GPa or kbar.
    """
    found = _missing(frames, limits)
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
        found.append(f"{text}: they look like GPa or kbar; see --stress-unit")
    return found


def _missing(frames: Sequence[Frame], limits: DoubtLimits) -> list[str]:
    """Say where labels are exactly zero, all of one kind in a frame, and where few frames have a kind."""
    found = []
    for kind in KINDS:
        own = [frame for frame in frames if getattr(frame, kind) is not None and len(frame) > 1]
        zeros = [frame for frame in own if not np.any(getattr(frame, kind))]
        # symmetry leaves a frame without forces, but not all of them
        if zeros and (kind != "forces" or len(zeros) == len(own) > 1):
            text = f"the {kind} of {len(zeros)} frames is exactly zero, first {zeros[0].source}"
            found.append(f"{text}: if it was not computed, remove it from the file")
        if kind in ("energy", "forces") and 0 < len(own) < limits.partial * len(frames):
            found.append(f"only {len(own)} of {len(frames)} frames have {kind}: check the names in the files")
    return found


def _zeroed(frame: Frame, small: float) -> int:
    """Number of atoms without any force among others that are not at rest; symmetry hardly zeroes all components."""
    if frame.forces is None or len(frame) < 2:
        return 0
    still = ~frame.forces.any(axis=1)
    moving = frame.forces[~still]
    return int(still.sum()) if len(moving) and np.sqrt(np.mean(moving**2)) > small else 0


def stress_doubt(correlation: float, n: int, limits: DoubtLimits = DEFAULT.doubts) -> str:
    """Return a warning if n virials contradict those predicted from energies and forces alone, else nothing."""
    # the six components of a stress count as one number, for they are correlated
    if correlation > limits.opposite or correlation * np.sqrt(n / 6) > -limits.significance:
        return ""
    return (
        f"the stresses have the opposite sign of what energies and forces imply (correlation "
        f"{correlation:.2f}): here tension is positive; see --positive-stress, or leave them out with "
        "--no-use-stress"
    )


def predicted_without(
    kind: LabelKind, kernel: np.ndarray, noise: np.ndarray, labels: Labels
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the labels of a kind from the others; returns them and those given, in units of their size.

    Args:
        kind: energy or stress.
        kernel: (N, N) of the labels, of which the upper triangle counts.
        noise: (3,) of each kind of label.
        labels: N numbers to fit.

    """
    own = labels.kind == kind
    if not own.any() or own.all():
        return np.zeros(0), np.zeros(0)
    symmetric = np.triu(kernel) + np.triu(kernel, 1).T
    size = labels.size[own]
    covariance = symmetric + np.diag((noise[labels.kind] * labels.size) ** 2)
    alpha = cho_solve(cho_factor(covariance[np.ix_(~own, ~own)]), labels.values[~own])
    return symmetric[np.ix_(own, ~own)] @ alpha / size, labels.values[own] / size


def slope_doubt(
    predicted: np.ndarray, labelled: np.ndarray, counts: np.ndarray, limits: DoubtLimits = DEFAULT.doubts
) -> str:
    """Return a warning if energies change by other amounts than the forces imply, else nothing.

    No size of a number is needed: in any units, the energy changes by minus the force along the way.

    Args:
        predicted, labelled: (n,) energies, per square root of the number of atoms, the first by a fit without energies.
        counts: (n, n_elements) atoms of each element, over the same root; forces do not know the energy of a
            composition.
        limits: when labels are doubted.

    """
    n_free = len(predicted) - np.linalg.matrix_rank(counts) if len(predicted) else 0
    if n_free < limits.slope_freedom:
        return ""
    x, y = (v - counts @ np.linalg.lstsq(counts, v, rcond=None)[0] for v in (predicted, labelled))
    correlation = x @ y / ((np.linalg.norm(x) * np.linalg.norm(y)) or 1.0)
    if abs(correlation) < limits.slope_correlation:
        return ""
    slope = (x @ y) / (x @ x)  # predictions vary less than labels do: this slope is 1 all the same
    error = np.sqrt((1 / correlation**2 - 1) / (n_free - 1))  # of its logarithm
    if slope > 0 and abs(np.log(slope)) < max(limits.slope, limits.slope_significance * error):
        return ""
    if slope < 0:
        return (
            "the forces have the opposite sign of what the energies imply: they look like gradients; change their sign"
        )
    return (
        f"the energies change {slope:.3g} times as much as the forces imply{_units_of_slope(slope)}; see --energy-unit "
        "and --forces-unit"
    )


def _units_of_slope(slope: float) -> str:
    """Say which units of energies and forces, read as eV and eV/Angstrom, have this slope."""
    energies = {name: ENERGY_UNITS[name] for name in ("Ha", "eV", "Ry", "kcal/mol", "kJ/mol", "meV")}
    pairs = [
        (e, f"{f}/{length}", energies[f] / LENGTH_UNITS[length] / energies[e])
        for e in energies
        for f in energies
        for length in ("Angstrom", "bohr")
    ]
    found = [(e, f) for e, f, ratio in pairs if abs(slope / ratio - 1) < 0.03]
    found.sort(key=lambda pair: not pair[1].startswith(f"{pair[0]}/"))  # the same unit of energy in both is likelier
    return f", as if they were in {found[0][0]} and the forces in {found[0][1]}" if found else ""
