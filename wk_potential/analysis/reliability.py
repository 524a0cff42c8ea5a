"""Calibration of error bars: predicted standard deviations against true errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm, spearmanr

from ..atoms.frame import Frame
from ..model.prediction import Prediction

WIDTHS = {"energy": 1, "forces": 3, "stress": 6, "dipole": 3, "polarizability": 9}  # components of each kind of label
LEVELS = np.linspace(0, 1, 101)  # probabilities of intervals about a prediction
NEGLIGIBLE = 1e-3  # of the rms deviation; components below vanish by symmetry


def calibration_curve(errors: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Fractions (101,) of errors within the central interval of a normal distribution of each probability in `LEVELS`.

    Args:
        errors, deviations: (n,) errors and their predicted standard deviations.

    """
    scores = np.sort(np.abs(errors) / deviations)
    return np.searchsorted(scores, norm.ppf(0.5 + LEVELS / 2), side="right") / len(scores)


def miscalibration_area(errors: np.ndarray, deviations: np.ndarray) -> float:
    """Area between the calibration curve and the diagonal: 0 is perfect, 0.5 the most."""
    gap = np.abs(calibration_curve(errors, deviations) - LEVELS)
    return float(np.sum(gap[1:] + gap[:-1]) / 2 * LEVELS[1])


def negative_log_likelihood(errors: np.ndarray, deviations: np.ndarray) -> float:
    """Mean negative logarithm of the density of a normal distribution at the errors."""
    return float(np.mean(np.log(np.sqrt(2 * np.pi) * deviations) + 0.5 * (errors / deviations) ** 2))


def countable(deviations: np.ndarray) -> np.ndarray:
    """Which of the deviations (n,) are not zero by symmetry."""
    return deviations > NEGLIGIBLE * np.sqrt(np.mean(np.square(deviations)))


def best_factor(errors: np.ndarray, deviations: np.ndarray) -> float:
    """Factor of the deviations (n,) that makes the miscalibration area smallest; 1 if there is nothing to compare."""
    own = countable(deviations) & (errors != 0)
    if not own.any():
        return 1.0
    errors, deviations = errors[own], deviations[own]
    middle = np.median(np.abs(errors) / deviations) / norm.ppf(0.75)
    factors = middle * np.exp(np.linspace(-1, 1, 201))
    return float(factors[np.argmin([miscalibration_area(errors, f * deviations) for f in factors])])


def errors_and_deviations(
    frames: Sequence[Frame], predictions: Sequence[Prediction]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Errors and predicted standard deviations of each kind of label that there is, with error bars.

    Returns:
        energy: (n,) eV; forces: (n, 3) eV/Angstrom, a row for each atom; stress: (n, 6) eV/Angstrom^3; dipole:
        (n, 3) e Angstrom; polarizability: (n, 9) Angstrom^3.

    """
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind, width in WIDTHS.items():
        rows = []
        for frame, prediction in zip(frames, predictions, strict=True):
            label, value, deviation = (
                getattr(x, name) for x, name in ((frame, kind), (prediction, kind), (prediction, f"{kind}_std"))
            )
            if label is not None and value is not None and deviation is not None:
                rows.append(np.stack([np.reshape(value - label, (-1, width)), np.reshape(deviation, (-1, width))]))
        if rows:
            errors, deviations = np.concatenate(rows, axis=1)
            found[kind] = (errors[:, 0], deviations[:, 0]) if width == 1 else (errors, deviations)
    return found


def reliability(frames: Sequence[Frame], predictions: Sequence[Prediction]) -> dict[str, dict[str, Any]]:
    """Measures of the quality of error bars, as a table for JSON.

    Args:
        frames: labelled structures.
        predictions: of the same frames, by a model with error bars.

    Returns:
        For each of energy, forces, stress, dipole and polarizability that there is: `rmse`, `rms_std` (eV, eV/Angstrom,
        eV/Angstrom^3, e Angstrom, Angstrom^3), `miscalibration_area`, `negative_log_likelihood` (components that vanish
        by symmetry left out of both), `spearman`, the rank correlation of predicted and true errors (of vectors and
        polarisabilities the norms, None where all are the same) and `n`, the number of components.

    """
    table = {}
    for kind, (errors, deviations) in errors_and_deviations(frames, predictions).items():
        own = countable(deviations)
        norms = kind in ("forces", "dipole", "polarizability")
        sizes = [np.linalg.norm(x, axis=1) if norms else np.abs(x).ravel() for x in (errors, deviations)]
        varied = all(np.ptp(x) > 0 for x in sizes)
        table[kind] = {
            "rmse": float(np.sqrt(np.mean(errors**2))),
            "rms_std": float(np.sqrt(np.mean(deviations**2))),
            "miscalibration_area": miscalibration_area(errors[own], deviations[own]) if own.any() else None,
            "negative_log_likelihood": negative_log_likelihood(errors[own], deviations[own]) if own.any() else None,
            "spearman": float(spearmanr(*sizes)[0]) if varied else None,
            "n": int(own.sum()),
        }
    return table
