"""What the steps of training share: the task, the result, the prediction of what it will take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..atoms.frame import Frame
from ..compute.ranks import Communicator
from ..density.expansion import Density
from ..errors import NotEnoughMemoryError
from ..model.scale import Scale
from .options import TrainingOptions

# weight of the logarithm of the error of energies, forces and stresses in a score. Stresses count less: those of
# plane-wave codes may contradict the energies (Pulay stress), and then the energies are what to believe
IMPORTANCE = np.array([1.0, 1.0, 0.3])
Log = Callable[[str], None]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Task:
    """What every step needs to know."""

    frames: Sequence[Frame]
    options: TrainingOptions
    elements: np.ndarray
    baseline: np.ndarray
    compositions: np.ndarray
    estimator: str
    densities: list[Density]
    threads: int
    log: Log
    progress: Progress
    comm: Communicator = field(default_factory=Communicator)


@dataclass(frozen=True)
class LeftOut:
    """Errors at frames by fits without them, one left out at a time.

    Attributes:
        residuals: of some frames, given by their numbers: for each (n_labels,) in the units of its labels, or None for
            those that were not looked at. All ranks call it together.

    """

    residuals: Callable[[np.ndarray], list[np.ndarray | None]]

    def looked_at(self, frames: np.ndarray) -> "LeftOut":
        """Return the same with the residuals of these frames at hand, the only ones that can be asked for."""
        found = dict(zip(frames, self.residuals(frames), strict=True))
        return LeftOut(lambda frames: [found[k] for k in frames])


@dataclass(frozen=True)
class Fit:
    """What an estimator returns: the length scales of the model and what the header says of them."""

    scales: list[Scale]
    noise: np.ndarray
    errors: dict[str, float]
    remarks: dict[str, float | int | str]
    score: float  # of the errors at frames that were left out, the higher the better: `score_of_errors`
    left_out: LeftOut | None = None  # where there are enough frames to leave some out


def part_of(task: Task, stage: str, n_parts: int) -> Callable[[float], None]:
    """Progress of a stage that parts of equal weight add to, each fractions that sum to one."""
    done = 0.0

    def report(fraction: float) -> None:
        nonlocal done
        done += fraction / n_parts
        task.progress(stage, min(done, 1.0))

    return report


def score_of_errors(errors, kinds) -> float:
    """Minus the sum of the logarithms of errors of unseen labels, weighted by `IMPORTANCE`, so that none is sacrificed.

    Args:
        errors: rms of some kinds of labels.
        kinds: which ones.

    """
    return -float(IMPORTANCE[kinds] @ np.log(np.add(errors, 1e-12)))


def available_memory() -> float | None:
    """Gigabytes that can be had without swapping, None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1.024e-6
    except OSError:
        pass
    return None


def predict_cost(task: Task, gigabytes: float, seconds: float) -> None:
    """Say what memory (of each rank) and time the fit will take, and refuse what cannot fit.

    Raises:
        NotEnoughMemoryError: more than the machine has free.

    """
    each = f" on each of {task.comm.size} ranks" if task.comm.size > 1 else ""
    task.log(f"Predicted: {gigabytes:.2g} GB of memory, {max(seconds, 1):.2g} s on {task.threads} threads{each}")
    free = available_memory()
    if free is not None and gigabytes > 0.95 * free:
        raise NotEnoughMemoryError(
            f"the fit needs {gigabytes:.2g} GB and {free:.2g} GB are free: train on fewer frames, or use the sparse "
            "estimator with fewer support points"
        )
