"""Models that learn the difference to another potential: the sum is what they give, everywhere."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.io import write
from click.testing import CliRunner
from oracles.systems import QUICK, SPARSE

from wk_potential import ActiveLearner, Model, WKCalculator, evaluate, run_checks, train
from wk_potential.active.model import GrowingModel
from wk_potential.cli import main
from wk_potential.errors import BaselineError, DataError, ModelFileError, OptionsError
from wk_potential.model.model import baseline_of

pytestmark = pytest.mark.train
OPTIONS = {name: getattr(QUICK, name) for name in QUICK.model_fields_set} | {"uncertainty": True}
MODULE = """
from ase.calculators.lj import LennardJones

def below():
    return LennardJones(sigma=2.3, epsilon=0.2, rc=4.0, smooth=True)
"""


def below():
    """The cheap potential."""
    return LennardJones(sigma=2.3, epsilon=0.2, rc=4.0, smooth=True)


def labelled(seed, calculator=None):
    """A strained and rattled cell of copper and gold."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=3.8)
    atoms.symbols = ["Cu", "Au", "Cu", "Cu"]
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.1, (4, 3))
    atoms.calc = calculator or SumCalculator([EMT(), below()])
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    return atoms


class Counted(Calculator):
    """The cheap potential, without stress; it counts its calls and fails at one of them."""

    implemented_properties = ("energy", "forces")

    def __init__(self, fails_at=None):
        super().__init__()
        self.calls, self.fails_at = 0, fails_at

    def calculate(self, atoms=None, properties=(), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("no convergence")
        copy = atoms.copy()
        copy.calc = below()
        self.results = {"energy": copy.get_potential_energy(), "forces": copy.get_forces()}


@pytest.fixture(scope="module")
def frames():
    return [labelled(seed) for seed in range(8)]


@pytest.fixture(scope="module")
def model(frames):
    return train(frames, baseline=below, threads=1, **OPTIONS)


@pytest.fixture(scope="module")
def alone(frames):
    """A model of the difference, from labels that know nothing of the cheap potential."""
    return train([labelled(k, EMT()) for k in range(8)], threads=1, **OPTIONS)


def test_the_sum_is_that_of_a_model_of_the_difference(model, alone):
    atoms = labelled(100)
    expected = SumCalculator([WKCalculator(alone, threads=1), below()])
    found = WKCalculator(model, threads=1, uncertainty=True)
    assert found.get_potential_energy(atoms) == pytest.approx(expected.get_potential_energy(atoms), abs=1e-6)
    assert found.get_property("free_energy", atoms) == found.get_potential_energy(atoms)
    assert found.get_forces(atoms) == pytest.approx(expected.get_forces(atoms), abs=1e-6)
    assert found.get_stress(atoms) == pytest.approx(expected.get_stress(atoms), abs=1e-6)
    prediction = model.predict(atoms, threads=1)
    assert prediction.energy == pytest.approx(found.get_potential_energy(atoms), abs=1e-9)
    assert prediction.forces == pytest.approx(found.get_forces(atoms), abs=1e-12)
    assert prediction.stress == pytest.approx(found.get_stress(atoms), abs=1e-12)
    assert prediction.energies is None
    assert prediction.forces_std == pytest.approx(alone.predict(atoms, threads=1).forces_std, rel=1e-3)


def test_errors_are_those_of_the_difference(model, alone):
    whole = evaluate(model, [labelled(k) for k in range(20, 24)], threads=1)
    difference = evaluate(alone, [labelled(k, EMT()) for k in range(20, 24)], threads=1)
    for name in ("energy_mae", "forces_rmse", "stress_mae"):
        assert whole[name] == pytest.approx(difference[name], rel=1e-4)


def test_the_sum_conserves_energy_and_is_symmetric(model):
    atoms = labelled(100).repeat(2)
    atoms.calc = WKCalculator(model, threads=1)
    assert [str(check) for check in run_checks(atoms, time=0.4) if not check.passed] == []


def test_atoms_have_no_energies_of_their_own(model):
    calculator = WKCalculator(model, threads=1)
    for name in ("energies", "stresses"):
        assert name not in calculator.implemented_properties
        with pytest.raises(PropertyNotImplementedError):
            calculator.get_property(name, labelled(100))


def test_a_file_does_not_hold_a_calculator(model, tmp_path):
    model.save(tmp_path / "model.wkp")
    atoms, loaded = labelled(100), Model.load(tmp_path / "model.wkp")
    assert "adds to" in repr(loaded)
    with pytest.raises(BaselineError, match="it does not hold: give it again, the whole of LennardJones"):
        loaded.predict(atoms)
    with pytest.raises(BaselineError, match=r"WKCalculator\(model, baseline=calculator\)"):
        WKCalculator(loaded).get_potential_energy(atoms)
    expected = model.predict(atoms).energy
    assert loaded.with_baseline(below()).predict(atoms).energy == expected
    calculator = WKCalculator(tmp_path / "model.wkp", baseline=below)
    assert calculator.get_potential_energy(atoms) == pytest.approx(expected, abs=1e-9)
    assert pickle.loads(pickle.dumps(calculator)).get_potential_energy(atoms) == pytest.approx(expected, abs=1e-9)


def test_another_potential_is_noticed(model):
    other = model.with_baseline(LennardJones(sigma=2.3, epsilon=0.2001, rc=4.0, smooth=True))
    with pytest.raises(BaselineError, match=r"not the one .*, LennardJones: the energy of AuCu3"):
        other.predict(labelled(100))


def test_a_baseline_where_there_is_none_is_refused(alone):
    with pytest.raises(OptionsError, match="without a baseline"):
        WKCalculator(alone, baseline=below)
    with pytest.raises(OptionsError, match="no ASE calculator"):
        train([labelled(1)], baseline=3.0)


def test_frames_are_computed_once(frames, tmp_path):
    file, forces = tmp_path / "below.npz", OPTIONS | {"use_stress": False}
    failing = Counted(fails_at=6)
    with pytest.raises(DataError, match=r"Atoms object 5|fails for AuCu3 \(RuntimeError: no convergence\)"):
        train(frames, baseline=failing, baseline_file=file, threads=1, **forces)
    calculator = Counted()
    first = train(frames, baseline=calculator, baseline_file=file, threads=1, **forces)
    assert calculator.calls == 2 + 4 + 1  # four frames were kept, of which two are compared; the check is the last
    again = Counted()
    second = train(frames, baseline=again, baseline_file=file, threads=1, **forces)
    assert again.calls == 2 + 1
    assert second.predict(frames[0]).energy == first.predict(frames[0]).energy
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="holds something else, or is damaged; delete it"):
        train(frames, baseline=Counted(), baseline_file=file, threads=1, **forces)


