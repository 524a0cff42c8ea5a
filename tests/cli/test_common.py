"""Whose fault an error is: one line for what the user can put right, a log for faults of the program."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wk_potential import Model
from wk_potential.cli.common import ERROR_LOG
from wk_potential.errors import FileError, NotEnoughMemoryError, OptionsError, WKError

TRAIN = "wk_potential.training.train.train"
FAULT = "This is a fault of the program; the traceback is in"


def failing(error):
    def fail(*args, **kwargs):
        raise error

    return fail


def without_the_last_force(model, *args, **kwargs):
    """What a fault of ours would be: forces that do not fit the atoms."""
    found = EVALUATE(model, *args, **kwargs)
    return found._replace(forces=found.forces[:-1])


EVALUATE = Model.evaluate


@pytest.mark.parametrize("output", ["m.wkp", "out/m.wkp"])
def test_faults_of_the_program_leave_a_traceback_beside_the_output(run, data, monkeypatch, error_line, output):
    monkeypatch.setattr(TRAIN, failing(KeyError("surprise")))
    Path("out").mkdir()
    line = error_line(run("train", data, "-o", output, code=1))
    log = Path(output).with_name(ERROR_LOG)
    assert line == f"Error: unexpected KeyError: 'surprise'. {FAULT} {log}"
    assert "surprise" in log.read_text()


@pytest.mark.parametrize("name", ["md", "relax"])
def test_shapes_that_do_not_match_are_a_fault_of_the_program(run, model, structure, monkeypatch, error_line, name):
    monkeypatch.setattr(Model, "evaluate", without_the_last_force)  # ASE's arithmetic with them fails
    output = {"md": "out.traj", "relax": "out.xyz"}[name]
    line = error_line(run(name, model, structure, "-o", output, code=1))
    assert "unexpected ValueError: " in line
    assert line.endswith(f"{FAULT} {ERROR_LOG}")
    assert "Traceback" in Path(ERROR_LOG).read_text()


def test_shapes_that_do_not_match_in_our_own_code_are_a_fault_of_the_program(run, model, data, monkeypatch, error_line):
    predict = Model.predict

    def fewer_forces(*args, **kwargs):
        return [replace(found, forces=found.forces[:-1]) for found in predict(*args, **kwargs)]

    monkeypatch.setattr(Model, "predict", fewer_forces)
    line = error_line(run("evaluate", model, data, code=1))
    assert "unexpected ValueError: operands could not be broadcast" in line
    assert line.endswith(f"{FAULT} {ERROR_LOG}")


def test_a_value_error_of_numpy_is_a_fault_of_the_program(run, data, monkeypatch, error_line):
    monkeypatch.setattr(TRAIN, lambda *args, **options: np.zeros(2).reshape(3))
    assert "unexpected ValueError: cannot reshape" in error_line(run("train", data, "-o", "m.wkp", code=1))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NotEnoughMemoryError("70 GB are needed"), "70 GB are needed"),
        (OptionsError("order_weights is\n too long"), "order_weights is too long"),
        (WKError("no"), "no"),
        (FileError(errno.ENOSPC, "No space left on device", "m.wkp"), "m.wkp: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "a.xyz"), "a.xyz: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (MemoryError(), "there is not enough memory"),
        (MemoryError("Unable to allocate 7 TiB"), "there is not enough memory (Unable to allocate 7 TiB)"),
    ],
)
def test_what_the_user_can_put_right_is_one_line(run, data, monkeypatch, error_line, error, line):
    monkeypatch.setattr(TRAIN, failing(error))
    assert error_line(run("train", data, "-o", "m.wkp", code=1)) == f"Error: {line}"
    assert not Path(ERROR_LOG).exists()


@pytest.mark.parametrize("error", [OSError("no file of mine"), OSError(errno.EBADF, "Bad file descriptor")])
def test_an_os_error_without_a_file_is_a_fault_of_the_program(run, data, monkeypatch, error_line, error):
    monkeypatch.setattr(TRAIN, failing(error))
    assert FAULT in error_line(run("train", data, "-o", "m.wkp", code=1))


def test_faults_of_the_program_where_no_log_can_be_written(run, data, monkeypatch):
    monkeypatch.setattr(TRAIN, failing(KeyError("surprise")))
    Path(ERROR_LOG).mkdir()
    stderr = run("train", data, "-o", "m.wkp", code=1).stderr
    assert stderr.splitlines()[-1].endswith("the traceback is above")


# --- Ctrl-C ---


@pytest.mark.parametrize("name", ["train", "evaluate", "relax"])
def test_interrupted(run, data, model, structure, monkeypatch, name):
    before = set(Path().iterdir())
    monkeypatch.setattr(TRAIN, failing(KeyboardInterrupt))
    monkeypatch.setattr("wk_potential.model.model.Model.predict", failing(KeyboardInterrupt))
    monkeypatch.setattr("wk_potential.simulation.relaxation.relax", failing(KeyboardInterrupt))
    arguments = {
        "train": [data, "-o", "m.wkp"],
        "evaluate": [model, data, "--json", "e.json"],
        "relax": [model, structure, "-o", "r.xyz"],
    }
    result = run(name, *arguments[name], code=130)
    assert result.stderr.strip() == "interrupted, nothing written"
    assert set(Path().iterdir()) == before


def test_interrupted_while_a_command_is_imported(run, monkeypatch):
    monkeypatch.setattr("wk_potential.cli.import_module", failing(KeyboardInterrupt))
    run("train", code=130)


# --- as a program ---


@pytest.fixture
def program(tmp_path):
    """Start the command line as a program of its own."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONWARNINGS": "default"}

    def start(*arguments, **variables):
        command = [sys.executable, "-m", "wk_potential", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=tmp_path, env=environment | variables, **pipes)

    return start


def test_as_a_program(model, data, program):
    def call(*arguments):
        process = program(*arguments)
        out, err = process.communicate()
        return process.returncode, out.decode(), err.decode()

    code, out, err = call("evaluate", model.name, data.name, "--frames", "-2:", "--json", "e.json")
    assert (code, err) == (0, "")
    assert "Errors on 2 frames" in out
    code, out, err = call("evaluate", "none.wkp", data.name)
    assert code == 1
    assert err.startswith("Error: none.wkp")
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code", "text"), [(2, 130, "interrupted"), (15, 143, "ended by SIGTERM")])
def test_ctrl_c_and_the_end_of_a_batch_job(model, structure, program, tmp_path, number, code, text):
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("the shell has the signal ignored, as for jobs in the background")
    process = program("md", model.name, structure.name, "--time", "10000", "-o", "md.traj")
    while not (tmp_path / "md.log").exists() or len((tmp_path / "md.log").read_text().splitlines()) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.decode().splitlines() == [f"{text}; md.traj is whole up to its last frame, go on with --restart"]


@pytest.mark.parametrize("encoding", ["ascii", "gbk"])
def test_as_a_program_in_another_encoding(model, structure, program, encoding):
    process = program("relax", model.name, structure.name, "-o", "r.xyz", PYTHONIOENCODING=encoding)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert "eV/A\n" in out.decode(encoding).replace("\r\n", "\n")
