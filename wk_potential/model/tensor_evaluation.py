"""Vectors and tensors of many atoms and their derivatives: plain arrays in, plain arrays out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..atoms.structure import Structure
from ..compute.jit import njit
from ..compute.simd import aligned
from ..compute.threads import run_threads
from ..density.packed import PackedDensity, adjoint_atom, gather
from ..density.saturation import saturate, saturate_changes
from ..forms.bilinear_kernel import (
    LANES,
    PackedBilinearForm,
    feature_count,
    tensor_cost,
    tensor_features,
    tensor_gradient,
    tensor_values,
    tensor_work_sizes,
)
from .energy import divided, expand_lanes, move_lane, project, refuse_clash, work_space


@dataclass(frozen=True)
class TensorLayer:
    """The part of a vector or tensor that one density makes.

    Attributes:
        density: see `wk_potential.density`.
        momentum: L.
        forms: of each central element.

    """

    density: PackedDensity
    momentum: int
    forms: Sequence[PackedBilinearForm]

    @cached_property
    def costs(self) -> np.ndarray:
        """Multiply-adds of the value of an atom of each element."""
        return np.array([tensor_cost(form) for form in self.forms])

    @cached_property
    def work_sizes(self) -> list[np.ndarray]:
        """Sizes of the work arrays of each element's forms."""
        return [tensor_work_sizes(form) for form in self.forms]


@njit
def _add_derivatives(density, element, tensor, component, batch, structure, spaces, hood, gradient, out):
    """Add the derivatives of one component of the atoms of a batch to out (N, 3)."""
    c, factor, x, y, z, gy, gz, grad, full, clash = spaces
    flat = density.projection.ravel()
    tensor_gradient(tensor, component, density.projection.shape[2], c, x, y, z, gy, gz, grad)
    saturate_changes(density.saturation, c, LANES, factor, grad)
    project(density.projection, element, flat, grad, full, LANES, True)
    for lane in range(batch.shape[0]):
        atom = batch[lane]
        gather(atom, density.cutoff, structure, hood, clash)
        move_lane(density, hood, full, lane, LANES, False)
        adjoint_atom(density, hood, gradient)
        for p in range(hood.first[-1]):
            if hood.atom[p] >= 0:
                for a in range(3):
                    out[hood.atom[p], a] += gradient[p, a]
                    out[atom, a] -= gradient[p, a]


@njit(nogil=True)
def _add_features(density, element, tensor, sizes, atoms, structure, out, clash):
    """Add the terms (n, 2L + 1) of the values of atoms of one element."""
    projection = density.projection
    hood, flat, full, c, _, factor, x, y = work_space(density, projection, structure, sizes, LANES)
    z = aligned(sizes[2], flat)
    for start in range(0, atoms.shape[0], LANES):
        batch = atoms[start : start + LANES]
        expand_lanes(density, batch, structure, hood, full, LANES, clash)
        project(projection, element, flat, full, c, LANES, False)
        saturate(density.saturation, c, LANES, factor)
        tensor_features(tensor, projection.shape[2], c, batch.shape[0], x, y, z, out)


@njit(nogil=True)
def _add_tensors(density, element, tensor, sizes, atoms, structure, values, derivatives, clash):
    """Add the values (n, 2L + 1) of atoms of one element, and derivatives (2L + 1, N, 3) unless that has no rows."""
    projection = density.projection
    hood, flat, full, c, grad, factor, x, y = work_space(density, projection, structure, sizes, LANES)
    gradient = np.zeros((hood.r.shape[0], 3))
    z, slopes = aligned(sizes[2], flat), derivatives.shape[0] > 0
    gy, gz = aligned(sizes[1] if slopes else 0, flat), aligned(sizes[2] if slopes else 0, flat)
    out = np.zeros((values.shape[1], LANES))
    spaces = (c, factor, x, y, z, gy, gz, grad, full, clash)
    for start in range(0, atoms.shape[0], LANES):
        batch = atoms[start : start + LANES]
        expand_lanes(density, batch, structure, hood, full, LANES, clash)
        project(projection, element, flat, full, c, LANES, False)
        saturate(density.saturation, c, LANES, factor)
        tensor_values(tensor, projection.shape[2], c, LANES if slopes else batch.shape[0], x, y, z, out)
        for lane in range(batch.shape[0]):
            for m in range(values.shape[1]):
                values[batch[lane], m] += out[m, lane]
        for component in range(derivatives.shape[0]):
            _add_derivatives(
                density, element, tensor, component, batch, structure, spaces, hood, gradient, derivatives[component]
            )  # fmt: skip


def evaluate_tensors(
    layers: Sequence[TensorLayer], structure: Structure, threads: int = 1, derivatives: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Spherical components (n, 2L + 1) of the centres, and derivatives (2L + 1, N, 3) of their sum or none of them.

    Args:
        layers: of one L; their values add up.
        structure: with neighbours that hold all pairs of the centres within the cutoff, and may hold more.
        threads: how many.
        derivatives: whether to compute the derivatives by the positions, per Angstrom; otherwise they have no rows.

    Raises:
        ClashError: two atoms are less than 0.1 Angstrom apart.

    """
    species = structure.species
    n, width = len(structure.neighbours.first) - 1, 2 * layers[0].momentum + 1
    values = np.zeros((n, width))

    def work(atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        slopes, clash = np.zeros((width if derivatives else 0, len(species), 3)), np.full(2, -1)
        for layer in layers:
            for element, (form, sizes) in enumerate(zip(layer.forms, layer.work_sizes, strict=True)):
                own = atoms[species[atoms] == element]
                if len(own):
                    _add_tensors(layer.density, element, form, sizes, own, structure, values, slopes, clash)
        return slopes, clash

    costs = np.sum([layer.costs for layer in layers], axis=0) * (1 + width * derivatives)
    parts = run_threads(work, divided(costs, [layer.density for layer in layers], structure, threads), threads)
    refuse_clash(clash for _, clash in parts)
    return values, np.sum([slopes for slopes, _ in parts], axis=0)


def tensor_terms_of(layers: Sequence[TensorLayer], structure: Structure, threads: int = 1) -> np.ndarray:
    """Terms (R, 2L + 1) of the sum over the centres, of all layers and elements one after the other: the sum of all.

    Args:
        layers, structure, threads: as in `evaluate_tensors`.

    Raises:
        ClashError: two atoms are less than 0.1 Angstrom apart.

    """
    species, width = structure.species, 2 * layers[0].momentum + 1
    counts = [feature_count(form) for layer in layers for form in layer.forms]

    def work(atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts, clash = [np.zeros((n, width)) for n in counts], np.full(2, -1)
        targets = iter(parts)
        for layer in layers:
            for element, (form, sizes) in enumerate(zip(layer.forms, layer.work_sizes, strict=True)):
                own, out = atoms[species[atoms] == element], next(targets)
                if len(own) and len(out):
                    _add_features(layer.density, element, form, sizes, own, structure, out, clash)
        return np.concatenate(parts), clash

    costs = np.sum([layer.costs for layer in layers], axis=0)
    found = run_threads(work, divided(costs, [layer.density for layer in layers], structure, threads), threads)
    refuse_clash(clash for _, clash in found)
    return np.sum([out for out, _ in found], axis=0)
