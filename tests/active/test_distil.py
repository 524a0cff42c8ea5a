"""A student learns from a teacher on its own dynamics, restartably, and its errors are measured before it learns."""

from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import LinearCombinationCalculator
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.langevin import Langevin
from click.testing import CliRunner
from oracles.systems import PLAIN

from wk_potential import Model, TrainingOptions, WKCalculator, evaluate, read_frames, train
from wk_potential.active import distil
from wk_potential.active.distil import Distillation, DistilSettings, teacher_of
from wk_potential.active.teacher_errors import with_errors_of_teacher
from wk_potential.cli import main
from wk_potential.errors import ActiveLearningError, DynamicsError, OptionsError
from wk_potential.model.model import baseline_of
from wk_potential.training.train import frames_of, train_frames

pytestmark = pytest.mark.train
OPTIONS = TrainingOptions(**PLAIN, short_cutoff=0, saturation=0.0, element_mixing=0.0)
FEW = DistilSettings((300.0, 600.0), frames=40, timestep=2.0)


def alloy():
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    return atoms


class Failing(EMT):
    """A teacher that fails now and then."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls % 7 == 0:
            raise RuntimeError("no convergence")
        super().calculate(atoms, properties, system_changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A distillation that has ended, and why."""
    path = tmp_path_factory.mktemp("distil") / "student.wkp"
    lines = []
    distillation = Distillation([alloy()], EMT(), path, FEW, OPTIONS, threads=1, log=lines.append)
    return distillation, distillation.run(), lines


def test_the_student_is_good_on_new_dynamics(finished):
    distillation, why, lines = finished
    assert why in ("40 frames are labelled", "the errors have stopped falling")
    assert len(distillation.labelled.frames) <= 40
    atoms = alloy()
    atoms.calc = EMT()
    rng = np.random.default_rng(5)
    dynamics, frames = Langevin(atoms, 2 * units.fs, temperature_K=450, friction=0.02, rng=rng, fixcm=False), []
    for _ in range(10):
        dynamics.run(20)
        copy = atoms.copy()
        copy.calc = EMT()
        copy.get_potential_energy(), copy.get_forces(), copy.get_stress()
        frames.append(copy)
    found = evaluate(Model.load(distillation.path), frames, threads=1)
    assert found["forces_rmse"] < 0.05
    assert found["forces_rmse"] < 3 * distillation.rounds[-1].forces + 0.01
    assert sum("Round" in line for line in lines) == len(distillation.rounds)
    assert distillation.seconds > 0


def test_errors_are_measured_before_the_frames_are_learned(finished):
    distillation = finished[0]
    first = distillation.rounds[0]
    known, new = distillation.labelled.frames[: first.frames], distillation.labelled.frames[first.frames :][: first.new]
    assert len(known) == distil.START_FRAMES
    student = train_frames(known, OPTIONS, threads=1)
    assert evaluate(student, new, threads=1)["forces_rmse"] == pytest.approx(first.forces, rel=1e-3)


def test_labels_are_those_of_the_teacher_and_are_kept(finished, tmp_path):
    distillation = finished[0]
    frame = distillation.labelled.frames[-1]
    atoms = frame.to_atoms()
    atoms.calc = EMT()
    assert frame.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    path = tmp_path / "student.wkp"
    write(path.with_suffix(".labelled.xyz"), read(distillation.labelled.path, ":20"))
    again = Distillation([alloy()], EMT(), path, FEW, OPTIONS, threads=1)
    assert again.labelled.calls == 0
    again.run()
    assert 20 < len(again.labelled.frames) <= 40
    write(path.with_suffix(".labelled.xyz"), read(distillation.labelled.path, ":3"))
    few = Distillation([alloy()], EMT(), path, FEW, OPTIONS, threads=1)
    assert few.labelled.calls == distil.START_FRAMES - 3
    with pytest.raises(ActiveLearningError, match=r"\.xyz: the energy of .* differs from the teacher's"):
        Distillation([alloy()], LennardJones(), path, FEW, OPTIONS, threads=1)
    other = [replace(f, energy=f.energy + 10.0) for f in few.labelled.frames[:2]]
    with pytest.raises(ActiveLearningError, match=r"the known frames: .* refers to other energies of atoms"):
        Distillation([alloy()], EMT(), tmp_path / "new.wkp", FEW, OPTIONS, other, threads=1)


