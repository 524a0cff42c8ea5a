import numpy as np
import pytest
from oracles.kernels import blocks, central_difference, cut_overlap, nu1_kernel, real_harmonics
from oracles.systems import (
    CUTOFF,
    CUTOFF_WIDTH,
    GROWTH,
    WIDTH,
    coefficients,
    make_density,
    make_table,
    random_environment,
)
from scipy.interpolate import CubicHermiteSpline
from scipy.special import eval_legendre

from wk_potential.atoms.neighbours import Neighbours
from wk_potential.atoms.structure import Structure
from wk_potential.density import radial
from wk_potential.density.expansion import Density, environment_jacobian, expand, full_density
from wk_potential.density.packed import adjoint_atom, expand_atom, gather, neighbourhood, pack
from wk_potential.density.radial import cutoff_function, overlap, radial_table


def projected_density(lmax, n_elements=2, seed=0):
    """A density with random projections on five channels."""
    full = make_density(lmax, n_elements)
    shape = (*full.projection.shape[:3], 5)
    return Density(lmax, full.radial, np.random.default_rng(seed).normal(size=shape))


# --- radial functions ---


def test_cutoff_function():
    def f(r):
        return cutoff_function(r, 5.0, 0.8)

    assert f(4.6) == pytest.approx(0.5)
    r = np.linspace(0, 6, 601)
    assert np.all(f(r[r <= 4.2]) == 1)
    assert np.all(np.abs(f(r[r >= 5.0])) < 1e-15)
    assert np.all(np.diff(f(r)) < 1e-15)
    # what remains at both ends is of third order: value and two derivatives are continuous
    h = np.array([1e-2, 1e-3, 1e-4])
    assert f(5.0 - h) == pytest.approx(10 * (h / 0.8) ** 3, rel=0.03)
    assert 1 - f(4.2 + h) == pytest.approx(10 * (h / 0.8) ** 3, rel=0.03)


def gaussian_overlap(a, b, width, growth):
    """Overlap of the Gaussians of two atoms, integrated along each axis by the trapezoidal rule."""
    x = np.linspace(-25, 25, 4001)
    total = 1.0
    s, t = (width * np.exp(np.linalg.norm(v) / growth) for v in (a, b))
    for xa, xb in zip(a, b, strict=True):
        product = np.exp(-0.5 * ((x - xa) / s) ** 2 - 0.5 * ((x - xb) / t) ** 2) / (2 * np.pi * s * t)
        total *= product.sum() * (x[1] - x[0])
    return total


@pytest.mark.parametrize(("r", "r2"), [(1.0, 1.0), (0.9, 1.6), (2.5, 3.1), (0.0, 0.7), (1e-4, 1.0)])
def test_overlap_of_gaussians(r, r2):
    cosines, weights = np.polynomial.legendre.leggauss(40)
    values = [gaussian_overlap([0, 0, r], [r2 * np.sqrt(1 - c * c), 0, r2 * c], WIDTH, GROWTH) for c in cosines]
    for l in range(7):
        expected = 2 * np.pi * weights @ (values * eval_legendre(l, cosines))
        assert overlap(l, r, r2, WIDTH, GROWTH) == pytest.approx(expected, rel=1e-10, abs=1e-12 * max(values))


