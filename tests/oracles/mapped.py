"""Structures, and a check of mapped forms against the direct kernel."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from wk_potential import Model
from wk_potential.atoms.neighbours import find_neighbours
from wk_potential.training.mapping.compression import exact

from .systems import scale_of

ORDER_WEIGHTS = (0.7, 1.1, 0.9, 1.3)
TOLERANCES = (0.3, 3e-2, 3e-3, 3e-4)


def rattled(atoms, seed=0, amount=0.08):
    atoms = atoms.copy()
    atoms.rattle(amount, seed=seed)
    return atoms


def slab():
    """Periodic in two directions, without a third cell vector."""
    atoms = fcc111("C", (1, 2, 2), a=3.4)
    atoms.numbers[1] = 1
    return rattled(atoms)


def crystal(seed=0):
    """A skewed cell smaller than the cutoff."""
    atoms = bulk("CH", "zincblende", a=3.4)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    return rattled(atoms, seed, 0.15)


SYSTEMS = {"molecule": rattled(molecule("C2H6")), "crystal": crystal(), "slab": slab(), "atom": Atoms("C")}


def exactly_mapped(model) -> Model:
    """The model with exact forms, which `map_model` would not take if they cost more than few support points."""
    scales = []
    for scale in model.scales:
        forms = [exact(s, a) for s, a in zip(scale.support, scale.order_weights, strict=True)]
        scales.append(dataclasses.replace(scale, mapped=forms))
    return dataclasses.replace(model, scales=scales)


def predict(model, atoms, threads=1, **options):
    """Energies, forces and virial."""
    neighbours = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    structure = model.structure(atoms.numbers, atoms.positions, atoms.cell.array, neighbours)
    p = model.evaluate(structure, threads, model.potential(**options))
    return p.energies, p.forces, p.virial


def check(model, atoms, tolerance, threads=1, **options):
    """The mapped form and the direct kernel agree, relative to the largest of each."""
    mapped, direct = predict(model, atoms, threads, **options), predict(model, atoms, direct=True)
    for found, expected in zip(mapped, direct, strict=True):
        assert found == pytest.approx(expected, abs=tolerance * scale_of(expected))
    return mapped
