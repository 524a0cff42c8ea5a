"""Environments of the training frames: coefficients and their Jacobian by what the labels measure.

Labels of a frame are linear functionals of its environments' energies. They are numbered within the frame:
0 the energy, 1 + 3 j + x the derivative by coordinate x of atom j (minus a force), 1 + 3 N + v the derivative by
strain component v (the virial, volume times stress).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from ..atoms.dataset import Dataset
from ..atoms.frame import Frame
from ..atoms.neighbours import find_neighbours
from ..compute.jit import njit
from .expansion import Density, environment_jacobian, expand


@dataclass(frozen=True)
class FrameEnvironments:
    """Environments of one frame.

    Attributes:
        centres: (N,) species, indices among the elements.
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

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in vars(self).values())

    def by_element(self, n_elements: int) -> list[np.ndarray]:
        """Coefficients (n, n_lm, Q) of the environments of each element."""
        return [self.coefficients[self.centres == z] for z in range(n_elements)]


@njit
def _count_rows(first, index, chosen, forces, stress):
    n = first.shape[0] - 1
    out = np.zeros(n + 1, np.int64)
    for i in range(n):
        out[i + 1] = out[i]
        if chosen[i]:
            atoms = len(np.unique(np.append(index[first[i] : first[i + 1]], i))) if forces else 0
            out[i + 1] += 3 * atoms + (6 if stress else 0)
    return out


@njit
def _fill_rows(density, centres, first, index, vectors, species, forces, stress, rows, jacobian, label):
    n = centres.shape[0]
    width = jacobian.shape[1]
    channels = density.projection.shape[3]
    for i in range(n):
        if rows[i + 1] == rows[i]:
            continue
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


def frame_environments(
    frame: Frame,
    density: Density,
    elements: np.ndarray,
    derivatives: bool = True,
    chosen: np.ndarray | None = None,
) -> FrameEnvironments:
    """Expand the environments of a frame; rows only for the kinds of label that it has.

    Args:
        frame: the frame, its elements all in `elements`.
        density: the model's density.
        elements: sorted atomic numbers of the model.
        derivatives: without, no Jacobian.
        chosen: (N,) environments that get rows of the Jacobian [all].

    """
    chosen = np.ones(len(frame), bool) if chosen is None else chosen
    neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, density.radial.cutoff)
    vectors = neighbours.vectors(frame.positions, frame.cell)
    centres = np.searchsorted(elements, frame.numbers)
    forces, stress = derivatives and frame.forces is not None, derivatives and frame.stress is not None
    around = centres[neighbours.neighbour]
    rows = _count_rows(neighbours.first, neighbours.neighbour, chosen, forces, stress)
    width = (density.lmax + 1) ** 2 * density.projection.shape[3]
    jacobian, label = np.zeros((rows[-1], width)), np.zeros(rows[-1], np.int64)
    if forces or stress:
        _fill_rows(
            density, centres, neighbours.first, neighbours.neighbour, vectors, around, forces, stress,
            rows, jacobian, label,
        )  # fmt: skip
    coefficients = expand(density, centres, neighbours.first, vectors, around)
    return FrameEnvironments(centres, coefficients, jacobian, label, rows)


class _Kept:
    """Environments of frames that are kept, up to some number of bytes: those that are offered first."""

    def __init__(self, most_bytes: float) -> None:
        self._free, self._n_frames, self._lock = most_bytes, 0, Lock()
        self._found: dict[tuple[int, bool], FrameEnvironments] = {}  # by frame and whether there are derivatives

    def new_frames(self, n: int) -> np.ndarray:
        """Return numbers for frames that are not known yet."""
        self._n_frames += n
        return np.arange(self._n_frames - n, self._n_frames)

    def get(self, frame: int, derivatives: bool) -> FrameEnvironments | None:
        """Return environments that have what is asked for, or more."""
        found = self._found.get((frame, True))
        return self._found.get((frame, False)) if found is None and not derivatives else found

    def offer(self, frame: int, derivatives: bool, environments: FrameEnvironments) -> None:
        """Keep the environments if there is room, instead of those of the same frame without derivatives."""
        with self._lock:
            if self.get(frame, derivatives) is not None:  # of another thread
                return
            less = self._found.get((frame, False))
            free = self._free + (less.n_bytes if less else 0) - environments.n_bytes
            if free >= 0:
                self._found.pop((frame, False), None)
                self._found[frame, derivatives] = environments
                self._free = free


class Environments:
    """Environments of the frames of a data set, described by one density.

    A frame is expanded when its environments are asked for. The first of them are kept as far as memory is allowed, and
    need not be expanded again; the others are expanded each time. Several threads may ask at once.

    Args:
        data: the frames; its elements are those of the density.
        density: how environments are described.
        most_bytes: that may be kept [nothing is].

    """

    def __init__(self, data: Dataset, density: Density, most_bytes: float = 0.0) -> None:
        self.data, self.density = data, density
        self._kept = _Kept(most_bytes)
        self._numbers = self._kept.new_frames(len(data))  # under which frames are kept

    def subset(self, indices: np.ndarray) -> "Environments":
        """Return the environments of some of the frames; both keep the same."""
        out = copy.copy(self)
        out.data, out._numbers = self.data.subset(indices), self._numbers[indices]
        return out

    def extended(self, frames: Sequence[Frame]) -> "Environments":
        """Return the environments of these frames and of more, which come last; both keep the same."""
        out = copy.copy(self)
        out.data = Dataset([*self.data, *frames], self.data.elements)
        out._numbers = np.concatenate([self._numbers, self._kept.new_frames(len(frames))])
        return out

    def of_frame(self, k: int, derivatives: bool = True) -> FrameEnvironments:
        """Environments of frame k; without `derivatives` the Jacobian may be missing."""
        number = int(self._numbers[k])
        found = self._kept.get(number, derivatives)
        if found is None:
            found = frame_environments(self.data[k], self.density, self.data.elements, derivatives)
            self._kept.offer(number, derivatives, found)
        return found

    def count_rows(self, k: int) -> int:
        """Return how many rows the Jacobian of frame k has, without forming it."""
        frame = self.data[k]
        neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, self.density.radial.cutoff)
        chosen, forces, stress = np.ones(len(frame), bool), frame.forces is not None, frame.stress is not None
        return int(_count_rows(neighbours.first, neighbours.neighbour, chosen, forces, stress)[-1])

    def by_element(self, k: int) -> list[np.ndarray]:
        """Coefficients (n, n_lm, Q) of the environments of each element in frame k."""
        return self.of_frame(k, derivatives=False).by_element(len(self.data.elements))


def closest_distances(data: Dataset, reach: float) -> np.ndarray:
    """Smallest distances (n_elements, n_elements) between atoms of two elements, Angstrom; inf beyond the reach."""
    closest = np.full(2 * [len(data.elements)], np.inf)
    for frame in data:
        neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, reach)
        distances = np.linalg.norm(neighbours.vectors(frame.positions, frame.cell), axis=1)
        species = np.searchsorted(data.elements, frame.numbers)
        np.minimum.at(closest, (species[neighbours.centre], species[neighbours.neighbour]), distances)
    return closest
