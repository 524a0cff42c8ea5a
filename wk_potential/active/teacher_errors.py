"""Error bars of a student, which is off from its teacher as the teacher is from the truth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..analysis.evaluation import expected_errors
from ..atoms.frame import Frame
from ..atoms.kinds import LabelKind
from ..model.model import Model

FRAMES = 20  # on which the error bars are looked at


def with_errors_of_teacher(
    student: Model, teacher: Model, frames: Sequence[Frame], threads: int | None = None
) -> Model:
    """Return a student whose error bars hold the errors of its teacher too.

    The two errors are independent, so their squares add up. The teacher's are those at frames that its training left
    out. They cannot be seen at the frames that it was trained on, which it fits.

    Args:
        student: with error bars of its distance from the teacher.
        teacher: a model.
        frames: like those that the student is for.
        threads: as in `Model.predict`.

    """
    if student.uncertainty is None:
        return student
    chosen = [frames[k * len(frames) // FRAMES] for k in range(FRAMES)]
    errors = expected_errors(teacher, float(np.mean([len(f) for f in chosen])))
    squares = np.zeros((len(LabelKind), 2))  # of error bars, and of errors of the teacher
    for frame, found in zip(chosen, student.predict(chosen, threads), strict=True):
        bars = (found.energy_std, found.forces_std, found.stress_std)
        units = (len(frame), 1.0, len(frame) / (frame.volume or 1.0))  # of the errors, in those of the error bars
        for kind, bar, unit in zip(LabelKind, bars, units, strict=True):
            if bar is not None:
                squares[kind] += np.mean(np.square(bar)), (unit * errors.get(kind, 0.0)) ** 2
    known = squares[:, 0] > 0
    energy, forces, stress = np.sqrt(1 + np.divide(squares[:, 1], squares[:, 0], out=np.zeros(3), where=known))
    factors = np.array([energy, forces, stress, energy, energy])  # see `Uncertainty.calibration`
    calibration = student.uncertainty.calibration * factors
    return replace(student, uncertainty=replace(student.uncertainty, calibration=calibration))
