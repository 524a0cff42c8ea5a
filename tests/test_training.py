"""Training from end to end on small sets: baselines, options, both estimators against dense algebra written out."""

import dataclasses
import json
import re
from itertools import product

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from wk_potential import Frame, Model, TrainingOptions, train
from wk_potential.neighbours import find_neighbours
from wk_potential.training import full, likelihood
from wk_potential.training.baseline import fit_baseline, targets
from wk_potential.training.compression import model_density
from wk_potential.training.data import DataError
from wk_potential.training.design import kernel_matrices, stream_design
from wk_potential.training.environments import frame_environments
from wk_potential.training.gram import add_covariance, flatten, gram_matrices
from wk_potential.training.inverse import inverse_of_sum, traces
from wk_potential.training.likelihood import Labels, choose_hyperparameters, maximise_likelihood, solve
from wk_potential.training.options import OptionsError
from wk_potential.training.regression import SparseRegression, TriangularFactor, whitening
from wk_potential.training.selection import select_support
from wk_potential.training.task import label_counts

SMALL = {"lmax": 2, "cutoff": 4.0, "cutoff_width": 3.0}


def labelled(atoms, calculator, seed, rattle=0.1, drop=()):
    atoms = atoms.copy()
    atoms.rattle(rattle, seed=seed)
    atoms.calc = calculator
    atoms.get_potential_energy()
    frame = Frame.from_atoms(atoms, f"frame {seed}")
    return dataclasses.replace(frame, **dict.fromkeys(drop))


@pytest.fixture(scope="module")
def molecules():
    """Ten ethanol molecules with Lennard-Jones labels, some of them missing."""
    ethanol = molecule("CH3CH2OH")
    frames = [labelled(ethanol, LennardJones(sigma=0.9, rc=10.0), seed) for seed in range(10)]
    frames[3] = dataclasses.replace(frames[3], forces=None)
    frames[4] = dataclasses.replace(frames[4], energy=None)
    return frames


@pytest.fixture(scope="module")
def crystals():
    """Copper in a triclinic cell smaller than the cutoff, with stress."""
    cell = bulk("Cu").repeat((2, 1, 1))
    frames = []
    for seed in range(14):
        strained = cell.copy()
        rng = np.random.default_rng(seed)
        strained.set_cell(cell.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
        frames.append(labelled(strained, EMT(), seed))
    return frames


def predict(model: Model, frame: Frame, direct: bool = False):
    """Energy, forces and virial per volume, or the virial of what has none; `direct` as in `Model.potential`."""
    neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, model.cutoff)
    p = model.predict(frame.numbers, frame.positions, frame.cell, neighbours, potential=model.potential(direct=direct))
    return p.energies.sum(), p.forces, p.virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / (frame.volume or 1.0)


def dense_prediction(frames, test, options):
    """Gaussian process regression written out: predicted labels of the test frames."""
    elements = np.unique(np.concatenate([f.numbers for f in frames]))
    everything = [*frames, *test]
    kernel = 0.0
    for shape in (options.long, options.short):
        density = model_density(frames, elements, options, shape)
        flat = flatten(everything, [frame_environments(f, density, elements) for f in everything])
        gram = gram_matrices(flat, options.lmax, options.order, len(elements))
        kernel = kernel + np.tensordot(options.order_weights, gram.sum(axis=0), 1)
    baseline, _ = fit_baseline(frames, elements)
    y, kind, size = targets(frames, elements, baseline)
    noise = np.array([options.energy_noise, options.forces_noise, options.stress_noise])[kind] * size
    n = len(y)
    predicted = kernel[n:, :n] @ np.linalg.solve(kernel[:n, :n] + np.diag(noise**2), y)
    counts = np.array([baseline[np.searchsorted(elements, f.numbers)].sum() for f in test])
    return predicted, counts


