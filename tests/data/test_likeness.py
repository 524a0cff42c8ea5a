from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from oracles.systems import labelled_copper, rattled_frames, rotation_matrix

from wk_potential.data.likeness import (
    NEAR,
    clusters,
    likeness,
    near_groups,
    near_pairs,
    same_labels,
    structure_groups,
)


@pytest.fixture(scope="module")
def ethanol():
    """Ten molecules with displacements far above those of near-duplicates."""
    return rattled_frames(molecule("CH3CH2OH"), 10, 0.1)


def test_rotations_shifts_and_exchanges_of_equal_atoms_are_no_difference(ethanol):
    frame = ethanol[3]
    turned = replace(frame, positions=frame.positions @ rotation_matrix(0).T + 5.0)
    order = np.random.default_rng(0).permutation(len(frame))
    exchanged = replace(frame, numbers=frame.numbers[order], positions=frame.positions[order])
    frames = [*ethanol, turned, exchanged]
    found = likeness(frames, threads=1)
    assert near_groups(frames, found) == [[3, 10, 11]]
    assert structure_groups(frames) == []


def test_near_is_the_size_of_random_displacements(ethanol):
    rng, displaced = np.random.default_rng(1), {}
    for name, size in (("nearer", 0.3 * NEAR), ("farther", 4 * NEAR)):
        moves = size / np.sqrt(3) * rng.normal(size=ethanol[0].positions.shape)
        displaced[name] = replace(ethanol[0], positions=ethanol[0].positions + moves)
    frames = [*ethanol, displaced["nearer"], displaced["farther"]]
    assert near_groups(frames, likeness(frames, threads=1)) == [[0, 10]]


def test_a_chain_of_small_steps_is_one_group(ethanol):
    step = np.random.default_rng(2).normal(size=ethanol[0].positions.shape)
    step *= 0.4 * NEAR / np.sqrt(np.mean(np.sum(step**2, axis=1)))
    chain = [replace(ethanol[0], positions=ethanol[0].positions + k * step) for k in range(8)]
    found = likeness(chain, threads=1)
    assert near_groups(chain, found) == [list(range(8))]
    assert len(near_pairs(chain, found)) < 8 * 7 / 2  # the ends are not near each other


def test_another_composition_is_never_near(ethanol):
    other = replace(ethanol[0], numbers=np.where(ethanol[0].numbers == 8, 16, ethanol[0].numbers))
    frames = [ethanol[0], other]
    assert near_groups(frames, likeness(frames, threads=1)) == []


def test_clusters_join_pairs():
    found = clusters(6, np.array([[0, 1], [1, 4], [2, 5]]))
    assert found[0] == found[1] == found[4]
    assert found[2] == found[5]
    assert len(set(found.tolist())) == 3
    assert len(set(clusters(3, np.zeros((0, 2), int)).tolist())) == 3


def test_same_structures_with_and_without_the_same_labels():
    a, b = labelled_copper(2)
    again = replace(a, source="again", energy=a.energy + 1e-9)
    other = replace(a, energy=a.energy + 0.1)
    assert structure_groups([a, b, again, other]) == [[0, 2, 3]]
    assert same_labels(a, again)
    assert not same_labels(a, other)
    assert not same_labels(a, replace(a, stress=None))
