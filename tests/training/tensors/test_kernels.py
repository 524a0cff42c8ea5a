"""Full and sparse estimator of tensors, and their error bars."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from ase.io import write
from click.testing import CliRunner
from oracles.water import KEYS, OPTIONS, water
from scipy.spatial.transform import Rotation

from wk_potential import Model, TrainingOptions, WKCalculator, read_frames, train
from wk_potential.analysis.evaluation import errors
from wk_potential.analysis.reliability import reliability
from wk_potential.atoms.dataset import Dataset
from wk_potential.cli import main
from wk_potential.density.frames import Environments
from wk_potential.errors import UncertaintyError
from wk_potential.training.limits import Limits, SampleLimits, TensorLimits
from wk_potential.training.mapping.tensors import exact_form
from wk_potential.training.task import make_task
from wk_potential.training.tensors import fit as tensors
from wk_potential.training.tensors.kernels import FullKernels, SparseKernels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("water")
    write(path / "train.xyz", [water(k) for k in range(60)], format="extxyz")
    write(path / "test.xyz", [water(k) for k in range(100, 200)], format="extxyz")
    return path


@pytest.fixture(scope="module")
def frames(folder):
    return read_frames(folder / "train.xyz", **KEYS)


@pytest.fixture(scope="module")
def unseen(folder):
    return read_frames(folder / "test.xyz", **KEYS)


@pytest.fixture(scope="module")
def sparse(frames):
    """Model of dipole and polarisability with few support points."""
    return train(frames, TrainingOptions(**OPTIONS, estimator="sparse", support_points=40), threads=1)


@pytest.mark.parametrize("momentum", [0, 1, 2])
def test_with_enough_support_points_both_estimators_agree(frames, momentum):
    task = make_task(Dataset(frames[:8]), TrainingOptions(**OPTIONS | {"short_cutoff": 2.0}), "full", 1)
    scales = [Environments(task.data, density) for density in tensors._Regression(task, "dipole").densities]
    full, support = FullKernels(task, scales), SparseKernels(task, scales, 1)
    grams = [kernels.matrices(momentum, range(8)) for kernels in (full, support)]
    for one, other in zip(*grams, strict=True):
        assert other == pytest.approx(one, abs=1e-6 * np.abs(one).max())
    rng = np.random.default_rng(momentum)
    weights = rng.uniform(0.5, 1.5, (2, 2, 3)) / np.abs(grams[0]).max()
    labels = tensors.tensor_labels(rng.normal(size=(8, 2 * momentum + 1)), np.full(8, 3))
    one, other = (
        k.solved(momentum, weights, 0.1, labels, g, range(8)) for k, g in zip((full, support), grams, strict=True)
    )
    assert other.residuals == pytest.approx(one.residuals, abs=1e-6 * np.abs(one.residuals).max())
    np.testing.assert_array_equal(other.frames, one.frames)
    for scale, of_scale in enumerate(weights):
        for z, a in enumerate(of_scale):
            c = one.supports[scale][z].coefficients
            values = [exact_form(fit.supports[scale][z], momentum, a).values(c) for fit in (one, other)]
            assert values[1] == pytest.approx(values[0], abs=1e-6 * np.abs(values[0]).max())


def test_left_out_errors_of_support_points_are_those_of_fits_without_the_frame(frames):
    """The support points stay, and so do the hyperparameters."""
    few = Limits(tensors=TensorLimits(left_out_labels=12))  # of four frames
    task = make_task(Dataset(frames[:10]), TrainingOptions(**OPTIONS, support_points=12), "full", 1, limits=few)
    environments = Environments(task.data, tensors._Regression(task, "dipole").densities[0])
    kernels = SparseKernels(task, [environments], 3)
    values, weights = np.random.default_rng(0).normal(size=(10, 3)), np.full((1, 2, 3), 0.1)

    def fit(rows):
        of_rows = copy(kernels)
        of_rows.scales, of_rows.data = [environments.subset(rows)], task.data.subset(rows)
        return of_rows.solved(1, weights, 0.2, tensors.tensor_labels(values[rows], np.full(len(rows), 3)), None, [])

    found = fit(np.arange(10))
    assert len(found.frames) == 4
    for k, residual in zip(found.frames, found.residuals, strict=True):
        without = fit(np.delete(np.arange(10), k))
        rows = np.concatenate([part[0] for part in kernels._frame_rows(k, 1, weights[:, :, None])], axis=1)
        solution = np.concatenate([s.weights.ravel() for s in without.supports[0]])
        assert residual == pytest.approx(values[k] - rows @ solution, abs=1e-8)


def test_few_support_points_suffice(sparse, frames, unseen):
    table = errors(unseen, sparse.predict(unseen, 1))
    for name in ("dipole", "polarizability"):
        facts = sparse.info["training"]["tensors"][name]
        assert facts["estimator"] == "sparse"
        spread = np.std([getattr(frame, name) for frame in unseen])
        assert table[f"{name}_rmse"] < 0.02 * spread


def test_rare_element(frames):
    """It is among the environments in whose metric forms are made small."""
    numbers = np.array([16, 1, 1])
    rare = [replace(frame, numbers=numbers) for frame in frames[20:23]]
    few = Limits(samples=SampleLimits(frames=3))
    model = train([*frames[:20], *rare], TrainingOptions(**OPTIONS), threads=1, limits=few)
    for frame, found in zip(rare, model.predict(rare, 1), strict=True):
        assert found.dipole == pytest.approx(frame.dipole, abs=0.02)
        assert 0 < np.linalg.norm(found.dipole_std) < 0.2


def test_estimator_is_chosen_by_size(frames):
    options, data = TrainingOptions(**OPTIONS), Dataset(frames[:4])

    def chosen(limits=None, **changes):
        own = Limits(tensors=limits or TensorLimits())
        task = make_task(data, options.model_copy(update=changes), "full", 1, limits=own)
        return tensors._Regression(task, "dipole").estimator

    assert [chosen(), chosen(estimator="sparse")] == ["full", "sparse"]
    few = TensorLimits(full_environments=11)
    assert [chosen(few), chosen(few, estimator="full")] == ["sparse", "full"]
    with pytest.raises(tensors.DataError, match="12 labels, where 11 are the limit of the full estimator; train with"):
        chosen(TensorLimits(full_labels=11), estimator="full")


# --- error bars ---


@pytest.mark.parametrize("kind", ["dipole", "polarizability"])
def test_error_bars_are_as_large_as_the_errors(sparse, unseen, kind):
    table = reliability(unseen, sparse.predict(unseen, 1))
    assert table[kind]["miscalibration_area"] < 0.1
    assert table[kind]["spearman"] > 0.2


def test_error_bars_turn_with_the_structure(sparse):
    """A quarter turn swaps components; any turn leaves the sum of the variances."""
    atoms, calculator = water(3), WKCalculator(sparse, threads=1, uncertainty=True)
    dipole, alpha = (calculator.get_property(f"{name}_std", atoms) for name in ("dipole", "polarizability"))
    assert dipole.shape == (3,)
    assert alpha == pytest.approx(alpha.T)
    assert alpha.min() > 0
    turned = atoms.copy()
    turned.rotate(90, "z")
    assert calculator.get_property("dipole_std", turned) == pytest.approx(dipole[[1, 0, 2]], rel=1e-9)
    swap = np.ix_([1, 0, 2], [1, 0, 2])
    assert calculator.get_property("polarizability_std", turned) == pytest.approx(alpha[swap], rel=1e-9)
    turned.positions = atoms.positions @ Rotation.from_quat([0.1, 0.5, -0.3, 0.6]).as_matrix().T
    assert np.linalg.norm(calculator.get_property("dipole_std", turned)) == pytest.approx(np.linalg.norm(dipole))


def test_error_bars_grow_away_from_the_training_set(sparse):
    calculator = WKCalculator(sparse, threads=1, uncertainty=True)
    sizes = []
    for stretch in (0.0, 0.4, 0.8):
        atoms = water(3)
        atoms.positions[1] += stretch * (atoms.positions[1] - atoms.positions[0])
        sizes.append(np.linalg.norm(calculator.get_property("dipole_std", atoms)))
    assert sizes[2] > 2 * sizes[1] > 3 * sizes[0]


def test_model_file_keeps_error_bars(sparse, tmp_path):
    sparse.save(tmp_path / "m.wkp")
    loaded = Model.load(tmp_path / "m.wkp")
    assert loaded.error_bars == ["dipole", "polarizability"]
    for name in ("dipole_std", "polarizability_std"):
        values = [WKCalculator(m, threads=1, uncertainty=True).get_property(name, water(5)) for m in (sparse, loaded)]
        assert values[1] == pytest.approx(values[0], rel=1e-12)


def test_without_error_bars(frames, tmp_path):
    model = train(frames[:6], TrainingOptions(**OPTIONS, uncertainty=False), threads=1)
    assert model.error_bars == []
    with pytest.raises(UncertaintyError, match="the model has no error bars"):
        WKCalculator(model, uncertainty=True)
    one = train(frames[:1], TrainingOptions(**OPTIONS), threads=1)  # none to leave out
    assert one.error_bars == []


def test_evaluate_tells_how_good_they_are(sparse, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sparse.save("m.wkp")
    labels = [f"--{name.replace('_', '-')}={value}" for name, value in KEYS.items()]
    arguments = ["evaluate", "m.wkp", str(folder / "test.xyz"), *labels, "--calibration", "c.png", "-o", "p.xyz"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "Error bars" in result.output
    assert (tmp_path / "c.png").stat().st_size > 10000
    test = read_frames(folder / "test.xyz", **KEYS)
    written = read_frames("p.xyz", dipole_key="dipole", polarizability_key="polarizability")
    for frame, found, label in zip(sparse.predict(test, 1), written, test, strict=True):
        assert found.dipole == pytest.approx(frame.dipole, abs=1e-7)
        assert found.polarizability == pytest.approx(frame.polarizability, abs=1e-7)
        assert np.abs(found.dipole - label.dipole).max() > 1e-7
