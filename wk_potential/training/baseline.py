"""Energies of the elements' atoms, which the kernel does not have to learn, and their weights in the density."""

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from ..atoms.dataset import Dataset
from ..atoms.kinds import LabelKind


def fit_baseline(data: Dataset, isolated_atoms: dict[str, float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Baseline energies (n,) of the elements, and the compositions (k, n) for which they are determined.

    Energies of isolated atoms are taken as they are. Those of other elements are fitted by least squares to energies
    per atom (with the smallest norm where the compositions leave them open).

    Args:
        data: the training set.
        isolated_atoms: eV by chemical symbol.

    """
    symbols = [chemical_symbols[z] for z in data.elements]
    given = isolated_atoms or {}
    known = np.array([symbol in given for symbol in symbols])
    baseline = np.array([given.get(symbol, 0.0) for symbol in symbols])
    labelled = np.flatnonzero(data.counts_by_kind[:, LabelKind.ENERGY])
    if known.all() or not len(labelled):
        return baseline, np.eye(len(symbols))
    counts = data.element_counts[labelled].astype(float)
    shares = counts / counts.sum(axis=1, keepdims=True)
    energies = np.array([data.frames[k].energy for k in labelled]) / counts.sum(axis=1) - shares @ baseline
    baseline[~known] = np.linalg.lstsq(shares[:, ~known], energies, rcond=1e-8)[0]
    _, singular, rows = np.linalg.svd(np.concatenate([shares, np.eye(len(symbols))[known]]), full_matrices=False)
    return baseline, rows[singular > 1e-8 * singular[0]]


def element_weights(elements: np.ndarray, given: dict[str, float]) -> np.ndarray:
    """Weights (n,) of the elements' atoms in the density: as given, else the covalent radius in Angstrom.

    Hydrogen matters less than the carbon to which it is bound, and the radii say about how much less: likelihood and
    cross-validation on organic molecules prefer H at 0.3 to 0.45 of C.

    """
    return np.array([given.get(chemical_symbols[z], covalent_radii[z]) for z in elements])
