"""Energy of two isolated atoms against their distance, far outside the training set too."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..atoms.neighbours import Neighbours, find_neighbours
from ..baselines.potential import BaselinePotential
from ..errors import BaselineError
from ..model.model import Model


@dataclass(frozen=True)
class DimerCurve:
    """Energies of a pair of elements.

    Attributes:
        numbers: (2,) atomic numbers.
        distances: (n,) Angstrom.
        energies: (n,) eV, relative to two atoms out of each other's reach; with the potential to which the model adds,
            NaN where that fails.
        learned: (n,) eV, the part without repulsion, likewise.
        outer: Angstrom, radius below which the repulsion acts, or None if the model has none.

    """

    numbers: tuple[int, int]
    distances: np.ndarray
    energies: np.ndarray
    learned: np.ndarray
    outer: float | None


def _below(
    baseline: BaselinePotential | None, numbers: np.ndarray, distances: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Energies (n,) of two atoms by a baseline, relative to those of both alone."""
    if baseline is None:
        return np.zeros(len(distances))
    found = np.full(len(distances), np.nan)
    with suppress(BaselineError):
        free = sum(baseline.evaluate(Atoms([z])).energy for z in numbers)
        for k, r in enumerate(distances):
            with suppress(BaselineError):
                found[k] = baseline.evaluate(Atoms(numbers, [[0, 0, 0], [r, 0, 0]])).energy - free
    return found


def dimer_curves(model: Model, distances: Sequence[float] | np.ndarray | None = None) -> list[DimerCurve]:
    """Return the curves of all pairs of elements.

    Args:
        model: the model.
        distances: (n,) Angstrom [0.2 to 4 or the cutoff].

    """
    if distances is None:
        distances = np.linspace(0.2, min(4.0, model.cutoff), 300)
    whole = model.potential()
    learned = whole.without_repulsion()
    alone = Neighbours(np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros((0, 3), np.int16))
    curves = []
    for a, first in enumerate(model.elements):
        for b, second in enumerate(model.elements[a:], a):
            numbers = np.array([first, second])
            free = model.evaluate(model.structure(numbers, np.eye(2, 3), np.zeros((3, 3)), alone)).energies.sum()
            both = []
            for r in distances:
                positions = np.array([[0.0, 0, 0], [r, 0, 0]])
                pair = find_neighbours(positions, np.zeros((3, 3)), np.zeros(3, bool), model.cutoff)
                structure = model.structure(numbers, positions, np.zeros((3, 3)), pair)
                both.append([model.evaluate(structure, 1, p).energies.sum() - free for p in (whole, learned)])
            energies, without = np.array(both).T + _below(model.baseline_potential, numbers, distances)
            outer = None if model.repulsion is None else float(model.repulsion.outer[a, b])
            curves.append(DimerCurve((int(first), int(second)), np.asarray(distances), energies, without, outer))
    return curves
