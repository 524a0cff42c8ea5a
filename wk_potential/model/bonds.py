"""Distances of the nearest neighbours: what a broken bond or another coordination changes first.

The error bars of a form hardly see that one neighbour of many has left. So the distances of an atom's nearest
neighbours, in units of the sum of the covalent radii and in their order, are compared with those of the training set:
the k-th neighbour of a silicon atom may be no closer, and no farther, than it ever was there, but for a margin.
"""

import numpy as np
from ase.data import covalent_radii

from ..atoms.structure import Structure, neighbour_vector
from ..compute.jit import njit

NONE = 99.0  # distance of a neighbour that is not there


@njit
def _square(structure, i, p):
    """Squared distance of centre i and entry p of the list."""
    x, y, z = neighbour_vector(structure, i, p)
    return x * x + y * y + z * z


@njit(nogil=True)
def count_close(structure, closest):
    """Numbers (n,) of neighbours of the centres within the distances (n_elements, n_elements) of their elements."""
    species, neighbours = structure.species, structure.neighbours
    out = np.zeros(neighbours.first.shape[0] - 1)
    for i in range(out.shape[0]):
        for p in range(neighbours.first[i], neighbours.first[i + 1]):
            if _square(structure, i, p) < closest[species[i], species[neighbours.neighbour[p]]] ** 2:
                out[i] += 1.0
    return out


@njit(nogil=True)
def _fill_ordered(structure, radii, reach, out):
    """Fill out (n, K), which holds `NONE`, with distances of neighbours in units of the sums of radii (n_elements,)."""
    species, neighbours = structure.species, structure.neighbours
    for i in range(out.shape[0]):
        row = out[i]
        for p in range(neighbours.first[i], neighbours.first[i + 1]):
            square = _square(structure, i, p)
            if square >= reach * reach:
                continue
            r = np.sqrt(square) / (radii[species[i]] + radii[species[neighbours.neighbour[p]]])
            for k in range(row.shape[0]):
                if r < row[k]:
                    r, row[k] = row[k], r


def ordered_distances(structure: Structure, elements: np.ndarray, most: int, reach: float) -> np.ndarray:
    """Distances (n, most) of the centres' nearest neighbours in units of the sum of the covalent radii, ascending.

    Args:
        structure: with neighbours, which may be farther than the reach.
        elements: (n_elements,) atomic numbers of the species.
        most: how many; `NONE` stands for those that are not there.
        reach: Angstrom; neighbours beyond it do not count.

    """
    out = np.full((len(structure.neighbours.first) - 1, most), NONE)
    if most:
        _fill_ordered(structure, covalent_radii[elements], reach, out)
    return out


def count_unusual(
    structure: Structure, elements: np.ndarray, nearest: np.ndarray, farthest: np.ndarray, reach: float
) -> np.ndarray:
    """Numbers (n,) of the centres' nearest neighbours that are closer or farther than in the training set.

    Args:
        structure: with neighbours that hold all pairs within the cutoff of the model.
        elements: (n_elements,) atomic numbers of the species.
        nearest, farthest: (n_elements, K) bounds by the centre's element, in units of the sum of the covalent radii.
        reach: Angstrom, cutoff of the model.

    """
    found = ordered_distances(structure, elements, nearest.shape[1], reach)
    species = structure.species[: len(found)]
    return np.sum((found < nearest[species]) | (found > farthest[species]), axis=1).astype(float)
