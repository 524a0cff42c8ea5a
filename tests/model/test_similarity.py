"""Kernels between structures and atoms against sums over pairs of environments."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from oracles.kernels import nu1_kernel, oracle_kernels
from oracles.systems import coefficients

from wk_potential import Model, WKError
from wk_potential.atoms.neighbours import find_neighbours


def systems():
    water, methanol = molecule("H2O"), molecule("CH3OH")
    crystal = bulk("C", cubic=True)
    for seed, atoms in enumerate((water, methanol, crystal)):
        atoms.rattle(0.1, seed=seed)
    return [water, methanol, crystal]


def environments(model, atoms, density):
    """Coefficients (N, n_lm, Q) of the atoms, one by one."""
    neighbours = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, density.radial.cutoff)
    vectors, species = neighbours.vectors(atoms.positions, atoms.cell.array), model.species_of(atoms.numbers)
    parts = [slice(*neighbours.first[i : i + 2]) for i in range(len(atoms))]
    return np.array([
        coefficients(density, vectors[p], species[neighbours.neighbour[p]], species[i]) for i, p in enumerate(parts)
    ])  # fmt: skip


def expected(model, a, b):
    """Kernels (n, m) between the atoms of two structures, by quadrature over rotations."""
    species, out = [model.species_of(x.numbers) for x in (a, b)], 0.0
    for scale in model.scales:
        lmax, left, right = scale.density.lmax, *(environments(model, x, scale.density) for x in (a, b))
        k = oracle_kernels(lmax, scale.order, nu1_kernel(lmax, left[:, None], right))
        out = out + np.einsum("zn,nab->zab", scale.order_weights, k)[species[0], np.arange(len(a))]
    return np.where(species[0][:, None] == species[1], out, 0.0)


@pytest.fixture(scope="module")
def model(random_model):
    return random_model(numbers=(1, 6, 8))


def test_kernels_of_atoms_and_structures(model):
    atoms = systems()
    pairs = [[expected(model, a, b) for b in atoms] for a in atoms]
    np.testing.assert_allclose(model.kernel(atoms, per_atom=True, normalise=False), np.block(pairs), atol=1e-10)
    sums = np.array([[k.sum() for k in row] for row in pairs])
    np.testing.assert_allclose(model.kernel(atoms, normalise=False, threads=2), sums, atol=1e-9)
    roots = np.sqrt(sums.diagonal())
    np.testing.assert_allclose(model.kernel(atoms), sums / np.outer(roots, roots), atol=1e-12)
    np.testing.assert_allclose(model.kernel(atoms[0], atoms), (sums / np.outer(roots, roots))[:1], atol=1e-12)
    own = [k.diagonal() for row, k in zip(pairs, [pairs[i][i] for i in range(3)], strict=True) for _ in (0,)]
    rows = np.concatenate(own)
    columns = pairs[0][1] / np.sqrt(np.outer(own[0], own[1]))
    np.testing.assert_allclose(model.kernel(atoms[0], atoms[1], per_atom=True), columns, atol=1e-12)
    assert len(rows) == sum(map(len, atoms))


@pytest.mark.parametrize("per_atom", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_matrices_are_symmetric_and_positive(model, per_atom, normalise):
    atoms = [*systems(), Atoms("O"), Atoms("O")]  # alone, with kernel 0
    k = model.kernel(atoms, per_atom=per_atom, normalise=normalise)
    np.testing.assert_array_equal(k, k.T)
    values = np.linalg.eigvalsh(k)
    assert values[0] > -1e-12 * values[-1]
    if normalise:
        assert np.all((np.abs(k.diagonal() - 1) < 1e-12) | (k.diagonal() == 0))
        assert np.abs(k).max() < 1 + 1e-12
    np.testing.assert_array_equal(k[-2:], 0)


def test_descriptors_have_the_kernel_as_inner_product(model):
    """Exactly so where an atom is a support point, never too large otherwise."""
    atoms = systems()
    parts = model.scales
    known = Model(
        model.elements,
        [
            type(scale)(scale.density, scale.order_weights, [
                type(scale.support[0])(np.concatenate([
                    environments(model, a, scale.density)[model.species_of(a.numbers) == z] for a in atoms
                ]), np.ones(sum(int(np.sum(model.species_of(a.numbers) == z)) for a in atoms)))
                for z in range(3)
            ])
            for scale in parts
        ],
        model.baseline,
        model.compositions,
    )  # fmt: skip
    rows = known.descriptors(atoms)
    assert len(rows) == sum(map(len, atoms))
    np.testing.assert_allclose(rows @ rows.T, known.kernel(atoms, per_atom=True, normalise=False), atol=1e-8)
    few = known.descriptors(atoms, size=2)
    assert few.shape[1] <= 6
    assert np.all((few**2).sum(axis=1) < (rows**2).sum(axis=1) + 1e-8)


def test_what_has_no_descriptors(model):
    with pytest.raises(WKError, match="size must be positive"):
        model.descriptors(systems(), size=0)
    alone = Model(model.elements, [], model.baseline, model.compositions)
    with pytest.raises(WKError, match="no energies"):
        alone.descriptors(systems())