def test_results_of_a_calculator_that_has_changed_are_not_used(frames, tmp_path):
    file = tmp_path / "below.npz"
    for epsilon in (0.2, 0.1):
        calculator = LennardJones(sigma=2.3, epsilon=epsilon, rc=4.0, smooth=True)
        model = train(frames, baseline=calculator, baseline_file=file, threads=1, **OPTIONS)
        assert model.predict(frames[0]).energy == pytest.approx(frames[0].get_potential_energy(), abs=0.05)


def test_stresses_need_a_baseline_with_stresses(frames):
    with pytest.raises(DataError, match="has a stress, but the baseline Counted gives none"):
        train(frames, baseline=Counted, threads=1, **OPTIONS)
    model = train(frames, baseline=Counted, threads=1, use_stress=False, **OPTIONS)
    assert model.predict(frames[0]).stress is None
    with pytest.raises(BaselineError, match="Counted gives no stress"):
        WKCalculator(model).get_property("stress", frames[0])


def test_atoms_far_apart_have_the_energies_of_isolated_atoms(frames):
    energies = {"Cu": -1.0, "Au": -2.5}
    model = train(frames, baseline=below, isolated_atoms=energies, threads=1, **OPTIONS)
    far = Atoms("CuAu", [[0, 0, 0], [30, 0, 0]])
    assert model.predict(far).energy == pytest.approx(-3.5, abs=1e-9)
    atoms = [Atoms(symbol, info={"energy": e}) for symbol, e in energies.items()]
    same = train([*frames, *atoms], baseline=below, threads=1, **OPTIONS)
    assert same.predict(far).energy == pytest.approx(-3.5, abs=1e-9)


