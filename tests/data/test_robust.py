import numpy as np
import pytest
from scipy.optimize import linprog

from wk_potential.data.robust import ALONE, least_absolute, lonely, spread


def test_spread_is_the_standard_deviation_of_most_values():
    values = np.random.default_rng(0).normal(3, 2, 20_000)
    assert spread(values) == pytest.approx(2, rel=0.03)
    values[:1000] = 1e6  # a twentieth of them is wrong
    assert spread(values) == pytest.approx(2, rel=0.15)
    assert spread(np.ones(20), 0.1) == 0.1


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lonely_in_ordinary_distributions(seed):
    rng = np.random.default_rng(seed)
    for values in (rng.normal(size=500), rng.uniform(size=500), rng.lognormal(0, 0.5, 500), rng.normal(size=20)):
        assert not lonely(values, 1e-3).any()


def test_few_values_far_away_are_lonely():
    values = np.random.default_rng(0).normal(size=200)
    values[[5, 60, 61]] = [50, -40, -40.5]
    found = lonely(values, 0.1)
    assert np.flatnonzero(found).tolist() == [5, 60, 61]
    assert found[5] > ALONE
    assert found[60] < -ALONE


def test_a_second_kind_of_structure_is_not_lonely():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 180), rng.normal(100, 1, 20)])
    assert not lonely(values, 0.1).any()


def test_small_sets_and_small_differences_say_nothing():
    assert not lonely([0.0, 0.0, 0.0, 100.0], 0.1).any()
    assert not lonely([*np.zeros(50), 0.5], 0.1).any()
    assert lonely([*np.zeros(50), 0.7], 0.1).any()


def test_least_absolute_deviations_are_those_of_a_linear_programme():
    rng = np.random.default_rng(0)
    matrix = rng.uniform(size=(60, 3))
    values = matrix @ [1.0, -2.0, 5.0] + rng.normal(0, 0.01, 60)
    values[:6] += 1e4
    n = len(values)  # minimise the sum of u with -u <= matrix x - values <= u
    bounds = np.block([[matrix, -np.eye(n)], [-matrix, -np.eye(n)]])
    cost = np.concatenate([np.zeros(3), np.ones(n)])
    exact = linprog(cost, bounds, np.concatenate([values, -values]), bounds=[(None, None)] * 3 + [(0, None)] * n)
    found = least_absolute(matrix, values)
    assert np.abs(values - matrix @ found).sum() == pytest.approx(exact.fun, rel=1e-6)
    assert found == pytest.approx(np.array([1.0, -2.0, 5.0]), abs=0.05)
