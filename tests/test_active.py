import json
import os
import signal
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from ase.units import fs
from click.testing import CliRunner

from wk_potential import Frame, Model, TrainingOptions, WKCalculator, train
from wk_potential.active.explore import explore
from wk_potential.active.growing import GrowingRegression
from wk_potential.active.learner import ActiveLearner, labelled_file
from wk_potential.active.model import GrowingModel
from wk_potential.active.reference import ActiveLearningError, LabelledFile, ReferenceFailed, clash
from wk_potential.cli import main
from wk_potential.dynamics import DynamicsError, MDSettings, run_md
from wk_potential.kernel.coupling import wigner_terms
from wk_potential.kernel.direct import in_blocks
from wk_potential.training.baseline import targets
from wk_potential.training.design import frame_design, kernel_matrices, stream_design
from wk_potential.training.full import fit_full
from wk_potential.training.regression import SparseRegression
from wk_potential.training.train import _task

PLAIN = {"cutoff": 4.0, "cutoff_width": 2.0, "lmax": 1, "order": 2, "density_width": 0.5, "channel_tolerance": 1e-2}
QUICK = TrainingOptions(**PLAIN, short_cutoff=0, map=False)
SPARSE = QUICK.model_copy(
    update={"estimator": "sparse", "support_points": 20, "lmax": 2, "order": 3, "saturation": 0.0}
)
RUN = MDSettings("nvt-langevin", temperature=900, timestep=4, time=0.2, seed=3)


class Counting(EMT):
    """EMT that writes down every call that it has answered."""

    def __init__(self, path, die_at=None):
        super().__init__()
        self.path, self.die_at, self.fail = Path(path), die_at, False

    def calculate(self, atoms=None, *rest, **more):
        super().calculate(atoms, *rest, **more)
        if self.fail:
            raise RuntimeError("no convergence")
        with self.path.open("a") as file:
            file.write(json.dumps(atoms.positions.round(6).tolist()) + "\n")

    @property
    def structures(self):
        return self.path.read_text().splitlines() if self.path.exists() else []


@pytest.fixture
def copper():
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.rattle(0.02, seed=0)
    return atoms


@pytest.fixture
def reference(tmp_path):
    return Counting(tmp_path / "calls.txt")


@pytest.fixture
def make(tmp_path, copper, reference):
    """Make a learner in a folder of its own."""

    def learner(**more):
        arguments = {"options": QUICK, "forces_limit": 0.05, "threads": 1, **more}
        return ActiveLearner(copper, reference, tmp_path / "cu.wkp", **arguments)

    return learner


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
    scale = model.scales[0]
    blocks, terms = [in_blocks(s) for s in support], wigner_terms(scale.density.lmax, scale.order)
    counts = [len(s) for s in support]
    design = frame_design(frame, scale.density, model.elements, terms, scale.order_weights[:1], blocks, counts)
    return design[:, 0] @ np.concatenate(weights), targets([frame], model.elements, model.baseline)[0]


def test_growing_equals_fit_at_once(grown, copper_frames):
    """Tall-skinny QR in the whitened basis, of the same support points and hyperparameters, all at once."""
    model, noise, regression, _ = grown
    assert len(regression.support[0]) > 6
    scale = model.scales[0]
    kernel = kernel_matrices(regression.support, scale.density.lmax, 3)
    factors = stream_design(
        copper_frames, np.zeros(len(copper_frames), int), scale.density, model.elements, model.baseline,
        regression.support, scale.order_weights[:1],
    )  # fmt: skip
    at_once = SparseRegression(factors, np.tensordot(scale.order_weights[0], kernel, 1)[None])
    expected = at_once.weights(np.ones(1), noise)
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
    task = _task(copper_frames[:7], options, "full", 1)
    task = replace(task, densities=[s.density for s in model.model.scales], baseline=model.model.baseline)
    fit = fit_full(task)
    one = replace(model.model, scales=fit.scales)
    atoms = copper_frames[9].to_atoms()
    forces = []
    for m in (model.model, one):
        atoms.calc = WKCalculator(m, 1)
        forces.append(atoms.get_forces())
    assert np.abs(forces[0] - forces[1]).max() < 1e-7


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


