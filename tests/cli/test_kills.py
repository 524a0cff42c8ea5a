import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

SCRIPTS = Path(__file__).parents[1] / "scripts"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def kills(tmp_path, copper_frames, copper_model):
    """Kill a command so many times; what it makes in the end must be what it makes undisturbed."""
    write(tmp_path / "data.xyz", [frame.to_atoms() for frame in copper_frames[:6]])
    copper_model.save(tmp_path / "cu.wkp")
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    write(tmp_path / "cu.xyz", atoms)
    (tmp_path / "work").mkdir()

    def run(what, number, seed=0, timeout=600):  # a guard against hanging, with compiling on a busy machine
        source = tmp_path / ("cu.wkp" if what == "md" else "data.xyz")
        command = [sys.executable, SCRIPTS / "kills.py", what, source, tmp_path / "cu.xyz", number, seed]
        paths = os.pathsep.join([str(SCRIPTS.parents[1]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            list(map(str, command)), cwd=tmp_path / "work", capture_output=True, text=True, timeout=timeout,
            env=os.environ | {"PYTHONPATH": paths},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["killed"] == number

    return run


@pytest.mark.train
@pytest.mark.parametrize(("what", "number"), [("md", 8), ("train", 4), ("optimise", 4)])
def test_killed_and_started_again(kills, what, number):
    kills(what, number)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "number"), [("md", 60), ("train", 25), ("optimise", 25)])
def test_killed_many_times(kills, what, number):
    kills(what, number, seed=1, timeout=1800)
