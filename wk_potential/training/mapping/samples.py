"""Environments and their changes, on which the mapped form is made small."""

from dataclasses import dataclass, replace

import numpy as np

from ...atoms.dataset import Dataset
from ...density.expansion import Density
from ...density.frames import frame_environments
from ..limits import DEFAULT, SampleLimits


@dataclass(frozen=True)
class Samples:
    """Environments of one element.

    Attributes:
        coefficients: (n, n_lm, Q).
        directions: (n, n_lm, Q) their changes when all atoms move at random, by 1 Angstrom rms in each coordinate.

    """

    coefficients: np.ndarray
    directions: np.ndarray


def choose_frames(data: Dataset, rng: np.random.Generator, limits: SampleLimits = DEFAULT.samples) -> Dataset:
    """Return random frames, with each element in at least one of them."""
    present = data.element_counts > 0
    order = rng.permutation(len(data))
    # the first frame of each element goes first
    first = [order[np.argmax(column)] for column in present[order].T if column.any()]
    chosen = list(dict.fromkeys([*first, *order]))[: max(limits.frames, len(set(first)))]
    return data.subset(chosen)


def draw_samples(
    data: Dataset, density: Density, seed: int = 0, limits: SampleLimits = DEFAULT.samples
) -> list[Samples]:
    """Environments of the frames and of rattled copies, in random order, for each element.

    Args:
        data: structures; their labels are not used.
        density: the model's.
        seed: of the random choices.
        limits: how many, and how far copies are rattled.

    """
    rng, elements = np.random.default_rng(seed), data.elements
    shape, counts = ((density.lmax + 1) ** 2, density.projection.shape[3]), data.element_counts.sum(axis=0)
    share = np.minimum(1.0, limits.environments / (4 * np.maximum(counts, 1)))
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in elements]
    for frame in data:
        moved = frame.positions + rng.normal(0, limits.rattle, frame.positions.shape)
        for positions in (frame.positions, moved):
            copy = replace(frame, positions=positions, forces=np.zeros_like(positions), stress=None)
            environments = frame_environments(copy, density, elements)
            for i, z in enumerate(environments.centres):
                rows = environments.jacobian[environments.first[i] : environments.first[i + 1]]
                if rng.random() > share[z] or not len(rows):
                    continue
                for _ in range(2):
                    change = rng.normal(size=len(rows)) @ rows
                    found[z].append((environments.coefficients[i], change.reshape(shape)))
    out = []
    for pairs in found:
        order = rng.permutation(len(pairs))
        c, d = (np.array([pairs[k][part] for k in order]).reshape(-1, *shape) for part in (0, 1))
        out.append(Samples(c, d))
    return out
