import numpy as np
import pytest

from wk_potential.symmetry.grids import characters, random_rotations, rotation_grid, unaveraged

VECTORS = np.random.default_rng(0).normal(size=(5, 3))
SIZES = {0: 12, 2: 12, 3: 24, 4: 60, 5: 60, 6: 196, 7: 256, 8: 405}


def averages(degree, l):
    """Averages of a harmonic of angular momentum l at turned unit vectors."""
    rotations, weights = rotation_grid(degree)
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1)[:, None]
    turned = unit @ rotations.swapaxes(1, 2)
    return weights @ np.real((turned[..., 0] + 1j * turned[..., 1]) ** l)


@pytest.mark.parametrize("degree", SIZES)
def test_grids_are_exact_to_their_degree(degree):
    rotations, weights = rotation_grid(degree)
    assert len(rotations) == len(weights) == SIZES[degree]
    assert weights.sum() == pytest.approx(1)
    assert np.linalg.det(rotations) == pytest.approx(1)
    assert max((abs(averages(degree, l)).max() for l in range(1, degree + 1)), default=0) < 1e-13


@pytest.mark.parametrize("degree", [2, 3, 5, 6, 7])
def test_grids_are_not_exact_beyond(degree):
    assert abs(averages(degree, degree + 1)).max() > 1e-3


def test_invariants_of_polyhedra_are_what_is_left():
    """Tetrahedron, octahedron and icosahedron have one invariant of l = 3, 4 and 6, and none below."""
    for degree, first in ((2, 3), (3, 4), (5, 6)):
        shares = unaveraged(*rotation_grid(degree), first)
        assert shares[0] == pytest.approx(1)
        assert shares[1:first] == pytest.approx(0, abs=1e-12)
        assert shares[first] == pytest.approx(1 / (2 * first + 1))


def test_random_rotations_leave_their_number():
    shares = unaveraged(*random_rotations(300), 3)
    assert shares[1:] == pytest.approx(1 / 300, rel=0.5)


def test_characters_are_orthonormal():
    """<chi_k chi_l> over all rotations is 1 if k = l, else 0."""
    rotations, weights = rotation_grid(8)
    chi = characters(rotations, 4)
    assert np.einsum("kn,ln,n->kl", chi, chi, weights) == pytest.approx(np.eye(5), abs=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3, 5, 6])
def test_quadrature_of_rotations_is_exact(degree):
    # integrals of products of matrix elements over all rotations, by moments of random rotations' exact values
    matrices, weights = rotation_grid(degree)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(3), matrices.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    np.testing.assert_allclose(np.tensordot(weights, matrices, 1), 0, atol=1e-14)
    if degree >= 2:
        second = np.einsum("n,nab,ncd->abcd", weights, matrices, matrices)
        np.testing.assert_allclose(second, np.einsum("ac,bd->abcd", np.eye(3), np.eye(3)) / 3, atol=1e-14)
    if degree >= 3:
        third = np.einsum("n,nab,ncd,nef->abcdef", weights, matrices, matrices, matrices)
        levi = np.array([[[np.linalg.det(np.eye(3)[[i, j, k]]) for k in range(3)] for j in range(3)] for i in range(3)])
        np.testing.assert_allclose(third, np.einsum("ace,bdf->abcdef", levi, levi) / 6, atol=1e-14)
