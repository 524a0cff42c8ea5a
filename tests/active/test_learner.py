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
from oracles.systems import PLAIN, QUICK

from wk_potential import Frame, Model, WKCalculator
from wk_potential.active.explore import explore
from wk_potential.active.learner import ActiveLearner, labelled_file
from wk_potential.active.model import GrowingModel
from wk_potential.active.reference import LabelledFile, clash
from wk_potential.cli import main
from wk_potential.errors import ActiveLearningError, DynamicsError, ReferenceFailed
from wk_potential.simulation.dynamics import run_md
from wk_potential.simulation.integrators import MDSettings

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


# --- the loop ---


@pytest.mark.train
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


@pytest.mark.train
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


@pytest.mark.train
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


@pytest.mark.train
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


@pytest.mark.train
def test_any_dynamics_of_ase(make, copper):
    learner = make(forces_limit=0.02)
    atoms = copper.copy()
    atoms.set_momenta(np.random.default_rng(0).normal(size=(4, 3)) * 3)
    dynamics = VelocityVerlet(atoms, 3 * fs)
    learner.attach(dynamics)
    dynamics.run(15)
    assert len(learner.labelled.frames) > 5
    assert atoms.calc.model is learner.model


@pytest.mark.train
def test_calls_can_be_limited(make, reference):
    learner = make(most_calls=6, forces_limit=0.01)
    assert not learner.run(RUN, learner.path.with_suffix(".traj"))
    assert len(reference.structures) == len(learner.labelled.frames) == 6


@pytest.mark.train
def test_second_start_does_nothing(make, reference):
    learner = make()
    learner.run(RUN, learner.path.with_suffix(".traj"))
    calls, data = len(reference.structures), learner.path.read_bytes()
    again = make()
    assert again.run(RUN, learner.path.with_suffix(".traj"))
    assert len(reference.structures) == calls
    assert again.labelled.calls == 0
    assert again.path.read_bytes() == data


@pytest.mark.train
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


@pytest.mark.train
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


@pytest.mark.train
def test_clash_without_a_step_before(make, copper):
    learner = make()
    atoms = copper.copy()
    atoms.positions[1] = atoms.positions[0] + [0.6, 0, 0]
    with pytest.raises(ActiveLearningError, match=r"atoms 0 \(Cu\) and 1 \(Cu\) are 0.60 Å apart at step 0"):
        learner.run(RUN, learner.path.with_suffix(".traj"), atoms=atoms)


# --- interruptions ---


@pytest.mark.train
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
        if where == "after a call" and len(self.data) in (6, 8):
            dies(len(self.data))

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


@pytest.mark.train
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
    with pytest.raises(ActiveLearningError, match="not made by active learning"):
        ActiveLearner(copper, reference, tmp_path / "mine.wkp", options=QUICK)
    with pytest.raises(DynamicsError, match="unknown ensemble"):
        make().run(MDSettings("nvp"), tmp_path / "x.traj")


# --- the command ---


@pytest.fixture
def command(tmp_path, copper):
    """Arguments that both ways to learn have, but for the reference."""
    write(tmp_path / "cu.xyz", copper)
    (tmp_path / "options.toml").write_text("\n".join(f"{k} = {v}" for k, v in {**PLAIN, "short_cutoff": 0}.items()))
    arguments = ["active", str(tmp_path / "cu.xyz"), "-o", str(tmp_path / "m.wkp"), "--threads", "1"]
    arguments += ["--config", str(tmp_path / "options.toml"), "--temperature", "900", "--timestep", "4"]
    return [*arguments, "--forces-limit", "0.05"]


def test_command(command, tmp_path):
    (tmp_path / "emt.py").write_text("from ase.calculators.emt import EMT\ncalculator = EMT()\n")
    arguments = [*command, "--reference", str(tmp_path / "emt.py"), "--ensemble", "nvt-langevin"]
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


def test_command_explores(command, tmp_path):
    arguments = [*command, "--reference", "ase.calculators.emt:EMT", "--time", "0.1", "--explore", "2", "--calls"]
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
        ("ase.build:molecule", "cannot be loaded|is no ASE calculator"),
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
