"""Recursive bisection: atoms in parts of equal work, compact in space. The same on every rank, without a message."""

from typing import NamedTuple

import numpy as np


class Coordinates(NamedTuple):
    """Coordinates along the cell vectors.

    Attributes:
        scaled: (N, 3) from 0 to 1 along periodic vectors, Angstrom along the others.
        wrapped: (N, 3) cells that were added to bring the atoms there.
        heights: (3,) Angstrom per unit of each coordinate, from plane to plane.

    """

    scaled: np.ndarray
    wrapped: np.ndarray
    heights: np.ndarray


def lattice_coordinates(positions: np.ndarray, inverse: np.ndarray, pbc: np.ndarray) -> Coordinates:
    """Return the wrapped coordinates of atoms.

    Computed number by number: a matrix product may round differently on another processor, and ranks must agree.

    Args:
        positions: (N, 3) Angstrom.
        inverse: (3, 3) of the cell, unit normals standing for the vectors of non-periodic directions.
        pbc: (3,) bool.

    """
    x, y, z = np.asarray(positions, float).T
    scaled = np.column_stack([x * inverse[0, k] + y * inverse[1, k] + z * inverse[2, k] for k in range(3)])
    wrapped = np.where(pbc, -np.floor(scaled), 0.0)
    return Coordinates(scaled + wrapped, wrapped, 1.0 / np.sqrt(np.sum(inverse**2, axis=0)))


def share(points: np.ndarray, work: np.ndarray, part: int, n_parts: int) -> np.ndarray:
    """Return the sorted points of one of `n_parts` parts of about equal work.

    The set is cut in two across its longest side, each half again, and so on; only the half with the part is followed.

    Args:
        points: (N, 3) Angstrom.
        work: (N,) positive.
        part: from 0.
        n_parts: how many; parts may be empty.

    """
    own = np.arange(len(points))
    first, last = 0, n_parts
    while last - first > 1 and len(own):
        middle = (first + last) // 2
        axis = int(np.argmax(np.ptp(points[own], axis=0)))
        own = own[np.argsort(points[own, axis], kind="stable")]
        done = np.cumsum(work[own])
        cut = int(np.searchsorted(done - 0.5 * work[own], (middle - first) / (last - first) * done[-1]))
        if part < middle:
            own, last = own[:cut], middle
        else:
            own, first = own[cut:], middle
    return np.sort(own)
