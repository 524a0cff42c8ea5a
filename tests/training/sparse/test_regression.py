"""The sparse estimator against dense algebra: bases, normal equations, designs, errors of what is left out."""

from dataclasses import replace

import numpy as np
import pytest
from oracles.systems import SMALL
from scipy.linalg import block_diag

from wk_potential import TrainingOptions
from wk_potential.atoms.dataset import Dataset
from wk_potential.density.frames import Environments
from wk_potential.training.full.gram import flatten
from wk_potential.training.limits import DEFAULT
from wk_potential.training.sparse.design import Design, Folds, deal, in_batches, kernel_matrices, stream_design
from wk_potential.training.sparse.fit import _folds, fit_sparse
from wk_potential.training.sparse.regression import Basis, NormalEquations, SparseRegression
from wk_potential.training.sparse.selection import select_support
from wk_potential.training.task import make_task


def test_normal_equations_of_batches_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    rows, values, solution = rng.normal(size=(900, 7)), rng.normal(size=900), rng.normal(size=7)
    parts = [NormalEquations(7), NormalEquations(7)]
    for n, batch in enumerate(np.array_split(np.arange(900), 13)):
        parts[n % 2].add(rows[batch], values[batch])
    parts[0].join(parts[1])
    assert parts[0].n_rows == 900
    assert np.triu(parts[0].design) == pytest.approx(np.triu(rows.T @ rows))
    assert parts[0].target == pytest.approx(rows.T @ values)
    assert parts[0].misfit(solution) == pytest.approx(np.sum((values - rows @ solution) ** 2))


@pytest.mark.parametrize("n_first", [3, 30])
@pytest.mark.parametrize("n_second", [0, 4, 8, 40])
def test_normal_equations_of_few_labels(n_first, n_second):
    """Up to a tenth of the features or so, labels are kept as they are; sums are the same."""
    rng = np.random.default_rng(0)
    n = n_first + n_second
    rows, values, solution = rng.normal(size=(n, 80)), rng.normal(size=n), rng.normal(size=80)
    parts = [NormalEquations(80), NormalEquations(80)]
    for part, own in zip(parts, np.split(np.arange(n), [n_first]), strict=True):
        for k in own:
            part.add(rows[k : k + 1], values[k : k + 1])
    parts[0].join(parts[1])
    assert np.triu(parts[0].design) == pytest.approx(np.triu(rows.T @ rows))
    matrix = np.asfortranarray(np.eye(80))
    parts[0].add_design(matrix, -0.5)
    assert np.triu(matrix) == pytest.approx(np.triu(np.eye(80) - 0.5 * rows.T @ rows))
    assert parts[0].misfit(solution) == pytest.approx(np.sum((values - rows @ solution) ** 2))
    assert parts[0].n_rows == n


def test_basis_drops_rounding_only():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 12))
    kernel = a @ a.T
    basis = Basis(kernel)
    assert basis.rank == 12
    t = basis.weights(np.eye(12))
    assert t.T @ kernel @ t == pytest.approx(np.eye(12), abs=1e-9)
    assert basis.features(kernel) == pytest.approx(kernel @ t, abs=1e-9)


def test_basis_keeps_support_points_of_small_kernels():
    # those of a compressed cell are larger by many orders of magnitude
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 20)) * 10.0 ** -np.arange(20)[:, None]
    basis = Basis(a @ a.T)
    assert basis.rank == 20
    t = basis.weights(np.eye(20))
    assert a.T @ t @ t.T @ a == pytest.approx(np.eye(20), abs=1e-9)


def test_support_selection(sparse_parts):
    *_, support = sparse_parts
    assert sum(map(len, support)) == 40
    assert all(len(s) for s in support)
    for points in support:  # no environment twice: the kernel of those chosen is regular
        (kernel,) = kernel_matrices(points, 2, np.ones((1, 3)))
        assert np.linalg.eigvalsh(kernel)[0] > 1e-12 * np.linalg.eigvalsh(kernel)[-1]


