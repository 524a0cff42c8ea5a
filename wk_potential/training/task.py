"""What the steps of training share: the task, the result, the prediction of what it will take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..atoms.dataset import Dataset, Labels
from ..atoms.kinds import LabelKind
from ..compute.ranks import Communicator
from ..density.expansion import Density
from ..density.frames import Environments
from ..errors import NotEnoughMemoryError
from ..model.scale import Scale
from .baseline import fit_baseline
from .channels import model_density
from .limits import DEFAULT, Limits
from .options import TrainingOptions

Log = Callable[[str], None]
Progress = Callable[[str, float], None]


def quiet(*told: object) -> None:
    """Take the place of a log or a progress that nobody wants."""


@dataclass(frozen=True)
class Task:
    """What every step needs to know.

    Attributes:
        data: the training set.
        options: of the training.
        baseline: (n_elements,) eV, energies of the elements' atoms that the kernel does not have to learn.
        compositions: (k, n_elements) compositions for which the training set determines them.
        estimator: "full" or "sparse".
        densities: of each length scale, for energies.
        threads: how many.
        log: receives lines of text for people.
        progress: receives the name of a stage and the fraction of it that is done.
        comm: ranks that train together.
        limits: constants of training.
        trial: only the score is wanted: the final fit warns of its labels.

    """

    data: Dataset
    options: TrainingOptions
    baseline: np.ndarray
    compositions: np.ndarray
    estimator: str
    densities: list[Density]
    threads: int
    log: Log
    progress: Progress
    comm: Communicator = field(default_factory=Communicator)
    limits: Limits = DEFAULT
    trial: bool = False

    @property
    def elements(self) -> np.ndarray:
        """Sorted atomic numbers (n_elements,)."""
        return self.data.elements

    @cached_property
    def labels(self) -> Labels:
        """Energies, forces and stresses of all frames."""
        return self.data.labels(self.baseline)

    @cached_property
    def environments(self) -> list[Environments]:
        """Environments of all frames by each density; some of them are kept when they have been asked for."""
        return [Environments(self.data, density, self.limits.kept_bytes) for density in self.densities]


def make_task(
    data: Dataset, options: TrainingOptions, estimator: str, threads: int, log: Log | None = None,
    progress: Progress | None = None, comm: Communicator | None = None, limits: Limits = DEFAULT,
) -> Task:  # fmt: skip
    """Fit the baseline, make the densities, and return the task; arguments are attributes of `Task`."""
    baseline, compositions = fit_baseline(data, options.isolated_atoms)
    shapes = [shape for shape in (options.long, options.short if estimator == "full" else None) if shape]
    shapes = shapes if data.n_labels else []  # tensors have densities of their own
    densities = [model_density(data, options, shape, comm, limits.density, threads) for shape in shapes]
    log, progress = log or quiet, progress or quiet
    return Task(
        data, options, baseline, compositions, estimator, densities, threads, log, progress, comm or Communicator(),
        limits,
    )  # fmt: skip


@dataclass(frozen=True)
class LeftOut:
    """Leave-one-out errors: those of each frame by a fit without this frame.

    Attributes:
        residuals: function of the numbers of some frames. For each it returns the errors (n_labels,) in the units of
            the labels, or None if they were not computed. All ranks call it together.
        predicted: likewise, the errors and the standard deviations (2, n_labels) that the fit without the frame
            predicts for them, noise included; None if the estimator does not know them.

    """

    residuals: Callable[[np.ndarray], list[np.ndarray | None]]
    predicted: Callable[[np.ndarray], list[np.ndarray | None]] | None = None

    def looked_at(self, frames: np.ndarray) -> "LeftOut":
        """Compute the errors of these frames now; only these can be asked for afterwards."""
        found = dict(zip(frames, self.residuals(frames), strict=True))
        return LeftOut(lambda frames: [found[k] for k in frames])


@dataclass(frozen=True)
class Fit:
    """What an estimator returns.

    Attributes:
        scales: length scales of the model.
        noise: (3,) of each kind of label.
        errors: expected errors, for the header.
        remarks: more for the header.
        score: of the errors at frames that were left out, higher is better: `score_of_errors`.
        left_out: leave-one-out errors, None if there are too few frames.

    """

    scales: list[Scale]
    noise: np.ndarray
    errors: dict[str, float]
    remarks: dict[str, float | int | str]
    score: float
    left_out: LeftOut | None = None


def part_of(task: Task, stage: str, n_parts: int) -> Callable[[float], None]:
    """Return a function that receives the progress of a stage of several parts.

    Each part reports fractions that add up to one, and all parts count the same.
    """
    done = 0.0

    def report(fraction: float) -> None:
        nonlocal done
        done += fraction / n_parts
        task.progress(stage, min(done, 1.0))

    return report


def score_of_errors(
    errors: npt.ArrayLike, kinds: Sequence[LabelKind], importance: Sequence[float] = DEFAULT.importance
) -> float:
    """Score of errors of unseen labels, higher is better: minus the weighted sum of their logarithms.

    With logarithms no kind of label is given up for another.

    Args:
        errors: rms of some kinds of labels.
        kinds: which ones.
        importance: (3,) weights of the kinds, see `Limits`.

    """
    return -float(np.array(importance)[kinds] @ np.log(np.add(errors, 1e-12)))


def available_memory() -> float | None:
    """Gigabytes that are free without swapping, None if the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1.024e-6
    except OSError:
        pass
    return None


def kept_gigabytes(data: Dataset, width: int, most_bytes: float, rows: float) -> float:
    """Memory of the environments that are kept for a density, at most.

    Args:
        data: the frames.
        width: number of coefficients of an environment.
        most_bytes: `Limits.kept_bytes`.
        rows: of its coefficients and Jacobian.

    """
    return 1e-9 * min(most_bytes, 8 * rows * width * data.n_environments)


def predict_cost(task: Task, gigabytes: float, seconds: float) -> None:
    """Log the memory (of each rank) and the time that the fit will take, and refuse what does not fit.

    Raises:
        NotEnoughMemoryError: more than the machine has free.

    """
    each = f" on each of {task.comm.size} ranks" if task.comm.size > 1 else ""
    task.log(
        f"Predicted for the fit: {gigabytes:.2g} GB of memory, {max(seconds, 1):.2g} s on {task.threads} threads{each}"
    )
    free = available_memory()
    if free is not None and gigabytes > 0.95 * free:
        raise NotEnoughMemoryError(
            f"the fit needs {gigabytes:.2g} GB and {free:.2g} GB are free: train on fewer frames, or use the sparse "
            "estimator with fewer support points"
        )
