"""A model that grows with its training set: cheap updates, and now and then a new choice of hyperparameters."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from ..atoms.dataset import Dataset, data_hash
from ..atoms.frame import Frame
from ..atoms.kinds import KINDS
from ..baselines.labels import less_baseline
from ..compute.threads import thread_count
from ..errors import DataError, MappingError
from ..model.bonds import count_close
from ..model.environments import as_arrays
from ..model.model import Model
from ..model.scale import Scale
from ..model.support import SupportPoints
from ..training.difference import with_wanted_stresses, without_potential
from ..training.full.fit import leave_one_out_errors, refit_full
from ..training.isolated import with_isolated_atoms
from ..training.limits import DEFAULT, Limits
from ..training.mapping.mapping import map_model
from ..training.options import TrainingOptions
from ..training.task import Fit, LeftOut, Log, Progress, Task, quiet
from ..training.train import completed, header, train_frames
from .growing import GrowingRegression


class GrowingModel:
    """A model and its training set, to which frames are added.

    An update keeps density, order weights, noise and baseline. The sparse estimator adds new labels and support points
    to its factorisation (`GrowingRegression`), the full one solves again for all labels. Error bars are made anew, from
    exact leave-one-out errors. When the number of labels has grown by half since the hyperparameters were chosen,
    everything is trained again.

    Args:
        frames: with labels, two at least.
        options: of the training; error bars there are always.
        threads: as in `thread_count`.
        log: receives lines of text for people.
        progress: receives the name of a stage and the fraction of it that is done.
        model: to go on from, if a growing model has made it from the first of these frames; another is not used.
        limits: constants of training.

    Attributes:
        model: trained on the frames so far, with error bars. Only `map` makes its mapped form.
        data: the training set.

    Raises:
        DataError: fewer than two frames.

    """

    def __init__(
        self,
        frames: Sequence[Frame],
        options: TrainingOptions | None = None,
        threads: int | None = None,
        log: Log | None = None,
        progress: Progress | None = None,
        model: Model | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        self.options, self.threads = options or TrainingOptions(), thread_count(threads)
        self.log, self.progress = log or quiet, progress or quiet
        # a regression that grows has support points alone
        self.limits = replace(limits, sparse=replace(limits.sparse, explicit=0.0))
        frames, options, self.baseline = without_potential(frames, self.options, None, self.threads, self.log)
        wanted, self.options = with_isolated_atoms(with_wanted_stresses(frames, options), options, self.log)
        self.data = Dataset(wanted)
        if len(self.data) < 2:
            raise DataError("a model that is to grow needs two labelled frames to begin with, or it has no error bars")
        self._regression: GrowingRegression | None = None
        self.model: Model
        if model is None or not self._continue(model):
            self._train()

    def add(self, frames: Sequence[Frame]) -> None:
        """Add frames with labels to the training set, and update the model."""
        wanted = with_wanted_stresses(frames, self.options)
        self._add(wanted if self.baseline is None else less_baseline(wanted, self.baseline, self.threads))

    def _add(self, frames: Sequence[Frame]) -> None:
        """Add frames whose labels are less the baseline."""
        self.data = Dataset([*self.data, *frames])
        known = self.model
        outgrown = self.data.n_labels >= self.limits.outgrown * known.info["training"]["optimised_labels"]
        if outgrown or any(_new(known, frame) for frame in frames):
            self._train()
            return
        try:
            self._update()
        except np.linalg.LinAlgError:  # the noise was chosen too small for these frames
            self._train()

    def map(self) -> None:
        """Give the model its mapped form, if the options want it and there is one."""
        if self.options.map and not self.model.is_mapped:
            try:
                tolerance = self.options.map_tolerance
                self.model = map_model(self.model, self.data, tolerance, self.threads, self.log, limits=self.limits)
            except MappingError as error:
                self.log(f"Not mapped: {error}")

    @property
    def _unmapped(self) -> TrainingOptions:
        return self.options.model_copy(update={"map": False, "uncertainty": True})

    def _train(self) -> None:
        """Choose hyperparameters and support points anew."""
        model = train_frames(
            self.data, self._unmapped, self.threads, self.log, self.progress, limits=self.limits,
            baseline=self.baseline,
        )  # fmt: skip
        model.info["training"]["optimised_labels"] = self.data.n_labels
        self.model, self._regression = model, None

    def _continue(self, model: Model) -> bool:
        """Go on from a model if it was trained on the first frames; tells whether it was."""
        facts = model.info.get("training", {})
        frames, n_known = list(self.data), facts.get("frames", 0)
        known = Dataset(frames[:n_known])
        if "optimised_labels" not in facts or facts["data_hash"] != data_hash(known):
            return False
        self.model = replace(model, baseline_potential=self.baseline)
        if new := frames[n_known:]:
            self.data = known
            self._add(new)
        return True

    def _update(self) -> None:
        """Fit to all frames with the hyperparameters of the model."""
        begin, model = time.perf_counter(), self.model
        facts = model.info["training"]
        task = Task(
            Dataset(self.data, model.elements), TrainingOptions(**model.info["options"]), model.baseline,
            model.compositions, facts["estimator"], [scale.density for scale in model.scales], self.threads, quiet,
            self.progress, limits=self.limits,
        )  # fmt: skip
        chosen = model.info["hyperparameters"]["noise"]
        noise = np.array([chosen.get(kind, 1.0) for kind in KINDS])
        with threadpool_limits(1, user_api="blas"):
            if facts["estimator"] == "full":
                fit = refit_full(task, np.array([scale.order_weights for scale in model.scales]), noise)
            else:
                fit = self._grown(task, noise)
        info = header(task, fit, {}, {}, time.perf_counter() - begin)
        info["training"]["optimised_labels"] = facts["optimised_labels"]
        self.model = completed(replace(model, scales=fit.scales, info=info, uncertainty=None), task, fit)

    def _grown(self, task: Task, noise: np.ndarray) -> Fit:
        """Fit of the sparse estimator."""
        scale, first = self.model.scales[0], self.model.info["training"]["frames"]
        if self._regression is None:
            self._regression = GrowingRegression(
                scale.density,
                scale.order_weights[0],
                noise,
                task.elements,
                task.baseline,
                self.threads,
                self.limits.kept_bytes,
            )
            self._regression.add(task.data[:first].frames, [s.coefficients for s in scale.support])
        grown = self._regression
        grown.add(task.data[grown.n_frames :].frames)
        points = [SupportPoints(c, w) for c, w in zip(grown.support, grown.weights(), strict=True)]
        residuals = [grown.left_out(k) for k in range(len(task.data))]
        errors = leave_one_out_errors(task.data, np.concatenate(residuals))
        left_out = LeftOut(lambda frames: [residuals[k] for k in frames])
        return Fit([Scale(scale.density, scale.order_weights, points)], noise, errors, {}, 0.0, left_out)


def _new(model: Model, frame: Frame) -> bool:
    """Whether a frame has elements, distances or a composition that the training set of the model has not."""
    counts = np.array([np.sum(frame.numbers == z) for z in model.elements], float)
    outside = counts - (counts @ model.compositions.T) @ model.compositions
    if counts.sum() < len(frame) or np.linalg.norm(outside) > 1e-6 * np.linalg.norm(counts):
        return True
    structure = as_arrays(frame, model.elements, model.cutoff)
    return model.uncertainty is None or bool(np.any(count_close(structure, model.uncertainty.closest)))
