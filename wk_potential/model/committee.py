"""Energies and forces of the members of a committee: small quadratic forms that share all but their eigenvalues.

Member k gives an environment the energy sum_r w_rk phi_r, phi_r = sum_M (u_r . x_M)^2 being features of a mapped form
(`quadratic_kernel`). Features are formed for a vector of atoms side by side; their adjoint, and that of the density,
for one atom with the members side by side, so that radial functions, harmonics and couplings are shared by all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..atoms.structure import Structure
from ..compute.jit import njit
from ..compute.products import address, multiply
from ..compute.simd import WIDTH, aligned, fma, item, load, mul, splat, store
from ..compute.threads import run_threads
from ..density.packed import fill_harmonics, fill_radial, gather
from ..density.saturation import saturate, saturate_changes
from ..forms.quadratic_kernel import features_adjoint, fill_features, packed_block, row_layout
from .energy import Potential, divided, expand_lanes, project, refuse_clash, work_space

LANES = WIDTH  # the first members, whose forces are computed


class Deviations(NamedTuple):
    """Deviations of the members of a committee from their mean, summed over centres; a rank may hold a part of the sum.

    Attributes:
        energies: (n, K) eV of the centres.
        forces: (N, 3, LANES) eV/Angstrom, of the first members.
        virial: (3, 3, LANES) eV.
        unusual: (n,) number of neighbours that are closer or farther than in the training set, plus 1 if the whole
            environment is like none there.

    """

    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    unusual: np.ndarray


@njit
def _member_gradients(density, hood, full, gradient):
    """Gradients (n, 3, LANES) by the neighbours' vectors, `full` (l, k, 2l + 1, LANES) being those by coefficients."""
    width, n_rows = hood.full.shape[2], hood.full.shape[1]
    n_full = hood.full.shape[0] * width
    harmonics, radial = hood.harmonics, hood.radial
    part, slopes = n_rows * WIDTH, (density.lmax + 1) * WIDTH * width
    zero = splat(0.0)
    for e in range(hood.full.shape[0]):
        for first in range(hood.first[e], hood.first[e + 1], WIDTH):
            fill_radial(density, hood, first, True)
            fill_harmonics(density, hood, first, True)
            for j in range(WIDTH):
                k = first + j
                if hood.atom[k] < 0:
                    continue
                along, fx, fy, fz = zero, zero, zero, zero
                for l in range(density.lmax + 1):
                    values = (l * WIDTH + j) * width
                    for m in range(2 * l + 1):
                        value, slope = zero, zero
                        for n in range(width):
                            g = load(full, (l * l * n_full + (e * width + n) * (2 * l + 1) + m) * LANES)
                            value = fma(splat(item(radial, values + n)), g, value)
                            slope = fma(splat(item(radial, slopes + values + n)), g, slope)
                        y = (density.rows[l] + m) * WIDTH + j
                        along = fma(splat(item(harmonics, y)), slope, along)
                        fx = fma(splat(item(harmonics, part + y)), value, fx)
                        fy = fma(splat(item(harmonics, 2 * part + y)), value, fy)
                        fz = fma(splat(item(harmonics, 3 * part + y)), value, fz)
                inverse, at = splat(1.0 / hood.r[k]), 3 * k * LANES
                store(gradient, at, fma(along, splat(hood.unit[0, k]), mul(fx, inverse)))
                store(gradient, at + LANES, fma(along, splat(hood.unit[1, k]), mul(fy, inverse)))
                store(gradient, at + 2 * LANES, fma(along, splat(hood.unit[2, k]), mul(fz, inverse)))


@njit
def _add_member_forces(atom, hood, gradient, sums):
    """Add the forces and the virials of one environment."""
    forces, virial = sums.forces, sums.virial
    for p in range(hood.first[-1]):
        j = hood.atom[p]
        if j < 0:
            continue
        for x in range(3):
            g = load(gradient, (3 * p + x) * LANES)
            own, other = (3 * atom + x) * LANES, (3 * j + x) * LANES
            store(forces, own, fma(splat(1.0), g, load(forces, own)))
            store(forces, other, fma(splat(-1.0), g, load(forces, other)))
            for y in range(3):
                at = (3 * y + x) * LANES
                store(virial, at, fma(splat(hood.r[p] * hood.unit[y, p]), g, load(virial, at)))


@njit
def _weighted(members, block, n_atoms, a, stride, y, z, energies, atom):
    """Add the energies of one atom's members, and fill z (n_factors, 2L + 1, LANES) with their derivatives by y."""
    n_members, n_m = members.shape[1], 2 * block.L + 1
    for r in range(block.n_factors):
        square, at = 0.0, (block.first_eigenvalue + r) * n_members
        scale = load(members, at)
        for m in range(n_m):
            value = item(y, r * stride + m * n_atoms + a)
            square += value * value
            store(z, (r * n_m + m) * LANES, mul(splat(2.0 * value), scale))
        for k in range(0, n_members, LANES):
            target = atom * n_members + k
            store(energies, target, fma(splat(square), load(members, at + k), load(energies, target)))


