"""Where the repulsion of each pair of elements begins: closer than the training frames come.

It is zero on all training frames, so the fit does not depend on it.
"""

import numpy as np
from ase.data import covalent_radii

from ..atoms.dataset import Dataset
from ..density.frames import closest_distances
from ..model.repulsion import Repulsion

OUTER = 0.9  # of the smallest distance in the training frames
INNER = 0.5  # of the outer radius
CONTACT = 2.0  # sums of covalent radii beyond which no pair is repelled, whether or not the frames have such pairs


def choose_repulsion(data: Dataset, cutoff: float) -> Repulsion:
    """Return the repulsion between the elements.

    Args:
        data: the training set.
        cutoff: of the model, Angstrom.

    """
    radii = covalent_radii[data.elements]
    outer = np.minimum(CONTACT * (radii[:, None] + radii), cutoff)
    outer = np.minimum(outer, OUTER * closest_distances(data, outer.max() / OUTER))
    return Repulsion(np.array(data.elements, float), INNER * outer, outer)
