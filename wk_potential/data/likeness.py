"""Which frames are alike: by the averages of their atoms' power spectra, compared with those of rattled copies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..atoms.dataset import Dataset
from ..atoms.frame import Frame
from ..atoms.kinds import KINDS, TENSORS
from ..compute.threads import run_threads, thread_count
from ..density.frames import Environments
from ..model.error_bars import coarse
from ..model.novelty import power_spectra
from ..training.channels import model_density
from ..training.options import TrainingOptions
from ..training.task import Progress, quiet

NEAR = 0.02  # Angstrom, rms of random displacements of all atoms; two snapshots of an ethanol at 500 K differ by more
LMAX, CHANNELS = 3, 8  # of the density by which frames are compared, as for extrapolation grades
ROUNDING = 1e-6  # of a descriptor, below which two of them are the same


@dataclass(frozen=True)
class Likeness:
    """Frames as points.

    Attributes:
        points: (F, D) descriptor of each frame, which no rotation, translation or exchange of equal atoms changes.
        radius: (F,) how far it moves if the atoms are displaced at random by the rms distance that counts as near.

    """

    points: np.ndarray
    radius: np.ndarray


def structure_groups(frames: Sequence[Frame]) -> list[list[int]]:
    """Frames whose structures are the same to the last bit: groups of two or more, each in order."""
    found: dict[tuple[bytes, ...], list[int]] = {}
    for k, frame in enumerate(frames):
        found.setdefault(frame.structure_key, []).append(k)
    return [group for group in found.values() if len(group) > 1]


def same_labels(a: Frame, b: Frame) -> bool:
    """Whether two frames have the same kinds of labels and the same values, but for digits that files round."""
    pairs = [(getattr(a, kind), getattr(b, kind)) for kind in (*KINDS, *TENSORS)]
    return all((x is None) == (y is None) and (x is None or np.allclose(x, y, rtol=1e-7, atol=1e-4)) for x, y in pairs)


def likeness(
    frames: Sequence[Frame], near: float = NEAR, threads: int | None = None, progress: Progress = quiet
) -> Likeness:
    """Describe frames, and how much small displacements of the atoms change their descriptions.

    Args:
        frames: structures; labels do not matter.
        near: Angstrom, rms displacement of the atoms.
        threads: without it OMP_NUM_THREADS if set, else the cores available.
        progress: receives the name of a stage and the fraction done.

    """
    bare = [replace(frame, energy=None, forces=None, stress=None) for frame in frames]
    options = TrainingOptions()
    data = Dataset(bare)
    density = coarse(model_density(data, options, options.long), LMAX, CHANNELS)
    moved = [_displaced(frame, near) for frame in bare]
    pairs, n = [Environments(Dataset(part, data.elements), density) for part in (bare, moved)], thread_count(threads)
    found: list[np.ndarray] = []
    for first in range(0, len(data), 16 * n):
        batch = range(first, min(first + 16 * n, len(data)))
        found += run_threads(lambda k: np.stack([_description(part.by_element(k)) for part in pairs]), batch, n)
        progress("comparing structures", len(found) / len(data))
    points = np.stack(found)
    return Likeness(points[:, 0], np.linalg.norm(points[:, 0] - points[:, 1], axis=1))


def _displaced(frame: Frame, size: float) -> Frame:
    """Return a copy with atoms displaced at random, always in the same way, by a rms distance in Angstrom."""
    moves = np.random.default_rng(0).normal(size=frame.positions.shape)
    return replace(frame, positions=frame.positions + size / np.sqrt(np.mean(np.sum(moves**2, axis=1))) * moves)


def _description(environments: Sequence[np.ndarray]) -> np.ndarray:
    """Mean power spectrum of the atoms of each element, one after the other; coefficients (n, n_lm, Q) of each."""
    return np.concatenate([power_spectra(c).sum(axis=0) / max(len(c), 1) for c in environments])


def near_pairs(frames: Sequence[Frame], found: Likeness) -> np.ndarray:
    """Pairs (P, 2) of frames of the same composition and cell directions that differ less than rattled copies do."""
    kinds: dict[tuple[bytes, bytes], list[int]] = {}
    for k, frame in enumerate(frames):
        kinds.setdefault((np.sort(frame.numbers).tobytes(), frame.pbc.tobytes()), []).append(k)
    pairs = [np.zeros((0, 2), int)]
    for group in kinds.values():
        own = np.array(group)
        radius = found.radius[own] + ROUNDING * np.linalg.norm(found.points[own], axis=1)
        tree = cKDTree(found.points[own])
        close = tree.query_pairs(float(radius.max()), output_type="ndarray")
        distance = np.linalg.norm(found.points[own][close[:, 0]] - found.points[own][close[:, 1]], axis=1)
        pairs.append(own[close[distance <= np.minimum(*radius[close].T)]])
    return np.concatenate(pairs)


def clusters(n: int, pairs: np.ndarray) -> np.ndarray:
    """Number of the cluster (n,) of each frame; frames that pairs (P, 2) join, directly or not, are in the same."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def near_groups(frames: Sequence[Frame], found: Likeness) -> list[list[int]]:
    """Groups of two or more near-duplicates, each in order; in a trajectory one leads to the next."""
    labels = clusters(len(frames), near_pairs(frames, found))
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(labels))[:-1])
    return [group.tolist() for group in groups if len(group) > 1]
