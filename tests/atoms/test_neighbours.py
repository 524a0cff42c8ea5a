import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from wk_potential.atoms.neighbours import VerletList, complete_cell, find_neighbours

PBC = st.tuples(st.booleans(), st.booleans(), st.booleans())
SEEDS = st.integers(0, 2**32 - 1)


def random_system(seed, n, pbc, length=4.0):
    """Positions, some outside, and a skewed cell, whose vectors may be left-handed."""
    rng = np.random.default_rng(seed)
    cell = np.zeros((3, 3))
    while abs(np.linalg.det(cell)) < 0.15 * length**3:  # ASE takes minutes for cells that are all but flat
        cell = length * (np.eye(3) * rng.uniform(0.6, 1.4, 3) + rng.uniform(-0.5, 0.5, (3, 3)))
    cell[0] *= rng.choice([-1, 1])
    return rng.uniform(-1, 2, (n, 3)) @ cell, cell, np.array(pbc)


def ase_pairs(positions, cell, pbc, cutoff):
    i, j, shift = neighbor_list("ijS", Atoms(positions=positions, cell=cell, pbc=pbc), cutoff)
    return {(*map(int, key),) for key in np.column_stack([i, j, shift])}


def pairs(neighbours):
    found = np.column_stack([neighbours.centre, neighbours.neighbour, neighbours.shift])
    keys = {(*map(int, key),) for key in found}
    assert len(keys) == len(found)
    return keys


def check(positions, cell, pbc, cutoff):
    """The pairs are those of ASE, sorted by centre, with the right vectors; returns how many."""
    neighbours = find_neighbours(positions, cell, pbc, cutoff)
    expected = ase_pairs(positions, cell, pbc, cutoff)
    assert pairs(neighbours) == expected
    for i in range(len(positions)):
        span = slice(neighbours.first[i], neighbours.first[i + 1])
        assert np.all(neighbours.centre[span] == i)
    assert neighbours.first[0] == 0
    assert neighbours.first[-1] == len(expected)
    vectors = neighbours.vectors(positions, cell)
    i, j, shift = neighbours.centre, neighbours.neighbour, neighbours.shift
    assert vectors == pytest.approx(positions[j] + shift @ cell - positions[i], abs=1e-12)
    assert np.all(np.linalg.norm(vectors, axis=1) < cutoff)
    return len(expected)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 8), PBC, st.floats(1.0, 6.0))
def test_against_ase(seed, n, pbc, cutoff):
    check(*random_system(seed, n, pbc), cutoff)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 0, 1), (0, 0, 1), (0, 0, 0)])
def test_cell_smaller_than_the_cutoff(pbc):
    cell = np.array([[2.0, 0, 0], [0.9, 1.8, 0], [-0.7, 0.5, 2.2]])
    pbc = np.array(pbc, bool)
    n = check(np.array([[0.1, 0.2, 0.3]]), cell, pbc, 6.0)
    assert n >= 4 if pbc.any() else n == 0
    check(np.array([[0.1, 0.2, 0.3], [9.3, -11.0, 14.5]]), cell, pbc, 6.0)


def test_cluster_without_cell():
    positions = np.random.default_rng(0).uniform(-4, 4, (20, 3))
    assert check(positions, np.zeros((3, 3)), np.zeros(3, bool), 3.0) > 20


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_wire_and_slab_without_vectors_across(axis):
    """Cell vectors of directions that are not periodic may be missing, or parallel to the others."""
    positions = np.random.default_rng(axis).uniform(-3, 3, (6, 3))
    pbc = np.arange(3) == axis
    wire = np.zeros((3, 3))
    wire[axis] = [0.4, 2.0, -1.0]
    slab = np.roll(np.array([[2.5, 0.3, 0.0], [0.4, 0.0, 2.2], [0.0, 0.0, 0.0]]), axis + 1, axis=0)
    for cell, periodic in ((wire, pbc), (slab, ~pbc)):
        n = check(positions, cell, periodic, 4.0)
        assert n > 20
        cell[~periodic] = cell[axis if periodic[axis] else axis - 1]
        assert len(pairs(find_neighbours(positions, cell, periodic, 4.0))) == n


def test_shifts_that_do_not_fit():
    """Cell translations are kept in two bytes: more of them are refused, not wrapped around."""
    cell, pbc = 2 * np.eye(3), np.ones(3, bool)
    for cells, more in ((32767, 32768), (-32767, -32768)):
        positions, farther = (np.array([[0.5, 0.5, 0.5], [1.0 + 2 * n, 0.5, 0.5]]) for n in (cells, more))
        neighbours = find_neighbours(positions, cell, pbc, 0.9)
        assert pairs(neighbours) == {(0, 1, -cells, 0, 0), (1, 0, cells, 0, 0)}
        assert neighbours.vectors(positions, cell) == pytest.approx(np.array([[0.5, 0, 0], [-0.5, 0, 0]]))
        with pytest.raises(ValueError, match="more than 32767 cells apart"):
            find_neighbours(farther, cell, pbc, 0.9)


# --- completing the cell ---


