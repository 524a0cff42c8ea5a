"""Elements and compositions that a model knows."""

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from ..errors import UnknownElementError


def species_of(numbers: npt.ArrayLike, elements: np.ndarray) -> np.ndarray:
    """Return the species (N,) of atoms: the place of each one's element among those of the model.

    Args:
        numbers: (N,) atomic numbers.
        elements: (n,) sorted atomic numbers of the model.

    Raises:
        UnknownElementError: an element is not in the model.

    """
    numbers = np.asarray(numbers)
    index = np.searchsorted(elements, numbers)
    found = elements[np.minimum(index, len(elements) - 1)] == numbers
    if not np.all(found):
        atom = int(np.argmin(found))
        raise UnknownElementError(
            f"atom {atom} is {chemical_symbols[int(numbers[atom])]}, but the model was trained on "
            f"{', '.join(chemical_symbols[z] for z in elements)} only"
        )
    return index


def is_determined(species: np.ndarray, compositions: np.ndarray) -> bool:
    """Whether the training set determines the energy baseline of a composition.

    Args:
        species: (N,) of the atoms.
        compositions: (k, n) orthonormal basis of the compositions that it determines.

    """
    counts = np.bincount(species, minlength=compositions.shape[1]).astype(float)
    outside = counts - (counts @ compositions.T) @ compositions
    return bool(np.linalg.norm(outside) <= 1e-6 * np.linalg.norm(counts))
