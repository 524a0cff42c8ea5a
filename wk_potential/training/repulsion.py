"""Where the repulsion of each pair of elements begins: closer and denser than the training frames are.

It touches no frame, so the labels less the repulsion are the labels, and what is learned does not depend on it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from ase.data import covalent_radii

from ..neighbours import find_neighbours
from ..repulsion import Repulsion
from .data import Frame

OUTER = 0.9  # of the smallest distance in the training frames
INNER = 0.5  # of the outer radius
CONTACT = 2.0  # sums of covalent radii beyond which no pair is repelled, whether or not the frames have such pairs
FAR = 1.6  # of the smallest distance: where neighbours cease to be close
ROOM = 0.1  # neighbours more than in any frame that may be there


def choose_repulsion(frames: Sequence[Frame], elements, cutoff: float) -> Repulsion:
    """Return the repulsion between the elements.

    Args:
        frames: the training frames.
        elements: (n,) sorted atomic numbers.
        cutoff: of the model, Angstrom.

    """
    radii = covalent_radii[elements]
    outer = np.minimum(CONTACT * (radii[:, None] + radii), cutoff)
    for _, a, b, distances in _pairs(frames, elements, outer.max() / OUTER):
        np.minimum.at(outer, (a, b), OUTER * distances)
    near = np.minimum(outer / OUTER, cutoff)
    far = np.minimum(FAR * near, cutoff)
    most = np.zeros_like(outer)
    width = np.maximum(far - near, 1e-6)
    for centre, a, b, distances in _pairs(frames, elements, far.max()):
        t = np.clip((far[a, b] - distances) / width[a, b], 0.0, 1.0)
        counts = np.zeros((centre.max(initial=-1) + 1, len(elements)))
        np.add.at(counts, (centre, b), t**3 * (10 - 15 * t + 6 * t**2))
        np.maximum.at(most, a, counts[centre])
    most = np.where(most > 0, most + ROOM, np.inf)  # pairs that never meet are repelled, and that is enough
    return Repulsion(np.array(elements, float), INNER * outer, outer, near, far, most)


def _pairs(frames: Sequence[Frame], elements, reach: float) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield centre, indices of its element and of the neighbour's, and distance of the pairs of each frame."""
    for frame in frames:
        neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, reach)
        index = np.searchsorted(elements, frame.numbers)
        distances = np.linalg.norm(neighbours.vectors(frame.positions, frame.cell), axis=1)
        yield neighbours.centre, index[neighbours.centre], index[neighbours.neighbour], distances