@pytest.mark.parametrize("system", ["molecules", "crystals"])
def test_full_model_is_the_dense_gaussian_process(system, request):
    frames = request.getfixturevalue(system)
    options = TrainingOptions(
        **SMALL, order=4, order_weights=[2.0, 1.0, 0.5, 0.3], energy_noise=1e-3, forces_noise=0.02, stress_noise=0.01,
        estimator="full", repulsion=False, saturation=2.0,
    )  # fmt: skip
    train_on, test = frames[:-2], frames[-2:]
    predicted, baseline = dense_prediction(train_on, test, options)
    model = train(train_on, options, threads=1)
    place = 0
    for frame, constant in zip(test, baseline, strict=True):
        energy, forces, stress = predict(model, frame, direct=True)
        n = 3 * len(frame)
        assert energy - constant == pytest.approx(predicted[place], abs=1e-8)
        assert forces.ravel() == pytest.approx(-predicted[place + 1 : place + 1 + n], abs=1e-8)
        place += 1 + n
        if frame.stress is not None:
            assert stress * frame.volume == pytest.approx(predicted[place : place + 6], abs=1e-8)
            place += 6
    assert place == len(predicted)


def test_training_adds_the_mapped_form(crystals):
    """Unless it is not wanted, or there is none; the support points are the same."""
    lines = []
    mapped, direct, high = (
        train(crystals[:6], TrainingOptions(**SMALL, **more), threads=1, log=lines.append)
        for more in ({"order": 2, "map_tolerance": 1e-3}, {"order": 2, "map": False}, {"order": 5})
    )
    assert mapped.info["mapping"]["tolerance"] == 1e-3
    for model in (direct, high):
        assert not model.is_mapped
        assert "mapping" not in model.info
    assert lines[-1].startswith("Not mapped: kernels of order 5")
    for frame in crystals[:6]:
        exact, same, near = predict(direct, frame), predict(mapped, frame, direct=True), predict(mapped, frame)
        assert all(np.array_equal(a, b) for a, b in zip(exact, same, strict=True))
        assert near[1] == pytest.approx(exact[1], abs=1e-3)


def small_gram(frames, order=2):
    options = TrainingOptions(**SMALL, order=order)
    elements = np.unique(np.concatenate([f.numbers for f in frames]))
    density = model_density(frames, elements, options)
    flat = flatten(frames, [frame_environments(f, density, elements) for f in frames])
    baseline, _ = fit_baseline(frames, elements)
    gram = gram_matrices(flat, options.lmax, order, len(elements))
    return gram.reshape(-1, *gram.shape[2:]), flat, Labels(*targets(frames, elements, baseline)), options


@pytest.mark.parametrize("order", [1, 4])
def test_energies_alone_have_the_gram_matrices_that_they_have_among_forces(molecules, order):
    gram, flat, _, options = small_gram(molecules[:4], order)
    elements = np.unique(np.concatenate([f.numbers for f in molecules[:4]]))
    density = model_density(molecules[:4], elements, options)
    frames = [dataclasses.replace(frame, forces=None) for frame in molecules[:4]]
    frames[1] = dataclasses.replace(frames[1], energy=None)
    bare = flatten(frames, [frame_environments(f, density, elements) for f in frames])
    kept = flat.energy_label[[0, 2, 3]]
    expected = gram[:, kept][:, :, kept]
    alone = gram_matrices(bare, options.lmax, order, len(elements))
    assert alone.reshape(expected.shape) == pytest.approx(expected, rel=1e-12)
    weights, covariance = np.arange(1.0, len(expected) + 1), np.zeros(expected.shape[1:])
    add_covariance(bare, options.lmax, weights.reshape(-1, order), covariance)
    assert np.triu(covariance) == pytest.approx(np.triu(np.tensordot(weights, expected, 1)), rel=1e-12)


@pytest.fixture
def noisy_fits(monkeypatch):
    """Noise large enough for the oracles, which invert what is badly conditioned."""
    monkeypatch.setattr(likelihood, "LEAST_NOISE", 3e-3)


