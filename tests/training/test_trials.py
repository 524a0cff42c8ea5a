"""What training tries before it begins: the better shape and saturation are taken, and what is set stays."""

import re
from dataclasses import replace

import numpy as np
import pytest
from oracles.systems import SMALL

from wk_potential import TrainingOptions, train
from wk_potential.atoms.dataset import Dataset
from wk_potential.training.limits import DEFAULT
from wk_potential.training.options import DensityShape
from wk_potential.training.trials import importance_of_few, tried

SHAPES, CHANNELS = DEFAULT.trials.shapes, DEFAULT.trials.channels


def score_near(best):
    """A score that is highest at some options, and falls with saturation."""

    def score(frames, options):
        return -sum(abs(getattr(options, name) - value) for name, value in best.items()) - options.saturation

    return score


@pytest.mark.parametrize("best", [{}, *SHAPES])
def test_shape_of_the_best_score(molecules, best):
    plain = TrainingOptions()
    best = {name: getattr(plain, name) for shape in SHAPES for name in shape} | best
    lines = []
    found = tried(Dataset(molecules), plain, "sparse", score_near(best), lines.append)
    chosen = {"channel_tolerance": CHANNELS[-1], "element_mixing": 0.0, "saturation": 0.0}  # the score ignores channels
    assert found == plain.model_copy(update={**best, **chosen})
    assert found.long == DensityShape(*(best[n] for n in ("cutoff", "cutoff_width", "density_width", "density_growth")))
    assert lines[0].startswith(f"Cutoff {best['cutoff']:g} Å tapered over {best['cutoff_width']:g} Å, Gaussians")
    assert tried(Dataset(molecules), plain, "full", score_near(best), lines.append).long == plain.long
    searched = plain.model_copy(update={"optimise": True})
    assert tried(Dataset(molecules), searched, "full", score_near(best), lines.append).long == found.long


@pytest.mark.parametrize("estimator", ["full", "sparse"])
@pytest.mark.parametrize(
    "given", [{}, {"element_mixing": 0.3}, {"saturation": 0.0}, {"cutoff": 5.0}, {"channel_tolerance": 1e-4}]
)
def test_progress_of_the_trials(molecules, crystals, estimator, given):
    for frames in (molecules, crystals):
        options, seen, n = TrainingOptions(**given), [], 0

        def score(frames, options):
            nonlocal n
            n += 1
            return 0.0

        tried(Dataset(frames), options, estimator, score, print, progress=lambda stage, f: seen.append(f))  # noqa: B023
        assert seen == sorted(seen)
        assert len(seen) == 2 * n
        assert not n or (seen[0], seen[-1]) == (0, 1)
        assert len(set(seen)) == n + (n > 0)


def test_what_is_set_stays(molecules):
    asked = []

    def score(frames, options):
        asked.append(options)
        return -abs(options.cutoff - 5.0) - options.angular_weight

    given = TrainingOptions(cutoff=5.5, element_mixing=0.1, saturation=0.7)
    found = tried(Dataset(molecules), given, "sparse", score, print)
    assert (found.cutoff, found.cutoff_width, found.angular_weight, found.saturation) == (5.5, 5.0, 0.0, 0.7)
    assert {(o.cutoff, o.element_mixing, o.saturation) for o in asked} == {(5.5, 0.1, 0.7)}
    asked.clear()
    given = TrainingOptions(angular_weight=0.6, element_mixing=0.0, saturation=0.0, channel_tolerance=0.0)
    assert tried(Dataset(molecules), given, "sparse", score, print) == given
    assert not asked


def test_few_labels_of_a_kind_count_less():
    """Half where there are as many as are doubted; what all kinds count together stays."""
    assert importance_of_few((1.0, 1.0, 0.3), np.array([100, 10**9, 0]), 100.0) == pytest.approx((2 / 3, 4 / 3, 0.0))
    assert importance_of_few((1.0, 1.0, 0.3), np.array([10**9, 10**9, 10**9]), 100.0) == pytest.approx((1.0, 1.0, 0.3))
    assert importance_of_few((1.0, 1.0, 0.3), np.array([5, 0, 0]), 100.0) == pytest.approx((1.0, 0.0, 0.0))


def test_nothing_is_scored_twice(molecules):
    asked = []
    tried(Dataset(molecules), TrainingOptions(), "sparse", lambda _, o: asked.append(repr(o)) or 0.0, print)
    assert len(asked) == len(set(asked)) == len(SHAPES) + 6


