"""Divide frames into a training set and a test set that have no near-duplicates in common."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..atoms.dataset import Dataset
from ..atoms.frame import Frame
from ..atoms.reading import FrameSource, frames_of
from ..errors import DataError, OptionsError
from ..training.isolated import is_isolated
from ..training.task import Progress, quiet
from .likeness import NEAR, clusters, likeness, near_pairs
from .summary import REACH


def split_frames(
    data: FrameSource | Sequence[Frame],
    test_fraction: float = 0.2,
    seed: int = 0,
    near: float = NEAR,
    threads: int | None = None,
    progress: Progress = quiet,
    **reading: Any,
) -> tuple[list[Frame], list[Frame]]:
    """Divide frames at random into those to train on and those to test on.

    Frames that are nearly the same go to the same part, and so do frames between which others lead step by step, as in
    a trajectory. Isolated atoms go to the training set, which also holds every element.

    Args:
        data: what `read_frames` takes, or frames.
        test_fraction: of the frames that are to be test frames; more than 0 and less than 1.
        seed: of the choice.
        near: Angstrom, rms of the random displacements below which structures count as the same.
        threads: without it OMP_NUM_THREADS if set, else the cores available.
        progress: receives the name of a stage and the fraction done.
        reading: keywords of `read_frames`.

    Returns:
        The training set and the test set, both in the order of the frames.

    Raises:
        OptionsError: the fraction or the distance is out of bounds.
        DataError: as `read_frames`; or all groups of frames are too large for the test set.

    """
    if not 0 < test_fraction < 1:
        raise OptionsError(f"test_fraction must be more than 0 and less than 1, not {test_fraction:g}")
    if not 0 < near < 1:
        raise OptionsError(f"near must be more than 0 and less than 1 Angstrom, not {near:g}")
    frames = frames_of(data, **reading)
    group = clusters(len(frames), near_pairs(frames, likeness(frames, near, threads, progress)))
    chosen = _chosen(Dataset(frames), group, round(test_fraction * len(frames)), seed)
    if not chosen.any() or chosen.all():
        most = int(np.bincount(group).max())
        raise DataError(
            f"{len(frames)} frames make {group.max() + 1} groups of near-duplicates, of up to {most} frames, and none "
            f"fits into a test set of {test_fraction:g} of them: take a larger fraction, a smaller distance (--near), "
            "or frames that differ more"
        )
    parts = [[frame for k, frame in enumerate(frames) if chosen[k] == test] for test in (False, True)]
    return parts[0], parts[1]


def _chosen(data: Dataset, group: np.ndarray, n_test: int, seed: int) -> np.ndarray:
    """Test frames (F,): whole groups in random order, as many as fit, that leave every element in the training set."""
    chosen = np.zeros(len(data), bool)
    left = (data.element_counts > 0).sum(axis=0)  # frames of the training set with each element
    for g in np.random.default_rng(seed).permutation(group.max() + 1):
        own = np.flatnonzero(group == g)
        taken = (data.element_counts[own] > 0).sum(axis=0)
        if chosen.sum() + len(own) > n_test or (left == taken)[taken > 0].any():
            continue
        if any(is_isolated(data[k], REACH) for k in own.tolist()):
            continue
        chosen[own] = True
        left = left - taken
    return chosen
