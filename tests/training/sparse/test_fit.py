"""The number of support points: given, or as many as some minutes allow."""

from dataclasses import replace

import pytest
from oracles.systems import SPARSE

from wk_potential import train
from wk_potential.atoms.dataset import Dataset
from wk_potential.errors import OptionsError
from wk_potential.training.limits import DEFAULT
from wk_potential.training.sparse import cost
from wk_potential.training.task import make_task

FEW = replace(DEFAULT, sparse=replace(DEFAULT.sparse, least_support=3, explicit=0.0))
FIXED = {"uncertainty": False, "map": False}


def points(frames, limits=FEW, **options):
    """Number of support points of a task on one thread."""
    options = SPARSE.model_copy(update=options)
    return cost.choose_n_support(make_task(Dataset(frames), options, "sparse", 1, limits=limits), 0.0)


@pytest.fixture
def costs(monkeypatch):
    """A tenth of a gigabyte and six seconds for each support point, and twenty gigabytes of memory."""
    monkeypatch.setattr(cost, "predicted_cost", lambda task, n, rows: (0.1 * n, 6.0 * n))
    monkeypatch.setattr(cost, "available_memory", lambda: 20.0)


def test_minutes_decide_how_many_support_points(crystals, costs):
    most = 3 * sum(map(len, crystals))  # there are two rattled copies
    assert most == 84
    assert [points(crystals, minutes=m) for m in (1e-9, 1.0, 1.09, 1.1, 1000.0)] == [3, 10, 10, 11, most]
    assert points(crystals, DEFAULT, minutes=1e-9) == most  # fewer than 100
    assert points(crystals) == SPARSE.support_points


@pytest.mark.parametrize(("bounds", "expected"), [((4, 50), 20), ((4, 12), 12), ((30, 50), 30), ((100, 200), 84)])
def test_default_number(crystals, costs, bounds, expected):
    """As many as some seconds of one core allow, between two bounds, and no more than there are candidates."""
    sparse = replace(DEFAULT.sparse, default_support=bounds, default_seconds=120.0, explicit=0.0)
    assert points(crystals, replace(DEFAULT, sparse=sparse), support_points=None) == expected


def test_copies_only_where_environments_are_too_few(crystals):
    atoms = sum(map(len, crystals))
    assert [points(crystals, support_points=n) for n in (10, atoms, atoms + 1, 1000)] == [10, atoms, atoms + 1, 84]


def test_memory_bounds_the_support_points(crystals, costs, monkeypatch):
    monkeypatch.setattr(cost, "available_memory", lambda: 2.0)
    assert points(crystals, minutes=1000.0) == 16  # of 80 % of the memory
    monkeypatch.setattr(cost, "available_memory", lambda: None)
    assert points(crystals, minutes=2.0) == 20


def test_cost_knows_neighbours_and_angular_momenta(crystals):
    """Rows of a Jacobian are counted; they cost memory and time, and a larger lmax costs time."""
    task, finer = (
        make_task(Dataset(crystals), SPARSE.model_copy(update={"lmax": SPARSE.lmax + n}), "sparse", 1) for n in (0, 1)
    )
    rows = cost.count_rows(task)
    jacobians = [task.environments[0].of_frame(k).jacobian for k in range(len(crystals))]
    assert rows == pytest.approx(sum(map(len, jacobians)) / sum(map(len, crystals)))
    dear, cheap = (cost.predicted_cost(task, 10, n * rows) for n in (5, 1))
    assert all(more > less for more, less in zip(dear, cheap, strict=True))
    assert cost.predicted_cost(finer, 10, rows)[1] > 1.5 * cost.predicted_cost(task, 10, rows)[1]
    alone = [replace(frame, forces=None, stress=None) for frame in crystals]
    assert cost.count_rows(make_task(Dataset(alone), SPARSE, "sparse", 1)) == 0


@pytest.mark.train
def test_training_with_minutes(crystals, costs):
    """Trials keep their own number of support points; the log says what the minutes allow."""
    lines = []
    options = SPARSE.model_copy(update=FIXED | {"minutes": 1.0})
    model = train(crystals, options, threads=1, log=lines.append, limits=FEW)
    assert [line for line in lines if "allow" in line] == ["1 minutes allow 10 support points, as predicted"]
    assert sum(map(len, model.scales[0].support)) == 10


def test_one_of_minutes_and_support_points(crystals):
    with pytest.raises(OptionsError, match=r"^train: minutes and support_points exclude each other"):
        train(crystals, minutes=1.0, support_points=10)
    with pytest.raises(OptionsError, match=r"minutes: .*greater than 0"):
        train(crystals, minutes=0.0)
