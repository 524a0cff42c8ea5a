"""Search for the density's parameters: each set of them is scored by a fit to some of the training frames.

The score is the logarithm of the marginal likelihood, maximal over order weights and noise (full estimator), or minus
the sum of the logarithms of the cross-validation errors (sparse). Only frames of the training set are seen.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from ..files import write_atomically
from .data import Frame, data_hash
from .options import TrainingOptions
from .task import Log, Progress, label_counts

LABELS = {"full": 1500, "sparse": 6000}  # of the frames on which a score is found
SUPPORT_POINTS = 300  # with which a score of the sparse estimator is found
EVALUATIONS = 60  # at most
DIGITS = 3  # of the parameters
BOUNDS = {
    "cutoff": (3.5, 9.0),
    "density_width": (0.12, 0.8),
    "density_growth": (1.5, 12.0),
    "short_cutoff": (1.6, 4.5),
    "short_density_width": (0.08, 0.6),
    "angular_weight": (-0.2, 1.2),
}


LINEAR = ("angular_weight",)  # all others are searched in logarithms


class _TimeUp(Exception):
    """The time for the search is over."""


def some_frames(frames: Sequence[Frame], n_labels: int, seed: int) -> list[Frame]:
    """Return random frames, at least two, that have about so many labels together."""
    order = np.random.default_rng(seed).permutation(len(frames))
    within = np.cumsum(np.array(label_counts(frames))[order]) <= n_labels
    within[:2] = True
    return [frames[k] for k in np.sort(order[within])]


def optimise(
    frames: Sequence[Frame],
    options: TrainingOptions,
    estimator: str,
    score: Callable[[Sequence[Frame], TrainingOptions], float],
    log: Log,
    progress: Progress,
    memory: Path | None = None,
) -> tuple[TrainingOptions, dict]:
    """Return the options of the highest score found, and what to say of the search.

    A quadratic model of the score is kept and its maximum tried (SciPy's COBYQA, a trust-region method that needs no
    derivatives).

    Args:
        frames: the training set.
        options: where the search begins; `optimise_minutes` bounds it.
        estimator: "full" or "sparse".
        score: of frames and options, the higher the better.
        log, progress: as in `train`.
        memory: file of the scores so far; a search that was interrupted goes on from there.

    """
    chosen = some_frames(frames, LABELS[estimator], options.seed)
    names = [name for name in BOUNDS if estimator == "full" or not name.startswith("short")]
    if options.short is None:
        names = [name for name in names if not name.startswith("short")]
    fixed = options.model_dump(mode="json", exclude=set(names))
    key = hashlib.sha256(json.dumps([data_hash(chosen), fixed, names], sort_keys=True).encode()).hexdigest()
    known = _recall(memory, key)
    log(f"Searching {', '.join(names)} on {len(chosen)} frames, for at most {options.optimise_minutes:g} minutes")
    start, best, first, tried = time.monotonic(), (-np.inf, options), None, 0

    def options_of(x) -> TrainingOptions:
        plain = [v if name in LINEAR else np.exp(v) for name, v in zip(names, x, strict=True)]
        values = {name: float(f"{v:.{DIGITS}g}") for name, v in zip(names, plain, strict=True)}
        taper = options.cutoff - min(options.cutoff_width, options.cutoff)  # where the cutoff function begins
        return options.model_copy(update={**values, "cutoff_width": round(max(values["cutoff"] - taper, 0.5), 4)})

    def objective(x) -> float:
        nonlocal best, first, tried
        candidate = options_of(x)
        label = json.dumps([getattr(candidate, name) for name in names])
        if label not in known:
            if time.monotonic() - start > 60 * options.optimise_minutes:
                raise _TimeUp
            known[label] = score(chosen, candidate)
            if memory is not None:
                write_atomically(memory, json.dumps({"key": key, "scores": known}, indent=1).encode())
        tried += 1
        first = known[label] if first is None else first
        if known[label] > best[0]:
            best = (known[label], candidate)
        text = ", ".join(f"{name} {getattr(candidate, name):g}" for name in names)
        log(f"  {tried:2d}: score {known[label]:.2f} (best {best[0]:.2f}) at {text}")
        elapsed = (time.monotonic() - start) / (60 * options.optimise_minutes)
        progress("search", min(1.0, max(elapsed, tried / EVALUATIONS)))
        return -known[label]

    points = np.array([[*BOUNDS[name], getattr(options, name)] for name in names])
    logarithmic = [name not in LINEAR for name in names]
    points[logarithmic] = np.log(points[logarithmic])
    begin = np.clip(points[:, 2], points[:, 0], points[:, 1])
    settings = {"maxfev": EVALUATIONS, "initial_tr_radius": 0.15, "final_tr_radius": 0.02}
    try:
        minimize(objective, begin, method="COBYQA", bounds=points[:, :2], options=settings)
    except _TimeUp:
        log("The time for the search is over")
    progress("search", 1.0)
    found = {name: getattr(best[1], name) for name in names}
    log("Chosen: " + ", ".join(f"{name} {value:g}" for name, value in found.items()))
    remarks = {"evaluations": tried, "first_score": first, "score": best[0], "frames": len(chosen), "chosen": found}
    return best[1], remarks


def _recall(memory: Path | None, key: str) -> dict[str, float]:
    """Scores of an earlier search of the same data and options."""
    if memory is None:
        return {}
    try:
        found = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return found["scores"] if isinstance(found, dict) and found.get("key") == key else {}
