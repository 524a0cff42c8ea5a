"""Training from end to end on small sets: baselines, options, both estimators against dense algebra written out."""

import dataclasses
import json

import numpy as np
import pytest
from oracles.systems import SMALL

from wk_potential import Frame, Model, TrainingOptions, evaluate, train
from wk_potential.atoms.dataset import Dataset
from wk_potential.atoms.neighbours import find_neighbours
from wk_potential.density.frames import Environments
from wk_potential.errors import DataError, OptionsError
from wk_potential.training.baseline import fit_baseline
from wk_potential.training.channels import model_density
from wk_potential.training.full.gram import flatten, force_gram
from wk_potential.training.limits import ChoiceLimits, FullLimits, Limits
from wk_potential.training.train import _choose_estimator


def predict(model: Model, frame: Frame, direct: bool = False):
    """Energy, forces and virial per volume, or the virial of what has none; `direct` as in `Model.potential`."""
    neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, model.cutoff)
    structure = model.structure(frame.numbers, frame.positions, frame.cell, neighbours)
    p = model.evaluate(structure, potential=model.potential(direct=direct))
    return p.energies.sum(), p.forces, p.virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / (frame.volume or 1.0)


def dense_prediction(frames, test, options):
    """Gaussian process regression written out: predicted labels of the test frames."""
    data = Dataset(frames)
    everything = Dataset([*frames, *test], data.elements)
    kernel = 0.0
    for shape in (options.long, options.short):
        flat = flatten(Environments(everything, model_density(data, options, shape)))
        gram = force_gram(flat, options.lmax, options.order, len(data.elements))
        kernel = kernel + np.tensordot(options.order_weights, gram.sum(axis=0), 1)
    baseline, _ = fit_baseline(data)
    labels = data.labels(baseline)
    noise = np.array([options.energy_noise, options.forces_noise, options.stress_noise])[labels.kind] * labels.size
    n = len(labels)
    predicted = kernel[n:, :n] @ np.linalg.solve(kernel[:n, :n] + np.diag(noise**2), labels.values)
    counts = np.array([baseline[np.searchsorted(data.elements, f.numbers)].sum() for f in test])
    return predicted, counts


@pytest.mark.train
@pytest.mark.parametrize("direct_labels", [10_000, 0])  # by decomposition, by conjugate gradients
@pytest.mark.parametrize("system", ["molecules", "crystals"])
def test_full_model_is_the_dense_gaussian_process(system, direct_labels, request):
    frames = request.getfixturevalue(system)
    options = TrainingOptions(
        **SMALL, order=4, order_weights=[2.0, 1.0, 0.5, 0.3], energy_noise=1e-3, forces_noise=0.02, stress_noise=0.01,
        estimator="full", repulsion=False, saturation=2.0, element_mixing=0.3, channel_tolerance=1e-2,
    )  # fmt: skip
    train_on, test = frames[:-2], frames[-2:]
    predicted, baseline = dense_prediction(train_on, test, options)
    full = FullLimits(direct_labels=direct_labels, residual=1e-9, preconditioner_share=10)
    model = train(train_on, options, threads=1, limits=Limits(full=full))
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


@pytest.mark.train
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


# the sparse estimator


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


@pytest.mark.train
def test_estimator_is_chosen_by_size(crystals, molecules):
    assert train(molecules, TrainingOptions(**SMALL, order=2), 1).info["training"]["estimator"] == "full"
    lines: list[str] = []
    train(crystals, TrainingOptions(**SMALL, order=2, estimator="sparse", support_points=5), 1, lines.append)
    assert any("sparse" in line and "as asked" in line for line in lines)


def test_full_estimator_up_to_more_labels_for_molecules(crystals, molecules):
    """With forces, and of an order that has a mapped form."""
    choices = ChoiceLimits(full_labels=10, molecular_labels=10_000)
    limits = Limits(choice=choices, full=FullLimits(direct_labels=10))
    energies = [dataclasses.replace(f, forces=None) for f in molecules if f.energy is not None]

    def choice(frames, limits=limits, **options):
        return _choose_estimator(Dataset(frames), TrainingOptions(**options), lambda text: None, limits)

    assert choice(molecules) == "full"
    assert choice(molecules, order=5) == "sparse"
    assert choice(crystals) == "sparse"
    assert choice([*molecules, crystals[0]]) == "sparse"
    assert choice([*energies, *energies]) == "sparse"
    # few labels of many environments, whose matrix would be formed
    assert choice(molecules, Limits(choice=ChoiceLimits(full_environments=10))) == "sparse"


