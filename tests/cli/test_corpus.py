"""Bad files, structures, models and options: each gives a message that names what is wrong, none a traceback."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from click.testing import CliRunner
from corpus import commands, files, labels, structures  # noqa: F401, they fill CASES
from corpus.cases import CASES, frames, relabelled

from wk_potential import Frame, TrainingOptions, read_frames, train
from wk_potential.cli import main
from wk_potential.cli.common import ERROR_LOG
from wk_potential.training.doubts import label_warnings


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


@pytest.mark.train
@pytest.mark.parametrize("estimator", ["full", "sparse"])
@pytest.mark.parametrize("sign", [1, -1])
def test_doubts_about_the_sign_of_the_stress(estimator, sign):
    options = {"cutoff": 4.0, "cutoff_width": 2.0, "short_cutoff": 0, "channel_tolerance": 0.01, "map": False}
    images = [relabelled(atoms, stress=sign * atoms.get_stress()) for atoms in frames(24)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = TrainingOptions(estimator=estimator, support_points=60, **options)
        train([Frame.from_atoms(atoms) for atoms in images], chosen, threads=1)
    doubts = [str(w.message) for w in caught if "opposite sign" in str(w.message)]
    assert len(doubts) == (sign < 0)


def test_symmetric_frames_and_frames_at_rest_raise_no_doubt(copper_frames):
    assert label_warnings(copper_frames) == []
    perfect = Frame.from_atoms(relabelled(bulk("Cu", cubic=True), energy=1.0, forces=np.zeros((4, 3)), stress=None))
    assert label_warnings([perfect]) == []


@pytest.mark.parametrize(
    "name", ["mlearn/Si_train", "mlearn/Mo_train", "water/test", "3bpa/train_300K", "acac/train_300K"]
)
def test_real_data_raise_no_doubt(shared_data, name):
    assert label_warnings(read_frames(shared_data / f"{name}.xyz")) == []
