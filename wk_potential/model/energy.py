"""Energies and forces of many atoms from a trained model: plain arrays in, plain arrays out.

Each thread computes a share of the atoms, a few atoms at a time, and sums their forces in an array of its own. Nothing
is stored per pair, and the result does not depend on the order in which threads finish.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..atoms.structure import Structure
from ..compute.jit import njit
from ..compute.products import address, multiply
from ..compute.simd import aligned, width
from ..compute.threads import run_threads
from ..density.packed import PackedDensity, adjoint_atom, expand_atom, gather, neighbourhood
from ..density.saturation import saturate, saturate_changes
from ..errors import ClashError
from ..forms.quadratic_kernel import PackedForm, forms_cost, forms_energy, work_sizes
from ..kernel.coupling import WignerTerms
from ..kernel.direct import Support, environment_energy
from .repulsion import Repulsion, repel

PARTS = ("density", "kernel", "forces")  # of an evaluation, in their order
PAIR_COST = 25.0  # of a neighbour per harmonic and radial function, in the kernel's multiply-adds (measured)


class Direct(NamedTuple):
    """The direct kernel of one central element.

    Attributes:
        terms: of the Wigner iteration.
        order_weights: (order,) a_nu.
        support: support points.

    """

    terms: WignerTerms
    order_weights: np.ndarray
    support: Support


def direct_cost(direct: Direct, n_channels: int) -> float:
    """Multiply-adds of the direct kernel for one atom: the iteration and its adjoint, contractions over channels."""
    support = direct.support
    return support.weights.size * pair_cost(direct.terms, n_channels) * (3 if len(support.tangents) else 1)


def pair_cost(terms: WignerTerms, n_channels: int) -> float:
    """Multiply-adds of the kernel of two environments, as in `direct_cost`."""
    lists = (terms.square_groups, terms.square_adjoint, terms.cube_groups, terms.cube_adjoint)
    return float(sum(len(g.w) + len(g.indices) for g in lists) + len(terms.norm) * n_channels)


@dataclass(frozen=True)
class Layer:
    """The part of a local potential that one density makes.

    Attributes:
        density: see `wk_potential.density`.
        projection: that of the density in the precision of `energies`.
        energies: for each central element the function of the density coefficients that gives the energy.

    """

    density: PackedDensity
    projection: np.ndarray
    energies: Sequence[Direct | PackedForm]

    @cached_property
    def costs(self) -> np.ndarray:
        """Multiply-adds of an atom of each element in the kernel."""
        channels = self.projection.shape[2]
        return np.array([
            direct_cost(e, channels) if isinstance(e, Direct) else forms_cost(e) for e in self.energies
        ])  # fmt: skip

    @cached_property
    def work_sizes(self) -> list[np.ndarray | None]:
        """Sizes of the work arrays of each element's forms."""
        return [None if isinstance(e, Direct) else work_sizes(e) for e in self.energies]


@dataclass(frozen=True)
class Potential:
    """A local potential as the compiled functions take it.

    Attributes:
        layers: one for each length scale; their energies add up.
        repulsion: of close pairs, or None.

    """

    layers: Sequence[Layer]
    repulsion: Repulsion | None = None

    def without_repulsion(self) -> "Potential":
        """Return what was learned alone."""
        return replace(self, repulsion=None)

    @property
    def costs(self) -> np.ndarray:
        """Multiply-adds of an atom of each element in the kernels."""
        return np.sum([layer.costs for layer in self.layers], axis=0)

    @property
    def densities(self) -> list[PackedDensity]:
        """Of the layers."""
        return [layer.density for layer in self.layers]

    def work(self, species: np.ndarray, n_neighbours: np.ndarray | int) -> np.ndarray:
        """Predicted work (n,) of centres; see `predicted_work`."""
        return predicted_work(self.costs, self.densities, species, n_neighbours)


class Sums(NamedTuple):
    """Sums of one thread over its atoms.

    Attributes:
        energies: (n,).
        forces: (N, 3).
        virial: (3, 3).
        virials: (N, 3, 3), the share of each atom; without rows if they are not wanted.
        clash: (2,) a pair that is too close.

    """

    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    virials: np.ndarray
    clash: np.ndarray


def refuse_clash(clashes: Iterable[np.ndarray]) -> None:
    """Raise `ClashError` if any of these pairs (2,), one of each thread, is there: -1 stands for none."""
    for clash in clashes:
        if clash[0] >= 0:
            raise ClashError(*map(int, clash))


@njit
def _add_forces(atom, hood, gradient, sums):
    """Add the forces and the virial of one environment."""
    forces, virial, virials = sums.forces, sums.virial, sums.virials
    for p in range(hood.first[-1]):
        j = hood.atom[p]
        if j < 0:
            continue
        for x in range(3):
            forces[atom, x] += gradient[p, x]
            forces[j, x] -= gradient[p, x]
            for y in range(3):
                virial[x, y] += hood.r[p] * hood.unit[x, p] * gradient[p, y]
                if virials.shape[0] > 0:
                    virials[j, x, y] += hood.r[p] * hood.unit[x, p] * gradient[p, y]


