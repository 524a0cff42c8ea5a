"""Kernels between labelled frames, and energies and forces of many atoms."""

from functools import cache
from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, make_supercell, molecule
from oracles.kernels import TINY, nu1_kernel, oracle_kernels, polynomial_slope, support_energy
from oracles.systems import CUTOFF, make_density, order_weights, random_support, rotation_matrix, scale_of

from wk_potential.atoms.dataset import Dataset
from wk_potential.atoms.frame import Frame
from wk_potential.atoms.kinds import VOIGT_PAIRS
from wk_potential.atoms.neighbours import find_neighbours
from wk_potential.atoms.structure import Structure
from wk_potential.density.expansion import Density
from wk_potential.density.frames import Environments, frame_environments
from wk_potential.density.packed import pack
from wk_potential.kernel.coupling import wigner_terms
from wk_potential.kernel.direct import make_support
from wk_potential.kernel.lanes import lanes_of
from wk_potential.model.energy import Direct, Layer, Potential, evaluate
from wk_potential.training.full.gram import add_covariance, flatten, force_gram, some_frames

LANES = lanes_of(np.float64)
NUMBERS = np.array([6, 14])


# --- Gram matrices ---


def frame(atoms, energy=True, forces=True, stress=False):
    """A frame with labels of the given kinds (their values do not matter here)."""
    return Frame(
        atoms.numbers,
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        energy=0.0 if energy else None,
        forces=np.zeros((len(atoms), 3)) if forces else None,
        stress=np.zeros(6) if stress else None,
    )


def rattled(atoms, seed, amount=0.1):
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).normal(0, amount, atoms.positions.shape)
    return atoms


def small_molecule(seed=0):
    return rattled(Atoms("CSi2C", [[0, 0, 0], [1.5, 0, 0], [-0.6, 1.5, 0], [0.3, 0.2, 1.4]]), seed)


def small_crystal(seed=0):
    """Two atoms in a triclinic cell much smaller than the cutoff."""
    cell = [[2.6, 0.1, 0], [1.0, 2.4, 0.2], [-0.6, 0.9, 2.5]]
    return rattled(Atoms("SiC", [[0.1, 0, 0], [1.4, 1.5, 1.2]], cell=cell, pbc=True), seed)


def strain(v, h):
    """1 + strain of Voigt component v, symmetrised."""
    matrix = np.eye(3)
    a, b = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[v]
    matrix[a, b] += h / 2
    matrix[b, a] += h / 2
    return matrix


