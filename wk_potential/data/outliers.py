"""Frames whose labels contradict those of all others: leave-one-out errors in units of their error bars."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import norm

from ..atoms.frame import Frame
from ..atoms.kinds import KINDS, LabelKind
from ..atoms.reading import FrameSource, frames_of
from ..compute.threads import thread_count
from ..errors import DataError
from ..training.difference import with_wanted_stresses
from ..training.isolated import is_isolated, with_isolated_atoms
from ..training.options import TrainingOptions
from ..training.task import Log, Progress, quiet
from .findings import Finding, frame_name, largest_first
from .left_out import FrameErrors, fitting_options, left_out_errors_of, predicted_labels
from .likeness import same_labels, structure_groups
from .reasons import exchange_score, reason_of
from .summary import expected_energies, standing_out

FEWEST = 12  # frames: with fewer nobody can tell which of them are wrong
ROUNDS = 5  # of fits without the frames that are doubted; two are usual
# A score is too large if it is so many times as far from the median as the upper quartile is. Of normal errors this is
# six standard deviations; of a distribution with heavier tails it is more
FAR = 11.0
# and least scores, in error bars, of the energy, the forces of a frame (a mean over many numbers, which varies less),
# those of its worst atom, and the stress: sound frames at the edge of a data set reach five (three for the mean)
# An exchange fits errors by chance only up to half of their size
LEAST = {"energy": 8.0, "forces": 4.0, "atom": 8.0, "exchange": 4.0, "stress": 8.0}
OF_FORCES = ("forces", "atom", "exchange")
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Outliers:
    """Frames whose labels contradict the others.

    Attributes:
        frames: all frames.
        findings: what contradicts, largest first.
        scores: by "energy", "forces" (rms of the frame), "atom" (its worst one), "exchange" (difference of two forces
            that seem to be exchanged) and "stress": (F,) leave-one-out errors in units of their error bars, nan where
            there is no such label.
        limits: by the same names, the score above which a frame is named.

    """

    frames: list[Frame]
    findings: list[Finding]
    scores: Scores
    limits: dict[str, float]

    @property
    def named(self) -> list[int]:
        """Indices of the frames that are named, in order."""
        return sorted({f.number for f in self.findings})

    def clean(self) -> list[Frame]:
        """Return the frames that are not named."""
        named = set(self.named)
        return [frame for k, frame in enumerate(self.frames) if k not in named]

    def to_json(self) -> dict[str, Any]:
        """Return all of it but the frames by name, for JSON; scores that are not there are null."""
        scores = {name: [None if np.isnan(x) else float(x) for x in values] for name, values in self.scores.items()}
        return {
            "n_frames": len(self.frames),
            "findings": [f._asdict() for f in self.findings],
            "limits": self.limits,
            "scores": {
                frame_name(frame, k): {name: values[k] for name, values in scores.items()}
                for k, frame in enumerate(self.frames)
            },
        }


def find_outliers(
    data: FrameSource | Sequence[Frame],
    options: TrainingOptions | None = None,
    threads: int | None = None,
    log: Log = quiet,
    progress: Progress = quiet,
    **reading: Any,
) -> Outliers:
    """Find frames whose labels contradict those of all others.

    The sparse estimator is fitted to the frames. Each label is compared with what the fit without its frame predicts,
    in units of the error bar of this prediction. Frames whose errors are too large are doubted: the fit is repeated
    without them, until the same frames are doubted as before.

    Args:
        data: what `read_frames` takes, or frames.
        options: of the fit.
        threads: without it OMP_NUM_THREADS if set, else the cores available.
        log, progress: as in `train`.
        reading: keywords of `read_frames`.

    Raises:
        DataError: as `read_frames`, or there are too few labelled frames.

    """
    frames = frames_of(data, **reading)
    wanted = with_wanted_stresses(frames, options or TrainingOptions())
    options = with_isolated_atoms(wanted, options or TrainingOptions(), log)[1]
    indices = [k for k, f in enumerate(wanted) if _is_compared(f, options.cutoff)]
    if len(indices) < FEWEST:
        raise DataError(
            f"there are {len(indices)} frames with energies, forces or stresses, and {FEWEST} are needed to find those "
            "that contradict the others; give more frames, or look at them with wk-potential data summary"
        )
    compared = [wanted[k] for k in indices]
    doubted, believed = _first_doubts(compared)
    fitted = fitting_options(options)
    for count in range(1, ROUNDS + 1):
        log(f"Fit {count}, without {int(doubted.sum())} of {len(compared)} frames")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of labels that contradict each other: they are named below
            errors = left_out_errors_of(compared, believed, doubted, fitted, thread_count(threads), quiet, progress)
        scores = _scores(compared, errors, doubted)
        limits = {name: _limit(values[~doubted], LEAST[name]) for name, values in scores.items()}
        before, doubted = doubted, _too_large(scores, limits)
        if (doubted == before).all():
            break
        pairs = zip(compared, errors, doubted, strict=True)
        believed = [predicted_labels(f, e) if d else f for f, e, d in pairs]
    findings = []
    for k in np.flatnonzero(doubted).tolist():
        findings += _findings(indices[k], compared[k], errors[k], k, scores, limits)
    findings += _contradictory_duplicates(compared, indices, scores, limits)
    whole = {name: np.full(len(frames), np.nan) for name in scores}
    for name, values in scores.items():
        whole[name][indices] = values
    return Outliers(frames, largest_first(findings), whole, limits)


def _is_compared(frame: Frame, cutoff: float) -> bool:
    """Whether a frame has labels that a fit can predict; isolated atoms have not."""
    return any(getattr(frame, kind) is not None for kind in KINDS) and not is_isolated(frame, cutoff)


def _first_doubts(frames: Sequence[Frame]) -> tuple[np.ndarray, list[Frame]]:
    """Frames (F,) that would spoil the first fit, and all frames, those with labels of a plausible size.

    They are frames that stand out, and frames of the same structure with different labels.
    """
    doubted = np.zeros(len(frames), bool)
    doubted[[f.number for f in standing_out(frames) if f.what in KINDS]] = True
    for group in structure_groups(frames):
        if not all(same_labels(frames[group[0]], frames[k]) for k in group):
            doubted[group] = True
    labelled = [k for k, f in enumerate(frames) if f.energy is not None]
    usual = dict(zip(labelled, expected_energies([frames[k] for k in labelled]) if labelled else [], strict=True))
    believed = list(frames)
    for k in np.flatnonzero(doubted).tolist():
        f = frames[k]
        zeros = {kind: np.zeros_like(getattr(f, kind)) for kind in KINDS[1:] if getattr(f, kind) is not None}
        believed[k] = replace(f, energy=float(usual[k]) if k in usual else None, **zeros)
    return doubted, believed


def _kind(name: str) -> LabelKind:
    """Kind of label of a score."""
    return LabelKind.FORCES if name in OF_FORCES else LabelKind[name.upper()]


def _scores(frames: Sequence[Frame], errors: Sequence[FrameErrors], doubted: np.ndarray) -> Scores:
    """Scores (F,) by name; error bars are scaled so that half of the frames that are not doubted are as they should."""
    raw: Scores = {name: np.full(len(errors), np.nan) for name in LEAST}
    for k, (frame, found) in enumerate(zip(frames, errors, strict=True)):
        for kind, own in found.items():
            raw[KINDS[kind]][k] = np.sqrt(np.mean(own.scaled**2))
        if frame.forces is not None:
            raw["atom"][k] = found[LabelKind.FORCES].scaled.max()
            raw["exchange"][k] = exchange_score(frame.forces, found[LabelKind.FORCES])
    out = {}
    for name, values in raw.items():
        if np.isnan(values).all():
            continue
        usual = norm.ppf(0.75) if name == "energy" else 1.0  # half of normal numbers are below, of their rms below 1
        alike = raw[KINDS[_kind(name)]]
        believed = alike[~doubted & ~np.isnan(alike)]
        out[name] = values / ((float(np.median(believed)) if len(believed) else 1.0) / usual or 1.0)
    return out


def _limit(values: np.ndarray, least: float) -> float:
    """Score above which a frame is named, from those of the frames that are not doubted."""
    found = values[~np.isnan(values)]
    if not len(found):
        return least
    middle, upper = np.quantile(found, [0.5, 0.75])
    return max(least, float(middle + FAR * (upper - middle)))


def _too_large(scores: Scores, limits: dict[str, float]) -> np.ndarray:
    """Frames (F,) of which a score is above its limit."""
    return np.any([np.nan_to_num(values) > limits[name] for name, values in scores.items()], axis=0)


def _findings(
    index: int, frame: Frame, errors: FrameErrors, k: int, scores: Scores, limits: dict[str, float]
) -> list[Finding]:
    """What is wrong in a frame that is doubted: an entry for each kind of label."""
    sizes: dict[LabelKind, float] = {}
    for name, values in scores.items():
        if values[k] > limits[name]:
            sizes[_kind(name)] = max(float(values[k]), sizes.get(_kind(name), 0.0))
    name = frame_name(frame, index)
    return [
        Finding(index, name, KINDS[kind], size, reason_of(kind, frame, errors, LabelKind.FORCES not in sizes))
        for kind, size in sizes.items()
    ]


def _contradictory_duplicates(
    frames: Sequence[Frame], indices: Sequence[int], scores: Scores, limits: dict[str, float]
) -> list[Finding]:
    """Frames of the same structure as others, but with other labels: those whose labels fit the others worse."""
    found = []
    for group in structure_groups(frames):
        worst = {k: max(float(np.nan_to_num(v[k])) / limits[name] for name, v in scores.items()) for k in group}
        best = min(group, key=lambda k: worst[k])
        for k in group:
            if not same_labels(frames[best], frames[k]):
                size = max(float(np.nan_to_num(v[k])) for v in scores.values())
                text = f"other labels than {frame_name(frames[best], indices[best])}, which has the same structure"
                found.append(Finding(indices[k], frame_name(frames[k], indices[k]), "structure", size, text))
    return found