@pytest.mark.parametrize("l", range(7))
def test_overlap_of_close_atoms(l):
    """R_l goes as r^l for r -> 0, with no jump where the Bessel function is replaced by its limit."""
    r = np.geomspace(1e-9, 1e-5, 41) * 2 * WIDTH**2
    ratio = overlap(l, r, 1.0, WIDTH, GROWTH) / r**l
    assert ratio == pytest.approx(ratio[0], rel=3e-5)
    assert np.isfinite(overlap(l, 0.0, 0.0, WIDTH, GROWTH))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_radial_functions_span_the_kernel(tolerance):
    """Each l keeps as few functions as reproduce the kernel, the trace of the error below the tolerance."""
    lmax = 6
    table = make_table(lmax, tolerance)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r, measure = CUTOFF * (nodes + 1) / 2, CUTOFF / 2 * weights
    measure = measure * r**2
    grid = np.linspace(0, CUTOFF, len(table.values))
    phi = CubicHermiteSpline(grid, table.values, table.slopes)(r)
    for l in range(lmax + 1):
        kernel = cut_overlap(l, r[:, None], r)
        used = np.flatnonzero(np.any(phi[:, l] != 0, axis=0))
        assert np.array_equal(used, np.arange(len(used)))
        trace = measure @ np.diag(kernel)
        neglected = trace - measure @ np.cumsum(phi[:, l, used] ** 2, axis=1)
        assert neglected[-1] < (tolerance + 1e-7) * trace
        assert neglected[-2] > tolerance * trace
        error = (kernel - phi[:, l] @ phi[:, l].T) * np.sqrt(measure[:, None] * measure)
        assert np.linalg.norm(error) < (tolerance + 1e-6) * trace
        assert np.linalg.eigvalsh(error)[0] > -1e-6 * trace


def test_spline_spacing(monkeypatch):
    """Between the nodes the splines are as accurate as stated, also for narrow Gaussians."""
    arguments = (CUTOFF, CUTOFF_WIDTH, 0.2, GROWTH, 3, 1e-6)
    table = radial_table(*arguments)
    monkeypatch.setattr(radial, "SPACING", radial.SPACING / 2)
    finer = radial_table(*arguments)
    middle = np.linspace(0, CUTOFF, len(finer.values))[1::2]
    phi = CubicHermiteSpline(np.linspace(0, CUTOFF, len(table.values)), table.values, table.slopes)(middle)
    error = np.abs(phi - finer.values[1::2])[middle > 0.1]
    assert error.max() < 4e-7 * np.abs(phi).max()


# --- coefficients ---