# --- the loop ---


def test_learning_pays(make, copper, reference):
    """The bound is kept: where the reference was not called, the error is about what it allows."""
    learner = make()
    assert learner.run(RUN, learner.path.with_suffix(".traj"))
    assert learner.labelled.calls == len(learner.labelled.frames) == len(reference.structures) > 6
    calls = [call for call in learner.calls if call.step is not None]
    assert len(calls) == len(learner.labelled.frames) - 5
    assert all(call.found > 0 and call.predicted > 0 for call in calls)
    frames = read(learner.path.with_suffix(".traj"), ":")
    assert [f.info["step"] for f in frames] == list(range(0, 51, 10))
    errors = []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = EMT()
        errors.append(atoms.get_forces() - frame.get_forces())
    assert np.sqrt(np.mean(np.square(errors))) < 0.1
    forces = np.concatenate([f.forces for f in learner.labelled.frames])
    assert np.sqrt(np.mean(forces**2)) > 0.5


def test_labels_are_saved_before_they_are_used(make, monkeypatch):
    learner = make()
    seen = []
    add = GrowingModel.add

    def watched(self, frames):
        seen.append(read(learner.labelled.path, -1).positions)
        assert np.abs(seen[-1] - frames[0].positions).max() == 0  # as in the file, to the last digit
        add(self, frames)

    monkeypatch.setattr(GrowingModel, "add", watched)
    learner.run(RUN, learner.path.with_suffix(".traj"))
    assert len(seen) == len(learner.labelled.frames) - 5


def test_exploring_labels_the_least_certain_frame_of_all_runs(make, copper, reference, tmp_path):
    """Run by run the frame is the one of the largest bar; at the end none is beyond the bounds."""
    learner = make(forces_limit=0.03, most_calls=7)
    hot = replace(RUN, temperature=1500)
    runs = [(copper, replace(RUN, temperature=50)), (copper, hot)]
    before = learner.calculator()
    assert not explore(learner, runs, tmp_path / "runs")
    first = learner.labelled.frames[5]
    assert len(learner.labelled.frames) == 7
    assert (tmp_path / "runs" / "run1.traj").is_file()

    def bar(atoms):
        atoms = atoms.copy()
        atoms.calc = before
        return before.get_property("forces_std", atoms).max()

    cold = tmp_path / "cold.traj"
    start = copper.copy()
    start.calc = before
    run_md(start, runs[0][1], cold)
    assert bar(first.to_atoms()) > max(bar(atoms) for atoms in read(cold, ":"))
    easy = make(forces_limit=10.0, grade_limit=1e3, most_calls=7)
    assert explore(easy, runs[:1], tmp_path / "runs")


def test_exploring_meets_new_neighbours(tmp_path):
    """A gold atom that comes from afar, out of sight of all first frames, is noticed and learned."""
    atoms = Atoms("Cu2Au", [[0, 0, 0], [2.3, 0, 0], [8.5, 0.5, 0]])
    atoms.set_velocities([[0, 0, 0], [0, 0, 0], [-0.15, 0, 0]])
    options = QUICK.model_copy(update={"cutoff": 5.0})
    learner = ActiveLearner(atoms, EMT(), tmp_path / "m.wkp", options=options, most_calls=9, threads=1)
    assert learner.model.uncertainty.closest[1, 0] == pytest.approx(5.0)
    settings = MDSettings("nve", timestep=4, time=0.25, keep_velocities=True)
    explore(learner, [(atoms, settings)], tmp_path / "runs")
    assert len(learner.labelled.frames) > 5
    assert learner.model.uncertainty.closest[1, 0] < 4.6


