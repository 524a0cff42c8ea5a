"""Where the repulsion of each pair of elements begins: closer than the training frames come.

It touches no frame, so the labels less the repulsion are the labels, and what is learned does not depend on it.
"""

from collections.abc import Sequence

import numpy as np
from ase.data import covalent_radii

from ..atoms.frame import Frame
from ..density.frames import closest_distances
from ..model.repulsion import Repulsion

OUTER = 0.9  # of the smallest distance in the training frames
INNER = 0.5  # of the outer radius
CONTACT = 2.0  # sums of covalent radii beyond which no pair is repelled, whether or not the frames have such pairs


def choose_repulsion(frames: Sequence[Frame], elements, cutoff: float) -> Repulsion:
    """Return the repulsion between the elements.

    Args:
        frames: the training frames.
        elements: (n,) sorted atomic numbers.
        cutoff: of the model, Angstrom.

    """
    radii = covalent_radii[elements]
    outer = np.minimum(CONTACT * (radii[:, None] + radii), cutoff)
    outer = np.minimum(outer, OUTER * closest_distances(frames, elements, outer.max() / OUTER))
    return Repulsion(np.array(elements, float), INNER * outer, outer)
