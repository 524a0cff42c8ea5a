"""Nearest neighbours beyond what the training set has seen."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from oracles.systems import rattled_frames

from wk_potential.atoms.dataset import Dataset
from wk_potential.model.bonds import NONE, count_unusual, ordered_distances
from wk_potential.model.environments import as_arrays
from wk_potential.training.error_bars.rigidity import usual_distances

REACH = 5.0


def test_ordered_distances_are_those_of_ase():
    atoms = bulk("CO", "zincblende", a=4.0, cubic=True)
    atoms.rattle(0.2, seed=1)
    elements = np.array([6, 8])
    found = ordered_distances(as_arrays(atoms, elements, REACH), elements, 5, REACH)
    i, j, d = neighbor_list("ijd", atoms, REACH)
    d /= covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]]
    for atom in range(len(atoms)):
        np.testing.assert_allclose(found[atom], np.sort(d[i == atom])[:5], rtol=1e-12)
    pair = ordered_distances(as_arrays(molecule("O2"), elements, REACH), elements, 3, REACH)
    assert (pair[:, 0] < 1.1).all()
    assert (pair[:, 1:] == NONE).all()


def flagged(data, atoms):
    """Numbers of unusual neighbours of the atoms."""
    nearest, farthest = usual_distances(data, REACH)
    return count_unusual(as_arrays(atoms, data.elements, REACH), data.elements, nearest, farthest, REACH)


def test_frames_like_those_of_the_training_set_are_usual():
    data = Dataset(rattled_frames(molecule("CH3CH2OH"), 30, 0.03))
    unseen = rattled_frames(molecule("CH3CH2OH"), 50, 0.03, seed=100)
    assert sum(flagged(data, frame).any() for frame in unseen) == 0


@pytest.mark.parametrize(("atom", "partner"), [(3, 2), (2, 1), (0, 1)])  # O-H, C-O, C-C
def test_bonds_that_break(atom, partner):
    """From 1.3 times their length on."""
    ethanol = molecule("CH3CH2OH")
    data = Dataset(rattled_frames(ethanol, 30, 0.03))
    for length in (1.3, 1.6, 2.5):
        broken = ethanol.copy()
        bond = ethanol.get_distance(partner, atom, vector=True)
        broken.positions[atom] += (length - 1) * bond
        assert flagged(data, broken)[[atom, partner]].any()


def test_crystals():
    """A vacancy, an interstitial and a stretched bond are unusual; their surroundings only are flagged."""
    silicon = bulk("Si", cubic=True) * (2, 2, 2)
    data = Dataset(rattled_frames(silicon, 5, 0.05))
    assert not flagged(data, silicon).any()
    vacancy = silicon.copy()
    del vacancy[0]
    near = neighbor_list("j", silicon, 2.6)[neighbor_list("i", silicon, 2.6) == 0] - 1
    found = flagged(data, vacancy)
    assert set(np.flatnonzero(found)) == set(near)


def test_a_list_with_a_skin_changes_nothing():
    """Neighbours beyond the cutoff, which a list with a skin holds, do not count."""
    ethanol = molecule("CH3CH2OH")
    data = Dataset(rattled_frames(ethanol, 10, 0.03))
    nearest, farthest = usual_distances(data, 2.0)
    whole = as_arrays(ethanol, data.elements, REACH)
    assert not count_unusual(whole, data.elements, nearest, farthest, 2.0).any()