def test_any_dynamics_of_ase(make, copper):
    learner = make(forces_limit=0.02)
    atoms = copper.copy()
    atoms.set_momenta(np.random.default_rng(0).normal(size=(4, 3)) * 3)
    dynamics = VelocityVerlet(atoms, 3 * fs)
    learner.attach(dynamics)
    dynamics.run(15)
    assert len(learner.labelled.frames) > 5
    assert atoms.calc.model is learner.model


def test_calls_can_be_limited(make, reference):
    learner = make(most_calls=6, forces_limit=0.01)
    assert not learner.run(RUN, learner.path.with_suffix(".traj"))
    assert len(reference.structures) == len(learner.labelled.frames) == 6


def test_second_start_does_nothing(make, reference):
    learner = make()
    learner.run(RUN, learner.path.with_suffix(".traj"))
    calls, data = len(reference.structures), learner.path.read_bytes()
    again = make()
    assert again.run(RUN, learner.path.with_suffix(".traj"))
    assert len(reference.structures) == calls
    assert again.labelled.calls == 0
    assert again.path.read_bytes() == data


def test_failing_reference(make, reference, copper):
    learner = make(forces_limit=0.01)
    reference.fail = True
    with pytest.raises(ActiveLearningError, match=r"no convergence.*run again"):
        learner.run(RUN, learner.path.with_suffix(".traj"))
    assert len(learner.labelled.frames) == 5
    reference.fail = False
    again = make(forces_limit=0.01, most_calls=7)
    again.run(RUN, learner.path.with_suffix(".traj"))
    assert len(again.labelled.frames) == 7


def test_blown_up_frames_are_not_labelled(make, reference):
    """Atoms that a step throws upon each other: the step before is labelled, and the dynamics goes back to it."""
    learner = make(forces_limit=1e-3)
    atoms = learner.atoms.copy()
    dynamics = VelocityVerlet(atoms, 1 * fs)
    learner.attach(dynamics)
    dynamics.run(1)
    watch = dynamics.observers[-1][0]
    sound = atoms.positions.copy()
    before = len(reference.structures)
    watch.level = 1.0
    learner.labelled.frames = learner.labelled.frames[:5]  # the step before counts as unknown
    atoms.positions[1] = atoms.positions[0] + [0.5, 0, 0]
    watch()
    assert atoms.positions == pytest.approx(sound)
    assert len(reference.structures) == before + 1
    assert np.array(json.loads(reference.structures[-1])) == pytest.approx(sound, abs=1e-5)


def test_clash_without_a_step_before(make, copper):
    learner = make()
    atoms = copper.copy()
    atoms.positions[1] = atoms.positions[0] + [0.6, 0, 0]
    with pytest.raises(ActiveLearningError, match=r"atoms 0 \(Cu\) and 1 \(Cu\) are 0.60 Å apart at step 0"):
        learner.run(RUN, learner.path.with_suffix(".traj"), atoms=atoms)