@pytest.mark.train
def test_saved_model_predicts_the_same(molecules, tmp_path):
    model = train(molecules, TrainingOptions(**SMALL, order=3), 1)
    model.save(tmp_path / "m.wkp")
    again = Model.load(tmp_path / "m.wkp")
    assert again.info == model.info
    for a, b in zip(predict(model, molecules[0]), predict(again, molecules[0]), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.train
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
    data = Dataset(frames)
    baseline, compositions = fit_baseline(data)
    assert baseline == pytest.approx([-1, -6, -8])
    assert compositions.shape == (3, 3)
    _, one = fit_baseline(data[:1])
    assert one.shape == (1, 3)
    assert fit_baseline(data, {"H": -0.5, "C": -1, "O": -2})[0].tolist() == [-0.5, -1, -2]


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


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("short_cutoff", 1e-6, "must be 0, for none, or at least 0.5 Angstrom"),
        ("order_weights", [0, 0], "at least one of them above 0"),
        ("order_weights", [-1, 1], "must be numbers from 0"),
        ("order_weights", [1e300, 1], "must be numbers from 0 to 1e30"),
        ("element_weights", {"Xx": 1.0}, "Xx = 1, expected a chemical symbol"),
        ("element_weights", {"Cu": 0.0}, "Cu = 0, expected a chemical symbol and a number from 0.001"),
        ("isolated_atoms", {"Cu": 1e300}, "Cu = 1e[+]300, expected a chemical symbol and an energy"),
        ("forces_noise", 1e300, "less than or equal to 10000"),
    ],
)
def test_values_that_no_training_can_use(name, value, what):
    with pytest.raises(OptionsError, match=f"{name}: .*{what}"):
        TrainingOptions(**{name: value})


@pytest.mark.train
def test_one_frame_keeps_the_noise_that_is_given_and_scales_the_rest(crystals):
    """Nothing can be chosen by cross-validation then."""
    options = {**SMALL, "order": 2, "estimator": "sparse", "support_points": 8, "map": False}
    frame = dataclasses.replace(crystals[0], energy=None, stress=None)
    ten_times = dataclasses.replace(frame, forces=10 * frame.forces)
    given = train([frame], forces_noise=0.123, **options)
    assert given.info["hyperparameters"]["noise"]["forces"] == 0.123
    model, larger = (train([f], **options) for f in (frame, ten_times))
    forces, more = (m.info["hyperparameters"]["noise"]["forces"] for m in (model, larger))
    assert more == pytest.approx(10 * forces)
    assert larger.predict(ten_times).forces == pytest.approx(10 * model.predict(frame).forces, rel=1e-6, abs=1e-9)


TINY = {"cutoff": 3.5, "lmax": 1, "order": 2, "short_cutoff": 0, "saturation": 0, "map": False}


def test_noise_below_rounding(crystals):
    with pytest.raises(OptionsError, match=r"not positive definite.*raise energy_noise"):
        train(crystals[:4], forces_noise=1e-12, **TINY)
    # of broad Gaussians the kernel is of so low rank that the noise of highest likelihood is below rounding
    model = train(crystals[:4], density_width=2.0, uncertainty=False, **TINY)
    assert np.abs(model.predict(crystals[0]).forces - crystals[0].forces).max() < 1.0


def test_more_support_points_than_environments(molecules):
    """Error bars where each frame is the only one that knows some of the features."""
    model = train(molecules[:5], estimator="sparse", element_mixing=0, **TINY)
    assert np.isfinite(model.predict(molecules[5]).forces_std).all()


@pytest.mark.train
def test_frames_of_validation_do_not_take_part(crystals):
    lines: list[str] = []
    options = {"uncertainty": False, **TINY}
    model = train(crystals[:8], valid=crystals[8:], log=lines.append, **options)
    alone = train(crystals[:8], **options)
    assert model.predict(crystals[9]).energy == alone.predict(crystals[9]).energy
    table = evaluate(alone, crystals[8:])
    errors = model.info["training"]["errors"]
    assert errors["validation_forces_mae"] == pytest.approx(table["forces_mae"])
    assert errors["validation_energy_rmse"] == pytest.approx(table["energy_rmse"])
    assert lines[-1].startswith(f"Errors on {len(crystals) - 8} frames of validation")

    split = train(crystals[:8], valid_fraction=0.25, **options)
    assert split.info["training"]["frames"] == 6
    assert "validation_forces_mae" in split.info["training"]["errors"]
