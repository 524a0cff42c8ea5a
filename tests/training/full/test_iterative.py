"""Exact regression without the covariance matrix, against the matrix."""

import dataclasses

import numpy as np
import pytest
from oracles.systems import SMALL

from wk_potential import TrainingOptions
from wk_potential.atoms.dataset import Dataset
from wk_potential.compute.ranks import Communicator
from wk_potential.errors import OptionsError
from wk_potential.training.full.conjugate import Preconditioner, solve_by_iteration
from wk_potential.training.full.fit import fit_full
from wk_potential.training.full.gram import add_covariance, flatten
from wk_potential.training.full.implicit import GROUPS, ImplicitCovariance
from wk_potential.training.full.inverse import mirror
from wk_potential.training.full.iterative import is_large
from wk_potential.training.limits import FullLimits, Limits
from wk_potential.training.task import make_task


def labels_of(rng, sizes):
    """A covariance (N, N) of frames with so many labels, features (N, r) of most of it, and values (N,)."""
    n = sum(sizes)
    features = rng.normal(0, 100, (n, 15)) * 0.7 ** np.arange(15)
    rest = rng.normal(0, 1, (n, n)) / np.sqrt(n)
    return features @ features.T + rest @ rest.T, features, rng.normal(size=n)


# --- products with the covariance ---


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("system", ["molecules", "crystals"])
def test_products_are_those_of_the_matrix(system, order, threads, request):
    """With labels that are missing, two length scales, and order weights of each element."""
    data = Dataset(request.getfixturevalue(system))
    task = make_task(data, TrainingOptions(**SMALL, channel_tolerance=1e-2, order=order), "full", 1)
    scales = [flatten(environments) for environments in task.environments]
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 2, (len(scales), len(data.elements), order))
    assert len(scales) == 2
    matrix = np.zeros((data.n_labels, data.n_labels))
    for flat, of_scale in zip(scales, weights, strict=True):
        add_covariance(flat, task.options.lmax, of_scale, matrix)
    mirror(matrix)
    covariance = ImplicitCovariance(scales, task.densities, weights, threads)
    for vector in (rng.normal(size=data.n_labels), np.eye(data.n_labels)[0]):
        expected = matrix @ vector
        np.testing.assert_allclose(covariance.times(vector), expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    assert covariance.cost > covariance.n_stored > 0


def test_ranks_without_environments(molecules):
    """More ranks than groups of environments: those without one take part in the sums."""
    data = Dataset(molecules[:2])
    task = make_task(data, TrainingOptions(**SMALL, channel_tolerance=1e-2, order=2), "full", 1)
    scales = [flatten(environments) for environments in task.environments]
    weights = np.ones((len(scales), len(data.elements), 2))
    totals: list[np.ndarray] = []

    class Rank(Communicator):
        rank, size = GROUPS + 1, GROUPS + 2

        def total(self, array):
            totals.append(array)
            return array

    found = ImplicitCovariance(scales, task.densities, weights, 1, Rank()).times(np.ones(data.n_labels))
    np.testing.assert_array_equal(found, 0.0)
    assert len(totals) > len(data.elements)


def test_products_of_energies_alone(molecules):
    data = Dataset([dataclasses.replace(f, forces=None) for f in molecules if f.energy is not None])
    task = make_task(data, TrainingOptions(**SMALL, channel_tolerance=1e-2, order=4), "full", 1)
    scales, weights = [flatten(e) for e in task.environments], np.ones((2, len(data.elements), 4))
    matrix = np.zeros((data.n_labels, data.n_labels))
    for flat, of_scale in zip(scales, weights, strict=True):
        add_covariance(flat, task.options.lmax, of_scale, matrix)
    mirror(matrix)
    covariance = ImplicitCovariance(scales, task.densities, weights)
    np.testing.assert_allclose(covariance.times(np.ones(len(data))), matrix.sum(axis=0), rtol=1e-11)


# --- conjugate gradients ---


@pytest.mark.parametrize("all_frames", [False, True])
def test_preconditioner_is_the_inverse_of_what_it_says(all_frames):
    rng, sizes = np.random.default_rng(1), (3, 1, 4)
    _, features, values = labels_of(rng, sizes)
    roots = [np.linalg.cholesky(np.eye(n) + 0.1 * np.ones((n, n))) for n in sizes]
    frames = np.array([True, all_frames, True])
    counted = np.repeat(frames, sizes)
    features = features.astype(np.float32)
    matrix = features.astype(float) @ features.T.astype(float)
    ends = np.cumsum((0, *sizes))
    for root, first, last in zip(roots, ends, ends[1:], strict=False):
        matrix[first:last, first:last] += root @ root.T
    expected = np.zeros(len(values))
    expected[counted] = np.linalg.solve(matrix[np.ix_(counted, counted)], values[counted])
    found = Preconditioner(features.copy(), roots, np.ones(3, bool))
    found.count(frames)
    np.testing.assert_allclose(found(np.where(counted, values, 0.0)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("warm", [False, True])
def test_iterations_find_the_solution(warm):
    """Also from that of fewer labels, and the preconditioner makes iterations fewer."""
    rng, sizes = np.random.default_rng(2), (30, 20, 50)
    kernel, features, values = labels_of(rng, sizes)
    everything, some = np.ones(100, bool), np.arange(100) < 50
    kinds, nothing = np.arange(100) % 2, np.zeros((0, 100))
    preconditioner = Preconditioner(features.astype(np.float32), [np.eye(n) for n in sizes], np.ones(3, bool))
    start = None
    if warm:
        preconditioner.count(np.array([True, True, False]))
        start = solve_by_iteration(kernel.dot, preconditioner, values, kinds, some, 1e-11, 100, nothing)
        expected = np.linalg.solve(kernel[:50, :50] + np.eye(50), values[:50])
        np.testing.assert_allclose(start.alpha[:50], expected, atol=1e-10)
        np.testing.assert_array_equal(start.alpha[50:], 0.0)
        np.testing.assert_allclose(start.predicted, kernel[:, :50] @ expected, atol=1e-8)
        preconditioner.count(np.ones(3, bool))
    done = []
    found = solve_by_iteration(
        kernel.dot, preconditioner, values, kinds, everything, 1e-11, 100, nothing, start, done.append
    )
    expected = np.linalg.solve(kernel + np.eye(100), values)
    np.testing.assert_allclose(found.alpha, expected, atol=1e-10)
    assert done[-1] == 1.0
    assert all(0 <= x <= 1 for x in done)
    plain = solve_by_iteration(kernel.dot, lambda v: v, values, kinds, everything, 1e-11, 1000, nothing)
    assert found.iterations < plain.iterations / 2


def test_too_few_iterations_are_an_error():
    kernel, _, values = labels_of(np.random.default_rng(3), (20,))
    kinds, nothing = np.zeros(20, int), np.zeros((0, 20))
    with pytest.raises(OptionsError, match="20 labels have not converged in 2 iterations"):
        solve_by_iteration(kernel.dot, lambda v: v, values, kinds, np.ones(20, bool), 1e-12, 2, nothing)


def test_given_directions_are_solved_exactly():
    """Where iterations end early, along the direction of a large eigenvalue too."""
    kernel, _, values = labels_of(np.random.default_rng(4), (40,))
    direction = np.ones((1, 40)) / np.sqrt(40)
    kernel = kernel + 1e6 * direction.T @ direction
    kinds, everything = np.zeros(40, int), np.ones(40, bool)
    for directions, most in ((np.zeros((0, 40)), np.inf), (direction, 1e-9)):
        found = solve_by_iteration(kernel.dot, lambda v: v, values, kinds, everything, 0.3, 200, directions)
        np.testing.assert_allclose(found.predicted, kernel @ found.alpha, atol=1e-6)
        residual = values - found.predicted - found.alpha
        assert abs(direction[0] @ residual) < most


# --- the fit ---


@pytest.mark.train
def test_errors_of_left_out_frames_are_those_of_a_fit_without_them(molecules):
    """Frames that are not left out have no errors; the errors of the header are of those that are."""
    given = {"order_weights": [2.0, 1.0, 0.5], "energy_noise": 1e-2, "forces_noise": 0.05, "saturation": 2.0}
    options = TrainingOptions(**SMALL, channel_tolerance=1e-2, order=3, element_mixing=0.0, **given)
    limits = Limits(full=FullLimits(direct_labels=0, residual=1e-9, preconditioner_share=10, held_out=0.2))
    data, lines = Dataset(molecules), []
    task = make_task(data, options, "full", 1, lines.append, limits=limits)
    fit = fit_full(task)
    residuals = fit.left_out.residuals(np.arange(len(data)))
    held = [k for k, found in enumerate(residuals) if found is not None]
    assert len(held) == 2
    flat = [flatten(environments) for environments in task.environments]
    kernel = np.zeros((data.n_labels, data.n_labels))
    for of_scale in flat:
        add_covariance(of_scale, options.lmax, np.tile(given["order_weights"], (len(data.elements), 1)), kernel)
    mirror(kernel)
    labels = task.labels
    kernel[np.diag_indices(len(kernel))] += (fit.noise[labels.kind] * labels.size) ** 2
    out = labels.rows(held)
    others = np.setdiff1d(np.arange(len(labels)), out)
    predicted = kernel[np.ix_(out, others)] @ np.linalg.solve(kernel[np.ix_(others, others)], labels.values[others])
    np.testing.assert_allclose(np.concatenate([residuals[k] for k in held]), labels.values[out] - predicted, atol=1e-7)
    forces = np.concatenate([residuals[k] for k in held])[labels.kind[out] == 1]
    assert fit.errors["leave_one_out_forces_mae"] == pytest.approx(np.abs(forces).mean())
    assert any("(2 frames left out)" in line for line in lines)


def test_one_frame_alone_has_no_errors(molecules):
    options = TrainingOptions(
        **SMALL, order=2, order_weights=[1, 1], energy_noise=0.01, forces_noise=0.05, element_mixing=0
    )
    limits = Limits(full=FullLimits(direct_labels=0))
    fit = fit_full(make_task(Dataset(molecules[:1]), options, "full", 1, limits=limits))
    assert fit.left_out is None
    assert fit.errors == {}


def test_orders_above_four_are_decomposed(molecules):
    data, limits = Dataset(molecules), FullLimits(direct_labels=0)
    assert is_large(data, TrainingOptions(order=4), limits)
    assert not is_large(data, TrainingOptions(order=5), limits)
    assert not is_large(data, TrainingOptions(order=4), FullLimits())
