"""Frames are divided, chosen and joined."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.lj import LennardJones
from oracles.systems import labelled_copper, rattled_frame, rattled_frames

from wk_potential import Frame, read_frames
from wk_potential.atoms.trajectories import write_frames
from wk_potential.data.likeness import likeness, near_pairs
from wk_potential.data.merge import merge_frames
from wk_potential.data.select import select_frames
from wk_potential.data.split import split_frames
from wk_potential.errors import DataError, OptionsError, StructureError


def trajectory(start: Frame, n: int, step: float = 0.004) -> list[Frame]:
    """Frames in small steps along a straight line."""
    move = step * np.random.default_rng(0).normal(size=start.positions.shape)
    return [replace(start, positions=start.positions + k * move, source=f"run.xyz, frame {k}") for k in range(n)]


@pytest.fixture(scope="module")
def ethanol():
    """Three short trajectories of six frames and twelve molecules that differ."""
    frames = rattled_frames(molecule("CH3CH2OH"), 15, 0.1)
    return [f for start in frames[:3] for f in trajectory(start, 6)] + frames[3:]


@pytest.mark.parametrize("seed", range(2))
def test_no_near_duplicates_across_the_parts(ethanol, seed):
    train, test = split_frames(ethanol, 0.4, seed, threads=1)
    assert len(train) + len(test) == len(ethanol)
    assert len(test) == 12
    both = [*train, *test]
    pairs = near_pairs(both, likeness(both, threads=1))
    assert len(pairs) >= 3 * 5
    assert not ((pairs[:, 0] < len(train)) != (pairs[:, 1] < len(train))).any()


def test_the_seed_decides(ethanol):
    found = [[id(f) for f in split_frames(ethanol, 0.4, seed, threads=1)[1]] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_isolated_atoms_and_the_only_frame_of_an_element_are_for_training(ethanol):
    atom = Frame.from_atoms(Atoms("H", info={"energy": -13.0}))
    sulphur = rattled_frames(molecule("CH3SH"), 1, 0.1)
    for seed in range(2):
        _, test = split_frames([atom, *sulphur, *ethanol[18:24]], 0.5, seed, threads=1)
        assert len(test) == 4
        assert all(16 not in frame.numbers and len(frame) > 1 for frame in test)


def test_one_trajectory_cannot_be_divided(ethanol):
    with pytest.raises(DataError, match=r"6 frames make 1 groups of near-duplicates, of up to 6 frames.*--near"):
        split_frames(ethanol[:6], 0.5, threads=1)
    with pytest.raises(OptionsError, match="test_fraction"):
        split_frames(ethanol, 1.5)
    with pytest.raises(OptionsError, match="near"):
        split_frames(ethanol, 0.2, near=0.0)


def test_selection_takes_what_differs():
    alike = trajectory(rattled_frames(molecule("CH3CH2OH"), 1, 0.1)[0], 10)
    others = [rattled_frames(molecule(name), 1, 0.05)[0] for name in ("CH3CH2OH", "CH3OCH3")]
    frames = [*alike[:5], others[0], *alike[5:], others[1]]
    chosen = select_frames(frames, 3, threads=1)
    assert {5, 11} < set(chosen)
    assert select_frames(frames, 2, threads=1) == chosen[:2]


def test_selection_needs_no_labels_and_chooses_no_frame_twice(tmp_path):
    frames = labelled_copper(6)
    chosen = select_frames(frames, 6, threads=1)
    assert sorted(chosen) == list(range(6))
    bare = [replace(f, energy=None, forces=None, stress=None) for f in frames]
    assert select_frames(bare, 4, threads=1) == select_frames(frames, 4, threads=1)
    write_frames(tmp_path / "bare.xyz", bare)
    assert select_frames(tmp_path / "bare.xyz", 4, threads=1) == select_frames(frames, 4, threads=1)
    twice = [*frames[:4], *frames[:4]]
    assert len(select_frames(twice, 8, threads=1)) == 4  # a copy adds nothing
    with pytest.raises(OptionsError, match="7 frames of 6"):
        select_frames(frames, 7)


@pytest.mark.parametrize("name", ["frames.xyz", "frames.extxyz", "frames.traj"])
def test_written_frames_keep_their_labels(tmp_path, name):
    frames = labelled_copper(3)
    frames[1] = replace(frames[1], stress=None, config_type="strained", weight=2.0)
    frames.append(rattled_frame(molecule("H2O"), LennardJones(), 0, drop=("energy",)))
    write_frames(tmp_path / name, frames)
    for given, read in zip(frames, read_frames(tmp_path / name), strict=True):
        for kind in ("numbers", "positions", "cell", "pbc", "energy", "forces", "stress", "config_type", "weight"):
            a, b = getattr(given, kind), getattr(read, kind)
            assert (a is None) == (b is None)
            if a is not None and kind != "config_type":
                assert b == pytest.approx(a, rel=1e-9, abs=1e-8)
        assert read.config_type == given.config_type


def test_formats_that_lose_labels_are_refused(tmp_path):
    with pytest.raises(StructureError, match=r"a\.cif: frames are written with all labels as \.xyz"):
        write_frames(tmp_path / "a.cif", labelled_copper(1))
    assert not list(tmp_path.iterdir())


def test_merging_drops_copies_and_keeps_contradictions():
    a, b, c = labelled_copper(3)
    other = replace(a, energy=a.energy + 1, source="more.xyz, frame 0")
    again = replace(b, source="more.xyz, frame 1")
    merged = merge_frames([a, b, c, other, again, other])
    assert merged.frames == [a, b, c, other]
    assert merged.repeated == [("more.xyz@1", "copper 1"), ("more.xyz@0", "more.xyz@0")]
    assert merged.contradictory == [("more.xyz@0", "copper 0")]