def test_another_shape_has_to_pay(molecules):
    """Only where the score rises by more than 0.1."""
    for gain, weight in ((0.09, 0.6), (0.11, 0.0)):
        found = tried(
            Dataset(molecules), TrainingOptions(), "sparse", lambda _, o, g=gain: g * (o.angular_weight == 0), print
        )
        assert found.angular_weight == weight


@pytest.mark.parametrize("estimator", ["full", "sparse"])
def test_a_longer_cutoff_for_periodic_frames(molecules, crystals, estimator):
    """Where the score rises by more than 0.3, with the best shape; not if a cutoff is set."""
    for gain, cutoff in ((0.29, 6.0), (0.31, 8.0)):
        score = lambda _, o, gain=gain: gain * (o.cutoff == 8) + (o.density_width == 0.4)  # noqa: E731
        lines = []
        found = tried(Dataset(crystals), TrainingOptions(), estimator, score, lines.append)
        assert (found.cutoff, found.cutoff_width) == (cutoff, 5.0 if cutoff == 6 else 4.0)
        assert found.density_width == (0.4 if estimator == "sparse" else 0.3)
        (line,) = (line for line in lines if re.match(r"Cutoff . Å \(", line))
        assert line.startswith(f"Cutoff {cutoff:g} Å (scores, higher is better: 6: ")
    for frames, given in ((molecules, {}), (crystals, {"cutoff": 5.0}), (crystals, {"cutoff_width": 2.0})):
        options = TrainingOptions(**given)
        found = tried(Dataset(frames), options, estimator, lambda _, o: float(o.cutoff == 8), print)
        assert found.cutoff == options.cutoff


def test_lmax_and_order_of_periodic_frames(molecules, crystals):
    """Where the score rises by more than 0.3, with the best shape; not if one of them or order weights are set."""
    for gain, body in ((0.29, (3, 4)), (0.31, (4, 3))):
        score = lambda _, o, gain=gain: gain * (o.lmax == 4) + (o.density_width == 0.4)  # noqa: E731
        lines = []
        found = tried(Dataset(crystals), TrainingOptions(), "sparse", score, lines.append)
        assert (found.lmax, found.order, found.density_width) == (*body, 0.4)
        (line,) = (line for line in lines if line.startswith("lmax"))
        assert line.startswith(f"lmax {body[0]}, order {body[1]} (scores of those tried, higher is better: 1.00, 1.")
    for frames, given in ((molecules, {}), (crystals, {"order": 4}), (crystals, {"order_weights": [1.0] * 4})):
        options = TrainingOptions(**given)
        found = tried(Dataset(frames), options, "sparse", lambda _, o: float(o.lmax == 4), print)
        assert (found.lmax, found.order) == (3, 4)
    found = tried(Dataset(crystals), TrainingOptions(), "full", lambda _, o: float(o.lmax == 4), print)
    assert (found.lmax, found.order) == (3, 4)


def test_a_shape_for_hot_metals(molecules, crystals):
    metal = DEFAULT.trials.metal
    score = lambda _, o: float(o.density_width == 0.2)  # noqa: E731
    lines = []
    found = tried(Dataset(crystals), TrainingOptions(), "sparse", score, lines.append)
    assert {name: getattr(found, name) for name in metal} == metal
    assert any(line.startswith("lmax 4, order 3, Cutoff 5 Å tapered over 2 Å, Gaussians of 0.2 Å") for line in lines)
    assert tried(Dataset(molecules), TrainingOptions(), "sparse", score, print).density_width == 0.3
    given = TrainingOptions(cutoff=5.0)
    assert tried(Dataset(crystals), given, "sparse", score, print).density_width == 0.3
    compound = [replace(f, numbers=np.where(np.arange(len(f)) % 2, 8, 20)) for f in crystals]
    assert tried(Dataset(compound), TrainingOptions(), "sparse", score, print).density_width == 0.3


def test_a_sharp_density_for_energies_alone(molecules):
    score = lambda _, o: -abs(o.density_width - 0.05)  # noqa: E731
    alone = [replace(frame, forces=None) for frame in molecules]
    assert tried(Dataset(alone), TrainingOptions(), "sparse", score, print).cutoff == 4.0
    assert tried(Dataset(molecules), TrainingOptions(), "sparse", score, print).cutoff == 6.0


