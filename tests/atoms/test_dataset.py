"""The training set: counts and positions of labels against what is read off frame by frame, choices of frames."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from oracles.water import KEYS, water

from wk_potential import Frame, read_frames
from wk_potential.atoms.dataset import Dataset, Labels
from wk_potential.atoms.kinds import LabelKind

BASELINE = np.array([-1.0, -20.0, -30.0])  # H, C, O


def frame(symbols, seed, kinds=("energy", "forces", "stress")):
    """A periodic frame with random labels of some kinds."""
    rng, n = np.random.default_rng(seed), len(Atoms(symbols))
    found = {"energy": rng.normal(), "forces": rng.normal(size=(n, 3)), "stress": rng.normal(size=6)}
    atoms = Atoms(symbols, rng.uniform(0, 5, (n, 3)), cell=np.diag([4.0, 5.0, 6.0]), pbc=True)
    return replace(Frame.from_atoms(atoms, f"frame {seed}"), **{kind: found[kind] for kind in kinds})


FRAMES = [
    frame("H2O", 0), frame("CO", 1, ["forces"]), frame("OCO", 2, ["energy", "stress"]), frame("H", 3, []),
    frame("CH4", 4, ["energy", "forces"]),
]  # fmt: skip


@pytest.fixture
def data():
    return Dataset(FRAMES)


def rows_of(frame):
    """(kind, size, value) of each label of a frame, written out."""
    root, rows = np.sqrt(len(frame)), []
    if frame.energy is not None:
        of_atoms = sum({1: -1.0, 6: -20.0, 8: -30.0}[z] for z in frame.numbers)
        rows.append((0, root, frame.energy - of_atoms))
    if frame.forces is not None:
        rows += [(1, 1.0, -f) for f in frame.forces.ravel()]
    if frame.stress is not None:
        rows += [(2, root, 120.0 * s) for s in frame.stress]
    return rows


def test_labels_are_those_of_the_frames_one_after_the_other(data):
    rows = [rows_of(frame) for frame in FRAMES]
    kind, size, values = np.array([row for of_frame in rows for row in of_frame]).T
    labels = data.labels(BASELINE)
    assert np.array_equal(labels.kind, kind)
    assert labels.size == pytest.approx(size)
    assert labels.values == pytest.approx(values)
    assert np.array_equal(data.label_counts, [len(r) for r in rows])
    assert np.array_equal(data.label_first, np.cumsum([0, *(len(r) for r in rows)]))
    assert np.array_equal(data.frame_of_label, [k for k, r in enumerate(rows) for _ in r])
    assert data.n_labels == len(labels) == len(kind)
    assert data.kind_counts == {"energy": 3, "forces": 30, "stress": 12}


def test_atoms(data):
    assert data.elements.tolist() == [1, 6, 8]
    assert data.n_atoms.tolist() == [3, 2, 3, 1, 5]
    assert data.n_environments == 14
    assert data.element_counts.tolist() == [[2, 0, 1], [0, 1, 1], [0, 1, 2], [1, 0, 0], [4, 1, 0]]
    assert np.array_equal(data.elements[data.species], np.concatenate([f.numbers for f in FRAMES]))


def test_slots():
    """Positions among the labels that a frame has, in the numbering of all that it may have."""
    data = Dataset([frame("CH3", 0), frame("CH3", 1, ["forces"]), frame("CH3", 2, ["energy"]), frame("H", 3, [])])
    assert np.array_equal(data.slots(0), np.arange(19))
    assert np.array_equal(data.slots(1), [-1, *range(12), *[-1] * 6])
    assert np.array_equal(data.slots(2), [0, *[-1] * 18])
    assert np.array_equal(data.slots(3), [-1] * 10)


def test_some_of_the_frames(data):
    few = data.subset([4, 1])
    assert few.frames == (FRAMES[4], FRAMES[1])
    assert few.elements.tolist() == data[1:2].elements.tolist() == [1, 6, 8]  # those of the whole
    assert Dataset(data.subset([0])).elements.tolist() == [1, 8]
    assert np.array_equal(few.fit_targets(BASELINE), Dataset([FRAMES[4], FRAMES[1]], [1, 6, 8]).fit_targets(BASELINE))
    labels = data.labels(BASELINE)
    part = labels.subset([1, 4])
    assert np.array_equal(part.values, data.subset([1, 4]).fit_targets(BASELINE))
    assert np.array_equal(part.first, [0, 6, 22])
    assert part.kinds == [LabelKind.ENERGY, LabelKind.FORCES]
    assert not part.has(LabelKind.STRESS)


def test_spread_of_labels():
    labels = Labels(np.array([3.0, 4.0, -6.0]), np.array([1, 1, 2]), np.array([1.0, 1.0, 2.0]), np.array([0, 3]))
    assert labels.spread() == pytest.approx([1.0, np.sqrt(12.5), 3.0])


def test_random_frames(data):
    """As many as have so many labels, or the least; always in order and the same for a seed."""
    assert data.sampled(10**6, 2, 0).tolist() == [0, 1, 2, 3, 4]
    assert len(data.sampled(0, 2, 0)) == 2
    for seed in range(10):
        chosen = data.sampled(25, 1, seed)
        assert chosen.tolist() == sorted(set(chosen))
        assert data.label_counts[chosen].sum() <= 25
        assert np.array_equal(chosen, data.sampled(25, 1, seed))
        assert np.array_equal(chosen, data.labels(BASELINE).sampled(25, 1, seed))
        assert data.n_atoms[data.sampled(10**6, 1, seed, most_atoms=6)].sum() <= 6
        enough = data.sampled_until(25, seed, 10**6)
        assert data.label_counts[enough].sum() >= 25
    assert data.sampled_until(10**6, 0, 10**6).tolist() == [0, 1, 2, 3, 4]
    assert len({tuple(data.sampled(25, 1, seed)) for seed in range(10)}) > 1


def test_it_cannot_be_changed(data):
    for array in (data.kind, data.size, data.label_first, data.n_atoms, data.element_counts):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7


def test_no_frames():
    data = Dataset([], [1, 8])
    assert (len(data), data.n_labels, data.n_environments) == (0, 0, 0)
    assert data.element_counts.shape == (0, 2)
    assert data.labels([0.0, 0.0]).n_frames == 0
    assert Dataset([]).elements.tolist() == []


def test_frames_with_tensors(xyz):
    frames = read_frames(xyz([water(k) for k in range(4)]), **KEYS)
    data = Dataset([*frames[:3], replace(frames[3], dipole=None), FRAMES[4]])
    assert data.tensor_counts == {"dipole": 3, "polarizability": 4}
    assert data.with_tensor("dipole").frames == tuple(frames[:3])
    assert data.with_tensor("dipole").elements.tolist() == [1, 6, 8]
    assert Dataset(FRAMES).tensor_counts == {}