# --- interruptions ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", ["in a call", "after a call", "after saving the label", "between steps"])
def test_kill(where, tmp_path, copper, monkeypatch):
    """Killed at a moment, started again: all answered calls are in the file, none of them twice."""
    calls = tmp_path / "calls.txt"

    def dies(k):
        """Whether it is time to die, once for each k."""
        mark = tmp_path / f"{where} {k}"
        if mark.exists():
            return
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    class Mortal(Counting):
        def calculate(self, atoms=None, *rest, **more):
            n = len(self.structures)
            if where == "in a call" and n in (2, 6, 7):
                dies(n)
            super().calculate(atoms, *rest, **more)

    label, add = LabelledFile.label, GrowingModel.add

    def labelled(self, *rest):
        frame = label(self, *rest)
        if where == "after saving the label" and len(self.frames) in (3, 6, 7):
            dies(len(self.frames))
        return frame

    def added(self, frames):
        add(self, frames)
        if where == "after a call" and len(self.frames) in (6, 8):
            dies(len(self.frames))

    monkeypatch.setattr(LabelledFile, "label", labelled)
    monkeypatch.setattr(GrowingModel, "add", added)
    trajectory = tmp_path / "cu.traj"

    def start():
        if pid := os.fork():
            return os.waitpid(pid, 0)[1]
        try:
            learner = ActiveLearner(
                copper, Mortal(calls), tmp_path / "cu.wkp", options=QUICK, forces_limit=0.05, threads=1
            )
            if where == "between steps":
                learner.progress = lambda stage, fraction: dies(30) if fraction > 0.6 else None
            learner.run(RUN, trajectory)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    statuses = []
    while not statuses or os.WIFSIGNALED(statuses[-1]):
        statuses.append(start())
    assert statuses[-1] == 0
    assert 2 <= len(statuses) <= 4
    frames = read(labelled_file(tmp_path / "cu.wkp"), ":")
    answered = Counting(calls).structures
    assert len(set(answered)) == len(answered) == len(frames) > 6
    for line, frame in zip(answered, frames, strict=True):
        assert np.abs(np.array(json.loads(line)) - frame.positions).max() < 1e-5
    assert [f.info["step"] for f in read(trajectory, ":")] == list(range(0, 51, 10))
    assert Model.load(tmp_path / "cu.wkp").info["training"]["frames"] == len(frames)


def test_half_a_frame_is_cut_off(make, reference):
    learner = make()
    text = learner.labelled.path.read_text()
    learner.labelled.path.write_text(text[:-60])
    again = make()
    assert len(again.labelled.frames) == 5
    assert again.labelled.calls == 1


# --- the file of labels ---


def test_labels_are_raw(tmp_path, copper):
    copper.set_constraint(FixAtoms([0]))
    file = LabelledFile(tmp_path / "l.xyz", EMT())
    frame = file.label(copper, lambda energy, forces: {"grade": 1.5})
    free = copper.copy()
    free.set_constraint()
    free.calc = EMT()
    assert frame.forces == pytest.approx(free.get_forces(), abs=1e-7)
    assert np.abs(frame.forces[0]).max() > 1e-3
    assert frame.stress == pytest.approx(free.get_stress(), abs=1e-7)
    assert read(file.path).info["grade"] == 1.5
    assert file.knows(copper)
    copper.rattle(0.01)
    assert not file.knows(copper)


class Nonsense(Calculator):
    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, *arguments):
        super().calculate(*arguments)
        self.results = {"energy": np.nan, "forces": np.zeros((len(self.atoms), 3))}


def test_labels_that_make_no_sense(tmp_path, copper):
    file = LabelledFile(tmp_path / "l.xyz", Nonsense())
    with pytest.raises(ReferenceFailed, match="the energy of the reference calculator is not finite"):
        file.label(copper)
    assert not file.path.exists()


def test_clash(copper):
    assert clash(copper) is None
    copper.positions[2] = copper.positions[3] + copper.cell[0] + [0, 1.0, 0]
    assert clash(copper) == "atoms 2 (Cu) and 3 (Cu) are 1.00 Å apart"


def test_bad_starts(make, copper, reference, tmp_path, copper_model):
    with pytest.raises(ActiveLearningError, match="bounds must be positive"):
        make(forces_limit=0.0)
    make()
    other = copper.copy()
    other.positions[0] += 0.1
    with pytest.raises(ActiveLearningError, match="was made from another structure"):
        ActiveLearner(other, reference, tmp_path / "cu.wkp", options=QUICK)
    copper_model.save(tmp_path / "mine.wkp")
    with pytest.raises(ActiveLearningError, match="not made by learning on the fly"):
        ActiveLearner(copper, reference, tmp_path / "mine.wkp", options=QUICK)
    with pytest.raises(DynamicsError, match="unknown ensemble"):
        make().run(MDSettings("nvp"), tmp_path / "x.traj")


# --- the command ---


