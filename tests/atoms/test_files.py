import os
import signal

import pytest
from ase.build import bulk

from wk_potential.atoms.files import naming, replacing, uninterrupted, write_atomically
from wk_potential.atoms.trajectories import append_frame
from wk_potential.errors import FileError


def full(*args):
    raise OSError(28, "No space left on device")


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path, monkeypatch):
    with pytest.raises(FileError) as raised:
        write_atomically(tmp_path / "none" / "m.wkp", b"data")
    assert raised.value.filename == str(tmp_path / "none" / "m.wkp")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError) as raised:
        write_atomically(tmp_path / "m.wkp", b"data")
    assert (raised.value.errno, raised.value.filename) == (28, str(tmp_path / "m.wkp"))
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_handed_on(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "m.wkp"):
        raise KeyError
    with pytest.raises(KeyError), naming(tmp_path / "m.wkp"):
        raise KeyError


@pytest.mark.parametrize("ending", ["xyz", "traj"])
def test_a_frame_that_cannot_be_appended(tmp_path, ending):
    with pytest.raises(FileError) as raised:
        append_frame(tmp_path / "none" / f"run.{ending}", bulk("Cu"))
    assert raised.value.filename == str(tmp_path / "none" / f"run.{ending}")


def test_signals_wait_for_the_end_of_a_block():
    """And come then, even if a destructor ran when they arrived."""
    done, before = [], signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored

    class Closing:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            done.append("closed")

    def write():
        with uninterrupted():
            Closing()
            done.append("written")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["closed", "written"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)
    with uninterrupted():
        pass
