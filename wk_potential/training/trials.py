"""What training tries on some of its frames: shapes of the density, cutoff, lmax and order, and so on.

The score of leave-one-out or cross-validation errors decides (`task.score_of_errors`). What the user has set is not
tried.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii

from ..atoms.dataset import Dataset
from .limits import DEFAULT, TrialLimits
from .mapping.samples import SAME_SIZE, lacking_mixtures
from .options import TrainingOptions
from .task import Log, Progress, quiet

Score = Callable[[Dataset, TrainingOptions], float]


def tried(
    data: Dataset,
    options: TrainingOptions,
    estimator: str,
    score: Score,
    log: Log,
    limits: TrialLimits = DEFAULT.trials,
    progress: Progress = quiet,
) -> TrainingOptions:
    """Return the options of the best scores, with margins: shape, cutoff, lmax and order, channels, mixing, saturation.

    Args:
        data: the training set.
        options: those that are set stay.
        estimator: "full" or "sparse".
        score: of a data set and options, the higher the better; the same on all ranks.
        log: as in `train`.
        limits: what is tried, and the margins.
        progress: as in `train`.

    """
    few = Dataset(data.subset(data.sampled(int(limits.labels.of(estimator)), 2, options.seed, limits.environments)))
    one_element = len(data.elements) == 1
    mixed = options.element_mixing is None and not one_element
    saturated = options.saturation is None and not (estimator == "sparse" and one_element)
    shapes = _free_shapes(data, options, limits) if estimator == "sparse" or options.optimise else []
    fewer = estimator == "sparse" and not one_element and "channel_tolerance" not in options.model_fields_set
    farther = _may_change(data, options, limits.far)
    bodies = _free_bodies(data, options, limits) if estimator == "sparse" else []
    # the first score of each trial is that of the last one
    n = len(shapes) + farther + len(bodies) + 2 * fewer
    n += (len(limits.mixings) if mixed else 0) + saturated
    n += bool(shapes or farther or bodies or fewer or mixed or saturated)
    mixing_gain = limits.energy_mixing_gain if data.energies_alone else limits.mixing_gain
    mixing_gain = -limits.alloy_margin if is_incomplete_alloy(data) else mixing_gain
    trials = _Trials(few, _counted(score, n, progress), log, limits, is_incomplete_alloy(data), mixing_gain)
    plain: float | None = None
    if shapes:
        options, plain = trials.with_shape(options, shapes)
    if farther:
        options, plain = trials.with_cutoff(options, plain)
    if bodies:
        options, plain = trials.with_order(options, bodies, plain)
    if fewer:
        options, plain = trials.with_channels(options, plain)
    if mixed:
        options, plain = trials.with_mixing(options, plain)
    if options.saturation is None:
        if estimator == "sparse" and one_element:  # is described less well with it, and no collapse of one is known
            return options.model_copy(update={"saturation": 0.0})
        return trials.with_saturation(options, limits.saturation.of(estimator), plain)
    return options


def is_incomplete_alloy(data: Dataset) -> bool:
    """Whether the elements are of about the same size, and some frames lack some of them.

    Then not all of them have met, and frames that are left out cannot tell how well their mixtures are described.
    """
    return bool(lacking_mixtures(data)) and _are_of_same_size(data)


def _are_of_same_size(data: Dataset) -> bool:
    """Whether the elements are of about the same size."""
    return bool(np.ptp(np.log(covalent_radii[data.elements])) < SAME_SIZE)


def importance_of_few(importance: Sequence[float], counts: np.ndarray, doubted: float) -> tuple[float, float, float]:
    """Return the importance (3,) of the kinds of label in a score of few labels.

    The logarithm of an rms of n errors is uncertain by (2 n)^(-1/2), and by more where a few of them are large. So a
    kind counts the less, the fewer its labels are; all kinds together count as much as before.

    Args:
        importance: (3,) of the kinds where there are many labels.
        counts: (3,) numbers of labels.
        doubted: number of labels that count half.

    """
    before = np.where(counts > 0, importance, 0.0)
    after = before * counts / (counts + doubted)
    energies, forces, stresses = (after * before.sum() / after.sum()).tolist()
    return energies, forces, stresses


def _free_shapes(data: Dataset, options: TrainingOptions, limits: TrialLimits) -> list[Mapping[str, float]]:
    """Shapes to try: those of which the user has set nothing."""
    shapes = (*limits.shapes, limits.sharp) if data.energies_alone else limits.shapes
    return [shape for shape in shapes if not options.model_fields_set.intersection(shape)]


def _free_bodies(data: Dataset, options: TrainingOptions, limits: TrialLimits) -> list[Mapping[str, float]]:
    """Other lmax and order to try: where frames are periodic, and with the shape for metals if these could be some."""
    bodies = (limits.finer, limits.metal) if _are_of_same_size(data) else (limits.finer,)
    return [body for body in bodies if _may_change(data, options, body)]


def _may_change(data: Dataset, options: TrainingOptions, values: Mapping[str, float]) -> bool:
    """Whether options are to be tried with other values: some frame is periodic, and the user has set none of them."""
    given = options.model_fields_set
    orders = "order" in values and options.order_weights is not None
    return any(frame.pbc.any() for frame in data) and not orders and not given.intersection(values)


def _counted(score: Score, n: int, progress: Progress) -> Score:
    """Return the score, which reports how many of n have been computed."""
    done = 0

    def counted(data: Dataset, options: TrainingOptions) -> float:
        nonlocal done
        progress("trials", done / n)
        found = score(data, options)
        done += 1
        progress("trials", done / n)
        return found

    return counted


def _without_saturation(options: TrainingOptions) -> TrainingOptions:
    """Return the options without saturation, unless that is set."""
    return options.model_copy(update={"saturation": options.saturation or 0.0})


@dataclass(frozen=True)
class _Trials:
    """What the trials share. Scores are without saturation unless that is set, but for the trial of saturation."""

    few: Dataset
    score: Score
    log: Log
    limits: TrialLimits
    alloy: bool  # of whose elements not all have met: see `is_incomplete_alloy`
    mixing_gain: float  # by which a score must rise for mixing

    def _best(
        self, options: TrainingOptions, changes: Sequence[Mapping[str, float]], gain: float, plain: float | None = None
    ) -> tuple[Mapping[str, float], list[float], float]:
        """Return the change of the best score, none unless that gains enough, all scores, and the one of the choice.

        `plain` is the score without a change, if it is known; it comes first.
        """
        without = _without_saturation(options)
        scores = [self.score(self.few, without) if plain is None else plain]
        scores += [self.score(self.few, without.model_copy(update=dict(change))) for change in changes]
        best = int(np.argmax(scores))
        best = best if scores[best] > scores[0] + gain else 0
        return ({}, *changes)[best], scores, scores[best]

    def with_shape(
        self, options: TrainingOptions, shapes: Sequence[Mapping[str, float]]
    ) -> tuple[TrainingOptions, float]:
        """Return the options with the shape of the best score, if it is clearly better, and its score."""
        chosen, scores, score = self._best(options, shapes, self.limits.shape_gain)
        options = options.model_copy(update=dict(chosen))
        self.log(
            f"{_shape(options)} (scores of the shapes tried, higher is better: "
            + ", ".join(f"{s:.2f}" for s in scores) + ")"
        )  # fmt: skip
        return options, score

    def with_cutoff(self, options: TrainingOptions, plain: float | None) -> tuple[TrainingOptions, float]:
        """Return the options with a longer cutoff if that pays, and their score; `plain` is that without, if known."""
        without, far = _without_saturation(options), dict(self.limits.far)
        found = {options.cutoff: self.score(self.few, without) if plain is None else plain}
        found[far["cutoff"]] = self.score(self.few, without.model_copy(update=far))
        pays = found[far["cutoff"]] > found[options.cutoff] + self.limits.far_gain
        options = options.model_copy(update=far if pays else {})
        self.log(f"Cutoff {options.cutoff:g} Å ({_scores(found)})")
        return options, found[options.cutoff]

    def with_order(
        self, options: TrainingOptions, bodies: Sequence[Mapping[str, float]], plain: float | None
    ) -> tuple[TrainingOptions, float]:
        """Return the options with another lmax and order if that pays, and their score; `plain` is that without."""
        chosen, scores, score = self._best(options, bodies, self.limits.body_gain, plain)
        options = options.model_copy(update=dict(chosen))
        shape = f", {_shape(options)}" if "cutoff" in chosen else ""
        self.log(
            f"lmax {options.lmax}, order {options.order}{shape} (scores of those tried, higher is better: "
            + ", ".join(f"{s:.2f}" for s in scores) + ")"
        )  # fmt: skip
        return options, score

    def with_channels(self, options: TrainingOptions, plain: float | None) -> tuple[TrainingOptions, float]:
        """Return the options with the fewest channels that score hardly less than many, and their score.

        `plain` is the score of many, if it is known.
        """
        without, many = _without_saturation(options), options.channel_tolerance
        found = {many: self.score(self.few, without) if plain is None else plain}

        def enough(tolerance: float) -> bool:
            found[tolerance] = self.score(self.few, without.model_copy(update={"channel_tolerance": tolerance}))
            return found[tolerance] > found[many] - self.limits.channels_loss

        low, middle, high = self.limits.channels
        known, other = (middle, high) if enough(middle) else (many, low)
        chosen = other if enough(other) else known
        self.log(f"Channel tolerance {chosen:g} ({_scores(found)})")
        return options.model_copy(update={"channel_tolerance": chosen}), found[chosen]

    def with_mixing(self, options: TrainingOptions, plain: float | None) -> tuple[TrainingOptions, float]:
        """Return the options with mixed elements if that pays, and their score; `plain` is that without, if known."""
        without = _without_saturation(options)
        found = {0.0: self.score(self.few, without) if plain is None else plain}
        for mixing in self.limits.mixings:
            found[mixing] = self.score(self.few, without.model_copy(update={"element_mixing": mixing}))
        best = max(self.limits.mixings, key=lambda m: found[m])
        chosen = best if found[best] > found[0.0] + self.mixing_gain else 0.0
        self.log(f"Element mixing {chosen:g} ({_scores(found)})")
        return options.model_copy(update={"element_mixing": chosen}), found[chosen]

    def with_saturation(self, options: TrainingOptions, some: float, plain: float | None) -> TrainingOptions:
        """Return the options with some saturation, unless the score is clearly better without, `plain` if known."""
        found = {0.0: plain} if plain is not None else {}
        for b in (0.0, some):
            if b not in found:
                found[b] = self.score(self.few, options.model_copy(update={"saturation": b}))
        gain = self.limits.alloy_margin if self.alloy else -self.limits.saturation_loss
        chosen = some if found[some] > found[0.0] + gain else 0.0
        self.log(f"Saturation {chosen:g} ({_scores(found)})")
        return options.model_copy(update={"saturation": chosen})


def _shape(options: TrainingOptions) -> str:
    """Shape of the density, for people."""
    return (
        f"Cutoff {options.cutoff:g} Å tapered over {options.long.cutoff_width:g} Å, Gaussians of "
        f"{options.density_width:g} Å that grow over {options.density_growth:g} Å, angular weight "
        f"{options.angular_weight:g}"
    )


def _scores(found: dict[float, float]) -> str:
    """Scores of the values tried, for people."""
    return "scores, higher is better: " + ", ".join(f"{value:g}: {score:.2f}" for value, score in found.items())