@pytest.mark.parametrize("estimator", [QUICK, SPARSE])
def test_a_growing_model_learns_the_difference(estimator, frames, tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    options = estimator.model_copy(update={"baseline": f"{tmp_path}/mine.py:below", "use_stress": True})
    known = [f for f in read_frames_of(frames)]
    growing = GrowingModel(known[:5], options, threads=1)
    growing.add(known[5:6])
    assert len(growing.data) == 6
    found = evaluate(growing.model, read_frames_of([labelled(k) for k in range(20, 24)]), threads=1)
    worse = GrowingModel(known[:6], options.model_copy(update={"baseline": None}), threads=1)
    assert found["forces_rmse"] < 2 * evaluate(worse.model, known, threads=1)["forces_rmse"] + 0.05
    assert growing.model.predict(known[0], threads=1).energy == pytest.approx(known[0].energy, abs=0.05)


def read_frames_of(structures):
    """Frames of labelled structures."""
    from wk_potential import Frame

    return [Frame.from_atoms(atoms) for atoms in structures]


@pytest.fixture
def trained_below(tmp_path, frames, alone):
    """Files of frames, of a model of copper and gold, and of a model that adds to it."""
    write(tmp_path / "frames.xyz", frames)
    alone.save(tmp_path / "base.wkp")
    model = train(frames, baseline=str(tmp_path / "base.wkp"), threads=1, **OPTIONS)
    model.save(tmp_path / "sum.wkp")
    return tmp_path


def test_a_model_adds_to_a_model(trained_below, alone, monkeypatch):
    atoms, folder = labelled(100), trained_below
    expected = Model.load(folder / "sum.wkp").predict(atoms)
    (folder / "elsewhere").mkdir()
    for name in ("base.wkp", "sum.wkp"):
        (folder / name).rename(folder / "elsewhere" / name)
    moved = Model.load(folder / "elsewhere" / "sum.wkp")
    assert moved.predict(atoms).energy == expected.energy
    part = replace(moved, baseline_potential=None).predict(atoms).energy + alone.predict(atoms).energy
    assert moved.predict(atoms).energy == pytest.approx(part, abs=1e-9)
    (folder / "elsewhere" / "base.wkp").unlink()
    with pytest.raises(ModelFileError, match=r"base\.wkp"):
        Model.load(folder / "elsewhere" / "sum.wkp").predict(atoms)


def test_a_model_beside_the_other_is_its_baseline(trained_below, monkeypatch):
    folder = trained_below
    expected = Model.load(folder / "sum.wkp").predict(labelled(100)).energy
    (folder / "other").mkdir()
    train([labelled(k, below()) for k in range(4)], threads=1, **OPTIONS).save(folder / "other" / "base.wkp")
    monkeypatch.chdir(folder / "other")
    assert Model.load(folder / "sum.wkp").predict(labelled(100)).energy == expected
    calculator = pickle.loads(pickle.dumps(WKCalculator(folder / "sum.wkp")))
    assert calculator.get_potential_energy(labelled(100)) == pytest.approx(expected, abs=1e-9)


def test_a_model_is_not_written_over_its_baseline(trained_below, monkeypatch):
    monkeypatch.chdir(trained_below)
    result = CliRunner().invoke(main, ["train", "frames.xyz", "--baseline", "base.wkp", "-o", "base.wkp"])
    assert "base.wkp: is the baseline, which the new model would replace" in result.output


def test_names_of_files_may_hold_a_plus_sign(trained_below):
    (trained_below / "a+b.wkp").write_bytes((trained_below / "base.wkp").read_bytes())
    name = f"{trained_below}/a+b.wkp"
    assert (
        baseline_of(name).evaluate(labelled(1)).energy
        == baseline_of(f"{trained_below}/base.wkp").evaluate(labelled(1)).energy
    )
    assert len(baseline_of(f"{name} + {name}").terms) == 2


def test_frames_on_which_the_baseline_does_nothing_do_not_check_it():
    def argon(seed, distance):
        atoms = Atoms("Ar2", [[0, 0, 0], [distance, 0, 0]])
        atoms.rattle(0.1, seed=seed)
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.02, rc=6.0, smooth=True)
        atoms.get_potential_energy(), atoms.get_forces()
        return atoms

    frames = [argon(0, 5.7), *(argon(k, 3.5) for k in range(1, 6))]
    model = train(frames, baseline=LennardJones(sigma=3.4, epsilon=0.01, rc=6.0, smooth=True), threads=1, **OPTIONS)
    other = model.with_baseline(LennardJones(sigma=3.4, epsilon=0.1, rc=6.0, smooth=True))
    with pytest.raises(BaselineError, match="not the one that the model was trained with"):
        other.predict(frames[1])


