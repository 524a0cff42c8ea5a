"""What training tries on some of its frames before it begins: shapes of the density, mixed elements, saturation.

The score decides (`task.score_of_errors`), of errors at frames that were left out. What the user has set is not tried.
"""

from collections.abc import Callable

import numpy as np

from ..atoms.dataset import Dataset
from .options import TrainingOptions
from .task import Log

# Tried by the sparse estimator, and before a search: support points want less weight of angles, dense metals a shorter
# cutoff too
SHAPES: tuple[dict[str, float], ...] = (
    {"angular_weight": 0.0},
    {"angular_weight": 0.0, "cutoff": 5.0, "cutoff_width": 2.0},
)
GAIN = 0.5  # by which the score must rise for another shape: long runs are stable with that of the defaults
MIXINGS = 0.6, 0.8  # of elements, tried beside none: alloys of many metals gain from it, molecules and water do not
MIXING_GAIN = 0.2  # by which the score must rise for it
SATURATION = {"full": 2.0, "sparse": 1.0}  # tried beside none
LABELS = {"full": 800, "sparse": 6000}  # of the frames that are used
SAFETY = 0.2  # what saturation may cost of this score: molecules gain from it, and a liquid may collapse without it
Score = Callable[[Dataset, TrainingOptions], float]


def tried(data: Dataset, options: TrainingOptions, estimator: str, score: Score, log: Log) -> TrainingOptions:
    """Return the options with the shape, mixing and saturation of the best scores, with margins for safety.

    Args:
        data: the training set.
        options: those that are set stay.
        estimator: "full" or "sparse".
        score: of a data set and options, the higher the better; the same on all ranks.
        log: as in `train`.

    """
    few = Dataset(data.subset(data.sampled(LABELS[estimator], 2, options.seed)))
    one_element = len(data.elements) == 1
    plain = None
    if estimator == "sparse" or options.optimise:
        options, plain = _with_shape(few, options, score, log)
    if options.element_mixing is None and not one_element:
        options, plain = _with_mixing(few, options, score, log, plain)
    if options.saturation is None:
        if estimator == "sparse" and one_element:  # is described less well with it, and no collapse of one is known
            return options.model_copy(update={"saturation": 0.0})
        return _with_saturation(few, options, SATURATION[estimator], score, log, plain)
    return options


def _without_saturation(options: TrainingOptions) -> TrainingOptions:
    """Return the options without saturation unless that is set."""
    return options.model_copy(update={"saturation": options.saturation or 0.0})


def _with_shape(few: Dataset, options: TrainingOptions, score: Score, log: Log) -> tuple[TrainingOptions, float | None]:
    """Return the options with the shape that pays, and its score, which is without saturation unless that is set."""
    free = [shape for shape in SHAPES if not options.model_fields_set.intersection(shape)]
    if not free:
        return options, None
    plain = _without_saturation(options)
    scores = [score(few, plain.model_copy(update=shape)) for shape in ({}, *free)]
    best = int(np.argmax(scores))
    best = best if scores[best] > scores[0] + GAIN else 0
    options = options.model_copy(update=({}, *free)[best])
    log(
        f"Cutoff {options.cutoff:g} Å tapered over {options.long.cutoff_width:g} Å, angular weight "
        f"{options.angular_weight:g} (scores " + ", ".join(f"{s:.2f}" for s in scores) + ")"
    )
    return options, scores[best]


def _with_mixing(
    few: Dataset, options: TrainingOptions, score: Score, log: Log, plain: float | None
) -> tuple[TrainingOptions, float]:
    """Return the options with mixed elements if that pays, and their score as that of `_with_shape`."""
    without = _without_saturation(options)
    found = {0.0: score(few, without) if plain is None else plain}
    found |= {m: score(few, without.model_copy(update={"element_mixing": m})) for m in MIXINGS}
    best = max(found, key=lambda m: found[m])
    chosen = best if found[best] > found[0.0] + MIXING_GAIN else 0.0
    log(f"Mixing of elements {chosen:g} (scores " + ", ".join(f"{m:g}: {s:.2f}" for m, s in found.items()) + ")")
    return options.model_copy(update={"element_mixing": chosen}), found[chosen]


def _with_saturation(
    few: Dataset, options: TrainingOptions, some: float, score: Score, log: Log, plain: float | None
) -> TrainingOptions:
    """Return the options with some saturation, unless their score is clearly better without, `plain` if it is known."""
    found = {0.0: plain} if plain is not None else {}
    found |= {b: score(few, options.model_copy(update={"saturation": b})) for b in (0.0, some) if b not in found}
    chosen = some if found[some] > found[0.0] - SAFETY else 0.0
    log(f"Saturation {chosen:g} (scores " + ", ".join(f"{b:g}: {s:.2f}" for b, s in found.items()) + ")")
    return options.model_copy(update={"saturation": chosen})