@pytest.mark.usefixtures("noisy_fits")
def test_leave_one_out_residuals_are_those_of_refitting(molecules):
    gram, flat, labels, options = small_gram(molecules[:5])
    weights, noise, _ = maximise_likelihood(gram, labels, options, lambda text: None)
    kernel = np.tensordot(weights, gram, 1)
    noisy = kernel + np.diag((noise[labels.kind] * labels.size) ** 2)
    alpha, residuals, _ = solve(np.triu(kernel), noise, labels, flat.label_first)
    assert alpha == pytest.approx(np.linalg.solve(noisy, labels.values), abs=1e-8 * np.max(np.abs(alpha)))
    for first, last in zip(flat.label_first[:-1], flat.label_first[1:], strict=True):
        rest = np.r_[0:first, last : len(kernel)]
        left_out = kernel[first:last][:, rest] @ np.linalg.solve(noisy[np.ix_(rest, rest)], labels.values[rest])
        expected = labels.values[first:last] - left_out
        assert residuals[first:last] == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("noisy_fits")
def test_likelihood_is_that_of_the_multivariate_normal_and_is_maximised(molecules):
    from scipy.stats import multivariate_normal

    gram, flat, labels, options = small_gram(molecules[:4])

    def log_density(weights, noise):
        covariance = np.tensordot(weights, gram, 1) + np.diag((noise[labels.kind] * labels.size) ** 2)
        return multivariate_normal(cov=covariance).logpdf(labels.values)

    weights, noise, highest = maximise_likelihood(gram, labels, options, lambda text: None)
    found = solve(np.tensordot(weights, gram, 1), noise, labels, flat.label_first)[2]
    assert found == pytest.approx(log_density(weights, noise), rel=1e-8)
    assert highest - 0.5 * len(labels.values) * np.log(2 * np.pi) == pytest.approx(found, rel=1e-6)
    for k, factor in product(range(len(weights)), (0.5, 2.0)):
        assert log_density(np.where(np.arange(len(weights)) == k, factor, 1.0) * weights, noise) < found + 1e-2
    with pytest.raises(np.linalg.LinAlgError, match="noise is too small"):
        solve(-np.tensordot(weights, gram, 1), noise, labels, flat.label_first)


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
    gram, flat, labels, options = small_gram(molecules, order=3)
    weights, noise, _ = maximise_likelihood(gram, labels, options, lambda text: None)
    kernel = np.tensordot(weights, gram, 1)
    raised, _ = likelihood.raised_noise(kernel, noise, labels, flat.label_first)

    def score(candidate):
        left_out = np.zeros(len(kernel))
        covariance = kernel + np.diag((candidate[labels.kind] * labels.size) ** 2)
        for first, last in zip(flat.label_first[:-1], flat.label_first[1:], strict=True):
            rest = np.r_[0:first, last : len(kernel)]
            weights = np.linalg.solve(covariance[np.ix_(rest, rest)], labels.values[rest])
            left_out[first:last] = labels.values[first:last] - kernel[first:last][:, rest] @ weights
        return sum(np.log(np.mean(left_out[labels.kind == k] ** 2)) / 2 for k in np.unique(labels.kind))

    allowed = min(score(noise * [1, f, 1]) for f in likelihood.NOISE_FACTORS) + likelihood.SLACK
    assert raised[1] / noise[1] in likelihood.NOISE_FACTORS
    assert np.array_equal(raised[[0, 2]], noise[[0, 2]])
    assert score(raised) <= allowed + 1e-6
    larger = likelihood.NOISE_FACTORS[raised[1] / noise[1] < likelihood.NOISE_FACTORS]
    assert all(score(noise * [1, f, 1]) > allowed - 1e-6 for f in larger)


