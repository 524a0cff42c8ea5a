import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet
from click.testing import CliRunner
from oracles.kernels import central_difference
from oracles.systems import labelled_copper, rattled_frame
from scipy.stats import norm
from scripts.mpi import needs, run_ranks

from wk_potential import Model, TrainingOptions, WKCalculator, train
from wk_potential.analysis.reliability import (
    best_factor,
    calibration_curve,
    miscalibration_area,
    negative_log_likelihood,
    reliability,
)
from wk_potential.atoms.dataset import Dataset
from wk_potential.atoms.frame import Frame
from wk_potential.atoms.neighbours import find_neighbours
from wk_potential.atoms.structure import Structure
from wk_potential.atoms.trajectories import read_structure
from wk_potential.cli import main
from wk_potential.density.frames import Environments
from wk_potential.errors import ClashError, DynamicsError, ExtrapolationError, ExtrapolationWarning, UncertaintyError
from wk_potential.model.committee import LANES
from wk_potential.model.prediction import Prediction
from wk_potential.simulation.dynamics import extrapolation_file, run_md
from wk_potential.simulation.extrapolation import ExtrapolationGuard
from wk_potential.simulation.integrators import MDSettings
from wk_potential.training.error_bars.posterior import Posterior
from wk_potential.training.error_bars.rigidity import fit_uncertainty
from wk_potential.training.full.fit import fit_full
from wk_potential.training.sparse.design import Design, kernel_matrices
from wk_potential.training.sparse.fit import fit_sparse
from wk_potential.training.sparse.regression import Basis
from wk_potential.training.task import LeftOut, make_task

PLAIN = {"cutoff": 4.0, "cutoff_width": 2.0, "lmax": 2, "order": 3, "density_width": 0.5, "channel_tolerance": 1e-2}


