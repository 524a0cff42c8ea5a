"""A model of two elements and its mapped forms."""

import pytest
from ase.build import molecule
from oracles.mapped import ORDER_WEIGHTS, TOLERANCES, crystal, rattled, slab

from wk_potential import Frame
from wk_potential.training.mapping.mapping import map_model


@pytest.fixture(scope="session")
def frames():
    """Crystals, molecules and slabs of hydrogen and carbon."""
    structures = [maker(seed) for seed in range(4) for maker in (crystal, lambda seed: rattled(molecule("C2H6"), seed))]
    return [Frame.from_atoms(atoms, f"frame {k}") for k, atoms in enumerate([*structures, slab()])]


@pytest.fixture(scope="session")
def unmapped(random_model):
    """A model of two elements with so many support points that all forms are cheaper."""
    return random_model(numbers=(1, 6), n=40, scale=0.5, order_weights=ORDER_WEIGHTS)


@pytest.fixture(scope="session")
def mapped(unmapped, frames):
    """Mapped models by tolerance."""
    return {tolerance: map_model(unmapped, frames, tolerance, threads=1) for tolerance in (*TOLERANCES, 0)}