def test_maximum_of_smaller_left_out_errors_is_taken(molecules, monkeypatch):
    """And where the starts are compared on some of the frames only, one of the maxima of all of them."""
    gram, flat, labels, options = small_gram(molecules, order=3)

    def score(share):
        weights, noise, _ = maximise_likelihood(gram, labels, options, lambda text: None, start=share)
        return likelihood.raised_noise(np.tensordot(weights, gram, 1), noise, labels, flat.label_first)[1]

    scores = [score(share) for share in likelihood.NOISE_STARTS]
    assert abs(scores[0] - scores[1]) > 1e-3  # or the test would show nothing
    arguments = gram, labels, flat.label_first, options, lambda text: None
    assert choose_hyperparameters(*arguments)[2] == pytest.approx(max(scores), abs=1e-6)
    monkeypatch.setattr(likelihood, "START_LABELS", len(labels.values) * 3 // 4)
    assert choose_hyperparameters(*arguments)[2] in (pytest.approx(x, abs=1e-6) for x in scores)


def test_search_on_some_of_the_frames(molecules, monkeypatch):
    """The covariance of all frames is assembled anew with the weights found on some; errors hardly differ."""
    # without saturation the likelihood of these few frames has one maximum
    options = TrainingOptions(**SMALL, order=4, estimator="full", map=False, saturation=0)
    whole = train(molecules, options, threads=1)
    monkeypatch.setattr(full, "SEARCH_LABELS", sum(label_counts(molecules)) * 2 // 3)
    part = train(molecules, options, threads=1)
    errors = [m.info["training"]["errors"]["leave_one_out_forces_mae"] for m in (whole, part)]
    assert errors[0] != errors[1]
    assert errors[1] == pytest.approx(errors[0], rel=0.3)
    weights = part.info["hyperparameters"]["order_weights"]
    assert np.shape(weights) == (2, len(part.elements), 4)


# the sparse estimator


def test_triangular_factor_of_batches_is_that_of_all_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9000, 7)) * 10.0 ** -np.arange(7)
    factor = TriangularFactor(7)
    for batch in np.array_split(rows, 13):
        factor.add(batch)
    r = factor.merge()
    assert factor.n_rows == 9000
    assert r.shape == (7, 7)
    assert np.abs(r.T @ r) == pytest.approx(np.abs(rows.T @ rows), rel=1e-10, abs=1e-12)


def test_whitening_drops_rounding_only():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 12))
    t = whitening(a @ a.T)
    assert t.shape == (20, 12)
    assert t.T @ (a @ a.T) @ t == pytest.approx(np.eye(12), abs=1e-9)


@pytest.fixture(scope="module")
def sparse_parts(crystals, molecules):
    frames = [*crystals, *molecules]
    options = TrainingOptions(**SMALL, order=3)
    elements = np.unique(np.concatenate([f.numbers for f in frames]))
    density = model_density(frames, elements, options)
    baseline, _ = fit_baseline(frames, elements)
    pools = [[] for _ in elements]
    for frame in frames:
        environments = frame_environments(frame, density, elements, derivatives=False)
        for z, c in zip(environments.centres, environments.coefficients, strict=True):
            pools[z].append(c)
    support = select_support([np.array(p) for p in pools], 40, density.lmax, np.ones(3))
    return frames, density, elements, baseline, support


def test_support_selection(sparse_parts):
    *_, support = sparse_parts
    assert sum(map(len, support)) == 40
    assert all(len(s) for s in support)
    for points in support:  # no environment twice: the kernel of those chosen is regular
        kernel = kernel_matrices([points], 2, 3).sum(axis=0)
        assert np.linalg.eigvalsh(kernel)[0] > 1e-12 * np.linalg.eigvalsh(kernel)[-1]


def test_selection_stops_when_nothing_is_left():
    rng = np.random.default_rng(0)
    c = rng.normal(size=(5, 9, 3))
    (chosen,) = select_support([np.concatenate([c, c])], 10, 2, np.ones(2))
    assert len(chosen) == 5


def test_sparse_weights_and_cross_validation_are_those_of_dense_algebra(sparse_parts):
    frames, density, elements, baseline, support = sparse_parts
    sets = np.array([[1.0, 0.5, 0.2], [0.1, 0.0, 2.0]])
    folds = np.arange(len(frames)) % 3
    factors = stream_design(frames, folds, density, elements, baseline, support, sets, threads=2)
    kernels = np.tensordot(sets, kernel_matrices(support, density.lmax, 3), 1)
    regression = SparseRegression(factors, kernels)
    amplitudes, noise = np.array([0.7, 0.3]), np.array([0.01, 0.1, 0.05])

    # written out: the design by finite differences, the normal equations in full
    values, kind, size = targets(frames, elements, baseline)
    flat = flatten(frames, [frame_environments(f, density, elements) for f in frames])
    design = dense_design(flat, density, support, sets.T @ amplitudes)
    kernel = np.tensordot(amplitudes, kernels, 1)
    sigma = noise[kind] * size

    def fitted(rows):
        x = design[rows] / sigma[rows, None]
        return design @ np.linalg.solve(x.T @ x + kernel, x.T @ (values[rows] / sigma[rows]))

    everything = np.ones(len(values), bool)
    tolerance = 2e-5 * np.abs(values).max()
    assert design @ regression.weights(amplitudes, noise) == pytest.approx(fitted(everything), abs=tolerance)

    fold = np.repeat(folds, np.diff(flat.label_first))
    misfit = np.concatenate([((fitted(fold != k) - values) / size)[fold == k] for k in range(3)])
    kinds = np.concatenate([kind[fold == k] for k in range(3)])
    expected = [np.sqrt(np.mean(misfit[kinds == k] ** 2)) for k in range(3)]
    assert regression.errors(amplitudes, noise) == pytest.approx(expected, rel=1e-3)

    better, quieter = regression.choose(amplitudes, noise, (None, 0.1, None), np.eye(2), 30)
    assert np.prod(regression.errors(better, quieter)) < np.prod(expected)
    assert quieter[1] == 0.1


