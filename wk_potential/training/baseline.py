"""Energies per element that the kernel does not have to learn, and the numbers that it does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from ..atoms.frame import Frame
from ..errors import DataError


def fit_baseline(frames: Sequence[Frame], elements, isolated_atoms: dict[str, float] | None = None):
    """Baseline energies (n,) and the compositions (k, n) that they are determined for.

    Without isolated atoms the energies per atom are fitted by least squares (of smallest norm, if the compositions
    do not determine them).

    Args:
        frames: the training frames.
        elements: (n,) sorted atomic numbers.
        isolated_atoms: eV by chemical symbol.

    Raises:
        DataError: an element without an isolated-atom energy.

    """
    symbols = [chemical_symbols[z] for z in elements]
    if isolated_atoms is not None:
        if missing := [s for s in symbols if s not in isolated_atoms]:
            raise DataError(f"isolated_atoms lacks {', '.join(missing)}, which the training frames hold")
        return np.array([isolated_atoms[s] for s in symbols]), np.eye(len(elements))
    labelled = [f for f in frames if f.energy is not None]
    if not labelled:
        return np.zeros(len(elements)), np.eye(len(elements))
    counts = np.array([[np.sum(f.numbers == z) for z in elements] for f in labelled], float)
    size = counts.sum(axis=1, keepdims=True)
    energies = np.array([f.energy for f in labelled])
    baseline = np.linalg.lstsq(counts / size, energies / size[:, 0], rcond=1e-8)[0]
    _, singular, rows = np.linalg.svd(counts / size, full_matrices=False)
    return baseline, rows[singular > 1e-8 * singular[0]]


def element_weights(elements, given: dict[str, float]) -> np.ndarray:
    """Weights (n,) of the elements' atoms in the density: as given, else the covalent radius in Angstrom.

    A hydrogen atom moves more and matters less than the carbon that it sits on; radii say about how much less
    (likelihood and cross-validation on organic molecules prefer H at 0.3 to 0.45 of C).

    Raises:
        DataError: a weight for something that is no element, or not positive.

    """
    from ase.data import covalent_radii

    for symbol, weight in given.items():
        if symbol not in atomic_numbers or not weight > 0:
            raise DataError(f"element_weights: {symbol} = {weight}, expected a chemical symbol and a positive number")
    return np.array([given.get(chemical_symbols[z], covalent_radii[z]) for z in elements])


def fit_targets(frames: Sequence[Frame], elements, baseline):
    """What the kernel has to learn, in the order of the labels.

    Returns:
        values: (n_labels,) energies less baseline, derivatives by positions (-forces), virials; eV, Angstrom.
        kind: (n_labels,) index into `data.KINDS`.
        size: (n_labels,) standard deviation of a label in units of its kind's noise: the square root of the number
            of atoms for energies and virials, 1 for forces.

    """
    values: list[np.ndarray] = []
    kind: list[np.ndarray] = []
    size: list[np.ndarray] = []
    for frame in frames:
        root = np.sqrt(len(frame))
        if frame.energy is not None:
            values.append(np.array([frame.energy - baseline[np.searchsorted(elements, frame.numbers)].sum()]))
            kind.append(np.zeros(1))
            size.append(np.array([root]))
        if frame.forces is not None:
            values.append(-frame.forces.ravel())
            kind.append(np.full(frame.forces.size, 1))
            size.append(np.ones(frame.forces.size))
        if frame.stress is not None:
            values.append(frame.stress * frame.volume)
            kind.append(np.full(6, 2))
            size.append(np.full(6, root))
    return np.concatenate(values), np.concatenate(kind).astype(np.int64), np.concatenate(size)


@dataclass(frozen=True)
class Labels:
    """Targets of the fit: `values`, `kind` and `size` (n_labels,) as `baseline.fit_targets` returns them."""

    values: np.ndarray
    kind: np.ndarray
    size: np.ndarray

    def of_frames(self, frames, label_first) -> "Labels":
        """Return the labels of some of the frames."""
        rows = np.concatenate([np.arange(label_first[k], label_first[k + 1]) for k in frames])
        return Labels(self.values[rows], self.kind[rows], self.size[rows])

    def spread(self) -> np.ndarray:
        """Root mean square (3,) of each kind in units of its size, 1 for a kind without labels."""
        out = np.ones(3)
        for kind in np.unique(self.kind):
            of_kind = self.kind == kind
            out[kind] = np.sqrt(np.mean((self.values[of_kind] / self.size[of_kind]) ** 2)) or 1.0
        return out
