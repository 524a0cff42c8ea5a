"""Whole structures that graphs of distances cannot tell apart, and kernels of order 2 can (arXiv:2201.07136)."""

from functools import partial

import numpy as np
import pytest
from ase.build import molecule
from ase.neighborlist import neighbor_list
from oracles.distance_graphs import colours, edges, plane_pair, sign_pair
from oracles.systems import CUTOFF, coefficients, lanes_kernels, make_density

PAIRS = {
    "isolated, signs": sign_pair,
    **{f"periodic in {n} dimensions" if n else "isolated, plane": partial(plane_pair, n) for n in range(4)},
}


def separation(lmax, order, first, second):
    """||x - y||^2 / (||x||^2 + ||y||^2) of two structures at each order, x the sum of the features of all atoms."""
    density = make_density(lmax, 1)
    found = []
    for atoms in (first, second):
        i, vectors = neighbor_list("iD", atoms, CUTOFF)
        of_atoms = [vectors[i == n] for n in range(len(atoms))]
        found.append([coefficients(density, v, np.zeros(len(v), int)) for v in of_atoms])
    k = np.array([[sum(lanes_kernels(lmax, order, c, ys).sum(axis=1) for c in xs) for ys in found] for xs in found])
    own = k[0, 0] + k[1, 1]
    return np.abs(own - k[0, 1] - k[1, 0]) / own


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_distances_fail_and_angles_succeed(make, seed):
    first, second = make(seed=seed)
    for cutoff in (1.5, 2.5, 4.0, 9.0):
        for of_first, of_second in colours(first, second, cutoff):
            assert of_first == of_second
    assert sum(map(len, edges(first, 9.0))) >= 30  # the graph is complete
    found = separation(3, 4, first, second)
    assert found[0] < 1e-13
    assert np.all(found[1:] > 1e-5)


def test_the_graph_test_tells_other_structures_apart():
    """A test that calls everything equal would pass above."""
    ethanol, ether = molecule("CH3CH2OH"), molecule("CH3OCH3")
    assert any(a != b for a, b in colours(ethanol, ether, 9.0))
    first, _ = sign_pair()
    moved = first.copy()
    moved.positions[0] *= 1.05
    assert any(a != b for a, b in colours(first, moved, 9.0))
    crystal, _ = plane_pair(3)
    moved = crystal.copy()
    moved.positions[0, 0] += 0.05
    assert any(a != b for a, b in colours(crystal, moved, 9.0))
