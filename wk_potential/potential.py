"""Energies and forces of many atoms from a trained model: plain arrays in, plain arrays out."""

from typing import NamedTuple

import numpy as np
from numba import njit

from .density.expansion import Density, environment_adjoint, expand_environment
from .kernel.coupling import WignerTerms
from .kernel.direct import Support, environment_energy
from .threads import run_threads


class Potential(NamedTuple):
    """A local potential: the density, the kernel and the support points of all elements.

    Attributes:
        density: see `wk_potential.density`.
        terms: of the Wigner iteration.
        order_weights: (order,) a_nu.
        support: blocks of the first element first.
        first_block: (n_elements + 1,) where the blocks of each central element begin.

    """

    density: Density
    terms: WignerTerms
    order_weights: np.ndarray
    support: Support
    first_block: np.ndarray


@njit(cache=True, nogil=True)
def _local_energies(potential, atoms, centres, first, vectors, elements, energies, gradients):
    density = potential.density
    c = np.zeros(((density.lmax + 1) ** 2, density.projection.shape[3]))
    grad = np.zeros_like(c)
    support = potential.support
    for i in atoms:
        span = slice(first[i], first[i + 1])
        blocks = slice(potential.first_block[centres[i]], potential.first_block[centres[i] + 1])
        tangents = support.tangents[blocks] if support.tangents.shape[0] > 0 else support.tangents
        own = Support(support.coefficients[blocks], tangents, support.weights[blocks])
        expand_environment(density, centres[i], vectors[span], elements[span], c)
        energies[i] = environment_energy(potential.terms, density.lmax, potential.order_weights, own, c, grad)
        environment_adjoint(density, centres[i], vectors[span], elements[span], grad, gradients[span])


@njit(cache=True, nogil=True)
def _scatter(centre, index, vectors, gradients, forces, virial):
    for p in range(centre.shape[0]):
        for x in range(3):
            forces[centre[p], x] += gradients[p, x]
            forces[index[p], x] -= gradients[p, x]
            for y in range(3):
                virial[x, y] += 0.5 * (vectors[p, x] * gradients[p, y] + vectors[p, y] * gradients[p, x])


def evaluate(potential: Potential, elements, neighbours, vectors, threads: int = 1):
    """Energies (N,) in eV, forces (N, 3) in eV/Angstrom and strain derivative of the energy (3, 3) in eV.

    Args:
        potential: the model's arrays.
        elements: (N,) element indices.
        neighbours: a `Neighbours` list that holds all pairs within the cutoff, and may hold more.
        vectors: (P, 3) of its pairs, Angstrom.
        threads: how many.

    """
    n = len(elements)
    energies, gradients = np.zeros(n), np.zeros((len(vectors), 3))
    arguments = (elements, neighbours.first, vectors, elements[neighbours.neighbour], energies, gradients)
    # dearest atoms first, so that no thread is left alone with one at the end
    cost = np.diff(potential.first_block)[elements]
    n_tasks = 1 if threads == 1 else min(n, 8 * threads)
    by_cost = np.argsort(-cost, kind="stable")
    tasks = [by_cost[k::n_tasks] for k in range(n_tasks)]
    run_threads(lambda atoms: _local_energies(potential, atoms, *arguments), tasks, threads)
    forces, virial = np.zeros((n, 3)), np.zeros((3, 3))
    _scatter(neighbours.centre, neighbours.neighbour, vectors, gradients, forces, virial)
    return energies, forces, virial