def test_command(tmp_path, copper):
    write(tmp_path / "cu.xyz", copper)
    (tmp_path / "options.toml").write_text(
        "\n".join(f"{name} = {value}" for name, value in {**PLAIN, "short_cutoff": 0}.items())
    )
    (tmp_path / "emt.py").write_text("from ase.calculators.emt import EMT\ncalculator = EMT()\n")
    arguments = ["active", str(tmp_path / "cu.xyz"), "--reference", str(tmp_path / "emt.py"), "--threads", "1"]
    arguments += ["-o", str(tmp_path / "m.wkp"), "--config", str(tmp_path / "options.toml"), "--temperature", "900"]
    arguments += ["--timestep", "4", "--ensemble", "nvt-langevin", "--forces-limit", "0.05"]
    result = CliRunner().invoke(main, [*arguments, "--time", "0.1"])
    assert result.exit_code == 0, result.output
    n = len(read(tmp_path / "m.labelled.xyz", ":"))
    assert f"calls    {n}, {n} of them now" in result.output
    assert "predicted" in result.output
    assert WKCalculator(tmp_path / "m.wkp", uncertainty=True).model.is_mapped
    result = CliRunner().invoke(main, [*arguments, "--time", "0.12"])
    assert result.exit_code == 1
    assert "go on with --restart" in result.output
    result = CliRunner().invoke(main, [*arguments, "--time", "0.12", "--restart"])
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "m.traj").info["step"] == 30


def test_command_explores(tmp_path, copper):
    write(tmp_path / "cu.xyz", copper)
    (tmp_path / "options.toml").write_text("\n".join(f"{k} = {v}" for k, v in {**PLAIN, "short_cutoff": 0}.items()))
    arguments = ["active", str(tmp_path / "cu.xyz"), "--reference", "ase.calculators.emt:EMT", "--threads", "1"]
    arguments += ["-o", str(tmp_path / "m.wkp"), "--config", str(tmp_path / "options.toml"), "--temperature", "900"]
    arguments += ["--timestep", "4", "--forces-limit", "0.05", "--time", "0.1", "--explore", "2", "--calls"]
    result = CliRunner().invoke(main, [*arguments, "7"])
    assert result.exit_code == 0, result.output
    assert len(read(tmp_path / "m.labelled.xyz", ":")) <= 7
    assert {path.suffix for path in (tmp_path / "m.runs").iterdir()} == {".traj", ".log"}
    result = CliRunner().invoke(main, [*arguments, "8", "--restart"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere.py", "cannot be loaded"),
        ("no_such_module:EMT", "cannot be loaded"),
        ("ase.calculators.emt:NONE", "defines no 'NONE'"),
        ("ase.build:molecule", "unexpected|is no ASE calculator"),
        ("ase.units:kB", "is no ASE calculator"),
    ],
)
def test_command_with_bad_reference(reference, message, tmp_path, copper, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("cu.xyz", copper)
    result = CliRunner().invoke(main, ["active", "cu.xyz", "--reference", reference, "-o", "m.wkp"])
    assert result.exit_code == 1
    assert any(part in result.output for part in message.split("|")), result.output


def test_frames_of_the_user(make, copper_frames, reference):
    """Labelled frames to start from are used, not asked for."""
    learner = make(initial=copper_frames[:6], forces_limit=5.0, grade_limit=100.0)
    assert not reference.structures
    assert learner.run(replace(RUN, time=0.04, temperature=100), learner.path.with_suffix(".traj"))
    assert not reference.structures
    assert isinstance(learner.learn(copper_frames[7].to_atoms()), Frame)
    assert len(reference.structures) == 1
    assert learner.model.info["training"]["frames"] == 7


def test_update_that_fails(copper_frames, monkeypatch):
    """A noise that is too small for new frames ends in a training, not in an error."""
    model = GrowingModel(copper_frames[:4], QUICK, 1)

    def fails(self):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(GrowingModel, "_update", fails)
    model.add(copper_frames[4:5])
    assert model.model.info["training"]["optimised_labels"] == 5 * 19
