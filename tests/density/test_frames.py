"""Environments of a training set: kept ones are those that would be computed, and no more than is allowed."""

import numpy as np
import pytest
from oracles.systems import crystal, labelled_copper, make_density

from wk_potential import Frame
from wk_potential.atoms.dataset import Dataset
from wk_potential.density import frames as module
from wk_potential.density.frames import Environments, frame_environments

FRAMES = [*labelled_copper(3), Frame.from_atoms(crystal())]
DATA = Dataset(FRAMES)


@pytest.fixture
def expanded(monkeypatch):
    """Frames that were expanded, with or without derivatives."""
    asked, plain = [], module.frame_environments

    def watched(frame, density, elements, derivatives=True):
        asked.append((FRAMES.index(frame), derivatives))
        return plain(frame, density, elements, derivatives)

    monkeypatch.setattr(module, "frame_environments", watched)
    return asked


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


@pytest.mark.parametrize("most_bytes", [0, 3e5, 1e9])
def test_kept_or_not_they_are_the_same(most_bytes):
    density = make_density(2, 2)
    environments = Environments(DATA, density, most_bytes)
    for _ in range(2):
        for k, frame in enumerate(FRAMES):
            for derivatives in (False, True):
                exact, found = frame_environments(frame, density, DATA.elements), environments.of_frame(k, derivatives)
                assert np.array_equal(found.coefficients, exact.coefficients)
                assert not derivatives or same(found, exact)


def test_nothing_is_expanded_twice_if_memory_allows(expanded):
    environments = Environments(DATA, make_density(1, 2), 1e9)
    for derivatives in (False, False, True, False, True):
        for k in range(len(FRAMES)):
            environments.of_frame(k, derivatives)
    assert expanded == [(k, derivatives) for derivatives in (False, True) for k in range(len(FRAMES))]


def test_rows_are_counted_without_expansion(expanded):
    environments = Environments(DATA, make_density(1, 2))
    counts = [environments.count_rows(k) for k in range(len(FRAMES))]
    assert not expanded
    assert counts == [len(environments.of_frame(k).jacobian) for k in range(len(FRAMES))]
    assert min(counts) > 0


def test_memory_is_bounded(expanded):
    """What is kept first stays, and what is too large is computed each time."""
    density = make_density(1, 2)
    sizes = [frame_environments(frame, density, DATA.elements).n_bytes for frame in FRAMES]
    environments = Environments(DATA, density, sizes[0] + sizes[1])
    for _ in range(3):
        for k in range(len(FRAMES)):
            environments.of_frame(k)
    assert [k for k, _ in expanded] == [0, 1, 2, 3, 2, 3, 2, 3]


def test_parts_and_extensions_share_what_is_kept(expanded):
    environments = Environments(DATA[:2], make_density(1, 2), 1e9)
    environments.of_frame(1)
    longer = environments.extended(FRAMES[2:])
    assert longer.data.frames == tuple(FRAMES)
    part = longer.subset(np.array([3, 1]))
    assert part.data.frames == (FRAMES[3], FRAMES[1])
    part.of_frame(0)
    for k in (1, 3):
        longer.of_frame(k)
    other = environments.extended(FRAMES[:1])  # not the frame by which the other one was extended
    assert np.array_equal(other.of_frame(2).coefficients, environments.of_frame(0).coefficients)
    assert [k for k, _ in expanded] == [1, 3, 0, 0]


def test_coefficients_by_element():
    environments = Environments(DATA, make_density(1, 2))
    silicon, copper = environments.by_element(3)
    assert (len(silicon), len(copper)) == (8, 0)
    assert np.array_equal(silicon, environments.of_frame(3).coefficients)
