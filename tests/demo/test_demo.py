import re

import numpy as np
import pytest
from ase.io import read
from click.testing import CliRunner

from wk_potential import TrainingOptions, read_frames
from wk_potential.cli import main
from wk_potential.demo import DATA
from wk_potential.demo.ahead import compiling_ahead, run_later_steps
from wk_potential.demo.run import FILES, SECONDS, SECONDS_COMPILED, run_demo
from wk_potential.simulation.dynamics import read_log


def test_data():
    frames = read_frames(DATA)
    assert len(frames) == 100
    assert all(f.energy is not None and f.forces is not None and len(f) == 9 for f in frames)


@pytest.mark.train
def test_short_demo(tmp_path):
    stages, lines = {}, []
    density = {"cutoff": 3.5, "cutoff_width": 2, "lmax": 1, "density_width": 0.5, "channel_tolerance": 0.03}
    fit = {"order": 2, "order_weights": [300, 2000], "energy_noise": 0.02, "forces_noise": 0.3}  # no search
    options = TrainingOptions(**density, **fit)
    result = run_demo(
        tmp_path / "new" / "demo",
        threads=1,
        log=lines.append,
        progress=lambda stage, fraction: stages.setdefault(stage.partition(":")[0], []).append(fraction),
        time=0.02,
        options=options,
    )
    assert sorted(p.name for p in (tmp_path / "new" / "demo").iterdir()) == sorted(FILES.values())
    assert len(read_frames(result.files["train"])) == len(read_frames(result.files["test"])) == 50
    assert result.table["n_frames"] == 50
    assert result.table["forces_mae"] < 1
    assert len(read(result.files["trajectory"], ":")) == 5
    assert stages["demo"][-1] == 1
    assert lines


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(main, ["demo", "-o", str(tmp_path / "file" / "x")])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1


@pytest.mark.slow
def test_demo_as_a_user_sees_it(tmp_path):
    result = CliRunner().invoke(main, ["demo", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert all((tmp_path / name).stat().st_size > 1000 for name in FILES.values())
    assert float(re.search(r"forces +meV/Å +([\d.]+)", result.stdout)[1]) < 40
    log = read_log(tmp_path / "md.log")
    assert log["time"][-1] == 1
    assert log["total"].std() / 9 < 1e-3
    assert abs(np.polyfit(log["time"], log["total"], 1)[0]) / 9 < 1e-4
    for command in re.findall(r"wk-potential (\w+)", result.stdout.partition("Next")[2]):
        assert command in ("info", "evaluate", "md", "relax", "train")


def test_stages_of_both_references_are_those_of_the_demo():
    assert list(SECONDS) == list(SECONDS_COMPILED)


def test_steps_that_are_compiled_ahead_run():
    run_later_steps()


def test_second_process_ends_with_the_block():
    with compiling_ahead() as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_no_second_process_is_no_fault(monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with compiling_ahead() as process:
        assert process is None
