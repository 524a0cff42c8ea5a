"""Program: runs a command undisturbed, then again with `kill -9` at random moments until it ends, and compares.

python kills.py md|train|optimise MODEL_OR_DATA STRUCTURE_OR_- KILLS SEED, in an empty folder. Prints one JSON object.
The processes that are killed are forked, so that they need not be loaded and compiled each time.
"""

import json
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

from ase.io import read

from wk_potential.cli import main
from wk_potential.model.container import read_container
from wk_potential.training import train as training
from wk_potential.training.limits import Limits, SearchLimits

QUICK = ["--cutoff", "4", "--cutoff-width", "2", "--lmax", "1", "--order", "2", "--density-width", "0.5"]
QUICK += ["--channel-tolerance", "0.01", "--frames", ":4", "--short-cutoff", "0", "--threads", "1"]
training.train = partial(training.train, limits=Limits(search=SearchLimits(evaluations=12)))  # as the command calls it


def command(what: str, source: str, structure: str, name: str) -> list[str]:
    if what == "md":
        settings = ["--ensemble", "nvt-langevin", "--temperature", "500", "--timestep", "2", "--time", "1.5"]
        return [
            "md",
            source,
            structure,
            "-o",
            f"{name}.traj",
            "--interval",
            "7",
            "--restart",
            "--threads",
            "1",
            *settings,
        ]
    extra = ["--optimise"] if what == "optimise" else []
    return ["train", source, "-o", f"{name}.wkp", *QUICK, *extra]


def start(arguments: list[str]) -> int:
    """Fork a process that runs a command."""
    if pid := os.fork():
        return pid
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    code = 99
    try:
        main(arguments, standalone_mode=False)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        os._exit(code)


def wait(pid: int) -> int | None:
    """Exit code of a process, None if it was killed."""
    status = os.waitpid(pid, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None


def results(what: str, name: str):
    """What has to be the same, to the last bit."""
    if what == "md":
        frames = read(f"{name}.traj", ":")
        arrays = [(f.positions.tobytes(), f.get_momenta().tobytes(), f.info["step"]) for f in frames]
        return arrays, Path(f"{name}.log").read_text()
    header, arrays = read_container(f"{name}.wkp")
    chosen = header["training"].get("search", {}).get("chosen")
    return {k: a.tobytes() for k, a in arrays.items()}, header["hyperparameters"], chosen


def run(what: str, source: str, structure: str, kills: int, seed: int) -> dict:
    random.seed(seed)
    arguments = command(what, source, structure, "whole")
    assert wait(start(arguments)) == 0
    begin = time.perf_counter()
    Path("again").mkdir()
    assert wait(start(command(what, source, structure, "again/whole"))) == 0  # compiled by now
    seconds = time.perf_counter() - begin
    assert results(what, "again/whole") == results(what, "whole")
    killed = finished = 0
    while killed < kills or not finished:
        if finished:  # and once more from the beginning
            for path in Path().glob("broken.*"):
                path.unlink()
            finished = 0
        pid = start(command(what, source, structure, "broken"))
        if killed < kills:
            time.sleep(random.uniform(0, 0.7 * seconds))
            os.kill(pid, signal.SIGKILL)
        code = wait(pid)
        if code is None:
            killed += 1
            if what != "md" and Path("broken.wkp").exists():
                assert results(what, "broken") == results(what, "whole"), "a model that is not whole"
        else:
            assert code == 0 or (what == "md" and results(what, "broken") == results(what, "whole")), code
            assert results(what, "broken") == results(what, "whole"), f"after {killed} kills"
            finished += 1
    return {"killed": killed, "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]))))
