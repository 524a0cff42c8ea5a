"""Atoms and their neighbours as plain arrays."""

from typing import NamedTuple

import numpy as np

from .neighbours import Neighbours

VOIGT = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]  # rows and columns of xx yy zz yz xz xy


class Structure(NamedTuple):
    """Atoms and their neighbours.

    The first n atoms are centres, n being the rows of the neighbour list; the others, if any, are only neighbours.

    Attributes:
        positions: (N, 3) Angstrom.
        cell: (3, 3) Angstrom.
        species: (N,) element of each atom, as its index in the model's elements.
        neighbours: rows (n,) of the centres.

    """

    positions: np.ndarray
    cell: np.ndarray
    species: np.ndarray
    neighbours: Neighbours
