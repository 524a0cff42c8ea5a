"""Mapped forms of all sizes of one model, to choose by time."""

from dataclasses import replace

import pytest
from oracles.mapped import TOLERANCES, predict
from oracles.systems import scale_of

from wk_potential.atoms.dataset import Dataset
from wk_potential.errors import MappingError
from wk_potential.training.limits import RepulsionLimits
from wk_potential.training.mapping.mapping import Ladder, default_tolerance, map_model
from wk_potential.training.repulsion import choose_repulsion

WIDE = RepulsionLimits(outer=1.5)  # of the smallest distance: all frames are touched


@pytest.fixture(scope="module")
def ladder(unmapped, frames):
    return Ladder(unmapped, frames, threads=1)


def cost(model):
    return model.info["mapping"]["multiply_adds"]


@pytest.fixture(scope="module")
def costs(ladder):
    """Of the first twelve rungs."""
    return [cost(m) for m in ladder[:12]]


def test_rungs_cost_more_and_deviate_less(ladder, unmapped, frames):
    rungs = ladder[:24:8]
    assert [cost(m) for m in rungs] == sorted({cost(m) for m in rungs})
    found = [m.info["mapping"]["largest_force_deviation"] for m in rungs]
    assert found == sorted(set(found), reverse=True)
    for frame in frames[:2]:
        expected = predict(unmapped, frame.to_atoms())[1]
        deviations = [scale_of(predict(m, frame.to_atoms())[1] - expected) for m in rungs]
        assert all(d <= (1 + 1e-6) * most for d, most in zip(deviations, found, strict=True))


def test_a_rung_is_the_form_of_its_tolerance(unmapped, frames):
    """Where there is one density: with several each has a threshold of its own."""
    model = replace(unmapped, scales=unmapped.scales[:1])
    costs = [cost(m) for m in Ladder(model, frames, threads=1)[:12]]
    assert all(cost(map_model(model, frames, tolerance, threads=1)) in costs for tolerance in TOLERANCES[:2])


def test_useful_rungs_end_where_the_default_is_kept_or_no_time_is_saved(ladder, unmapped):
    *others, last = [m.info["mapping"] for m in ladder.useful()]
    enough = default_tolerance(unmapped) / 3
    for facts in others:
        assert facts["largest_force_deviation"] >= enough
        assert facts["multiply_adds"] <= facts["multiply_adds_direct"]
    assert last["largest_force_deviation"] < enough or last["multiply_adds"] > last["multiply_adds_direct"]


def test_repulsion_is_no_deviation(unmapped, frames, ladder):
    repelled = Ladder(
        replace(unmapped, repulsion=choose_repulsion(Dataset(frames), unmapped.cutoff, WIDE)), frames, threads=1
    )
    assert repelled[8].info["mapping"] == ladder[8].info["mapping"]


def test_the_most_accurate_form_within_a_time(ladder, costs):

    def cost_of(model):
        return cost(model) if model.is_mapped else 1e9

    for time in (costs[0], costs[7], costs[7] - 1):
        best = ladder.within(time, cost_of)
        assert cost(best) == max(c for c in costs if c <= time)
    with pytest.raises(MappingError, match=r"no form is within .* µs per atom: the fastest takes"):
        ladder.within(0.5 * costs[0], cost_of)
    assert not ladder.within(1e9, cost_of).is_mapped


def test_without_a_form_the_header_names_none(ladder, unmapped, frames):
    mapped = replace(unmapped, scales=ladder[0].scales, info=ladder[0].info)
    direct = Ladder(mapped, frames, threads=1).within(1e9, lambda model: 0.0)
    assert not direct.is_mapped
    assert "mapping" not in direct.info