def test_selection_takes_environments_of_small_kernels():
    rng = np.random.default_rng(0)
    c = rng.normal(size=(8, 9, 3)) * 10.0 ** -np.repeat([0, 4], 4)[:, None, None]  # kernels differ by 1e8 and 1e16
    (chosen,) = select_support([c], 10, 2, np.ones(2))
    assert len(chosen) == 8


def test_selection_stops_when_nothing_is_left():
    rng = np.random.default_rng(0)
    c = rng.normal(size=(5, 9, 3))
    (chosen,) = select_support([np.concatenate([c, c])], 10, 2, np.ones(2))
    assert len(chosen) == 5


@pytest.mark.parametrize("n", [0, 1])
def test_sparse_weights_and_cross_validation_are_those_of_dense_algebra(n, sparse_parts):
    environments, baseline, support = sparse_parts
    data, density = environments.data, environments.density
    sets = np.array([[1.0, 0.5, 0.2], [0.1, 0.0, 2.0]])
    folds = np.arange(len(data)) % 3
    kernels = [kernel_matrices(points, density.lmax, sets) for points in support]
    bases = [Basis(*of_set) for of_set in zip(*kernels, strict=True)]
    equations = stream_design(Design(environments, support, sets), bases, Folds(folds, 3), baseline, threads=2)
    kernel, regression = block_diag(*(k[n] for k in kernels)), SparseRegression(equations[n], bases[n])
    amplitude, noise = 0.7, np.array([0.01, 0.1, 0.05])

    # written out: the design by finite differences, the normal equations in full
    labels = data.labels(baseline)
    values, kind, size = labels.values, labels.kind, labels.size
    flat = flatten(environments)
    design = dense_design(flat, density, support, amplitude * sets[n])
    sigma = noise[kind] * size

    def fitted(rows):
        x = design[rows] / sigma[rows, None]
        return design @ np.linalg.solve(x.T @ x + amplitude * kernel, x.T @ (values[rows] / sigma[rows]))

    everything = np.ones(len(values), bool)
    tolerance = 2e-5 * np.abs(values).max()
    assert design @ regression.weights(amplitude, noise) / amplitude == pytest.approx(fitted(everything), abs=tolerance)

    fold = np.repeat(folds, np.diff(flat.label_first))
    misfit = np.concatenate([((fitted(fold != k) - values) / size)[fold == k] for k in range(3)])
    kinds = np.concatenate([kind[fold == k] for k in range(3)])
    expected = [np.sqrt(np.mean(misfit[kinds == k] ** 2)) for k in range(3)]
    assert regression.errors(amplitude, noise) == pytest.approx(expected, rel=1e-3)

    better, quieter = regression.choose(amplitude, noise, (None, 0.1, None), 30)
    assert np.prod(regression.errors(better, quieter)) < np.prod(expected)
    assert quieter[1] == 0.1


def dense_design(flat, density, support, order_weights):
    """Labels by support points, from central differences along the Jacobian's rows."""
    n_lm, channels = (density.lmax + 1) ** 2, density.projection.shape[3]
    first = np.concatenate([[0], np.cumsum([len(s) for s in support])])
    out = np.zeros((flat.n_labels, first[-1]))
    frame = np.repeat(np.arange(len(flat.energy_label)), np.diff(flat.frame_first))

    def kernels(c, points):
        joint = np.concatenate([c.reshape(-1, n_lm, channels), points])
        (matrix,) = kernel_matrices(joint, density.lmax, order_weights[None])
        return matrix[: len(joint) - len(points), len(joint) - len(points) :]

    for i, (z, c) in enumerate(zip(flat.centres, flat.coefficients, strict=True)):
        columns = slice(first[z], first[z + 1])
        if flat.energy_label[frame[i]] >= 0:
            out[flat.energy_label[frame[i]], columns] += kernels(c[None], support[z])[0]
        rows = slice(flat.row_first[i], flat.row_first[i + 1])
        h = 1e-4
        up, down = c + h * flat.jacobian[rows], c - h * flat.jacobian[rows]
        n = len(up)
        both = kernels(np.concatenate([up, down]), support[z]) if n else np.zeros((0, len(support[z])))
        out[flat.label[rows], columns] += (both[:n] - both[n:]) / (2 * h)
    return out


