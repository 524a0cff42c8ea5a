"""Search for the density's parameters: each set of them is scored by a fit to some of the training frames.

The score is minus the sum of the logarithms of leave-one-out errors (full estimator, with the order weights and the
noise of highest likelihood) or of cross-validation errors (sparse). Only frames of the training set are used.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from ..atoms.dataset import Dataset, data_hash
from ..atoms.files import write_atomically
from ..compute.ranks import Communicator
from .limits import DEFAULT, Limits
from .options import TrainingOptions
from .task import Log, Progress

LINEAR = ("angular_weight",)  # all others are searched in logarithms


class _TimeUp(Exception):
    """The time for the search is over."""


class _Search:
    """The scores so far.

    Ranks take every decision together: the time that counts, and the file, are those of the first.
    """

    def __init__(
        self,
        data: Dataset,
        options: TrainingOptions,
        names: Sequence[str],
        score: Callable[[Dataset, TrainingOptions], float],
        log: Log,
        progress: Progress,
        memory: Path | None,
        comm: Communicator,
        limits: Limits,
    ) -> None:
        self.limits, self.data, self.options, self.names, self.score = limits.search, data, options, names, score
        self.log, self.progress, self.memory, self.comm = log, progress, memory, comm
        fixed = options.model_dump(mode="json", exclude=set(names))
        asked = [data_hash(data), fixed, names, *([] if limits == DEFAULT else [limits.to_json()])]
        self.key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        self.known = comm.share(_recall(memory, self.key), 0)
        self.start = time.monotonic()
        self.first: float | None = None
        self.best, self.found, self.tried = -np.inf, options, 0
        self.lmax = options.lmax

    def options_at(self, x: np.ndarray) -> TrainingOptions:
        """Return the options that a point stands for."""
        plain = [v if name in LINEAR else np.exp(v) for name, v in zip(self.names, x, strict=True)]
        values = {name: float(f"{v:.{self.limits.digits}g}") for name, v in zip(self.names, plain, strict=True)}
        return self.options.model_copy(update={**values, "lmax": self.lmax})

    def point(self, options: TrainingOptions) -> np.ndarray:
        """Return the point that stands for options."""
        values = [(name in LINEAR, getattr(options, name)) for name in self.names]
        return np.array([value if linear else np.log(value) for linear, value in values])

    def time_used(self) -> float:
        """Return the fraction of the time that is used."""
        return self.comm.share((time.monotonic() - self.start) / (60 * self.options.optimise_minutes), 0)

    def __call__(self, candidate: TrainingOptions) -> float:
        """Return the score of options, and keep it.

        Raises:
            _TimeUp: the time is over; scores that are known are returned nevertheless.

        """
        label = json.dumps([getattr(candidate, name) for name in (*self.names, "lmax")])
        if label not in self.known:
            if self.time_used() > 1:
                raise _TimeUp
            self.known[label] = self.score(self.data, candidate)
            if self.memory is not None and self.comm.rank == 0:
                text = json.dumps({"key": self.key, "scores": self.known}, indent=1)
                write_atomically(self.memory, text.encode())
        score = self.known[label]
        self.tried += 1
        self.first = score if self.first is None else self.first
        if score > self.best:
            self.best, self.found = score, candidate
        place = ", ".join(f"{name} {getattr(candidate, name):g}" for name in self.names)
        place += "" if candidate.lmax == self.options.lmax else f", lmax {candidate.lmax}"
        self.log(f"  {self.tried:2d}: score {score:.2f} (higher is better, best so far {self.best:.2f}) at {place}")
        self.progress("search", min(1.0, max(self.time_used(), self.tried / self.limits.evaluations)))
        return score

    def refine(self) -> None:
        """Search with one more angular momentum from now on, if that pays."""
        before, plain = self.best, self.found
        larger = plain.model_copy(update={"lmax": plain.lmax + 1})
        if plain.lmax < self.limits.lmax and self(larger) > before + self.limits.lmax_gain:
            self.lmax += 1
        else:
            self.best, self.found = before, plain


def optimise(
    data: Dataset,
    options: TrainingOptions,
    estimator: str,
    score: Callable[[Dataset, TrainingOptions], float],
    log: Log,
    progress: Progress,
    memory: Path | None = None,
    comm: Communicator | None = None,
    limits: Limits = DEFAULT,
) -> tuple[TrainingOptions, dict[str, Any]]:
    """Return the options of the highest score found, and remarks on the search for the header.

    A quadratic model of the score is kept and its maximum tried (SciPy's COBYQA, a trust-region method that needs no
    derivatives), with one more angular momentum if that raises the score by `SearchLimits.lmax_gain`.

    Args:
        data: the training set.
        options: where the search begins; `optimise_minutes` bounds it.
        estimator: "full" or "sparse".
        score: of a data set and options, the higher the better; the same on all ranks.
        log, progress: as in `train`.
        memory: file of the scores so far; a search that was interrupted goes on from there.
        comm: ranks that search together.
        limits: constants of training.

    """
    bounds = vars(limits.search.bounds)
    most, atoms = int(limits.search.labels.of(estimator)), limits.search.environments
    chosen = Dataset(data.subset(data.sampled(most, 2, options.seed, atoms)))
    short = estimator == "full" and options.short is not None
    names = [name for name in bounds if short or not name.startswith("short")]
    search = _Search(chosen, options, names, score, log, progress, memory, comm or Communicator(), limits)
    log(f"Searching {', '.join(names)} on {len(chosen)} frames, for at most {options.optimise_minutes:g} minutes")
    low, high = (search.point(options.model_copy(update={n: bounds[n][side] for n in names})) for side in (0, 1))
    settings = {"maxfev": limits.search.evaluations, "initial_tr_radius": 0.15, "final_tr_radius": 0.02}
    try:
        begin, box = np.clip(search.point(options), low, high), np.column_stack([low, high])
        search(search.options_at(begin))
        search.refine()
        minimize(lambda x: -search(search.options_at(x)), begin, method="COBYQA", bounds=box, options=settings)
    except _TimeUp:
        log("The time for the search is over")
    progress("search", 1.0)
    found = {name: getattr(search.found, name) for name in (*names, "lmax")}
    log("Chosen: " + ", ".join(f"{name} {value:g}" for name, value in found.items()))
    remarks = {"first_score": search.first, "score": search.best, "frames": len(chosen), "chosen": found}
    return search.found, {"evaluations": search.tried, **remarks}


def _recall(memory: Path | None, key: str) -> dict[str, float]:
    """Scores of an earlier search of the same data and options."""
    if memory is None:
        return {}
    try:
        found = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return found["scores"] if isinstance(found, dict) and found.get("key") == key else {}
