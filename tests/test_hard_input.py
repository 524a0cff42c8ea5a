"""Bad files, structures, models and options: each gives a message that names what is wrong, none a traceback."""

import re
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner
from hard_input.cases import CASES

from wk_potential.cli import main
from wk_potential.cli.common import ERROR_LOG


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # NumPy leaves broken archives open
@pytest.mark.parametrize("name", CASES)
def test_hard_input(tmp_path, monkeypatch, copper_model, name):
    monkeypatch.chdir(tmp_path)
    copper_model.save("cu.wkp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ASE, when it writes what it should not
        arguments, expected = CASES[name]()
    before = set(Path().iterdir())
    result = CliRunner().invoke(main, arguments)
    assert "Traceback" not in result.output
    assert not Path(ERROR_LOG).exists(), Path(ERROR_LOG).read_text()
    kind = "Warning: " if name.startswith("warn") else "Error: "
    assert result.exit_code == (0 if name.startswith("warn") else 1), result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith(kind)]
    assert all(any(re.search(text, line) for line in lines) for text in expected), result.stderr
    if kind == "Error: ":
        assert result.stderr.splitlines() == lines  # one line, and nothing else
        assert len(lines) == 1
        assert set(Path().iterdir()) == before  # and nothing is written


def test_the_corpus_is_large():
    assert len(CASES) >= 60
