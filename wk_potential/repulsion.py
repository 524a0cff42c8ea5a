"""Repulsion of atoms that come closer, or crowd more, than any in the training set did: plain arrays, no kernel.

Pairs have the universal potential of Ziegler, Biersack and Littmark (The Stopping and Range of Ions in Solids, 1985),
times a switch that is 1 up to the inner radius of a pair of elements and 0 from the outer one, where its first two
derivatives vanish as well. Each atom has half the energy of each pair that it is in.

What an atom has besides is a wall against more close neighbours of an element than any atom of its element had: each
counts 1 up to the near radius and nothing from the far one, and beyond the largest number the energy rises with the
third power of the excess. A polynomial of the density, which the learned part is, has no such limit of its own.
"""

from typing import NamedTuple

import numpy as np

from .compiled import njit

WALL = 10.0  # eV, of one neighbour too many
COULOMB = 14.399645  # e^2 / (4 pi epsilon_0), eV Angstrom
SCREENING = 0.46850  # 0.8854 Bohr radii, Angstrom
SHARES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
DECAYS = np.array([3.19980, 0.94229, 0.40290, 0.20162])


class Repulsion(NamedTuple):
    """Pair potentials between n elements.

    Attributes:
        charges: (n,) of the nuclei.
        inner: (n, n) Angstrom, where the switch begins to fall.
        outer: (n, n) Angstrom, where nothing is left; within the cutoff of the model.
        near, far: (n, n) Angstrom, between which a neighbour ceases to count.
        most: (n, n) neighbours of the second element that an atom of the first may have.

    """

    charges: np.ndarray
    inner: np.ndarray
    outer: np.ndarray
    near: np.ndarray
    far: np.ndarray
    most: np.ndarray


@njit
def step(r, inner, outer):
    """Value and derivative of a step from 1 to 0 whose first two derivatives are continuous."""
    if r <= inner:
        return 1.0, 0.0
    if r >= outer:
        return 0.0, 0.0
    t = (outer - r) / (outer - inner)
    return t * t * t * (10 - 15 * t + 6 * t * t), -30 * (t * (1 - t)) ** 2 / (outer - inner)


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
    switch, slope = step(r, inner, outer)
    return energy * switch, derivative * switch + energy * slope


@njit
def _add_pair(i, j, d, gradient, sums):
    """Add the forces and the virial of a pair, gradient being the derivative by its distance over the distance."""
    for x in range(3):
        sums.forces[i, x] += gradient * d[x]
        sums.forces[j, x] -= gradient * d[x]
        for y in range(3):
            sums.virial[x, y] += gradient * d[x] * d[y]


@njit(nogil=True)
def repel(repulsion, atoms, structure, sums):
    """Add energies, forces and virial of atoms to the sums (see `wk_potential.potential`)."""
    positions, cell, elements, neighbours = structure
    farthest = max(np.max(repulsion.outer), np.max(repulsion.far))
    screening = SCREENING / (repulsion.charges[:, None] ** 0.23 + repulsion.charges**0.23)
    size = np.max(neighbours.first[1:] - neighbours.first[:-1])
    d, r, close = np.zeros((size, 3)), np.zeros(size), np.zeros(size, np.int64)
    for i in atoms:
        n, a = 0, elements[i]
        count = np.zeros(len(repulsion.charges))
        for p in range(neighbours.first[i], neighbours.first[i + 1]):
            j = neighbours.neighbour[p]
            square = 0.0
            for x in range(3):
                d[n, x] = positions[j, x] - positions[i, x]
                for k in range(3):
                    d[n, x] += neighbours.shift[p, k] * cell[k, x]
                square += d[n, x] * d[n, x]
            if square >= farthest * farthest or square == 0.0:
                continue  # atoms on one site have been noticed where the density was made
            b = elements[j]
            r[n], close[n] = np.sqrt(square), j
            count[b] += step(r[n], repulsion.near[a, b], repulsion.far[a, b])[0]
            if r[n] < repulsion.outer[a, b]:
                energy, derivative = pair_energy(
                    repulsion.charges[a] * repulsion.charges[b], screening[a, b], repulsion.inner[a, b],
                    repulsion.outer[a, b], r[n],
                )  # fmt: skip
                sums.energies[i] += 0.5 * energy
                _add_pair(i, j, d[n], 0.5 * derivative / r[n], sums)
            n += 1
        for b in range(len(count)):
            excess = count[b] - repulsion.most[a, b]
            if excess <= 0:
                continue
            sums.energies[i] += WALL * excess**3
            for k in range(n):
                if elements[close[k]] == b:
                    slope = step(r[k], repulsion.near[a, b], repulsion.far[a, b])[1]
                    _add_pair(i, close[k], d[k], 3 * WALL * excess**2 * slope / r[k], sums)
