"""Hyperparameters of the full estimator: likelihood, left-out errors and Gram matrices against algebra written out."""

import dataclasses
from itertools import pairwise, product

import numpy as np
import pytest
from oracles.systems import SMALL

from wk_potential import TrainingOptions, train
from wk_potential.atoms.dataset import Dataset
from wk_potential.atoms.kinds import LabelKind
from wk_potential.density.frames import Environments
from wk_potential.training.baseline import fit_baseline
from wk_potential.training.channels import model_density
from wk_potential.training.full import likelihood
from wk_potential.training.full.gram import add_covariance, flatten, force_gram
from wk_potential.training.full.inverse import inverse_of_sum, traces
from wk_potential.training.full.likelihood import choose_hyperparameters, maximise_likelihood, solve
from wk_potential.training.limits import DEFAULT, FullLimits, Limits

# noise large enough for the oracles, which invert what is badly conditioned
NOISY = Limits(full=FullLimits(least_noise=3e-3))


def small_gram(frames, order=2):
    options, data = TrainingOptions(**SMALL, order=order), Dataset(frames)
    flat = flatten(Environments(data, model_density(data, options)))
    gram = force_gram(flat, options.lmax, order, len(data.elements))
    return gram.reshape(-1, *gram.shape[2:]), flat, data.labels(fit_baseline(data)[0]), options


@pytest.mark.parametrize("order", [1, 4])
def test_energies_alone_have_the_gram_matrices_that_they_have_among_forces(molecules, order):
    gram, flat, _, options = small_gram(molecules[:4], order)
    data = Dataset(molecules[:4])
    frames = [dataclasses.replace(frame, forces=None) for frame in molecules[:4]]
    frames[1] = dataclasses.replace(frames[1], energy=None)
    bare = flatten(Environments(Dataset(frames), model_density(data, options)))
    kept = flat.energy_label[[0, 2, 3]]
    expected = gram[:, kept][:, :, kept]
    alone = force_gram(bare, options.lmax, order, len(data.elements))
    assert alone.reshape(expected.shape) == pytest.approx(expected, rel=1e-12)
    weights, covariance = np.arange(1.0, len(expected) + 1), np.zeros(expected.shape[1:])
    add_covariance(bare, options.lmax, weights.reshape(-1, order), covariance)
    assert np.triu(covariance) == pytest.approx(np.triu(np.tensordot(weights, expected, 1)), rel=1e-12)


def test_leave_one_out_residuals_are_those_of_refitting(molecules):
    gram, _, labels, options = small_gram(molecules[:5])
    weights, noise, _ = maximise_likelihood(gram, labels, options, lambda text: None, limits=NOISY)
    kernel = np.tensordot(weights, gram, 1)
    noisy = kernel + np.diag((noise[labels.kind] * labels.size) ** 2)
    alpha, residuals, _ = solve(np.triu(kernel), noise, labels)
    assert alpha == pytest.approx(np.linalg.solve(noisy, labels.values), abs=1e-8 * np.max(np.abs(alpha)))
    for first, last in pairwise(labels.first):
        rest = np.r_[0:first, last : len(kernel)]
        left_out = kernel[first:last][:, rest] @ np.linalg.solve(noisy[np.ix_(rest, rest)], labels.values[rest])
        expected = labels.values[first:last] - left_out
        assert residuals[first:last] == pytest.approx(expected, abs=1e-6)


def test_likelihood_is_that_of_the_multivariate_normal_and_is_maximised(molecules):
    from scipy.stats import multivariate_normal

    gram, _, labels, options = small_gram(molecules[:4])

    def log_density(weights, noise):
        covariance = np.tensordot(weights, gram, 1) + np.diag((noise[labels.kind] * labels.size) ** 2)
        return multivariate_normal(cov=covariance).logpdf(labels.values)

    weights, noise, highest = maximise_likelihood(gram, labels, options, lambda text: None, limits=NOISY)
    found = solve(np.tensordot(weights, gram, 1), noise, labels)[2]
    assert found == pytest.approx(log_density(weights, noise), rel=1e-8)
    assert highest - 0.5 * len(labels.values) * np.log(2 * np.pi) == pytest.approx(found, rel=1e-6)
    for k, factor in product(range(len(weights)), (0.5, 2.0)):
        assert log_density(np.where(np.arange(len(weights)) == k, factor, 1.0) * weights, noise) < found + 1e-2
    with pytest.raises(np.linalg.LinAlgError, match="noise is too small"):
        solve(-np.tensordot(weights, gram, 1), noise, labels)


@pytest.mark.parametrize(("n", "threads"), [(1, 1), (130, 2), (300, 1)])
def test_inverse_by_blocks(n, threads):
    rng = np.random.default_rng(0)
    roots, weights = rng.normal(size=(3, n, n + 2)), np.array([1.0, 0.1, 2.0])
    matrices, diagonal, alpha = roots @ roots.transpose(0, 2, 1), rng.uniform(0.1, 1, n), rng.normal(size=n)
    total = np.tensordot(weights, matrices, 1) + np.diag(diagonal)
    inverse, log_det = inverse_of_sum(matrices, weights, diagonal, threads)
    assert inverse == pytest.approx(np.linalg.inv(total), abs=1e-11)
    assert log_det == pytest.approx(np.linalg.slogdet(total)[1], rel=1e-12)
    expected = np.sum((inverse - np.outer(alpha, alpha)) * matrices, axis=(1, 2))
    assert traces(inverse, alpha, matrices, threads) == pytest.approx(expected, rel=1e-10)
    with pytest.raises(np.linalg.LinAlgError):
        inverse_of_sum(matrices, -weights, diagonal, threads)


