"""Environments of the training frames: coefficients and their Jacobian by what the labels measure.

Labels of a frame are linear functionals of its environments' energies. They are numbered within the frame:
0 the energy, 1 + 3 j + x the derivative by coordinate x of atom j (minus a force), 1 + 3 N + v the derivative by
strain component v (the virial, volume times stress).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..atoms.frame import Frame
from ..atoms.neighbours import find_neighbours
from ..compute.jit import njit
from .expansion import Density, environment_jacobian, expand

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class FrameEnvironments:
    """Environments of one frame.

    Attributes:
        centres: (N,) element indices.
        coefficients: (N, n_lm, Q).
        jacobian: (R, n_lm * Q), derivatives of an environment's coefficients by the labels' coordinates.
        label: (R,) label within the frame of each row.
        first: (N + 1,) where the rows of each environment begin.

    """

    centres: np.ndarray
    coefficients: np.ndarray
    jacobian: np.ndarray
    label: np.ndarray
    first: np.ndarray


@njit
def _count_rows(first, index, forces, stress):
    n = first.shape[0] - 1
    out = np.zeros(n + 1, np.int64)
    for i in range(n):
        atoms = len(np.unique(np.append(index[first[i] : first[i + 1]], i))) if forces else 0
        out[i + 1] = out[i] + 3 * atoms + (6 if stress else 0)
    return out


@njit
def _fill_rows(density, centres, first, index, vectors, species, forces, stress, rows, jacobian, label):
    n = centres.shape[0]
    width = jacobian.shape[1]
    channels = density.projection.shape[3]
    for i in range(n):
        span = slice(first[i], first[i + 1])
        derivative = np.zeros((first[i + 1] - first[i], 3, width // channels, channels))
        environment_jacobian(density, centres[i], vectors[span], species[span], derivative)
        flat = derivative.reshape((-1, 3, width))
        row = rows[i]
        if forces:
            atoms = np.unique(np.append(index[span], i))
            own = row + 3 * np.searchsorted(atoms, i)
            for k in range(len(atoms)):
                for x in range(3):
                    label[row + 3 * k + x] = 1 + 3 * atoms[k] + x
            for p in range(flat.shape[0]):
                target = row + 3 * np.searchsorted(atoms, index[first[i] + p])
                for x in range(3):
                    jacobian[target + x] += flat[p, x]
                    jacobian[own + x] -= flat[p, x]
            row += 3 * len(atoms)
        if stress:
            for v in range(6):
                a, b = (0, 1, 2, 1, 0, 0)[v], (0, 1, 2, 2, 2, 1)[v]
                label[row + v] = 1 + 3 * n + v
                for p in range(flat.shape[0]):
                    r = vectors[first[i] + p]
                    jacobian[row + v] += 0.5 * (r[b] * flat[p, a] + r[a] * flat[p, b])


def frame_environments(frame: Frame, density: Density, elements, derivatives: bool = True) -> FrameEnvironments:
    """Expand the environments of a frame; rows only for the kinds of label that it has.

    Args:
        frame: the frame, its elements all in `elements`.
        density: the model's density.
        elements: sorted atomic numbers of the model.
        derivatives: without, no Jacobian.

    """
    neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, density.radial.cutoff)
    vectors = neighbours.vectors(frame.positions, frame.cell)
    centres = np.searchsorted(elements, frame.numbers)
    forces, stress = derivatives and frame.forces is not None, derivatives and frame.stress is not None
    around = centres[neighbours.neighbour]
    rows = _count_rows(neighbours.first, neighbours.neighbour, forces, stress)
    width = (density.lmax + 1) ** 2 * density.projection.shape[3]
    jacobian, label = np.zeros((rows[-1], width)), np.zeros(rows[-1], np.int64)
    if forces or stress:
        _fill_rows(
            density, centres, neighbours.first, neighbours.neighbour, vectors, around, forces, stress,
            rows, jacobian, label,
        )  # fmt: skip
    coefficients = expand(density, centres, neighbours.first, vectors, around)
    return FrameEnvironments(centres, coefficients, jacobian, label, rows)


def closest_distances(frames: Sequence[Frame], elements, reach: float) -> np.ndarray:
    """Smallest distances (n_elements, n_elements) between atoms of two elements, Angstrom; inf beyond the reach."""
    closest = np.full(2 * [len(elements)], np.inf)
    for frame in frames:
        neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, reach)
        distances = np.linalg.norm(neighbours.vectors(frame.positions, frame.cell), axis=1)
        index = np.searchsorted(elements, frame.numbers)
        np.minimum.at(closest, (index[neighbours.centre], index[neighbours.neighbour]), distances)
    return closest