def dense_design(flat, density, support, order_weights):
    """Labels by support points, from central differences along the Jacobian's rows."""
    order = len(order_weights)
    n_lm, channels = (density.lmax + 1) ** 2, density.projection.shape[3]
    first = np.concatenate([[0], np.cumsum([len(s) for s in support])])
    out = np.zeros((flat.n_labels, first[-1]))
    frame = np.repeat(np.arange(len(flat.energy_label)), np.diff(flat.frame_first))

    def kernels(c, points):
        joint = np.concatenate([c.reshape(-1, n_lm, channels), points])
        matrix = np.tensordot(order_weights, kernel_matrices([joint], density.lmax, order), 1)
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


# train()


def test_train_sparse_learns_a_crystal(crystals):
    seen = []
    options = TrainingOptions(**SMALL, order=3, estimator="sparse", support_points=12)
    lines: list[str] = []
    model = train(crystals[:12], options, 1, lines.append, lambda stage, f: seen.append((stage, f)))
    for frame in crystals[12:]:
        energy, forces, stress = predict(model, frame)
        assert energy == pytest.approx(frame.energy, abs=0.05)
        assert np.abs(forces - frame.forces).mean() < 0.3 * np.abs(frame.forces).mean()
        assert np.abs(stress - frame.stress).mean() < 0.3 * np.abs(frame.stress).mean()
    assert model.info["training"]["estimator"] == "sparse"
    assert {stage for stage, _ in seen} >= {"environments", "support points", "design"}
    for stage in {s for s, _ in seen}:
        fractions = [f for s, f in seen if s == stage]
        assert fractions == sorted(fractions)
        assert fractions[-1] == pytest.approx(1.0)
    assert any("Predicted" in line and "GB" in line for line in lines)
    json.dumps(model.info)


def test_more_support_points_do_not_fit_worse(crystals):
    misfits = []
    for n in (4, 12):
        options = TrainingOptions(
            **SMALL, order=3, order_weights=[1, 1, 1], estimator="sparse", support_points=n, energy_noise=0.01,
            forces_noise=0.05, stress_noise=0.05,
        )  # fmt: skip
        model = train(crystals, options, 1)
        misfits.append(np.mean([np.mean((predict(model, f)[1] - f.forces) ** 2) for f in crystals]))
    assert misfits[1] < misfits[0]


@pytest.mark.parametrize("drop", [("forces",), ("energy",), ("forces", "stress")])
@pytest.mark.parametrize("estimator", ["full", "sparse"])
def test_any_kind_of_label_may_be_missing(crystals, drop, estimator):
    frames = [dataclasses.replace(f, **dict.fromkeys(drop)) for f in crystals]
    model = train(frames, TrainingOptions(**SMALL, order=2, estimator=estimator, support_points=10), 1)
    energy, forces, _ = predict(model, crystals[0])
    assert np.isfinite(energy)
    assert np.isfinite(forces).all()
    for kind in drop:
        assert model.info["training"]["labels"][kind] == 0


def test_estimator_is_chosen_by_size(crystals, molecules):
    assert train(molecules, TrainingOptions(**SMALL, order=2), 1).info["training"]["estimator"] == "full"
    lines: list[str] = []
    train(crystals, TrainingOptions(**SMALL, order=2, estimator="sparse", support_points=5), 1, lines.append)
    assert any("sparse" in line and "as asked" in line for line in lines)


