"""What the labels of a frame that contradicts the others look like: another unit, exchanged atoms, noise."""

import numpy as np
from ase.data import chemical_symbols

from ..atoms.frame import Frame
from ..atoms.kinds import LabelKind
from .left_out import Errors, FrameErrors, predicted_labels
from .units import likely_unit

CLEAR = 0.9  # correlation of labels and predictions, from which on their ratio has a meaning
RATIO = 0.15  # by which the ratio of labels and predictions may differ from that of two units: they differ by factors
EXPLAINED = 0.8  # of the squared errors, that a few atoms, or an exchange of two, must explain


def reason_of(kind: LabelKind, frame: Frame, errors: FrameErrors, others_fit: bool) -> str:
    """Say what a label that is off looks like.

    Args:
        kind: of the label.
        frame: as it is.
        errors: of its labels.
        others_fit: whether its other labels agree with the other frames.

    """
    predicted = predicted_labels(frame, errors)
    if kind == LabelKind.ENERGY:
        return _energy(frame, predicted, others_fit)
    if kind == LabelKind.STRESS:
        return _stress(frame, predicted, errors[kind])
    return _forces(frame, predicted, errors[kind])


def _energy(frame: Frame, predicted: Frame, others_fit: bool) -> str:
    assert frame.energy is not None
    assert predicted.energy is not None
    off = frame.energy - predicted.energy
    text = f"energy is off by {off:+.4g} eV"
    unit = likely_unit("energy", frame.energy / predicted.energy, RATIO) if predicted.energy * frame.energy else ""
    if unit:
        text += f", as if it were in {unit}"
    return text + (", which its forces do not show" if frame.forces is not None and others_fit else "")


def ratio(labels: np.ndarray, predicted: np.ndarray) -> float:
    """How many times the predictions the labels are; 0 if they are not proportional."""
    product, norms = float(np.vdot(labels, predicted)), float(np.linalg.norm(labels) * np.linalg.norm(predicted))
    return product / float(np.vdot(predicted, predicted)) if norms and abs(product) > CLEAR * norms else 0.0


def _scaled(kind: str, times: float) -> str:
    """Say what a ratio of labels and predictions means; "" if it is near one or zero."""
    if not times or 0.5 < times < 2:
        return ""
    if abs(times + 1) < RATIO:
        return f"{kind} {'has' if kind == 'stress' else 'have'} the opposite sign"
    unit = likely_unit(kind, times, RATIO)
    verb = "is" if kind == "stress" else "are"
    return f"{kind} {verb} {times:.3g} times what the other frames imply" + (f", as if in {unit}" if unit else "")


def _stress(frame: Frame, predicted: Frame, errors: Errors) -> str:
    assert frame.stress is not None
    assert predicted.stress is not None
    text = _scaled("stress", ratio(frame.stress, predicted.stress))
    return text or f"stress is off by {np.abs(errors.values).max() / frame.volume:.3g} eV/Å³"


def _forces(frame: Frame, predicted: Frame, errors: Errors) -> str:
    assert frame.forces is not None
    assert predicted.forces is not None
    if text := _scaled("forces", ratio(frame.forces, predicted.forces)):
        return text
    squares = np.sum((errors.values / errors.deviations) ** 2, axis=1)
    if pair := _exchanged(frame.forces, errors):
        return f"forces of {_atom(frame, pair[0])} and {_atom(frame, pair[1])} are exchanged"
    order = np.argsort(-squares)
    few = max(1, len(frame) // 10)
    sizes = np.linalg.norm(errors.values, axis=1)
    if squares[order[:few]].sum() > EXPLAINED * squares.sum() and len(frame) > few:
        return f"forces of {_atom(frame, int(order[0]))} are off by {sizes[order[0]]:.3g} eV/Å"
    rms = np.sqrt(np.mean(errors.values**2))
    return f"forces are off by {rms:.3g} eV/Å (rms), of all atoms: noisy or not converged?"


def exchange_gains(forces: np.ndarray, errors: Errors) -> np.ndarray:
    """By how much the sum of squared errors, in error bars, falls (N, N) if the forces of two atoms are exchanged.

    Args:
        forces: (N, 3) eV/Angstrom, as labelled.
        errors: of the forces.

    """
    predicted, weights = forces - errors.values, errors.deviations**-2
    # squared errors (N, N) of the force of each atom (column) as that of each other (row)
    squares = (
        weights @ (forces**2).T - 2 * (weights * predicted) @ forces.T + (weights * predicted**2).sum(axis=1)[:, None]
    )
    own = squares.diagonal()
    return own[:, None] + own - squares - squares.T


def exchange_score(forces: np.ndarray, errors: Errors) -> float:
    """Difference of the forces that seem to be exchanged, of the two atoms that gain most, in error bars; 0 if none."""
    return float(np.sqrt(max(exchange_gains(forces, errors).max(), 0.0) / 2))


def _exchanged(forces: np.ndarray, errors: Errors) -> tuple[int, int] | None:
    """Two atoms whose exchange explains nearly all of their errors, or None."""
    gains = exchange_gains(forces, errors)
    i, j = sorted(int(k) for k in np.unravel_index(gains.argmax(), gains.shape))
    squares = np.sum((errors.values / errors.deviations) ** 2, axis=1)
    return (i, j) if gains[i, j] > EXPLAINED * (squares[i] + squares[j]) else None


def _atom(frame: Frame, i: int) -> str:
    return f"atom {i} ({chemical_symbols[frame.numbers[i]]})"