def displaced(atoms, label, h):
    """The structure moved along the coordinate that a label (not the energy) refers to."""
    atoms = atoms.copy()
    if label <= 3 * len(atoms):
        atoms.positions[(label - 1) // 3, (label - 1) % 3] += h
    else:
        atoms.set_cell(atoms.cell.array @ strain(label - 1 - 3 * len(atoms), h), scale_atoms=False)
        atoms.positions = atoms.positions @ strain(label - 1 - 3 * len(atoms), h)
    return atoms


def all_coefficients(density, atoms):
    return frame_environments(frame(atoms), density, NUMBERS, derivatives=False).coefficients


def numerical_jacobian(density, atoms, h=1e-5):
    """Derivatives (1 + 3 N + 6, N, n_lm, Q) of all coefficients by what labels measure, 0 for energy."""
    labels = range(1, 1 + 3 * len(atoms) + 6)

    def moved(label, step):
        return all_coefficients(density, displaced(atoms, label, step))

    slopes = [(moved(label, h) - moved(label, -h)) / (2 * h) for label in labels]
    return np.stack([np.zeros_like(slopes[0]), *slopes])


def exact_block(lmax, order, ci, cs, ji, js, is_energy):
    """Kernels (order, labels, labels) of two environments and derivatives along Jacobians ji, js."""
    x, energies = ci + 1j * TINY * ji[:, None], np.ix_(range(order), *is_energy)

    def kernels(h):
        return oracle_kernels(lmax, order, nu1_kernel(lmax, x, cs + h * js))

    here, slope = kernels(0), polynomial_slope(kernels)
    block = np.where(is_energy[0][:, None], slope.real, slope.imag / TINY)
    block[:, :, is_energy[1]] = here.imag[:, :, is_energy[1]] / TINY
    block[energies] = here.real[energies]
    return block


def exact_gram(lmax, order, density, a, b, labels_a, labels_b, number):
    """Energies and derivatives (order, labels of a, labels of b) of the kernel summed over pairs of atoms `number`."""
    ca, cb = all_coefficients(density, a), all_coefficients(density, b)
    ja, jb = numerical_jacobian(density, a)[labels_a], numerical_jacobian(density, b)[labels_b]
    is_energy = labels_a == 0, labels_b == 0
    pairs = [(i, s) for i, s in product(range(len(a)), range(len(b))) if a.numbers[i] == b.numbers[s] == number]
    blocks = [exact_block(lmax, order, ca[i], cb[s], ja[:, i], jb[:, s], is_energy) for i, s in pairs]
    return sum(blocks, np.zeros((order, len(labels_a), len(labels_b))))


def test_gram_matrices():
    """All blocks of molecules, crystals and a lone atom, which differ in the labels they have."""
    lmax, order = 2, 6
    density = projected_density(lmax)
    lone = Atoms("Si", cell=9 * np.eye(3), pbc=True)
    structures = [small_molecule(), small_molecule(1)[:3], small_crystal(), small_crystal(1), lone]
    kinds = [
        (True, True, False),
        (False, True, False),
        (True, True, True),
        (False, False, True),
        (True, True, True),
    ]
    frames = [frame(atoms, *kind) for atoms, kind in zip(structures, kinds, strict=True)]
    flat = flatten(Environments(Dataset(frames, NUMBERS), density))
    gram = force_gram(flat, lmax, order, len(NUMBERS), threads=2)
    labels = [
        np.flatnonzero(np.repeat(kind, [1, 3 * len(atoms), 6])) for atoms, kind in zip(structures, kinds, strict=True)
    ]
    first = np.concatenate([[0], np.cumsum([len(own) for own in labels])])
    assert gram.shape == (len(NUMBERS), order, first[-1], first[-1])
    assert np.array_equal(gram, np.swapaxes(gram, 2, 3))
    for (i, a), (j, b) in combinations_with_replacement(enumerate(structures), 2):
        for number, of_element in zip(NUMBERS, gram, strict=True):
            expected = exact_gram(lmax, order, density, a, b, labels[i], labels[j], number)
            block = of_element[:, first[i] : first[i + 1], first[j] : first[j + 1]]
            for value, exact in zip(block, expected, strict=True):
                assert value == pytest.approx(exact, abs=1e-7 * scale_of(exact) + 1e-9)
    for lower in range(1, order):
        fewer = force_gram(flat, lmax, lower, len(NUMBERS))
        assert fewer == pytest.approx(gram[:, :lower], abs=1e-12 * scale_of(gram[:, :lower]))
    weights, total = np.random.default_rng(0).uniform(size=(len(NUMBERS), order)), np.zeros(gram.shape[2:])
    add_covariance(flat, lmax, weights, total, threads=2)
    expected = np.triu(np.tensordot(weights, gram, 2))
    assert np.triu(total) == pytest.approx(expected, abs=1e-12 * scale_of(expected))
    some = [0, 2, 4]
    rows = np.concatenate([np.arange(first[k], first[k + 1]) for k in some])
    part = force_gram(some_frames(flat, some), lmax, order, len(NUMBERS))
    assert part == pytest.approx(gram[:, :, rows[:, None], rows], abs=1e-12 * scale_of(gram))


@pytest.mark.parametrize("atoms", [small_molecule(), small_crystal()])
def test_jacobian_of_a_frame(atoms):
    density = make_density(2, 2)
    environments = frame_environments(frame(atoms, stress=True), density, NUMBERS)
    assert np.array_equal(environments.centres, np.searchsorted(NUMBERS, atoms.numbers))
    expected = numerical_jacobian(density, atoms)
    full = np.zeros_like(expected)
    for i in range(len(atoms)):
        for row in range(environments.first[i], environments.first[i + 1]):
            full[environments.label[row], i] += environments.jacobian[row].reshape(full.shape[2:])
    assert full == pytest.approx(expected, abs=1e-7 * scale_of(expected))


def test_order_of_strains():
    assert VOIGT_PAIRS == ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


# --- energies and forces of many atoms ---


def projected_density(lmax, seed=0):
    """A density of two elements with random projections on three channels."""
    full = make_density(lmax, 2, 1e-2)
    projection = np.random.default_rng(seed).normal(size=(*full.projection.shape[:3], 3))
    return Density(lmax, full.radial, projection)


@cache
def make_potential(lmax=2, order=4, with_tangents=False, n_support=(LANES + 3, 5), seed=0):
    """A potential of two elements with random support points."""
    density = pack(projected_density(lmax, seed))
    terms, weights, energies = wigner_terms(lmax, order), order_weights(order, seed), []
    for element, n in enumerate(n_support):
        points, w, tangents = random_support(lmax, n, 3, seed + element)
        energies.append(Direct(terms, weights, make_support(points, w, tangents if with_tangents else None)))
    return Potential([Layer(density, density.projection, energies)])


def results(potential, atoms, threads=1, skin=0.0):
    """Energies, forces and virial."""
    elements = np.searchsorted(NUMBERS, atoms.numbers)
    neighbours = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF + skin)
    return evaluate(potential, Structure(atoms.positions, atoms.cell.array, elements, neighbours), threads)[:3]


def two_elements(atoms, seed=0):
    atoms.numbers = np.random.default_rng(seed).permuted(np.resize(NUMBERS, len(atoms)))
    return rattled(atoms, seed)