def test_few_channels_where_they_are_enough(molecules, crystals):
    """The largest tolerance that loses less than 0.1; not for one element, nor by the full estimator.

    The middle one is tried first; where it loses more, a larger one is not tried.
    """
    many = TrainingOptions().channel_tolerance
    for scores, tolerance in (
        ((-0.11, -0.12, 0.0), many), ((-0.09, -0.11, 0.0), CHANNELS[0]), ((-1.0, -0.09, -0.11), CHANNELS[1]),
        ((-1.0, -0.09, -0.09), CHANNELS[2]),
    ):  # fmt: skip
        known = dict(zip((many, *CHANNELS), (0.0, *scores), strict=True))
        score = lambda _, o, known=known: known[o.channel_tolerance]  # noqa: E731
        for frames, estimator, chosen in (
            (molecules, "sparse", tolerance), (molecules, "full", many), (crystals, "sparse", many),
        ):  # fmt: skip
            found = tried(Dataset(frames), TrainingOptions(), estimator, score, print)
            assert found.channel_tolerance == chosen


@pytest.mark.parametrize("estimator", ["full", "sparse"])
def test_elements_are_mixed_where_that_pays(molecules, crystals, estimator):
    """Where the best score is higher by more than 0.4, of energies alone 0.2, and not where there is one element."""
    alone = [replace(frame, forces=None) for frame in molecules]
    for gain, mixing in ((0.19, 0.0), (0.21, 0.8)):
        score = lambda _, o, gain=gain: gain * (o.element_mixing == 0.8)  # noqa: E731
        assert tried(Dataset(alone), TrainingOptions(), estimator, score, print).element_mixing == mixing
    for scores, mixing in (((0.1, 0.39), 0.0), ((0.41, 0.4), 0.6), ((-1.0, 0.41), 0.8)):
        known = dict(zip((None, 0.6, 0.8), (0.0, *scores), strict=True))
        score = lambda _, o, known=known: known[o.element_mixing or None]  # noqa: E731
        assert tried(Dataset(molecules), TrainingOptions(), estimator, score, print).element_mixing == mixing
        assert tried(Dataset(crystals), TrainingOptions(), estimator, score, print).element_mixing is None


def test_alloys_whose_elements_have_not_all_met(crystals, molecules):
    """Mixing may lose 0.2, and saturation must gain 0.2; not if all have met, nor for elements of other sizes."""

    def score(frames, options):
        return (0.1 if options.saturation else 0.0) - (0.15 if options.element_mixing else 0.0)

    pure = [replace(f, numbers=np.full(len(f), (29, 79)[k % 2])) for k, f in enumerate(crystals)]
    alloyed = [replace(f, numbers=np.where(np.arange(len(f)) % 2, 29, 79)) for f in crystals]
    for frames, mixed in ((pure, True), (alloyed, False), (molecules, False)):
        found = tried(Dataset(frames), TrainingOptions(), "sparse", score, print)
        assert bool(found.element_mixing) == mixed
        assert bool(found.saturation) != mixed


def test_no_scores(molecules):
    """As of two frames, which are too few for folds."""
    found = tried(Dataset(molecules[:2]), TrainingOptions(), "sparse", lambda *_: -np.inf, print)
    assert found == TrainingOptions(element_mixing=0.0, saturation=0.0)


@pytest.mark.train
def test_saturation_is_chosen_by_the_score(crystals, molecules):
    """The one that the log names as better, with a margin for safety; a given one is taken as it is."""
    for estimator in ("full", "sparse"):
        lines = []
        options = TrainingOptions(
            **SMALL, order=3, estimator=estimator, support_points=12, map=False, uncertainty=False
        )
        model = train(molecules, options, threads=1, log=lines.append)
        (line,) = (line for line in lines if line.startswith("Saturation"))
        assert "higher is better" in line
        scores = {float(b): float(s) for b, s in re.findall(r"([\d.]+): (-?[\d.]+)", line)}
        assert len(scores) == 2
        scores[0] -= 0.2
        assert model.scales[0].density.saturation == max(scores, key=scores.get)
        given = train(molecules, options.model_copy(update={"saturation": 0.5}), threads=1, log=lines.append)
        assert given.scales[0].density.saturation == 0.5
    assert sum(line.startswith("Saturation") for line in lines) == 1
    assert train(crystals, options, threads=1).scales[0].density.saturation == 0  # of one element
