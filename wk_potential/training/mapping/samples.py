"""Environments and their changes, on which the mapped form is made small."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import covalent_radii

from ...atoms.dataset import Dataset
from ...atoms.frame import Frame
from ...density.expansion import Density
from ...density.frames import frame_environments
from ..limits import DEFAULT, SampleLimits

SAME_SIZE = 0.3  # difference of the logarithms of covalent radii, up to which elements may take each other's place


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


def lacking_mixtures(data: Dataset) -> list[int]:
    """Return the elements if some frames lack elements of others, so that not all have met; else none."""
    return data.elements.tolist() if (data.element_counts == 0).any() else []


def with_copies(frame: Frame, rattle: float, mixtures: Sequence[int], rng: np.random.Generator) -> list[Frame]:
    """Return a frame and a rattled copy; and a copy of that with exchanged elements, if mixtures are wanted.

    Each atom of the latter is one of the elements of about its size, at random. A mapped form has no products of
    elements that never met in an environment, unless it is made with such copies.

    Args:
        frame: any.
        rattle: Angstrom, rms of the displacements in each coordinate.
        mixtures: atomic numbers of the elements that are exchanged; none for no such copy.
        rng: random numbers.

    """
    moved = frame.rattled(rattle, rng)
    if not mixtures:
        return [frame, moved]
    elements, numbers = np.asarray(mixtures), frame.numbers.copy()
    for z in np.unique(numbers):
        alike = elements[np.abs(np.log(covalent_radii[elements] / covalent_radii[z])) < SAME_SIZE]
        own = frame.numbers == z
        numbers[own] = rng.choice(alike, np.count_nonzero(own))
    return [frame, moved, replace(moved, numbers=numbers)]


def draw_samples(
    data: Dataset, density: Density, seed: int = 0, limits: SampleLimits = DEFAULT.samples
) -> list[Samples]:
    """Environments of the frames and of copies, in random order, for each element.

    There is a rattled copy of each frame. If some frames lack elements of others, there is one with exchanged elements.

    Args:
        data: structures; their labels are not used.
        density: the model's.
        seed: of the random choices.
        limits: how many, and how far copies are rattled.

    """
    rng, elements = np.random.default_rng(seed), data.elements
    shape, counts = ((density.lmax + 1) ** 2, density.projection.shape[3]), data.element_counts.sum(axis=0)
    mixtures = lacking_mixtures(data)
    share = np.minimum(1.0, limits.environments / ((6 if mixtures else 4) * np.maximum(counts, 1)))
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in elements]
    for frame in data:
        for copy in with_copies(frame, limits.rattle, mixtures, rng):
            free = replace(copy, forces=np.zeros_like(frame.positions), stress=None)
            environments = frame_environments(free, density, elements)
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