@njit(nogil=True)
def _direct_energies(density, element, direct, atoms, structure, stages, sums):
    """Energies and forces of atoms of one element by the direct kernel."""
    n_elements, lmax = density.projection.shape[0], density.lmax
    projection = density.projection
    first = structure.neighbours.first
    hood = neighbourhood(density, n_elements, np.max(first[1:] - first[:-1]))
    gradient = np.zeros((hood.r.shape[0], 3))
    n_channels = direct.support.coefficients.shape[1] // (lmax + 1) ** 2
    width = hood.full.shape[2]
    c, grad = np.zeros(((lmax + 1) ** 2, n_channels)), np.zeros(((lmax + 1) ** 2, n_channels))
    factor = np.zeros(1)
    for atom in atoms:
        gather(atom, density.cutoff, structure, hood, sums.clash)
        expand_atom(density, hood)
        if stages < 2:
            continue
        c[:] = 0.0
        for l in range(lmax + 1):
            for m in range(2 * l + 1):
                for q in range(n_channels):
                    for e in range(n_elements):
                        for k in range(width):
                            full = hood.full[e, density.rows[l] + m, k]
                            c[l * l + m, q] += projection[element, l, q, e * width + k] * full
        saturate(density.saturation, c.reshape(-1), 1, factor)
        sums.energies[atom] += environment_energy(direct.terms, lmax, direct.order_weights, direct.support, c, grad)
        if stages < 3:
            continue
        saturate_changes(density.saturation, c.reshape(-1), 1, factor, grad.reshape(-1))
        hood.full[:] = 0.0
        for l in range(lmax + 1):
            for m in range(2 * l + 1):
                for q in range(n_channels):
                    for e in range(n_elements):
                        for k in range(width):
                            p = projection[element, l, q, e * width + k]
                            hood.full[e, density.rows[l] + m, k] += p * grad[l * l + m, q]
        adjoint_atom(density, hood, gradient)
        _add_forces(atom, hood, gradient, sums)


