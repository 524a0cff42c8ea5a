"""Search for the density's parameters: finds a known maximum, stops in time, goes on where it was interrupted."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from wk_potential import Frame, TrainingOptions, train
from wk_potential.atoms.dataset import Dataset
from wk_potential.errors import OptionsError
from wk_potential.training.limits import DEFAULT, Limits, SearchLimits
from wk_potential.training.search import optimise


@pytest.fixture(scope="module")
def frames():
    out = []
    for seed in range(6):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        out.append(Frame.from_atoms(atoms, f"frame {seed}"))
    return out


class Hill:
    """A score with one maximum, which counts how often it is asked."""

    def __init__(self, top, fail_at=None):
        self.top, self.fail_at, self.asked = top, fail_at, 0

    def __call__(self, frames, options):
        self.asked += 1
        if self.asked == self.fail_at:
            raise KeyboardInterrupt
        distance = [np.log(getattr(options, name) / value) for name, value in self.top.items()]
        return -100 * float(np.sum(np.square(distance)))


TOP = {"cutoff": 5.0, "density_width": 0.36, "density_growth": 5.0}


def search(frames, score, memory=None, limits=DEFAULT, **more):
    lines, fractions = [], []
    report, options = lambda _, x: fractions.append(x), TrainingOptions(**more)
    found = optimise(Dataset(frames), options, "sparse", score, lines.append, report, memory, limits=limits)
    return *found, lines, fractions


def test_finds_the_maximum(frames):
    options, remarks, lines, fractions = search(frames, Hill(TOP))
    for name, value in TOP.items():
        assert getattr(options, name) == pytest.approx(value, rel=0.06)
    assert options.lmax == 3
    assert options.short_cutoff == TrainingOptions().short_cutoff  # the sparse estimator has no such density
    assert remarks["score"] > remarks["first_score"]
    assert remarks["chosen"]["cutoff"] == options.cutoff
    assert lines[0].startswith("Searching cutoff, cutoff_width, density_width")
    assert np.all(np.diff(fractions) >= 0)
    assert fractions[-1] == 1


def test_an_interrupted_search_goes_on(frames, tmp_path):
    whole = Hill(TOP)
    expected, remarks, *_ = search(frames, whole)
    memory = tmp_path / "search.json"
    with pytest.raises(KeyboardInterrupt):
        search(frames, Hill(TOP, fail_at=8), memory)
    again = Hill(TOP)
    found, told, *_ = search(frames, again, memory)
    assert (found, told) == (expected, remarks)
    assert again.asked == whole.asked - 7
    other = Hill(TOP)
    search(frames, other, memory, lmax=2)  # another question: nothing is remembered
    assert other.asked == whole.asked
    search(frames, other, memory, Limits(search=SearchLimits(evaluations=5)))
    assert other.asked == whole.asked + 6  # with the larger lmax, which is no evaluation of the method
    memory.write_text('{"key"')
    search(frames, other, memory)
    assert other.asked == 2 * whole.asked + 6
    assert "scores" in json.loads(memory.read_text())


class Steps(Hill):
    """A score that rises with lmax."""

    def __init__(self, gain):
        super().__init__(TOP)
        self.gain = gain

    def __call__(self, frames, options):
        return super().__call__(frames, options) + self.gain * options.lmax


@pytest.mark.parametrize(("gain", "chosen"), [(0.2, 4), (0.05, 3), (-1.0, 3)])
def test_one_more_angular_momentum_if_it_pays(frames, gain, chosen):
    options, remarks, *_ = search(frames, Steps(gain))
    assert options.lmax == remarks["chosen"]["lmax"] == chosen
    assert remarks["score"] == pytest.approx(gain * chosen, abs=0.1)


def test_stops_in_time(frames):
    options, remarks, lines, _ = search(frames, Hill(TOP), optimise_minutes=1e-9)
    assert remarks["evaluations"] <= 1
    assert "The time for the search is over" in lines
    assert options == TrainingOptions(optimise_minutes=1e-9)
    with pytest.raises(OptionsError, match="optimise_minutes"):
        TrainingOptions.checked({"optimise_minutes": 0})


def test_options_stay_within_bounds(frames):
    options, *_ = search(frames, Hill({"cutoff": 100.0, "density_width": 1e-3}))
    bounds = DEFAULT.search.bounds
    assert options.cutoff <= bounds.cutoff[1]
    assert options.density_width >= bounds.density_width[0]


@pytest.mark.train
@pytest.mark.parametrize("estimator", ["full", "sparse"])
def test_training_with_a_search(frames, estimator, tmp_path):
    lines, file = [], tmp_path / "search.json"
    options = TrainingOptions(
        lmax=1, order=2, cutoff=4.0, cutoff_width=3.0, estimator=estimator, support_points=8, optimise=True,
        optimise_minutes=0.05, map=False,
    )  # fmt: skip
    model = train(frames, options, threads=1, log=lines.append, search_file=file)
    search = model.info["training"]["search"]
    assert search["score"] >= search["first_score"]
    assert model.cutoff == model.info["options"]["cutoff"] == search["chosen"]["cutoff"]
    scores = json.loads(file.read_text())["scores"]
    assert len(scores) >= 1
    assert max(scores.values()) == search["score"]