def test_basis_of_several_elements_is_that_of_the_whole_kernel():
    rng = np.random.default_rng(0)
    kernels = [a @ a.T for a in (rng.normal(size=(5, 5)), np.zeros((0, 0)), rng.normal(size=(8, 3)))]
    basis, rows = Basis(*kernels), rng.normal(size=(7, 13))
    assert (basis.n_columns, basis.rank) == (13, 8)
    t = basis.weights(np.eye(8))
    assert t.T @ block_diag(*kernels) @ t == pytest.approx(np.eye(8), abs=1e-9)
    assert basis.features(rows) == pytest.approx(rows @ t, abs=1e-9)


def test_explicit_features_come_first_and_stay_as_they_are():
    rng = np.random.default_rng(0)
    kernels = [a @ a.T for a in (rng.normal(size=(5, 5)), rng.normal(size=(8, 3)))]
    basis, alone, rows = Basis(*kernels, n_explicit=2), Basis(*kernels), rng.normal(size=(7, 15))
    assert (basis.n_columns, basis.rank) == (15, 10)
    assert basis.features(rows) == pytest.approx(np.concatenate([rows[:, :2], alone.features(rows[:, 2:])], axis=1))
    assert basis.weights(np.eye(10)) == pytest.approx(block_diag(np.eye(2), alone.weights(np.eye(8))))


def test_features_of_elements_stand_in_the_order_of_the_whole_kernel():
    """Large ones first: else Cholesky decomposition of the equations fails where they differ by orders of magnitude."""
    rng = np.random.default_rng(0)
    kernels = [a @ a.T for a in (rng.normal(size=(n, n)) * 10.0 ** -np.linspace(0, 4, n) for n in (12, 9))]
    whole, basis, rows = Basis(block_diag(*kernels)), Basis(*kernels), rng.normal(size=(7, 21))
    assert basis.features(rows) == pytest.approx(whole.features(rows), rel=1e-6)
    assert basis.weights(np.eye(21)) == pytest.approx(whole.weights(np.eye(21)), rel=1e-6, abs=1e-6)


def test_design_of_energies_alone_is_that_with_forces(sparse_parts):
    environments, _, support = sparse_parts
    sets = np.array([[1.0, 0.5, 0.2], [0.1, 0.0, 2.0]])
    frames = [replace(frame, energy=frame.energy or 0.0) for frame in environments.data]
    alone = [replace(frame, forces=None, stress=None) for frame in frames]
    designs = [
        Design(Environments(Dataset(f, environments.data.elements), environments.density), support, sets)
        for f in (frames, alone)
    ]
    for k in range(len(frames)):
        whole, energy = (design.of_frame(k) for design in designs)
        assert energy.shape == (1, 2, 40)
        assert energy == pytest.approx(whole[:1], rel=1e-10, abs=1e-12)


def test_errors_of_one_fold_that_is_left_out():
    rng = np.random.default_rng(0)
    rows, values, noise = rng.normal(size=(300, 7)), rng.normal(size=300), np.full(3, 0.5)

    def regression(folds, n_tested=None):
        equations = [[NormalEquations(7) for _ in range(3)] for _ in folds]
        for fold, own in zip(equations, folds, strict=True):
            fold[1].add(rows[own], values[own])
        return SparseRegression(equations, Basis(np.eye(7)), n_tested=n_tested)

    first, others = np.arange(30), np.arange(30, 300)
    one = regression([first, others], n_tested=1)
    x = rows[others]
    expected = np.linalg.solve(x.T @ x / 0.25 + np.eye(7), x.T @ values[others] / 0.25)
    misfit = np.sqrt(np.mean((values[first] - rows[first] @ expected) ** 2))
    assert one.errors(1.0, noise)[1] == pytest.approx(misfit, rel=1e-10)
    assert one.weights(1.0, noise) == pytest.approx(regression([first, others]).weights(1.0, noise), rel=1e-12)


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_a_large_fold_is_shared_by_all_ranks(n_ranks):
    folds = np.array([0] + 9 * [1])
    ranks = deal(np.ones(10), folds[np.random.default_rng(0).permutation(10)], n_ranks, evenly=True)
    assert np.ptp(np.bincount(ranks, minlength=n_ranks)) <= 1


