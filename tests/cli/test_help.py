import re
import subprocess
import sys

import pytest

from wk_potential import TrainingOptions, __version__

COMMANDS = (
    "data", "train", "evaluate", "info", "check", "map", "pareto", "bench", "active", "distil", "md", "relax",
    "spectrum", "lammps", "export", "demo",
)  # fmt: skip


def test_help_lists_the_commands(run):
    for flags in (["--help"], ["-h"]):
        text = run(*flags).output
        assert all(re.search(rf"^  {name} ", text, re.M) for name in COMMANDS)
    assert __version__ in run("--version").output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_has_units_and_an_example(run, name):
    text = run(name, "--help").output
    assert "Example" in text
    assert f"wk-potential {name} " in text
    assert re.search(r"\b(eV|Angstrom|fs|ps|microseconds)\b", text)
    assert "--threads" in text or name in ("data", "info", "export")


def test_help_is_fast():
    code = "import sys, wk_potential.cli as c; sys.argv[1:] = ['--help']\ntry: c.main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('numba', 'ase', 'scipy', 'matplotlib', 'rich.table') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()[-1] == "[]"


def test_unknown_command_is_a_usage_error(run):
    assert "No such command" in run("trian", code=2).stderr
    assert "Missing" in run("train", code=2).stderr


def test_every_training_option_is_there(run):
    text = run("train", "--help").output
    for name in TrainingOptions.model_fields:
        assert f"--{name.replace('_', '-')}" in text
    assert re.search(r"Seed of the random choices \[default:\s+0\]", text)
