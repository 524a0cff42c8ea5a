import numpy as np
import pytest
from oracles.kernels import central_difference, real_harmonics

from wk_potential.density.harmonics import spherical_harmonics


def harmonics(lmax, direction):
    values, grads = np.zeros((lmax + 1) ** 2), np.zeros(((lmax + 1) ** 2, 3))
    spherical_harmonics(lmax, *direction, values, grads)
    return values, grads


def directions():
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    random = np.random.default_rng(0).normal(size=(20, 3))
    return np.concatenate([axes, random / np.linalg.norm(random, axis=1)[:, None]])


@pytest.mark.parametrize("lmax", range(7))
def test_values(lmax):
    for direction in directions():
        assert harmonics(lmax, direction)[0] == pytest.approx(real_harmonics(lmax, direction), abs=1e-13)


@pytest.mark.parametrize("lmax", [0, 1, 6])
def test_gradients(lmax):
    for direction in directions():
        grads = harmonics(lmax, direction)[1]
        numerical = central_difference(lambda x: real_harmonics(lmax, x), direction, 1e-5).T
        assert grads == pytest.approx(numerical, abs=1e-8)
        assert grads @ direction == pytest.approx(0, abs=1e-13)