def test_fixed_hyperparameters_stay(molecules):
    gram, _, labels, _ = small_gram(molecules[:4])
    options = TrainingOptions(order=2, order_weights=[1.5, 0.5], forces_noise=0.07)
    weights, noise, _ = maximise_likelihood(gram, labels, options, lambda text: None)
    assert weights.tolist() == [1.5, 0.5] * (len(gram) // 2)
    assert noise[1] == 0.07


def test_noise_is_raised_only_as_far_as_left_out_errors_stay(molecules):
    gram, _, labels, options = small_gram(molecules, order=3)
    weights, noise, _ = maximise_likelihood(gram, labels, options, lambda text: None)
    kernel = np.tensordot(weights, gram, 1)
    raised, _ = likelihood.raised_noise(kernel, noise, labels)

    def score(candidate):
        left_out = np.zeros(len(kernel))
        covariance = kernel + np.diag((candidate[labels.kind] * labels.size) ** 2)
        for first, last in pairwise(labels.first):
            rest = np.r_[0:first, last : len(kernel)]
            weights = np.linalg.solve(covariance[np.ix_(rest, rest)], labels.values[rest])
            left_out[first:last] = labels.values[first:last] - kernel[first:last][:, rest] @ weights
        return sum(np.log(np.mean(left_out[labels.kind == k] ** 2)) / 2 for k in np.unique(labels.kind))

    factors = DEFAULT.full.noise_factors
    allowed = min(score(noise * [1, f, 1]) for f in factors) + DEFAULT.full.noise_loss
    assert raised[1] / noise[1] in factors
    assert np.array_equal(raised[[0, 2]], noise[[0, 2]])
    assert score(raised) <= allowed + 1e-6
    assert all(score(noise * [1, f, 1]) > allowed - 1e-6 for f in factors if f > raised[1] / noise[1])


def test_maximum_of_smaller_left_out_errors_is_taken(molecules):
    """And where the starts are compared on some of the frames only, one of the maxima of all of them."""
    gram, _, labels, options = small_gram(molecules, order=3)

    def score(share):
        weights, noise, _ = maximise_likelihood(gram, labels, options, lambda text: None, start=share)
        return likelihood.raised_noise(np.tensordot(weights, gram, 1), noise, labels)[1]

    scores = [score(share) for share in DEFAULT.full.noise_starts]
    assert abs(scores[0] - scores[1]) > 1e-3  # or the test would show nothing
    arguments = gram, labels, options, lambda text: None
    assert choose_hyperparameters(*arguments)[2] == pytest.approx(max(scores), abs=1e-6)
    some = Limits(full=FullLimits(start_labels=len(labels) * 3 // 4))
    assert choose_hyperparameters(*arguments, limits=some)[2] in (pytest.approx(x, abs=1e-6) for x in scores)


@pytest.mark.train
def test_search_on_some_of_the_frames(molecules):
    """The covariance of all frames is assembled anew with the weights found on some; errors hardly differ."""
    # without saturation the likelihood of these few frames has one maximum
    options = TrainingOptions(**SMALL, order=4, estimator="full", map=False, saturation=0)
    whole = train(molecules, options, threads=1)
    few = Limits(full=FullLimits(search_labels=Dataset(molecules).n_labels * 2 // 3))
    part = train(molecules, options, threads=1, limits=few)
    errors = [m.info["training"]["errors"]["leave_one_out_forces_mae"] for m in (whole, part)]
    assert errors[0] != errors[1]
    assert errors[1] == pytest.approx(errors[0], rel=0.3)
    weights = part.info["hyperparameters"]["order_weights"]
    assert np.shape(weights) == (2, len(part.elements), 4)


@pytest.mark.parametrize("kind", [LabelKind.ENERGY, LabelKind.STRESS])
def test_few_labels_are_not_sold_for_many_forces(crystals, monkeypatch, kind):
    """Where a likelihood has drowned energies or virials in noise, left-out errors bring them back."""
    gram, _, labels, options = small_gram(crystals, order=1)
    assert labels.has(kind)
    plain, lines = maximise_likelihood, []
    name = likelihood.FEW_KINDS[kind]

    def drowned(gram, labels, options, *rest):
        weights, noise, highest = plain(gram, labels, options, *rest)
        noise[kind] *= 1.0 if getattr(options, name) else 3e3
        return weights, noise, highest

    _, usual, best = choose_hyperparameters(gram, labels, options, lines.append)
    assert not any("leave-one-out errors want" in line for line in lines)
    monkeypatch.setattr(likelihood, "maximise_likelihood", drowned)
    _, noise, score = choose_hyperparameters(gram, labels, options, lines.append)
    assert any(f"leave-one-out errors want a smaller {name.replace('_', ' ')}" in line for line in lines)
    assert noise[kind] < 100 * usual[kind]
    assert score > best - 0.2
    score_of = likelihood.left_out_score

    def singular(kernel, noise, *rest):
        return -np.inf if noise[kind] < 10 * usual[kind] else score_of(kernel, noise, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(likelihood, "left_out_score", singular)
        assert choose_hyperparameters(gram, labels, options, print)[1][kind] >= 10 * usual[kind]
    given = options.model_copy(update={name: 1e3 * usual[kind]})
    assert choose_hyperparameters(gram, labels, given, print)[1][kind] == 1e3 * usual[kind]