@pytest.mark.parametrize("n_elements", [1, 3])
def test_nu1_kernel_is_the_pair_sum(n_elements):
    """K^l_mm' = sum over neighbours of the same element of f_c f_c' R_l Y_lm Y_lm'."""
    lmax = 4
    density = make_density(lmax, n_elements, tolerance=1e-9)
    (x, a), (y, b) = random_environment(1, 7, n_elements), random_environment(2, 6, n_elements)
    kernel = nu1_kernel(lmax, coefficients(density, x, a), coefficients(density, y, b))
    r, r2 = np.linalg.norm(x, axis=1)[:, None], np.linalg.norm(y, axis=1)
    yx, yy = real_harmonics(lmax, x), real_harmonics(lmax, y)
    radial_parts = [cut_overlap(l, r, r2) * (a[:, None] == b) for l in range(lmax + 1)]
    pairs = zip(radial_parts, blocks(lmax), strict=True)
    expected = np.concatenate([(yx[:, block].T @ part @ yy[:, block]).ravel() for part, block in pairs])
    assert kernel == pytest.approx(expected, abs=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("n_elements", [1, 2])
def test_projections_are_writable(n_elements):
    """Numba compiles functions anew for read-only arrays."""
    assert full_density(2, make_table(2), n_elements).projection.flags.writeable


def test_elements_have_separate_channels():
    density = make_density(2, 3)
    n = density.radial.values.shape[2]
    vectors, _ = random_environment(3)
    c = coefficients(density, vectors, np.full(5, 1))
    assert np.all(c[:, :n] == 0)
    assert np.all(c[:, 2 * n :] == 0)
    assert np.any(c[:, n : 2 * n] != 0)
    assert np.array_equal(c[:, n : 2 * n], coefficients(make_density(2, 1), vectors, np.zeros(5, int)))


@pytest.mark.parametrize("centre", [0, 1])
def test_projection(centre):
    lmax = 3
    density = projected_density(lmax)
    vectors, elements = random_environment(4, n_elements=2)
    full = coefficients(make_density(lmax, 2), vectors, elements)
    c = coefficients(density, vectors, elements, centre)
    for l, block in enumerate(blocks(lmax)):
        assert c[block] == pytest.approx(full[block] @ density.projection[centre, l], abs=1e-12)


@pytest.mark.parametrize("centre", [0, 1])
def test_jacobian(centre):
    density = projected_density(3)
    vectors, elements = random_environment(5, 6, 2)
    assert np.any(np.linalg.norm(vectors, axis=1) > CUTOFF)
    numerical = central_difference(lambda v: coefficients(density, v, elements, centre), vectors, 1e-5)
    jacobian = np.full(numerical.shape, np.nan)
    environment_jacobian(density, centre, vectors, elements, jacobian)
    assert jacobian == pytest.approx(numerical, abs=1e-7 * np.abs(numerical).max())


def test_many_environments():
    density = projected_density(2)
    systems = [random_environment(seed, n, 2) for seed, n in enumerate((3, 0, 5))]
    vectors, elements = (np.concatenate(x) for x in zip(*systems, strict=True))
    out = expand(density, np.array([1, 0, 0]), np.array([0, 3, 3, 8]), vectors, elements)
    for c, (v, e), centre in zip(out, systems, (1, 0, 0), strict=True):
        assert np.array_equal(c, coefficients(density, v, e, centre))
    assert np.all(out[1] == 0)


def test_permuted_neighbours():
    density = projected_density(3)
    vectors, elements = random_environment(6, 6, 2)
    order = np.random.default_rng(0).permutation(6)
    c, permuted = (coefficients(density, vectors[o], elements[o]) for o in (slice(None), order))
    assert permuted == pytest.approx(c, abs=1e-13)


# --- coefficients and their adjoint in vector form ---


def one_atom(centre, vectors, elements):
    """A structure whose atom 0 has the others as neighbours."""
    n = len(vectors)
    first = np.array([0, *[n] * (n + 1)])
    neighbours = Neighbours(first, np.arange(1, n + 1, dtype=np.int32), np.zeros((n, 3), np.int16))
    positions = np.concatenate([np.zeros((1, 3)), vectors])
    return Structure(positions, np.zeros((3, 3)), np.array([centre, *elements]), neighbours)


def vector_form(density, hood, centre, vectors, elements, grad):
    """Coefficients (n_lm, Q), and the gradient (n, 3) of one whose gradient in them is grad, in a used work space."""
    clash = np.full(2, -1)
    gather(0, density.cutoff, one_atom(centre, vectors, elements), hood, clash)
    assert np.all(clash == -1)
    expand_atom(density, hood)
    c, width = np.zeros_like(grad), hood.full.shape[2]
    rows = [slice(first, first + 2 * l + 1) for l, first in enumerate(density.rows[:-1])]
    projections = density.projection[centre].reshape(density.lmax + 1, -1, len(hood.full), width)
    for l, row in enumerate(rows):
        c[blocks(density.lmax)[l]] = np.einsum("emk,qek->mq", hood.full[:, row], projections[l])
        hood.full[:, row] = np.einsum("mq,qek->emk", grad[blocks(density.lmax)[l]], projections[l])
    gradient = np.full((len(hood.r), 3), np.nan)
    adjoint_atom(density, hood, gradient)
    found = np.flatnonzero(hood.atom[: hood.first[-1]] >= 0)
    adjoint = np.zeros(vectors.shape)
    adjoint[hood.atom[found] - 1] = gradient[found]
    return c, adjoint


@pytest.mark.parametrize(("n_elements", "projected"), [(1, False), (1, True), (2, True), (3, False)])
@pytest.mark.parametrize("lmax", [0, 1, 3, 6])
def test_vector_form(lmax, n_elements, projected):
    """It is the expansion that training uses, and the adjoint of its Jacobian, for any number of neighbours."""
    density = projected_density(lmax, n_elements) if projected else make_density(lmax, n_elements, 1e-2)
    centre = n_elements - 1
    packed = pack(density)
    hood = neighbourhood(packed, n_elements, 33)
    for n in (33, 0, 1, 7, 8, 9, 17):
        vectors, elements = random_environment(n, n, n_elements)
        expected = coefficients(density, vectors, elements, centre)
        jacobian = np.zeros((n, 3, *expected.shape))
        environment_jacobian(density, centre, vectors, elements, jacobian)
        grad = np.random.default_rng(n).normal(size=expected.shape)
        c, adjoint = vector_form(packed, hood, centre, vectors, elements, grad)
        assert c == pytest.approx(expected, abs=1e-13 * np.abs(expected).max(initial=0))
        slope = np.einsum("jxiq,iq->jx", jacobian, grad)
        assert adjoint == pytest.approx(slope, abs=1e-13 * np.abs(slope).max(initial=0))


def test_vector_form_with_nothing_within_the_cutoff():
    """Atoms of an earlier environment leave no trace."""
    density = make_density(2, 2)
    packed = pack(density)
    hood = neighbourhood(packed, 2, 20)
    grad = np.ones(((density.lmax + 1) ** 2, density.projection.shape[3]))
    vectors, elements = random_environment(0, 20, 2)
    assert np.any(vector_form(packed, hood, 0, vectors, elements, grad)[1] != 0)
    vectors *= CUTOFF / np.linalg.norm(vectors, axis=1)[:, None] * (1 + 1e-15)
    c, adjoint = vector_form(packed, hood, 0, vectors, elements, grad)
    assert np.all(c == 0)
    assert np.all(adjoint == 0)


def test_neighbours_on_one_site_are_reported():
    density = make_density(1, 1)
    packed = pack(density)
    hood, clash = neighbourhood(packed, 1, 3), np.full(2, -1)
    structure = one_atom(0, np.array([[1.0, 0, 0], [1e-5, 0, 0], [0, 1, 0]]), np.zeros(3, int))
    gather(0, packed.cutoff, structure, hood, clash)
    assert np.array_equal(clash, [0, 2])
    found = hood.atom[: hood.first[-1]]
    assert np.array_equal(found[found >= 0], [1, 3])


# --- cutoff ---


def at_distance(density, r):
    """Coefficients of one neighbour at distance r and their radial derivative."""
    vectors = r * np.array([[0.48, -0.6, 0.64]])
    elements = np.zeros(1, int)
    c = coefficients(density, vectors, elements)
    jacobian = np.zeros((1, 3, *c.shape))
    environment_jacobian(density, 0, vectors, elements, jacobian)
    return c, np.tensordot(vectors[0] / r, jacobian[0], 1)


@pytest.mark.parametrize("r", [CUTOFF, CUTOFF + 1e-9, 2 * CUTOFF])
def test_nothing_beyond_the_cutoff(r):
    c, slope = at_distance(make_density(3, 1), r)
    assert np.all(c == 0)
    assert np.all(slope == 0)
    vectors, elements = random_environment(7, 4, farthest=3.5)
    near = coefficients(make_density(3, 1), vectors, elements)
    farther = coefficients(make_density(3, 1), np.concatenate([vectors, [[0, 0, -r]]]), np.zeros(5, int))
    assert np.array_equal(near, farther)


def test_smooth_at_the_cutoff():
    """Values and derivatives go to zero with the distance from the cutoff."""
    density = make_density(3, 1)
    inside = at_distance(density, CUTOFF - CUTOFF_WIDTH)[0]
    for h in (1e-1, 1e-2, 1e-3, 1e-4, 1e-6):
        c, slope = at_distance(density, CUTOFF - h)
        assert np.abs(c).max() < 0.5 * h**2 * np.abs(inside).max()
        assert np.abs(slope).max() < 1.5 * h * np.abs(inside).max()


def test_smooth_between_the_nodes():
    """Value and derivative are continuous across nodes of the splines, also where the cutoff starts."""
    density = make_density(3, 1)
    for node in (0.02, 1.0, 2.02, CUTOFF - CUTOFF_WIDTH):
        below, above = (at_distance(density, node + d) for d in (-1e-9, 1e-9))
        for left, right in zip(below, above, strict=True):
            assert left == pytest.approx(right, abs=1e-6 * np.abs(right).max())