def test_a_model_that_is_its_own_baseline_is_refused(trained_below):
    (trained_below / "base.wkp").write_bytes((trained_below / "sum.wkp").read_bytes())
    with pytest.raises(ModelFileError, match="is its own baseline"):
        Model.load(trained_below / "base.wkp").predict(labelled(100))


def test_commands_take_the_calculator_of_the_user(frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("frames.xyz", frames)
    (tmp_path / "mine.py").write_text(MODULE)
    fast = ["--lmax", 1, "--order", 2, "--cutoff", 4, "--short-cutoff", 0, "--saturation", 0, "--element-mixing", 0]

    def run(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)])

    made = run("train", "frames.xyz", "-o", "model.wkp", "--baseline", "mine.py:below", *fast, "--no-map")
    assert made.exit_code == 0, made.output
    assert "Baseline potential: mine.py:below" in made.output
    assert (tmp_path / "model.baseline.npz").exists()
    shown = run("info", "model.wkp").output
    assert "baseline potential" in shown
    assert "mine.py:below" in shown
    assert "it does not hold: give it again, the whole of mine.py:below" in " ".join(
        run("evaluate", "model.wkp", "frames.xyz").output.split()
    )
    assert run("evaluate", "model.wkp", "frames.xyz", "--baseline", "mine.py:below").exit_code == 0
    for command in (["relax", "-o", "relaxed.xyz", "--steps", 2], ["md", "-o", "md.traj", "--time", 0.002]):
        name, *rest = command
        done = run(name, "model.wkp", "frames.xyz", *rest, "--baseline", "mine.py:below")
        assert "Baseline" not in done.output
        assert done.exit_code == 0 or "not converged" in done.output, done.output


def test_active_learning_learns_the_difference(tmp_path, frames):
    (tmp_path / "mine.py").write_text(MODULE)
    options = QUICK.model_copy(update={"baseline": f"{tmp_path}/mine.py:below"})
    learner = ActiveLearner(
        labelled(0), SumCalculator([EMT(), below()]), tmp_path / "model.wkp", options=options,
        initial=read_frames_of(frames), threads=1,
    )  # fmt: skip
    assert str(learner.model.baseline_potential).endswith("mine.py:below")
    assert learner.model.predict(frames[0]).energy == pytest.approx(frames[0].get_potential_energy(), abs=0.05)
