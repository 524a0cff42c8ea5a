import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from wk_potential.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments, code=0, charset="utf-8"):
        result = CliRunner(charset=charset).invoke(main, [str(a) for a in arguments])
        assert result.exit_code == code, result.output
        return result

    return run_command


@pytest.fixture
def data(tmp_path, copper_frames):
    """Six labelled frames of copper, in an extended XYZ file."""
    write(tmp_path / "data.xyz", [frame.to_atoms() for frame in copper_frames[:6]])
    return tmp_path / "data.xyz"


@pytest.fixture
def model(tmp_path, copper_model):
    """A model file."""
    copper_model.save(tmp_path / "cu.wkp")
    return tmp_path / "cu.wkp"


@pytest.fixture
def structure(tmp_path):
    """A file with a structure out of balance."""
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    write(tmp_path / "cu.xyz", atoms)
    return tmp_path / "cu.xyz"


@pytest.fixture
def error_line():
    """Return the only line on stderr, which is an error."""

    def only_line(result):
        lines = result.stderr.splitlines()
        assert len(lines) == 1, lines
        assert "Traceback" not in result.output
        assert lines[0].startswith("Error: ")
        return lines[0]

    return only_line