@njit
def move_lane(density, hood, full, lane, lanes, to_lane):
    """Copy the coefficients of one atom to its lane of `full` (l, k, 2l + 1, lanes), or from it."""
    width = hood.full.shape[2]
    n_full = hood.full.shape[0] * width
    for l in range(density.lmax + 1):
        for k in range(n_full):
            for m in range(2 * l + 1):
                at = (l * l * n_full + k * (2 * l + 1) + m) * lanes + lane
                if to_lane:
                    full[at] = hood.full[k // width, density.rows[l] + m, k % width]
                else:
                    hood.full[k // width, density.rows[l] + m, k % width] = full[at]


@njit
def expand_lanes(density, batch, structure, hood, full, lanes, clash):
    """Write the coefficients of a batch of atoms to the lanes of `full`."""
    for lane in range(batch.shape[0]):
        gather(batch[lane], density.cutoff, structure, hood, clash)
        expand_atom(density, hood)
        move_lane(density, hood, full, lane, lanes, True)


@njit
def project(projection, element, flat, source, target, lanes, transposed):
    """Projection (Q, n_full) of each l, or its transpose, times source (l, n_full, 2l + 1, lanes)."""
    n_l, n_channels, n_full = projection.shape[1:]
    size = projection.itemsize
    n_in, n_out = (n_channels, n_full) if transposed else (n_full, n_channels)
    down, across = (size, n_full * size) if transposed else (n_full * size, size)
    for l in range(n_l):
        p = address(flat, (element * n_l + l) * n_channels * n_full)
        row = (2 * l + 1) * lanes * size
        x, y = address(source, l * l * n_in * lanes), address(target, l * l * n_out * lanes)
        multiply(target, n_out, 2 * l + 1, n_in, p, down, across, x, row, y, row, False)


@njit
def work_space(density, projection, structure, sizes, lanes):
    """Neighbourhood of an atom, and flat arrays for `lanes` atoms side by side.

    Returns:
        hood: for `gather`.
        flat: the projection.
        full, c, grad: coefficients of all channels, those of the kept channels, their gradient.
        factor: of their saturation.
        x, y: features and factors, of the two first of `sizes`.

    """
    n_elements, n_lm = projection.shape[0], (density.lmax + 1) ** 2
    first = structure.neighbours.first
    hood = neighbourhood(density, n_elements, np.max(first[1:] - first[:-1]))
    n_channels, n_full = projection.shape[2:]
    flat = projection.ravel()
    full = aligned(n_lm * n_full * lanes, flat)
    c, grad = aligned(n_lm * n_channels * lanes, flat), aligned(n_lm * n_channels * lanes, flat)
    factor, x, y = aligned(lanes, flat), aligned(sizes[0], flat), aligned(sizes[1], flat)
    return hood, flat, full, c, grad, factor, x, y


@njit(nogil=True)
def _mapped_energies(density, projection, element, forms, sizes, atoms, structure, stages, sums):
    """Energies and forces of atoms of one element by the mapped kernel, one vector of atoms at a time."""
    lanes, n_channels = width(projection), projection.shape[2]
    hood, flat, full, c, grad, factor, x, y = work_space(density, projection, structure, sizes, lanes)
    gradient = np.zeros((hood.r.shape[0], 3))
    energies = np.zeros(lanes)
    for start in range(0, atoms.shape[0], lanes):
        batch = atoms[start : start + lanes]
        expand_lanes(density, batch, structure, hood, full, lanes, sums.clash)
        if stages < 2:
            continue
        project(projection, element, flat, full, c, lanes, False)
        saturate(density.saturation, c, lanes, factor)
        forms_energy(forms, n_channels, c, batch.shape[0], x, y, energies, grad)
        if stages < 3:
            continue
        saturate_changes(density.saturation, c, lanes, factor, grad)
        project(projection, element, flat, grad, full, lanes, True)
        for lane in range(batch.shape[0]):
            sums.energies[batch[lane]] += energies[lane]
            gather(batch[lane], density.cutoff, structure, hood, sums.clash)
            move_lane(density, hood, full, lane, lanes, False)
            adjoint_atom(density, hood, gradient)
            _add_forces(batch[lane], hood, gradient, sums)


def predicted_work(
    costs: np.ndarray, densities: Iterable[PackedDensity], species: np.ndarray, n_neighbours: np.ndarray | int
) -> np.ndarray:
    """Predicted work (n,) of centres, in multiply-adds of the kernel.

    Args:
        costs: (n_elements,) of an atom of each element in the kernels.
        densities: that it is expanded in.
        species: (n,) of the centres.
        n_neighbours: (n,) or one number for all.

    """
    pair = PAIR_COST * sum(density.rows[-1] * density.nodes.shape[3] for density in densities)
    return costs[species] + pair * n_neighbours


def divided(
    costs: np.ndarray, densities: Iterable[PackedDensity], structure: Structure, threads: int
) -> list[np.ndarray]:
    """Centres in parts of about equal `predicted_work`, one for each thread, sorted by element if there are several."""
    first = structure.neighbours.first
    if threads == 1:
        return [np.arange(len(first) - 1)]
    species = structure.species[: len(first) - 1]
    order = np.argsort(species, kind="stable")
    cost = np.cumsum(predicted_work(costs, densities, species[order], np.diff(first)[order]))
    shares = np.searchsorted(cost, cost[-1] * np.arange(1, threads) / threads) if len(order) else []
    return np.split(order, shares)


def evaluate(
    potential: Potential, structure: Structure, threads: int = 1, stages: int = len(PARTS), atomic: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Energies (n,) in eV, forces (N, 3) in eV/Angstrom, strain derivative of the energy (3, 3) in eV and its shares.

    All belong to the energy of the n centres. Atoms that are only neighbours get the part of their forces that these
    centres exert. The share of atom j in the strain derivative is sum_i (r_j - r_i) x dE_i/dr_j, (3, 3): that which the
    heat flux needs, J = sum_j E_j v_j - W_j v_j (Z. Fan et al., Phys. Rev. B 92, 094301 (2015)).

    Args:
        potential: the model's arrays.
        structure: with neighbours that hold all pairs of the centres within the cutoff, and may hold more.
        threads: how many.
        stages: number of `PARTS` to run, for timing; fewer than all give no results.
        atomic: whether the shares (N, 3, 3) are wanted; otherwise there are none.

    Raises:
        ClashError: two atoms are less than 0.1 Angstrom apart.

    """
    species, energies = structure.species, np.zeros(len(structure.neighbours.first) - 1)

    def work(atoms: np.ndarray) -> Sums:
        n = len(species)
        sums = Sums(energies, np.zeros((n, 3)), np.zeros((3, 3)), np.zeros((n * atomic, 3, 3)), np.full(2, -1))
        own = [atoms[species[atoms] == element] for element in range(len(potential.layers[0].energies))]
        for layer in potential.layers:
            for element, e in enumerate(layer.energies):
                if not len(own[element]):
                    continue
                if isinstance(e, Direct):
                    _direct_energies(layer.density, element, e, own[element], structure, stages, sums)
                else:
                    _mapped_energies(
                        layer.density, layer.projection, element, e, layer.work_sizes[element], own[element],
                        structure, stages, sums,
                    )  # fmt: skip
        if potential.repulsion is not None and stages == len(PARTS):
            repel(potential.repulsion, atoms, structure, sums)
        return sums

    parts = run_threads(work, divided(potential.costs, potential.densities, structure, threads), threads)
    refuse_clash(part.clash for part in parts)
    first, virial = parts[0], sum((part.virial for part in parts), np.zeros((3, 3)))
    for part in parts[1:]:
        first.forces[:] += part.forces
        first.virials[:] += part.virials
    return energies, first.forces, 0.5 * (virial + virial.T), first.virials