def test_batches_have_enough_labels_and_not_too_many_frames():
    counts = np.array(5 * [0] + 3 * [700] + 4 * [1])
    assert in_batches(range(12), counts, 1, 4) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9, 10], [11]]
    assert in_batches(range(5, 8), counts, 2) == [[5, 6], [7]]
    assert in_batches([], counts, 2) == []
    assert [k for batch in in_batches(range(12), counts, 1) for k in batch] == list(range(12))


def test_many_frames_leave_one_tenth_out(molecules):
    """Where there are many of each kind of label; the same with more threads."""
    few = replace(DEFAULT, sparse=replace(DEFAULT.sparse, many_frames=6, held_out=0.34))
    fits = {}
    for name, limits in (("tenth", few), ("folds", DEFAULT)):
        lines = []
        options = TrainingOptions(**SMALL, order=2, support_points=8, element_mixing=0.0, saturation=0.0)
        task = make_task(Dataset(molecules), options, "sparse", 2, lines.append, limits=limits)
        fits[name] = fit_sparse(task)
        assert any("34% left out" in line for line in lines) == (name == "tenth")
    assert all(0 < error < np.inf for fit in fits.values() for error in fit.errors.values())
    rare = [replace(frame, energy=None) if k else frame for k, frame in enumerate(molecules)]
    folds = _folds(make_task(Dataset(rare), options, "sparse", 1, limits=few), Dataset(rare))
    assert (folds.number, folds.tested) == (4, 4)


def test_a_start_beyond_double_precision():
    """Rounding is larger there than the prior."""
    rng = np.random.default_rng(0)
    rows, values = rng.normal(size=(90, 12)), rng.normal(size=90)
    rows[:, 11] = 0.0
    equations = [[NormalEquations(12) for _ in range(3)] for _ in range(3)]
    for k, fold in enumerate(equations):
        fold[1].add(rows[k::3], values[k::3])
        fold[1]._design[11, 11] = -1e-12  # rounding
    regression, noise = SparseRegression(equations, Basis(np.eye(12))), np.full(3, 0.1)
    assert not np.isfinite(regression.errors(1e12, noise)).all()
    found = regression.choose(1e12, noise, (None, None, None), 5, grid=False)
    assert np.isfinite(regression.errors(*found)).all()


def test_labels_beyond_double_precision_are_fitted_with_a_smaller_kernel(molecules, monkeypatch):
    """Labels without noise: neither the fit to all of them nor what is said about them may fail."""
    options = TrainingOptions(**SMALL, order=2, support_points=8, element_mixing=0.0, saturation=0.0)
    task = make_task(Dataset(molecules), options, "sparse", 1)
    exact, plain, asked = fit_sparse(task), SparseRegression.fitted, []

    def fitted(self, amplitude, noise):
        asked.append(amplitude)
        if len(asked) < 4:
            raise np.linalg.LinAlgError
        return plain(self, amplitude, noise)

    def fails(*arguments):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(SparseRegression, "fitted", fitted)
    monkeypatch.setattr(SparseRegression, "correlation", fails)
    monkeypatch.setattr(SparseRegression, "weights", fails)
    fit = fit_sparse(task)
    assert asked == pytest.approx([asked[0] / 10**n for n in range(4)])
    np.testing.assert_allclose(fit.scales[0].order_weights, 1e-3 * exact.scales[0].order_weights)
    monkeypatch.setattr(SparseRegression, "fitted", fails)
    with pytest.raises(np.linalg.LinAlgError):
        fit_sparse(task)
