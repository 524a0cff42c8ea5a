"""Errors of each frame by a fit to the others, with frames that are doubted taking no part."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from ..atoms.dataset import Dataset
from ..atoms.frame import Frame
from ..atoms.kinds import KINDS, LabelKind
from ..training.limits import DEFAULT
from ..training.options import TrainingOptions
from ..training.task import Log, Progress, make_task
from ..training.train import fit_task

SUPPORT = 600  # points of the fit, at most: a fault is many error bars large, so the last digit of them does not matter
DOUBTED = 1e-6  # weight of a frame that is doubted: its labels tell nothing, but its error is still computed
# the errors of all frames are computed, not those of some; order weights are searched with less effort
LIMITS = replace(
    DEFAULT,
    sparse=replace(
        DEFAULT.sparse, left_out_labels=10**12, falls=DEFAULT.trials.falls, search_support=300, search_labels=6000
    ),
)


@dataclass(frozen=True)
class Errors:
    """Labels of one kind in a frame, less what a fit to other frames predicts.

    Attributes:
        values: labels less predictions: energy (1,) eV, forces (N, 3) eV/Angstrom or virial (1, 6) eV.
        deviations: of the same shape, error bars: standard deviations that the fit predicts, noise included.

    """

    values: np.ndarray
    deviations: np.ndarray

    @property
    def scaled(self) -> np.ndarray:
        """Root mean square (n,) of each row in units of its error bar."""
        return np.sqrt(np.mean(np.reshape(self.values / self.deviations, (len(self.values), -1)) ** 2, axis=1))


FrameErrors = dict[LabelKind, Errors]


def fitting_options(options: TrainingOptions) -> TrainingOptions:
    """Return options of a fit that judges frames: sparse, without the trials that tell its last digits."""
    fixed = {"estimator": "sparse", "element_mixing": options.element_mixing or 0.0}
    fixed["saturation"] = options.saturation or 0.0
    if options.support_points is None and options.minutes is None:
        fixed["support_points"] = SUPPORT
    return options.model_copy(update=fixed)


def left_out_errors_of(
    frames: Sequence[Frame], believed: Sequence[Frame], doubted: np.ndarray, options: TrainingOptions,
    threads: int, log: Log, progress: Progress,
) -> list[FrameErrors]:  # fmt: skip
    """Errors of the labels of each frame, by a fit to the other frames but for those that are doubted.

    A doubted frame takes part with a weight that counts for nothing. Its error bar is computed along with the others,
    as if its labels had the usual noise.

    Args:
        frames: F frames as they are.
        believed: the same, those that are doubted with labels of a plausible size; so they can do no harm.
        doubted: (F,) which are.
        options: of the fit, as `fitting_options` returns them.
        threads: how many.
        log, progress: as in `train`.

    """
    light = [replace(f, weight=f.weight * DOUBTED) if d else f for f, d in zip(believed, doubted, strict=True)]
    used, given = Dataset(light), Dataset(frames)
    task = make_task(used, options, "sparse", threads, log, progress, limits=LIMITS)
    fit = fit_task(task)
    assert fit.left_out is not None
    assert fit.left_out.predicted is not None
    progress("left-out frames", 0.0)
    with threadpool_limits(1, user_api="blas"):  # our threads use all cores
        found = fit.left_out.predicted(np.arange(len(used)))
    progress("left-out frames", 1.0)
    errors, deviations = np.concatenate([x for x in found if x is not None], axis=1)
    errors = errors + given.fit_targets(task.baseline) - used.fit_targets(task.baseline)
    noise = fit.noise[given.kind]
    variances = np.maximum(deviations**2 - (noise * used.size) ** 2, 0.0) + (noise * given.size) ** 2
    return [_by_kind(given, k, errors, np.sqrt(variances)) for k in range(len(given))]


def _by_kind(data: Dataset, k: int, errors: np.ndarray, deviations: np.ndarray) -> FrameErrors:
    """Errors of frame k in the shapes of its labels; those of forces with the sign of forces."""
    own = slice(data.label_first[k], data.label_first[k + 1])
    kinds, out = data.kind[own], {}
    shapes = {LabelKind.ENERGY: (1,), LabelKind.FORCES: (-1, 3), LabelKind.STRESS: (1, 6)}
    for kind, shape in shapes.items():
        chosen = kinds == kind
        if chosen.any():
            values = errors[own][chosen] * (-1 if kind == LabelKind.FORCES else 1)
            out[kind] = Errors(values.reshape(shape), deviations[own][chosen].reshape(shape))
    return out


def predicted_labels(frame: Frame, errors: FrameErrors) -> Frame:
    """Return the frame with the labels that the fit to other frames predicts."""
    labels: dict[str, object] = {}
    for kind, found in errors.items():
        label = getattr(frame, KINDS[kind])
        if kind == LabelKind.ENERGY:
            labels["energy"] = label - float(found.values[0])
        else:
            size = frame.volume if kind == LabelKind.STRESS else 1.0
            labels[KINDS[kind]] = label - found.values.reshape(label.shape) / size
    return replace(frame, **labels)  # type: ignore[arg-type]