@given(SEEDS, PBC)
def test_complete_cell(seed, pbc):
    _, cell, pbc = random_system(seed, 1, pbc)
    full = complete_cell(cell, pbc)
    assert np.array_equal(full[pbc], cell[pbc])
    added = full[~pbc]
    assert added @ added.T == pytest.approx(np.eye(len(added)), abs=1e-12)
    assert cell[pbc] @ added.T == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (np.zeros((3, 3)), (True, False, False)),
        (np.diag([3.0, 3.0, 0.0]), (True, True, True)),
        (np.array([[1.0, 2.0, 0], [2.0, 4.0, 0], [0, 0, 5.0]]), (True, True, False)),
        (np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]), (True, True, True)),
    ],
)
def test_periodic_directions_must_span_a_cell(cell, pbc):
    with pytest.raises(ValueError, match="do not span a cell"):
        complete_cell(cell, pbc)
    assert complete_cell(cell, (False, False, False)) == pytest.approx(np.eye(3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_cell_must_be_finite(value):
    with pytest.raises(ValueError, match="not finite"):
        complete_cell(np.diag([1.0, 2.0, value]), (True, True, False))


# --- skin ---


@settings(deadline=None, max_examples=80)
@given(SEEDS, PBC, st.floats(0.0, 0.04), st.floats(0.0, 0.3))
def test_verlet_list_misses_nothing(seed, pbc, strain, step):
    """Atoms approach one of them from just beyond the list, and the cell is strained, step by step."""
    cutoff, skin = 2.0, 0.6
    positions, cell, pbc = random_system(seed, 12, pbc, 5.0)
    rng = np.random.default_rng(seed)
    # one atom at the centre, the others in random directions near the edge of the list
    directions = rng.normal(size=(len(positions), 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    directions[0] = 0
    positions = positions[0] + directions * (cutoff + skin + rng.uniform(-0.02, 0.1, (len(positions), 1)))
    verlet = VerletList(cutoff, skin)
    for k in range(6):
        found = pairs(verlet.update(positions, cell, pbc))
        assert ase_pairs(positions, cell, pbc, cutoff) <= found, k
        deformation = (
            np.eye(3) - strain * np.diag(rng.uniform(-0.5, 1, 3)) + rng.uniform(-0.3, 0.3) * strain * np.eye(3, k=1)
        )
        centre = positions[0]
        positions, cell = (positions - directions * step - centre) @ deformation + centre, cell @ deformation


@pytest.mark.parametrize("pbc", [False, True])
def test_two_atoms_that_meet(pbc):
    """Both atoms move by half of what brings them within the cutoff."""
    cell, pbc = 20 * np.eye(3), np.full(3, pbc)
    verlet = VerletList(3.0, 1.0)
    for x in np.arange(0, 1, 0.05):
        positions = np.array([[x, 0, 0], [4.001 - x, 0, 0]])
        near = len(ase_pairs(positions, cell, pbc, 3.0))
        assert len(pairs(verlet.update(positions, cell, pbc))) >= near
    assert near == 2
    assert verlet.n_built == 2


def test_two_atoms_that_are_compressed():
    """Along one direction, while the cell grows along another."""
    verlet, pbc = VerletList(3.0, 1.0), np.ones(3, bool)
    for scale in np.arange(1, 0.7, -0.02):
        cell = np.diag([9.0 * scale, 20.0 / scale, 20.0])
        positions = np.array([[0.0, 0, 0], [4.01 * scale, 0, 0]])
        assert ase_pairs(positions, cell, pbc, 3.0) <= pairs(verlet.update(positions, cell, pbc))
    assert verlet.n_built == 2


def test_when_the_list_is_rebuilt():
    positions, cell, pbc = random_system(3, 10, (True, True, False), 8.0)
    verlet = VerletList(3.0, 1.0)
    direction = np.array([0.0, 0.6, 0.8])

    def builds(positions, cell=cell, pbc=pbc):
        before = verlet.n_built
        verlet.update(positions, cell, pbc)
        return verlet.n_built - before

    assert builds(positions) == 1
    moved = positions.copy()
    moved[4] += 0.49 * direction
    assert builds(positions) == 0
    assert builds(moved) == 0
    moved[4] += 0.02 * direction
    assert builds(moved) == 1
    assert builds(positions) == 1
    assert builds(positions[:-1]) == 1
    assert builds(positions[:-1], pbc=np.array([True, False, False])) == 1


def test_strain_alone_uses_the_whole_skin():
    """A homogeneous strain moves no atom beyond the deformation: only the smallest stretch counts."""
    positions, cell, pbc = random_system(3, 10, (True, True, True), 8.0)
    verlet = VerletList(3.0, 1.0)
    for scale, n_built in ((1.0, 1), (0.76, 1), (1.3, 1), (0.74, 2), (0.9, 2), (0.5, 3), (1.0, 3)):
        verlet.update(positions * scale, cell * scale, pbc)
        assert verlet.n_built == n_built
    shear = np.eye(3) + 0.1 * np.eye(3, k=1)
    verlet.update(positions @ shear, cell @ shear, pbc)
    assert verlet.n_built == 3


def test_list_is_not_spoilt_by_changed_arrays():
    """The list keeps copies of the arrays that it was made for."""
    positions, cell, pbc = random_system(4, 6, (True, True, True), 6.0)
    verlet = VerletList(3.0, 0.5)
    verlet.update(positions, cell, pbc)
    positions[0] += 2.0
    verlet.update(positions, cell, pbc)
    cell *= 0.7
    verlet.update(positions, cell, pbc)
    assert verlet.n_built == 3
