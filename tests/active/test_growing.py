from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.emt import EMT
from oracles.systems import QUICK, SPARSE

from wk_potential import Frame, Model, WKCalculator, train
from wk_potential.active.growing import GrowingRegression
from wk_potential.active.model import GrowingModel
from wk_potential.atoms.dataset import Dataset
from wk_potential.density.frames import Environments
from wk_potential.training.full.fit import fit_full
from wk_potential.training.sparse.design import Design, Folds, kernel_matrices, stream_design
from wk_potential.training.sparse.regression import Basis, SparseRegression
from wk_potential.training.task import make_task

# --- growing regression ---


@pytest.fixture(scope="module")
def grown(copper_frames):
    """A sparse model, its hyperparameters, and a regression that has grown frame by frame."""
    model = train(copper_frames[:4], SPARSE.model_copy(update={"support_points": 6, "uncertainty": False}))
    scale = model.scales[0]
    noise = [model.info["hyperparameters"]["noise"][kind] for kind in ("energy", "forces", "stress")]

    def start(frames, support):
        regression = GrowingRegression(scale.density, scale.order_weights[0], noise, model.elements, model.baseline)
        regression.add(frames, support)
        return regression

    regression = start(copper_frames[:4], [s.coefficients for s in scale.support])
    for frame in copper_frames[4:]:
        regression.add([frame])
    return model, np.array(noise), regression, start


def predicted(model, support, weights, frame):
    """Labels of a frame by its design matrix, and what they should be."""
    scale, data = model.scales[0], Dataset([frame], model.elements)
    design = Design(Environments(data, scale.density), support, scale.order_weights[:1]).of_frame(0)
    return design[:, 0] @ np.concatenate(weights), data.fit_targets(model.baseline)


@pytest.mark.train
def test_growing_equals_fit_at_once(grown, copper_frames):
    """Normal equations in the whitened basis, of the same support points and hyperparameters, all at once."""
    model, noise, regression, _ = grown
    assert len(regression.support[0]) > 6
    scale = model.scales[0]
    kernels = [kernel_matrices(s, scale.density.lmax, scale.order_weights[:1])[0] for s in regression.support]
    environments = Environments(Dataset(copper_frames, model.elements), scale.density)
    design = Design(environments, regression.support, scale.order_weights[:1])
    basis = Basis(*kernels)
    (equations,) = stream_design(design, [basis], Folds(np.zeros(len(copper_frames), int), 1), model.baseline)
    at_once = SparseRegression(equations, basis)
    expected = at_once.weights(1.0, noise)
    for frame in copper_frames[::5]:
        one, target = predicted(model, regression.support, [expected], frame)
        other, _ = predicted(model, regression.support, regression.weights(), frame)
        assert np.abs(one - other).max() < 1e-7 * np.abs(target).max()


def test_growing_does_not_depend_on_the_order(grown, copper_frames):
    model, _, regression, start = grown
    once = start(copper_frames, regression.support)
    one, target = predicted(model, regression.support, regression.weights(), copper_frames[3])
    other, _ = predicted(model, once.support, once.weights(), copper_frames[3])
    assert np.abs(one - other).max() < 1e-7 * np.abs(target).max()


def test_left_out_errors_are_exact(grown, copper_frames):
    model, _, regression, start = grown
    k = 5
    without = start([f for i, f in enumerate(copper_frames) if i != k], regression.support)
    found, target = predicted(model, without.support, without.weights(), copper_frames[k])
    assert regression.left_out(k) == pytest.approx(target - found, abs=1e-6)
    assert np.abs(target - found).max() > 1e-3


def test_support_grows_by_what_is_new_only(grown, copper_frames):
    _, _, regression, start = grown
    again = start(copper_frames, regression.support)
    again.add([copper_frames[0]])
    before = len(again.support[0])
    again.add([copper_frames[0]])
    assert len(again.support[0]) == before
    unlike = copper_frames[0].to_atoms()
    unlike.positions[0] += [0.7, 0, 0]
    unlike.calc = EMT()
    unlike.get_stress()
    again.add([Frame.from_atoms(unlike)])
    assert len(again.support[0]) > before


# --- growing model ---


@pytest.mark.train
def test_update_of_full_model_equals_exact_regression(copper_frames):
    model = GrowingModel(copper_frames[:6], QUICK.model_copy(update={"estimator": "full"}), 1)
    before = model.model.info
    model.add(copper_frames[6:7])
    assert model.model.info["training"]["frames"] == 7
    assert model.model.info["hyperparameters"] == before["hyperparameters"]
    # the same by the estimator itself, with these hyperparameters fixed, on the same density
    noise = before["hyperparameters"]["noise"]
    options = model.options.model_copy(
        update={f"{kind}_noise": noise[kind] for kind in noise}
        | {"order_weights": before["hyperparameters"]["order_weights"][0][0]}
    )
    task = make_task(Dataset(copper_frames[:7]), options, "full", 1)
    task = replace(task, densities=[s.density for s in model.model.scales], baseline=model.model.baseline)
    fit = fit_full(task)
    one = replace(model.model, scales=fit.scales)
    atoms = copper_frames[9].to_atoms()
    forces = []
    for m in (model.model, one):
        atoms.calc = WKCalculator(m, 1)
        forces.append(atoms.get_forces())
    assert np.abs(forces[0] - forces[1]).max() < 1e-7


@pytest.mark.train
@pytest.mark.parametrize("options", [QUICK, SPARSE], ids=["full", "sparse"])
def test_growing_model(options, copper_frames, tmp_path):
    """Hyperparameters stay until the labels have grown by half; a saved model goes on where it was."""
    model = GrowingModel(copper_frames[:4], options, 1)
    optimised = []
    for frame in copper_frames[4:7]:
        model.add([frame])
        optimised.append(model.model.info["training"]["optimised_labels"] // 19)
        assert model.model.uncertainty is not None
    assert optimised == [4, 6, 6]
    model.model.save(tmp_path / "m.wkp")
    again = GrowingModel(copper_frames[:7], options, 1, model=Model.load(tmp_path / "m.wkp"))
    assert again.model.info["training"]["optimised_labels"] == 6 * 19
    model.add(copper_frames[7:8])
    again.add(copper_frames[7:8])
    errors = [m.model.info["training"]["errors"]["leave_one_out_forces_rmse"] for m in (model, again)]
    # support points of the sparse estimator that are loaded are in another order, which decides how many join them
    assert errors[0] == pytest.approx(errors[1], rel=1e-6 if options is QUICK else 0.1)
    other = GrowingModel(copper_frames[1:5], options, 1, model=again.model)  # of other frames: not used
    assert other.model.info["training"]["optimised_labels"] == 4 * 19


@pytest.mark.train
def test_update_that_fails(copper_frames, monkeypatch):
    """A noise that is too small for new frames ends in a training, not in an error."""
    model = GrowingModel(copper_frames[:4], QUICK, 1)

    def fails(self):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(GrowingModel, "_update", fails)
    model.add(copper_frames[4:5])
    assert model.model.info["training"]["optimised_labels"] == 5 * 19
