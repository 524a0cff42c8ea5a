"""Where the repulsion of each pair of elements begins: closer than the training frames come.

It is zero on all training frames, so the fit does not depend on it.
"""

import numpy as np
from ase.data import covalent_radii

from ..atoms.dataset import Dataset
from ..density.frames import closest_distances
from ..model.repulsion import Repulsion
from .limits import DEFAULT, RepulsionLimits


def choose_repulsion(data: Dataset, cutoff: float, limits: RepulsionLimits = DEFAULT.repulsion) -> Repulsion:
    """Return the repulsion between the elements.

    Args:
        data: the training set.
        cutoff: of the model, Angstrom.
        limits: constants of this step.

    """
    radii = covalent_radii[data.elements]
    outer = np.minimum(limits.contact * (radii[:, None] + radii), cutoff)
    outer = np.minimum(outer, limits.outer * closest_distances(data, outer.max() / limits.outer))
    return Repulsion(np.array(data.elements, float), limits.inner * outer, outer)
