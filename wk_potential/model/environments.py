"""Structures as arrays, and their environments under densities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..atoms.neighbours import find_neighbours
from ..atoms.structure import Structure, StructureLike, check_finite
from ..compute.threads import run_threads
from ..density.expansion import Density, expand
from .elements import species_of


@dataclass(frozen=True)
class EnvironmentPool:
    """Environments of some structures.

    Attributes:
        species: (N,) of the centres, one structure after the other.
        structure: (N,) number of the structure of each.
        n_structures: how many.
        coefficients: for each density (N, n_lm, Q).

    """

    species: np.ndarray
    structure: np.ndarray
    n_structures: int
    coefficients: list[np.ndarray]


def as_arrays(atoms: StructureLike, elements: np.ndarray, cutoff: float) -> Structure:
    """Return positions, cell, species and neighbours of a structure.

    Args:
        atoms: ASE `Atoms`, a `Frame` or the like.
        elements: (n,) sorted atomic numbers of the model.
        cutoff: Angstrom.

    Raises:
        UnknownElementError: an element is not in the model.
        StructureError: positions or cell make no sense.

    """
    check_finite(atoms)
    species, positions = species_of(atoms.numbers, elements), np.ascontiguousarray(atoms.positions, float)
    cell, pbc = np.array(atoms.cell, float), np.asarray(atoms.pbc, bool)
    return Structure(positions, cell, species, find_neighbours(positions, cell, pbc, cutoff))


def expand_structures(
    structures: Sequence[StructureLike], elements: np.ndarray, densities: Sequence[Density], threads: int = 1
) -> EnvironmentPool:
    """Expand the environments of structures.

    Args:
        structures: ASE `Atoms`, frames or the like.
        elements: (n,) sorted atomic numbers of the model.
        densities: of each length scale.
        threads: how many.

    """
    cutoff = max(density.radial.cutoff for density in densities)

    def work(atoms: StructureLike) -> tuple[np.ndarray, list[np.ndarray]]:
        positions, cell, species, neighbours = as_arrays(atoms, elements, cutoff)
        vectors, around = neighbours.vectors(positions, cell), species[neighbours.neighbour]
        return species, [expand(d, species, neighbours.first, vectors, around) for d in densities]

    found = run_threads(work, structures, threads)
    sizes = [len(species) for species, _ in found]
    coefficients = [np.concatenate([c[k] for _, c in found]) for k in range(len(densities))]
    species = np.concatenate([species for species, _ in found])
    return EnvironmentPool(species, np.repeat(np.arange(len(sizes)), sizes), len(sizes), coefficients)
