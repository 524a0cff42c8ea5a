"""Environments that kernels of low order cannot tell apart (Pozdnyakov et al., PRL 125, 166001 (2020))."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from oracles.systems import coefficients, lanes_kernels, make_density
from scipy.spatial.transform import Rotation

PAIRS = ["nu1_schematic", "nu2_schematic", "nu3_schematic", *(f"ch4_nu2_{k}" for k in range(5))]


def separation(lmax, order, first, second):
    """||x - y||^2 / (||x||^2 + ||y||^2) of atoms 0 at each order, the second frame rotated."""
    vectors = [frame.positions[1:] - frame.positions[0] for frame in (first, second)]
    vectors[1] = Rotation.from_quat([0.1, 0.5, -0.7, 0.4]).apply(vectors[1])
    c = [coefficients(make_density(lmax, 1), v, np.zeros(len(v), int)) for v in vectors]
    k = np.array([lanes_kernels(lmax, order, x, c) for x in c])
    own = k[0, :, 0] + k[1, :, 1]
    return np.abs(own - k[0, :, 1] - k[1, :, 0]) / own


def members(path, pair):
    frames = [frame for frame in read(path, ":") if frame.info["pair"] == pair]
    assert len(frames) == 2
    return frames


def check_pair(lmax, order, frames):
    distance = separation(lmax, order, *frames)
    equal = frames[0].info["equal_up_to_nu"]
    assert np.all(distance[:equal] < 1e-13)
    assert np.all(distance[equal:] > 1e-9)


@pytest.mark.train
@pytest.mark.parametrize(("lmax", "order"), [(3, 6), (6, 4)])
@pytest.mark.parametrize("pair", PAIRS)
def test_schematic_pairs_and_methane(shared_data, pair, lmax, order):
    check_pair(lmax, order, members(shared_data / "degenerate" / "pairs_schematic_and_ch4.xyz", pair))


@pytest.mark.parametrize(("lmax", "order"), [(3, 6), (6, 4)])
@pytest.mark.parametrize("pair", range(10))
def test_boron_clusters(shared_data, pair, lmax, order):
    """The bispectrum does not separate them, order 4 does."""
    frames = read(shared_data / "degenerate" / "b8_nu3_pairs.xyz", f"{2 * pair}:{2 * pair + 2}")
    assert frames[0].info["pair"] == frames[1].info["pair"]
    check_pair(lmax, order, frames)


def test_mirror_images_are_equal(shared_data):
    frames = members(shared_data / "degenerate" / "pairs_schematic_and_ch4.xyz", "mirror_pair")
    assert np.all(separation(3, 6, *frames) < 1e-13)


# neighbours of two centres, and the largest order at which these are equal
SCHEMATIC = [
    ([[1.5, 0, 0], [0.9, 0, 1.2]], [[1.5, 0, 0], [-1.5, 0, 0]], 1),
    ([[1, 0, 1], [1, 1, 1], [-1, -1, 1], [0, 1, 1]], [[1, 0, 1], [1, 1, 1], [-1, -1, 1], [0, -1, 1]], 2),
    ([[1, 0, 0], [0, 1.2, 0], [0, 0, 1.5], [1, 1, 1]], [[-1, 0, 0], [0, 1.2, 0], [0, 0, 1.5], [-1, 1, 1]], 6),
]


@pytest.mark.parametrize(("first", "second", "equal"), SCHEMATIC)
def test_pairs_without_data(first, second, equal):
    frames = [Atoms(f"CC{len(x)}", [[0, 0, 0], *x], info={"equal_up_to_nu": equal}) for x in (first, second)]
    check_pair(3, 6, frames)
