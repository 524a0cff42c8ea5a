"""Repulsion of atoms that come closer than any in the training set did: plain arrays, no kernel.

The universal potential of Ziegler, Biersack and Littmark (The Stopping and Range of Ions in Solids, 1985), times a
switch that is 1 up to the inner radius of a pair of elements and 0 from the outer one, where its first two derivatives
vanish as well. Each atom has half the energy of each pair that it is in.
"""

from typing import NamedTuple

import numpy as np

from ..atoms.structure import neighbour_vector
from ..compute.jit import njit

COULOMB = 14.399645  # e^2 / (4 pi epsilon_0), eV Angstrom
SCREENING = 0.46850  # 0.8854 Bohr radii, Angstrom
SHARES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
DECAYS = np.array([3.19980, 0.94229, 0.40290, 0.20162])


class Repulsion(NamedTuple):
    """Pair potentials between n elements.

    Attributes:
        charges: (n,) of the nuclei.
        inner: (n, n) Angstrom, where the switch begins to fall.
        outer: (n, n) Angstrom, where it has fallen to zero; within the cutoff of the model.

    """

    charges: np.ndarray
    inner: np.ndarray
    outer: np.ndarray


@njit
def pair_energy(product, screening, inner, outer, r):
    """Energy of two atoms and its derivative by their distance.

    Args:
        product: of the charges.
        screening: length, Angstrom.
        inner, outer: of the switch, Angstrom.
        r: distance, Angstrom.

    """
    phi, slope = 0.0, 0.0
    for k in range(SHARES.shape[0]):
        term = SHARES[k] * np.exp(-DECAYS[k] * r / screening)
        phi += term
        slope -= DECAYS[k] / screening * term
    energy = COULOMB * product / r * phi
    derivative = COULOMB * product / r * slope - energy / r
    if r <= inner:
        return energy, derivative
    t = (outer - r) / (outer - inner)
    switch = t * t * t * (10 - 15 * t + 6 * t * t)
    return energy * switch, derivative * switch - energy * 30 * (t * (1 - t)) ** 2 / (outer - inner)


@njit(nogil=True)
def repel(repulsion, atoms, structure, sums):
    """Add energies, forces and virial of atoms to the sums (see `wk_potential.model.energy`)."""
    species, neighbours = structure.species, structure.neighbours
    farthest = np.max(repulsion.outer)
    screening = SCREENING / (repulsion.charges[:, None] ** 0.23 + repulsion.charges**0.23)
    for i in atoms:
        for p in range(neighbours.first[i], neighbours.first[i + 1]):
            j = neighbours.neighbour[p]
            d = neighbour_vector(structure, i, p)
            square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
            a, b = species[i], species[j]
            if square >= farthest * farthest or square >= repulsion.outer[a, b] ** 2 or square == 0.0:
                continue  # `gather` has reported atoms so close already
            r = np.sqrt(square)
            energy, derivative = pair_energy(
                repulsion.charges[a] * repulsion.charges[b], screening[a, b], repulsion.inner[a, b],
                repulsion.outer[a, b], r,
            )  # fmt: skip
            sums.energies[i] += 0.5 * energy
            for x in range(3):
                gradient = 0.5 * derivative * d[x] / r
                sums.forces[i, x] += gradient
                sums.forces[j, x] -= gradient
                for y in range(3):
                    sums.virial[x, y] += gradient * d[y]
                    if sums.virials.shape[0] > 0:
                        sums.virials[j, y, x] += gradient * d[y]
