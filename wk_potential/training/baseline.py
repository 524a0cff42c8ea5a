"""Energies of the elements' atoms, which the kernel does not have to learn, and their weights in the density."""

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from ..atoms.dataset import Dataset
from ..atoms.kinds import LabelKind
from ..errors import DataError


def fit_baseline(data: Dataset, isolated_atoms: dict[str, float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Baseline energies (n,) of the elements, and the compositions (k, n) for which the frames determine them.

    Without isolated atoms the energies per atom are fitted by least squares (with the smallest norm where the
    compositions leave them open).

    Args:
        data: the training set.
        isolated_atoms: eV by chemical symbol.

    Raises:
        DataError: an element without an isolated-atom energy.

    """
    symbols = [chemical_symbols[z] for z in data.elements]
    if isolated_atoms is not None:
        if missing := [s for s in symbols if s not in isolated_atoms]:
            raise DataError(f"isolated_atoms lacks {', '.join(missing)}, which the training frames hold")
        return np.array([isolated_atoms[s] for s in symbols]), np.eye(len(symbols))
    labelled = np.flatnonzero(data.counts_by_kind[:, LabelKind.ENERGY])
    if not len(labelled):
        return np.zeros(len(symbols)), np.eye(len(symbols))
    counts = data.element_counts[labelled].astype(float)
    size = counts.sum(axis=1, keepdims=True)
    energies = np.array([data.frames[k].energy for k in labelled])
    baseline = np.linalg.lstsq(counts / size, energies / size[:, 0], rcond=1e-8)[0]
    _, singular, rows = np.linalg.svd(counts / size, full_matrices=False)
    return baseline, rows[singular > 1e-8 * singular[0]]


def element_weights(elements: np.ndarray, given: dict[str, float]) -> np.ndarray:
    """Weights (n,) of the elements' atoms in the density: as given, else the covalent radius in Angstrom.

    Hydrogen matters less than the carbon to which it is bound, and the radii say about how much less: likelihood and
    cross-validation on organic molecules prefer H at 0.3 to 0.45 of C.

    """
    return np.array([given.get(chemical_symbols[z], covalent_radii[z]) for z in elements])