def test_frames_at_which_the_teacher_fails_are_left_out(tmp_path):
    settings, lines = DistilSettings(frames=24, timestep=2.0), []
    one = Distillation([alloy()], Failing(), tmp_path / "s.wkp", settings, OPTIONS, threads=1, log=lines.append)
    one.run()
    assert any("Left out: the reference calculator failed (RuntimeError: no convergence)" in line for line in lines)
    assert len(one.labelled.frames) > 10


def test_it_ends_when_the_errors_are_small_enough(tmp_path):
    settings = DistilSettings(frames=100, timestep=2.0, forces_error=1.0)
    one = Distillation([alloy()], EMT, tmp_path / "s.wkp", settings, OPTIONS, threads=1)
    assert one.run() == "the error of the forces is below 1000 meV/Å"
    assert len(one.labelled.frames) < 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperatures": ()}, "temperatures"),
        ({"temperatures": (0.0,)}, "temperatures"),
        ({"frames": 3}, "16 at least"),
        ({"timestep": 100.0}, "time step"),
        ({"forces_error": -1.0}, "forces_error"),
        ({"forces_error": float("nan")}, "forces_error"),
        ({"temperatures": (float("nan"),)}, "temperatures"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(OptionsError, match=message):
        DistilSettings(**settings)


def test_teachers_are_models_methods_and_calculators(finished):
    assert isinstance(teacher_of(str(finished[0].path)), WKCalculator)
    assert isinstance(teacher_of("ase.calculators.emt:EMT"), EMT)
    pytest.importorskip("dftd3", reason="needs dftd3: pip install 'wk_potential[dispersion]'")
    atoms = alloy()
    atoms.calc = teacher_of(" d3(pbe) + d3(pbe, d3zero)")
    parts = [baseline_of(text).evaluate(atoms).energy for text in ("d3(pbe)", "d3(pbe, d3zero)")]
    assert atoms.get_potential_energy() == pytest.approx(sum(parts))
    assert atoms.get_stress().shape == (6,)
    with pytest.raises(OptionsError, match="TEACHER nothing: cannot be loaded"):
        teacher_of("nothing")


def test_without_a_start_or_a_teacher_that_works_there_is_nothing_to_do(tmp_path):
    with pytest.raises(ActiveLearningError, match="no structure to start from"):
        Distillation([], EMT(), tmp_path / "s.wkp")
    with pytest.raises(OptionsError, match="without a baseline"):
        Distillation([alloy()], EMT(), tmp_path / "s.wkp", options=TrainingOptions(baseline="gfn2-xtb"))
    with pytest.raises(OptionsError, match="leave valid_fraction out"):
        Distillation([alloy()], EMT(), tmp_path / "s.wkp", options=TrainingOptions(valid_fraction=0.2))
    with pytest.raises(ActiveLearningError, match="the teacher fails at the structures to start from: the reference"):
        Distillation([bulk("Fe", cubic=True)], EMT(), tmp_path / "s.wkp", FEW, OPTIONS, threads=1)


def test_settings_that_do_not_fit_are_told(tmp_path):
    settings = DistilSettings(pressure=0.0, frames=40)
    cluster = alloy()
    cluster.pbc, cluster.cell = False, None
    with pytest.raises(DynamicsError, match="npt"):
        Distillation([cluster], EMT(), tmp_path / "s.wkp", settings, OPTIONS, threads=1).run()


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("start.xyz", alloy())
    options = {**PLAIN, "short_cutoff": 0.0, "saturation": 0.0, "element_mixing": 0.0}
    (tmp_path / "quick.toml").write_text("".join(f"{name} = {value}\n" for name, value in options.items()))
    command = ["distil", "ase.calculators.emt:EMT", "start.xyz", "--frames", "20", "--timestep", "2", "--threads", "1"]
    command += ["--config", "quick.toml", "-o", "fast.wkp"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "Student against teacher" in result.output
    assert "Done: 20 frames are labelled" in result.output
    assert len(read_frames("fast.labelled.xyz")) == 20
    same = CliRunner().invoke(main, ["distil", "fast.wkp", "start.xyz", "-o", "fast.wkp"])
    assert "fast.wkp: is the teacher, which the student would replace" in same.output
    again = CliRunner().invoke(main, command)
    assert "fast.labelled.xyz: exists; go on with --restart" in again.output
    copies = read("fast.labelled.xyz", "-2:")
    for atoms in copies:
        atoms.rattle(0.01)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    write("known.xyz", copies)
    known = CliRunner().invoke(main, [*command, "--restart", "--with", "known.xyz"])
    assert known.exit_code == 0, known.output


def labelled_copies(calculator, n, seed):
    rng, frames = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = alloy()
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.calc = calculator
        frames.append(atoms.copy())
        labels = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        frames[-1].calc = SinglePointCalculator(frames[-1], **labels)
    return frames


def shifted(scale):
    """EMT and some part of another potential."""
    return LinearCombinationCalculator([EMT(), MorsePotential(epsilon=0.3, r0=2.6, rho0=4.0)], [1.0, scale])


def test_error_bars_tell_the_distance_from_what_the_teacher_learned(tmp_path):
    """The teacher is off by more than the student is from it."""
    plain = {name: value for name, value in OPTIONS if name in OPTIONS.model_fields_set}
    truth = shifted(0.3)
    teacher = train(labelled_copies(truth, 8, 1), OPTIONS, threads=1, **plain | {"lmax": 0, "order": 1})
    calculator = WKCalculator(teacher, threads=1)
    student = train(labelled_copies(calculator, 40, 2), OPTIONS, threads=1)
    new, ratios = frames_of(labelled_copies(truth, 20, 3)), []
    for model in (student, with_errors_of_teacher(student, teacher, new)):
        found = model.predict(new, 1)
        error = np.concatenate([p.forces - f.forces for p, f in zip(found, new, strict=True)])
        bars = np.concatenate([p.forces_std for p in found])
        ratios.append(np.sqrt(np.mean(error**2) / np.mean(bars**2)))
    assert 0.7 < ratios[1] < 1.4
    assert ratios[0] > 1.5 * ratios[1]
    settings = DistilSettings((300.0,), frames=16, timestep=2.0)
    own = Distillation([alloy()], calculator, tmp_path / "s.wkp", settings, OPTIONS, threads=1).model
    alone = train_frames(read_frames(tmp_path / "s.labelled.xyz"), OPTIONS, threads=1)
    assert (own.uncertainty.calibration[:4] > alone.uncertainty.calibration[:4]).all()


def test_a_training_that_ends_with_a_student(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("frames.xyz", labelled_copies(shifted(0.05), 12, 1))
    options = {**PLAIN, "short_cutoff": 0.0, "saturation": 0.0, "element_mixing": 0.0}
    (tmp_path / "quick.toml").write_text("".join(f"{name} = {value}\n" for name, value in options.items()))
    command = ["train", "frames.xyz", "--distil", "--config", "quick.toml", "--threads", "1", "-o", "fast.wkp"]
    alone = CliRunner().invoke(main, command)
    assert "name it with --baseline" in alone.output
    command += ["--baseline", "ase.calculators.emt:EMT"]
    for more, message in (("--no-use-energy", "needs the energies"), ("--valid-fraction=0.2", "wk-potential evaluate")):
        assert message in CliRunner().invoke(main, [*command, more]).output
    monkeypatch.setattr(distil, "MOST_ROUNDS", 2)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "about the temperature of the frames" in result.output
    assert "Student against teacher" in result.output
    teacher, student = Model.load("fast.teacher.wkp"), Model.load("fast.wkp")
    assert teacher.baseline_potential is not None
    assert student.baseline_potential is None
    new = labelled_copies(shifted(0.05), 8, 9)
    assert evaluate(student, new, threads=1)["forces_rmse"] < 0.1
    assert "go on with wk-potential distil --restart" in CliRunner().invoke(main, command).output