@njit
def _add_block(forms, block, members, n_channels, c, own, batch, energies, spaces, grad):
    """Add the part of one block to the energies of all members and to their gradients.

    Args:
        forms, block: layout.
        members: (R, K) eigenvalues of all blocks.
        n_channels: number Q of channels.
        c: flat (l, Q, 2l + 1, LANES) coefficients, atoms side by side.
        own: flat, the same of each atom, repeated for each member.
        batch: (n,) atoms, at most LANES.
        energies: (N, K), added to.
        spaces: work space for features and factors, of atoms and of members.
        grad: flat, as `own`, added to.

    """
    x, y, dx, dy = spaces
    n_atoms, size, width = batch.shape[0], c.shape[0], c.itemsize
    n_x, n_y, n_m = block.n_features, block.n_factors, 2 * block.L + 1
    stride, n_vectors = row_layout(block.L, n_atoms, LANES)
    fill_features(forms, block, n_channels, c, LANES, n_atoms, stride, x)
    u, row, step = address(forms.factors, block.first_factor), n_x * width, stride * width
    multiply(c, n_y, n_vectors, n_x, u, row, width, address(x, 0), step, address(y, 0), step, False)
    step = n_m * LANES * width
    for a in range(n_atoms):
        _weighted(members, block, n_atoms, a, stride, y, dy, energies, batch[a])
        multiply(c, n_x, n_m, n_y, u, width, row, address(dy, 0), step, address(dx, 0), step, False)
        part = slice(a * size, (a + 1) * size)
        features_adjoint(forms, block, n_channels, own[part], LANES, LANES, n_m * LANES, dx, grad[part])


@njit(nogil=True)
def _committee_energies(density, projection, element, forms, sizes, members, atoms, structure, sums):
    """Energies and forces of all members for atoms of one element."""
    hood, flat, full, c, _, factor, x, y = work_space(density, projection, structure, sizes, LANES)
    gradient = np.zeros((hood.r.shape[0], 3, LANES))
    n_channels, size = projection.shape[2], c.shape[0]
    own, grad = aligned(LANES * size, flat), aligned(LANES * size, flat)
    spaces = (x, y, aligned(sizes[0], flat), aligned(sizes[1], flat))
    for start in range(0, atoms.shape[0], LANES):
        batch = atoms[start : start + LANES]
        expand_lanes(density, batch, structure, hood, full, LANES, sums.clash)
        project(projection, element, flat, full, c, LANES, False)
        saturate(density.saturation, c, LANES, factor)
        for a in range(batch.shape[0]):
            for i in range(size // LANES):
                store(own, a * size + i * LANES, splat(item(c, i * LANES + a)))
        grad[:] = 0.0
        for k in range(forms.blocks.shape[0]):
            block = packed_block(forms, k)
            _add_block(forms, block, members, n_channels, c, own, batch, sums.energies, spaces, grad)
        for a in range(batch.shape[0]):
            part = slice(a * size, (a + 1) * size)
            saturate_changes(density.saturation, own[part], LANES, np.full(LANES, factor[a]), grad[part])
            project(projection, element, flat, grad[part], full, LANES, True)
            gather(batch[a], density.cutoff, structure, hood, sums.clash)
            _member_gradients(density, hood, full, gradient)
            _add_member_forces(batch[a], hood, gradient, sums)


class _Sums(NamedTuple):
    """What the atoms of one thread add up: parts of `Deviations`, and the closest pair (2,)."""

    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    clash: np.ndarray


def evaluate_committee(
    potential: Potential, members: Sequence[Sequence[np.ndarray]], structure: Structure, threads: int = 1
) -> Deviations:
    """Energies and forces of all members of a committee.

    Args:
        potential: layers of forms in float64; their eigenvalues are not looked at.
        members: by layer and element (R, K), the eigenvalues of each member, K a multiple of LANES.
        structure: as for `wk_potential.model.energy.evaluate`.
        threads: how many.

    Raises:
        ClashError: two atoms are less than 0.1 Angstrom apart.

    """
    species, n = structure.species, len(structure.neighbours.first) - 1
    energies = np.zeros((n, members[0][0].shape[1]))

    def work(atoms: np.ndarray) -> _Sums:
        sums = _Sums(energies, np.zeros((len(species), 3, LANES)), np.zeros((3, 3, LANES)), np.full(2, -1))
        for layer, of_layer in zip(potential.layers, members, strict=True):
            for element, (forms, columns) in enumerate(zip(layer.energies, of_layer, strict=True)):
                own = atoms[species[atoms] == element]
                if len(own) and len(columns):
                    _committee_energies(
                        layer.density, layer.projection, element, forms, layer.work_sizes[element], columns, own,
                        structure, sums,
                    )  # fmt: skip
        return sums

    parts = run_threads(work, divided(potential.costs, potential.densities, structure, threads), threads)
    refuse_clash(part.clash for part in parts)
    forces, virial = parts[0].forces, sum((part.virial for part in parts), np.zeros((3, 3, LANES)))
    for part in parts[1:]:
        forces += part.forces
    return Deviations(energies, forces, 0.5 * (virial + virial.transpose(1, 0, 2)), np.zeros(n))