def strained_copper(seed, scale=1.0, rattle=0.1):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(scale * atoms.cell.array, scale_atoms=True)
    atoms.rattle(rattle, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def mixed_model(random_model):
    """Two length scales, three elements, with an committee made of random labels and errors."""
    model = random_model(lmax=3)
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(4):
        numbers, positions = np.array([1, 6, 8, 1, 6, 8]), 3.0 * rng.uniform(size=(6, 3))
        frames.append(
            Frame(numbers, positions, np.diag([5.0, 6.0, 7.0]), np.ones(3, bool), 0.0, np.zeros((6, 3)), np.zeros(6))
        )
    left_out = LeftOut(lambda chosen: [rng.normal(size=25) for _ in chosen])
    return replace(model, uncertainty=fit_uncertainty(model, Dataset(frames, model.elements), left_out)), frames[0]


def deviations(model, frame, positions=None, cell=None, threads=1):
    positions = frame.positions if positions is None else positions
    cell = frame.cell if cell is None else cell
    neighbours = find_neighbours(positions, cell, frame.pbc, model.cutoff)
    structure = Structure(positions, np.array(cell, float), model.species_of(frame.numbers), neighbours)
    return model.committee.deviations(structure, threads)


# --- the committee ---


def test_member_forces_and_virials_are_derivatives_of_their_energies(mixed_model):
    model, frame = mixed_model
    found = deviations(model, frame)
    scale = np.abs(found.forces).max()

    def energy(positions):
        return deviations(model, frame, positions).energies[:, :LANES].sum(axis=0)

    numeric = -central_difference(energy, frame.positions, 1e-5)
    np.testing.assert_allclose(found.forces, numeric, atol=1e-6 * scale)

    def strained(strain):
        deformation = np.eye(3) + 0.5 * (strain + strain.T)
        return (
            deviations(model, frame, frame.positions @ deformation, frame.cell @ deformation)
            .energies[:, :LANES]
            .sum(axis=0)
        )

    virial = central_difference(strained, np.zeros((3, 3)), 1e-5)
    np.testing.assert_allclose(found.virial, virial, atol=1e-6 * np.abs(virial).max())


def test_ensemble_on_threads_and_clash(mixed_model):
    model, frame = mixed_model
    for one, two in zip(deviations(model, frame), deviations(model, frame, threads=3), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-10 * np.abs(one).max())
    positions = frame.positions.copy()
    positions[3] = positions[1]
    with pytest.raises(ClashError, match=r"less than 0\.1 Angstrom apart"):
        deviations(model, frame, positions)


def test_symmetry(mixed_model):
    """Energies do not change and forces turn along under a rotation; copies in a supercell have the same."""
    model, frame = mixed_model
    q = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    found, turned = deviations(model, frame), deviations(model, frame, frame.positions @ q.T, frame.cell @ q.T)
    np.testing.assert_allclose(turned.energies, found.energies, atol=1e-9 * np.abs(found.energies).max())
    rotated = np.einsum("xy,iyk->ixk", q, found.forces)
    np.testing.assert_allclose(turned.forces, rotated, atol=1e-9 * np.abs(found.forces).max())


# --- the posterior ---


def test_posterior_is_that_of_bayesian_regression():
    """Draws have the covariance, and leaving out a fold is the same as never having had its rows."""
    rng = np.random.default_rng(0)
    rows, noise, prior = rng.normal(size=(30, 5)), rng.uniform(0.5, 2, 30), rng.uniform(0.1, 3, 5)
    folds = np.repeat(np.arange(6), 5)
    expected = np.zeros(30)
    for fold in range(6):
        rest = folds != fold
        precision = (rows[rest] / noise[rest, None] ** 2).T @ rows[rest] + np.diag(prior**-2)
        own = rows[~rest]
        expected[~rest] = np.sqrt(np.einsum("ir,rs,is->i", own, np.linalg.inv(precision), own))
    posterior = Posterior(rows, noise, prior)
    np.testing.assert_allclose(posterior.left_out_deviations(folds), expected, rtol=1e-6)
    draws = posterior.draws(100_000, rng)
    covariance = np.linalg.inv((rows / noise[:, None] ** 2).T @ rows + np.diag(prior**-2))
    np.testing.assert_allclose(draws @ draws.T / 100_000, covariance, atol=0.02 * covariance.max())


def test_left_out_residuals_of_the_full_estimator_are_those_that_the_header_tells(copper_frames):
    task = make_task(Dataset(copper_frames[:8]), TrainingOptions(**PLAIN), "full", 1)
    fit = fit_full(task)
    errors = np.concatenate([r[1:-6] for r in fit.left_out.residuals(np.arange(8))])
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(fit.errors["leave_one_out_forces_rmse"], rel=1e-6)


def test_left_out_residuals_of_the_sparse_estimator_are_those_of_a_fit_without_the_frame(copper_frames):
    """With the same support points and hyperparameters, by QR; rounding is within a ten-thousandth of the noise."""
    noise = {"energy_noise": 0.01, "forces_noise": 0.1, "stress_noise": 0.1}
    task = make_task(Dataset(copper_frames[:8]), TrainingOptions(support_points=20, **noise, **PLAIN), "sparse", 1)
    fit, labels = fit_sparse(task), task.labels
    scale, deviations = fit.scales[0], labels.size * fit.noise[labels.kind]
    points = scale.support[0].coefficients
    basis = Basis(*kernel_matrices(points, scale.density.lmax, scale.order_weights[:1]))
    basis = basis.weights(np.eye(basis.rank))
    design = Design(Environments(task.data, scale.density), [points], scale.order_weights[:1])
    rows = np.concatenate([design.of_frame(k)[:, 0] for k in range(8)])
    for k, residual in enumerate(fit.left_out.residuals(np.arange(8))):
        own = task.data.frame_of_label == k
        x, y = rows[~own] / deviations[~own, None], labels.values[~own] / deviations[~own]
        stacked = np.concatenate([x @ basis, np.eye(basis.shape[1])])
        weights = basis @ np.linalg.lstsq(stacked, np.concatenate([y, np.zeros(basis.shape[1])]), rcond=None)[0]
        expected = labels.values[own] - rows[own] @ weights
        assert residual == pytest.approx(expected, rel=1e-4, abs=1e-4 * deviations[own].min())


def test_frames_without_some_of_the_elements():
    """Their features are those of the elements that they have."""
    frames = [
        rattled_frame(molecule(name), LennardJones(sigma=0.9, rc=10.0), seed)
        for seed, name in enumerate(["H2O", "CH4", "CH3OH", "CO2", "H2O", "CH4", "CH3OH", "CO2"])
    ]
    model = train(frames, TrainingOptions(lmax=1, order=2, cutoff=4.0, cutoff_width=3.0, map=False))
    predictions = model.predict(frames[:2], 1)
    assert all(np.isfinite(p.forces_std).all() and p.forces_std.max() > 0 for p in predictions)


# --- calibration ---


def test_perfect_and_wrong_error_bars():
    rng = np.random.default_rng(0)
    deviations = rng.uniform(0.5, 2, 50_000)
    errors = deviations * rng.normal(size=50_000)
    assert miscalibration_area(errors, deviations) < 0.005
    # bars k times too long: P(|z| < k q) instead of P(|z| < q), by quadrature
    p = np.linspace(0, 1, 20_001)[:-1]
    expected = np.mean(2 * norm.cdf(2 * norm.ppf(0.5 + p / 2)) - 1 - p)
    assert miscalibration_area(errors, 2 * deviations) == pytest.approx(expected, abs=0.005)
    assert best_factor(errors, deviations / 3) == pytest.approx(3, rel=0.02)
    outliers = np.where(rng.random(50_000) < 0.01, 1e3, 1.0)
    assert best_factor(outliers * errors, deviations) == pytest.approx(1, rel=0.05)
    assert calibration_curve(errors, deviations)[68] == pytest.approx(0.68, abs=0.01)
    assert negative_log_likelihood(errors, deviations) == pytest.approx(-norm.logpdf(errors, 0, deviations).mean())


def test_reliability_of_forces_is_by_atom():
    frame = Frame(np.array([29, 29, 29]), np.eye(3), np.zeros((3, 3)), np.zeros(3, bool), 1.0, np.zeros((3, 3)))
    forces = np.array([[1.0, 0, 0], [0, 2, 0], [0, 0, 3]])
    prediction = Prediction(
        energy=1.5, forces=forces, energy_std=0.5, forces_std=np.repeat([[1.0], [2.0], [4.0]], 3, axis=1)
    )
    table = reliability([frame, frame], [prediction, prediction])
    assert table["forces"]["spearman"] == pytest.approx(1)
    assert table["forces"]["n"] == 18
    assert table["energy"]["rmse"] == table["energy"]["rms_std"] == 0.5
    assert table["energy"]["spearman"] is None
    assert "stress" not in table


# --- the model ---


def test_error_bars_tell_the_size_of_errors(copper_model):
    """On frames within the range of the training set, and on others that are unlike it."""
    unseen = labelled_copper(40, seed=1, strain=0.01)
    table = reliability(unseen, copper_model.predict(unseen))
    for kind in ("energy", "forces", "stress"):
        assert 0.3 < table[kind]["rmse"] / table[kind]["rms_std"] < 3
    calculator = WKCalculator(copper_model, uncertainty=True)
    grades, bars = [], []
    for scale, rattle in ((1.0, 0.1), (0.88, 0.1), (1.0, 0.4)):
        atoms = strained_copper(3, scale, rattle)
        atoms.calc = calculator
        atoms.get_potential_energy()
        grades.append(calculator.results["extrapolation_grade"].max())
        bars.append(calculator.results["energy_std"])
    assert grades[0] < 1.5 < 2 < min(grades[1:])
    assert min(bars[1:]) > 3 * bars[0]


def test_calculator_results(copper_model, tmp_path):
    copper_model.save(tmp_path / "model.wkp")
    atoms = strained_copper(1)
    plain = atoms.copy()
    plain.calc = WKCalculator(copper_model)
    atoms.calc = WKCalculator(tmp_path / "model.wkp", uncertainty=True)
    np.testing.assert_array_equal(atoms.get_forces(), plain.get_forces())
    results = atoms.calc.results
    shapes = {"energies_std": (4,), "forces_std": (4, 3), "stress_std": (6,), "extrapolation_grade": (4,)}
    assert {name: results[name].shape for name in shapes} == shapes
    assert atoms.calc.get_property("energy_std", atoms) > 0
    assert "energy_std" not in plain.calc.results
    fresh = WKCalculator(copper_model, uncertainty=True)
    fresh.calculate(atoms)
    for name in (*shapes, "energy_std"):
        np.testing.assert_array_equal(fresh.results[name], results[name])
    molecule = atoms.copy()
    molecule.set_cell(None)
    molecule.pbc = False
    molecule.calc = fresh
    molecule.get_potential_energy()
    assert "stress_std" not in fresh.results


def test_models_without_error_bars(copper_frames, random_model):
    model = train(copper_frames[:4], TrainingOptions(uncertainty=False, map=False, **PLAIN))
    assert model.uncertainty is None
    assert model.predict(copper_frames[:1])[0].energy_std is None
    with pytest.raises(UncertaintyError, match="train it again"):
        WKCalculator(model, uncertainty=True)
    lines = []
    assert train(copper_frames[:1], TrainingOptions(map=False, **PLAIN), log=lines.append).uncertainty is None
    assert any("at least two frames" in line for line in lines)


def test_orders_that_have_no_mapped_form(copper_frames):
    options = PLAIN | {"order": 5, "lmax": 1}
    model = train(copper_frames[:6], TrainingOptions(**options))
    assert not model.is_mapped
    table = reliability(copper_frames[8:], model.predict(copper_frames[8:]))
    assert 0.2 < table["forces"]["rmse"] / table["forces"]["rms_std"] < 5


# --- leaving the known ---


@pytest.fixture
def compressed(copper_model):
    """Copper that flies together."""
    atoms = strained_copper(0, rattle=0.01) * (2, 1, 1)
    atoms.calc = WKCalculator(copper_model, uncertainty=True)
    atoms.set_velocities(np.where(atoms.positions[:, :1] > 3.6, -0.15, 0.15) * [[1, 0, 0]])
    return atoms


@pytest.mark.parametrize("action", ["warn", "save", "stop"])
def test_guard(compressed, action, tmp_path):
    dynamics = VelocityVerlet(compressed, units.fs)
    path = tmp_path / "unknown.xyz"
    guard = ExtrapolationGuard(compressed, action, path, step=lambda: dynamics.nsteps)
    dynamics.attach(guard)
    match = r"atom \d+ \(Cu\) left the training set at step \d+: extrapolation grade 2\.\d, limit 2"
    if action == "stop":
        with pytest.raises(ExtrapolationError, match=match + "; saved in"):
            dynamics.run(60)
    else:
        with pytest.warns(ExtrapolationWarning, match=match) as caught:
            dynamics.run(60)
        assert len(caught) == 1
    assert guard.excursions >= 1
    assert guard.largest > 2
    assert path.exists() == (action != "warn")
    if path.exists():
        saved = read_structure(path, 0)
        saved.calc = compressed.calc
        assert compressed.calc.get_property("extrapolation_grade", saved).max() > 2


def test_guard_that_cannot_work(compressed, copper_model):
    with pytest.raises(ValueError, match="choose one of warn, save, stop"):
        ExtrapolationGuard(compressed, "ignore")
    with pytest.raises(ValueError, match="save needs a file"):
        ExtrapolationGuard(compressed, "save")


def test_md_stops_and_says_what_to_do(compressed, tmp_path):
    trajectory = tmp_path / "run.traj"
    settings = MDSettings(timestep=1.0, time=0.06, keep_velocities=True, on_extrapolation="stop")
    with pytest.raises(DynamicsError, match="label the saved structure and train with it"):
        run_md(compressed, settings, trajectory)
    assert extrapolation_file(trajectory) == tmp_path / "run.unknown.traj"
    assert len(read_structure(tmp_path / "run.unknown.traj")) == 8
    calm = strained_copper(0, rattle=0.01)
    calm.calc = compressed.calc
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_md(calm, MDSettings(temperature=50, time=0.01, on_extrapolation="stop"), trajectory)
    assert not extrapolation_file(trajectory).exists()


# --- the command line ---


def test_commands(copper_model, copper_frames, tmp_path):
    from ase.io import write

    model, data, plot = tmp_path / "cu.wkp", tmp_path / "cu.xyz", tmp_path / "calibration.png"
    copper_model.save(model)
    write(data, [f.to_atoms() for f in copper_frames[8:]])
    arguments = ["evaluate", str(model), str(data), "--calibration", str(plot), "--json", str(tmp_path / "e.json")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "miscalibration" in result.output
    assert plot.read_bytes().startswith(b"\x89PNG")
    table = json.loads((tmp_path / "e.json").read_text())["uncertainty"]
    assert 0 <= table["forces"]["miscalibration_area"] <= 0.5
    run = ["md", str(model), str(data), "-o", str(tmp_path / "md.xyz"), "--time", "0.01", "--on-extrapolation", "stop"]
    result = CliRunner().invoke(main, [*run, "--grade-limit", "1e-6"])
    assert result.exit_code == 1
    assert "left the training set at step 0" in result.output
    assert (tmp_path / "md.unknown.xyz").exists()
    bare = Model(copper_model.elements, copper_model.scales, copper_model.baseline, copper_model.compositions)
    bare.save(model)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "has no error bars to draw" in result.output
    result = CliRunner().invoke(main, [*run, "--overwrite"])
    assert result.exit_code == 1
    assert "train it again" in result.output


# --- many ranks ---


@needs("mpi4py")
def test_ranks_give_the_same(copper_model, tmp_path):
    copper_model.save(tmp_path / "cu.wkp")
    script = Path(__file__).parents[1] / "scripts" / "ranks_uncertainty.py"
    done = run_ranks(2, script, tmp_path / "cu.wkp", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    atoms = strained_copper(5) * (2, 2, 2)
    atoms.calc = WKCalculator(copper_model, uncertainty=True)
    atoms.get_potential_energy()
    for name, value in np.load(tmp_path / "out.npz").items():
        np.testing.assert_allclose(value, atoms.calc.results[name], rtol=1e-9, atol=1e-12, err_msg=name)