SYSTEMS = {
    "molecule": two_elements(molecule("CH3CH2OH")),
    "slab": two_elements(fcc111("Al", (2, 1, 2), vacuum=None, periodic=False)),
    "crystal": small_crystal(),
    "atom": Atoms("C"),
}
SYSTEMS["slab"].cell[1, 0] += 0.3


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("lmax", "order", "with_tangents"), [(2, 6, True), (3, 4, False), (1, 2, True)])
def test_forces_and_virial(system, lmax, order, with_tangents):
    potential, atoms = make_potential(lmax, order, with_tangents), SYSTEMS[system]
    energies, forces, virial = results(potential, atoms)
    assert energies.shape == (len(atoms),)

    def energy(label, h):
        return results(potential, displaced(atoms, label, h))[0].sum()

    h = 3e-5
    slopes = np.array([(energy(label, h) - energy(label, -h)) / (2 * h) for label in range(1, 7 + 3 * len(atoms))])
    assert forces == pytest.approx(-slopes[:-6].reshape(-1, 3), abs=1e-6 * scale_of(forces))
    assert [virial[v] for v in VOIGT_PAIRS] == pytest.approx(slopes[-6:], abs=1e-6 * scale_of(virial))
    assert virial == pytest.approx(virial.T, abs=1e-12 * scale_of(virial))
    assert forces.sum(axis=0) == pytest.approx(0, abs=1e-11 * (1 + scale_of(forces)))


@pytest.mark.parametrize("with_tangents", [False, True])
def test_energies_are_those_of_the_environments(with_tangents):
    """Each centre sees the support points of its own element."""
    potential, atoms = make_potential(with_tangents=with_tangents), SYSTEMS["crystal"]
    c = all_coefficients(projected_density(2), atoms)
    expected = []
    for i, element in enumerate(np.searchsorted(NUMBERS, atoms.numbers)):
        points, w, tangents = random_support(2, (LANES + 3, 5)[element], 3, element)
        tangents = tangents if with_tangents else None
        expected.append(support_energy(2, order_weights(4), c[i], points, w, tangents))
    assert results(potential, atoms)[0] == pytest.approx(np.array(expected), rel=1e-11)


def test_element_without_support_points():
    potential = make_potential(n_support=(0, 5))
    energies, forces, _ = results(potential, SYSTEMS["molecule"])
    assert np.all((energies != 0) == (SYSTEMS["molecule"].numbers == NUMBERS[1]))
    assert np.all(np.isfinite(forces))


@pytest.mark.parametrize("with_tangents", [False, True])
@pytest.mark.parametrize("system", SYSTEMS)
def test_threads_change_nothing(system, with_tangents):
    """Each thread sums forces of its own, in an order that depends on their number but not on who is first."""
    potential = make_potential(with_tangents=with_tangents)
    one, two, again = (results(potential, SYSTEMS[system], threads) for threads in (1, 2, 2))
    assert np.array_equal(one[0], two[0])
    for x, y, repeated in zip(one, two, again, strict=True):
        assert x == pytest.approx(y, abs=1e-14 * scale_of(y))
        assert np.array_equal(y, repeated)


@pytest.mark.parametrize("system", ["molecule", "slab", "crystal"])
def test_symmetries(system):
    """Order of the atoms, translation, wrapping, improper rotation, pairs beyond the cutoff do not matter."""
    potential, atoms = make_potential(order=6, with_tangents=True), SYSTEMS[system]
    energies, forces, virial = results(potential, atoms)

    def close(x, y):
        return x == pytest.approx(y, abs=1e-11 * scale_of(y))

    for same, exact in zip(results(potential, atoms, skin=1.0), (energies, forces, virial), strict=True):
        assert close(same, exact)

    order = np.random.default_rng(0).permutation(len(atoms))
    e, f, v = results(potential, atoms[order])
    assert close(e, energies[order])
    assert close(f, forces[order])
    assert close(v, virial)

    moved = atoms.copy()
    moved.positions += [3.1, -2.2, 7.3]
    moved.positions += np.random.default_rng(1).integers(-2, 3, (len(atoms), 3)) * atoms.pbc @ atoms.cell.array
    e, f, v = results(potential, moved)
    assert close(e, energies)
    assert close(f, forces)
    assert close(v, virial)

    rotation, turned = -rotation_matrix(2), atoms.copy()
    turned.positions, turned.cell[:] = atoms.positions @ rotation.T, atoms.cell.array @ rotation.T
    e, f, v = results(potential, turned)
    assert close(e, energies)
    assert close(f, forces @ rotation.T)
    assert close(v, rotation @ virial @ rotation.T)


def test_supercell_is_extensive():
    potential, atoms = make_potential(order=6, with_tangents=True), SYSTEMS["crystal"]
    large = make_supercell(atoms, [[2, 0, 0], [1, 1, 0], [0, -1, 3]], order="atom-major")
    energies, forces, virial = results(potential, atoms)
    e, f, v = results(potential, large, threads=2)
    assert e == pytest.approx(np.repeat(energies, 6), rel=1e-10)
    assert f == pytest.approx(np.repeat(forces, 6, axis=0), abs=1e-10 * scale_of(forces))
    assert v == pytest.approx(6 * virial, rel=1e-10)


def test_perfect_crystal_has_no_forces():
    atoms = bulk("Si", cubic=True)
    forces = results(make_potential(), atoms)[1]
    assert forces == pytest.approx(0, abs=1e-10)