def test_saved_model_predicts_the_same(molecules, tmp_path):
    model = train(molecules, TrainingOptions(**SMALL, order=3), 1)
    model.save(tmp_path / "m.wkp")
    again = Model.load(tmp_path / "m.wkp")
    assert again.info == model.info
    for a, b in zip(predict(model, molecules[0]), predict(again, molecules[0]), strict=True):
        assert np.array_equal(a, b)


def test_training_is_reproducible_and_independent_of_threads(crystals):
    options = TrainingOptions(**SMALL, order=3, estimator="sparse", support_points=10)
    first, second, third = (predict(train(crystals, options, t), crystals[0]) for t in (1, 1, 2))
    assert first[0] == second[0]
    assert first[0] == pytest.approx(third[0], abs=1e-6)


# baseline and options


def test_baseline_of_known_composition():
    frames = [
        Frame(np.array(z), np.zeros((len(z), 3)), np.zeros((3, 3)), np.zeros(3, bool), energy=-1.0 * sum(z))
        for z in ([1, 1, 8], [8, 8], [1, 1], [6, 8])
    ]
    elements = np.array([1, 6, 8])
    baseline, compositions = fit_baseline(frames, elements)
    assert baseline == pytest.approx([-1, -6, -8])
    assert compositions.shape == (3, 3)
    _, one = fit_baseline(frames[:1], elements)
    assert one.shape == (1, 3)
    with pytest.raises(DataError, match="lacks O"):
        fit_baseline(frames, elements, {"H": 0.0, "C": 0.0})
    assert fit_baseline(frames, elements, {"H": -0.5, "C": -1, "O": -2})[0].tolist() == [-0.5, -1, -2]


def test_options_name_what_is_wrong(tmp_path):
    with pytest.raises(OptionsError, match="did you mean 'cutoff'"):
        TrainingOptions.checked({"cuttoff": 5.0})
    with pytest.raises(OptionsError, match="lmax"):
        TrainingOptions.checked({"lmax": 9})
    path = tmp_path / "options.toml"
    path.write_text("cutoff = 4.5\n[isolated_atoms]\nH = -13.6\n")
    options = TrainingOptions.from_toml(path, lmax=2)
    assert (options.cutoff, options.lmax, options.isolated_atoms) == (4.5, 2, {"H": -13.6})
    path.write_text("cutoff = = 4")
    with pytest.raises(OptionsError, match="TOML"):
        TrainingOptions.from_toml(path)


def test_contradictions_are_refused(crystals):
    with pytest.raises(OptionsError, match="order_weights has 2"):
        train(crystals, TrainingOptions(order=3, order_weights=[1, 1]))
    with pytest.raises(DataError, match="no energies"):
        train([dataclasses.replace(f, energy=None, forces=None, stress=None) for f in crystals])
    with pytest.raises(DataError, match="Xx"):
        train(crystals, TrainingOptions(element_weights={"Xx": 1.0}))


def test_saturation_is_chosen_by_the_score(crystals, molecules):
    """The one that the log names as better, with a margin for safety; a given one is taken as it is."""
    for estimator in ("full", "sparse"):
        lines = []
        options = TrainingOptions(
            **SMALL, order=3, estimator=estimator, support_points=12, map=False, uncertainty=False
        )
        model = train(molecules, options, threads=1, log=lines.append)
        (line,) = (line for line in lines if line.startswith("Saturation"))
        scores = {float(b): float(s) for b, s in re.findall(r"([\d.]+): (-?[\d.]+)", line)}
        assert len(scores) == 2
        scores[0] -= 0.1 * (estimator == "sparse")
        assert model.scales[0].density.saturation == max(scores, key=scores.get)
        given = train(molecules, options.model_copy(update={"saturation": 0.5}), threads=1, log=lines.append)
        assert given.scales[0].density.saturation == 0.5
    assert sum(line.startswith("Saturation") for line in lines) == 1
    assert train(crystals, options, threads=1).scales[0].density.saturation == 0  # of one element
