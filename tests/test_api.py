"""The Python API as a notebook uses it: public names only."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

import wk_potential as wk

QUICK = {"cutoff": 4.0, "cutoff_width": 2.0, "lmax": 1, "order": 2, "density_width": 0.5, "channel_tolerance": 1e-2}


def labelled(seed, symbol="Cu"):
    atoms = bulk(symbol, cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


@pytest.fixture(scope="module")
def structures():
    return [labelled(seed) for seed in range(10)]


@pytest.fixture(scope="module")
def model(structures):
    return wk.train(structures[:6], short_cutoff=0, threads=1, **QUICK)


def test_notebook(structures, model, tmp_path):
    """Train from Atoms, predict a list, draw a kernel PCA map, write error bars."""
    unseen = structures[6:]
    predictions = model.predict(unseen)
    errors = wk.evaluate(model, unseen)
    differences = [p.forces - a.get_forces() for p, a in zip(predictions, unseen, strict=True)]
    assert errors["forces_rmse"] == pytest.approx(np.sqrt(np.mean(np.square(differences))))
    assert errors["uncertainty"]["forces"]["n"] == 3 * 4 * len(unseen)

    kernel = model.kernel(structures)
    centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    values, vectors = np.linalg.eigh(centred)
    assert values[0] > -1e-12 * values[-1]
    assert (vectors[:, -2:] * np.sqrt(values[-2:])).shape == (10, 2)

    atoms = unseen[0].copy()
    atoms.calc = wk.WKCalculator(model, uncertainty=True, threads=1)
    atoms.get_forces()
    write(tmp_path / "predicted.xyz", wk.store_results(atoms))
    back = read(tmp_path / "predicted.xyz")
    assert back.get_potential_energy() == pytest.approx(predictions[0].energy, abs=1e-6)
    assert back.info["energy_std"] == pytest.approx(predictions[0].energy_std, abs=1e-6)
    np.testing.assert_allclose(back.arrays["forces_std"], predictions[0].forces_std, atol=1e-6)
    np.testing.assert_allclose(back.arrays["extrapolation_grade"], predictions[0].extrapolation_grade, atol=1e-6)
    np.testing.assert_allclose(back.info["stress_std"], predictions[0].stress_std, atol=1e-6)


def test_paths_atoms_and_frames_train_the_same_model(structures, model, tmp_path):
    write(tmp_path / "frames.traj", structures[:6])
    path = tmp_path / "frames.traj"
    options = wk.TrainingOptions(short_cutoff=0, **QUICK)
    for data in (path, str(path), [path], wk.read_frames(path), wk.read_frames(structures[:6])):
        other = wk.train(data, options, threads=1)
        assert other.info["training"]["data_hash"] == model.info["training"]["data_hash"]
        np.testing.assert_array_equal(other.scales[0].support[0].weights, model.scales[0].support[0].weights)
    assert wk.train(structures[:6], {"lmax": 0, "order": 1}, threads=1, map=False).scales[0].order == 1


@pytest.mark.parametrize(
    ("data", "keywords", "message"),
    [
        ([], {}, "list is empty"),
        ([1, 2], {}, "entry 0 is a int"),
        ("none.xyz", {}, "none.xyz: file not found"),
        ([Atoms("Cu")], {}, "1 structures: no energy, forces or stress"),
        ([labelled(0)], {"energy_key": "E"}, "is in no frame; keys found"),
        ([labelled(0)], {"cutof": 3}, "unknown option 'cutof'; did you mean 'cutoff'"),
        ([labelled(0)], {"lmax": 9}, "lmax"),
        (wk.read_frames([labelled(0)]), {"energy_unit": "Hartree"}, "energy_unit: only for files and Atoms"),
    ],
)
def test_what_train_refuses(data, keywords, message):
    with pytest.raises(wk.WKError, match=message):
        wk.train(data, **keywords)


def test_predict_one_and_many(structures, model):
    one, many = model.predict(structures[0], threads=1), model.predict(structures[:3], threads=2)
    assert isinstance(one, wk.Prediction)
    assert [type(p) for p in many] == [wk.Prediction] * 3
    assert one.energies.sum() == pytest.approx(one.energy)
    np.testing.assert_allclose(one.forces, many[0].forces, atol=1e-12)
    plain = model.predict(structures[0], uncertainty=False)
    assert plain.energy_std is plain.extrapolation_grade is None
    assert model.predict([]) == []
    molecule = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])
    assert model.predict(molecule).stress is None
    assert len(repr(one)) < 400


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        ("file.xyz", "expected ase.Atoms, a Frame, or a list of them, not str"),
        (Atoms("Au"), "structure 0: atom 0 is Au, but the model was trained on Cu only"),
        (Atoms("Cu2", [[0, 0, 0], [0, 0, np.nan]]), "the position of atom 1 is not finite"),
        ([Atoms("Cu"), Atoms("Cu2", np.zeros((2, 3)))], "structure 1: atoms . and . are less than 0.1 Angstrom apart"),
    ],
)
def test_what_predict_refuses(model, atoms, message):
    with pytest.raises(wk.WKError, match=message):
        model.predict(atoms)


def test_models_and_calculators_fit_a_screen(model):
    calculator = wk.WKCalculator(model, threads=1)
    for thing in (model, calculator, model.scales[0], model.scales[0].support[0], model.uncertainty, model.repulsion):
        assert len(repr(thing)) < 1000
    assert "Cu" in repr(calculator)
    assert "trained on 6 frames" in repr(model)


def test_calculator_says_which_model_it_has(model, tmp_path):
    model.save(tmp_path / "cu.wkp")
    calculator = wk.WKCalculator(tmp_path / "cu.wkp", threads=1, uncertainty=True)
    facts = json.loads(json.dumps(calculator.todict()))
    assert facts == calculator.parameters
    assert facts["model"].endswith("cu.wkp")
    assert facts["model_hash"] == model.info["training"]["data_hash"][:16]
    assert facts["uncertainty"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thread": 1}, "no option 'thread'; did you mean 'threads'"),
        ({"device": "cuda", "threads": 1}, "no option 'device'"),
        ({"uncertainty": "False"}, "uncertainty must be True or False, not 'False'"),
        ({"direct": 1}, "direct must be True or False"),
        ({"threads": 1.5}, "threads must be a positive integer, not 1.5"),
        ({"threads": "2"}, "threads must be a positive integer, not '2'"),
        ({"threads": True}, "threads must be a positive integer, not True"),
        ({"precision": "float23"}, "precision must be 'float64' or 'float32'"),
        ({"skin": float("nan")}, "skin must be a number"),
        ({"skin": -1}, "skin must be a number"),
    ],
)
def test_what_a_calculator_refuses(model, options, message):
    with pytest.raises(wk.WKError, match=message):
        wk.WKCalculator(model, **options)


def test_options_of_a_calculator_stay(model):
    with pytest.raises(wk.WKError, match=r"precision: the options of a WKCalculator cannot be changed"):
        wk.WKCalculator(model, threads=1).set(precision="float32")
    with pytest.raises(wk.WKError, match="no structure"):
        wk.WKCalculator(model, threads=1).get_potential_energy()


def test_results_of_a_calculator_for_a_single_point(model, structures):
    atoms = structures[0].copy()
    atoms.calc = wk.WKCalculator(model, threads=1)
    energy = atoms.get_potential_energy()
    fixed = SinglePointCalculator(atoms, **atoms.calc.results)  # without error bars all names are ASE's
    assert fixed.results["energy"] == energy


def test_threads_share_a_calculator(model, structures):
    """Every thread gets the numbers of its own structure."""
    calculator = wk.WKCalculator(model, threads=1)
    expected = [p.energy for p in model.predict(structures, uncertainty=False)]

    def work(k):
        atoms = structures[k % len(structures)].copy()
        atoms.calc = calculator
        return atoms.get_potential_energy() - expected[k % len(structures)]

    with ThreadPoolExecutor(8) as pool:
        assert np.abs(list(pool.map(work, range(200)))).max() < 1e-9


def test_names_are_typed_and_lazy():
    code = "import sys, wk_potential; print(sorted({'numpy', 'ase', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for name in wk.__all__:
        assert getattr(wk, name) is not None
    assert 20 <= len(wk.__all__) <= 28
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        wk.nothing  # noqa: B018
