"""Training files of other packages are read right, or refused by name."""

import re
import warnings

import numpy as np
import pytest
from corpus import sources  # noqa: F401, it fills CASES
from corpus.formats import CASES, VOIGT, samples

from wk_potential.atoms.reading import read_frames
from wk_potential.atoms.trajectories import write_frames
from wk_potential.atoms.vasp import unconverged_steps
from wk_potential.errors import DataError


@pytest.mark.parametrize("name", CASES)
def test_format(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    data = samples()
    case = CASES[name](data)
    if case.refused:
        with pytest.raises(DataError, match=case.refused):
            read_frames(case.path, **case.reading)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames = read_frames(case.path, **case.reading)
    texts = [str(w.message) for w in caught]
    if case.warns:
        assert len(texts) == 1
        assert re.search(case.warns, texts[0])
    else:
        assert texts == []
    expected = data[case.chosen]
    assert len(frames) == len(expected)
    for frame, sample in zip(frames, expected, strict=True):
        assert (frame.numbers == sample.atoms.numbers).all()
        if "cell" in case.lacks:
            np.testing.assert_allclose(frame.positions, sample.atoms.positions, atol=1e-9)
            assert not frame.pbc.all()
        else:  # VASP wraps positions
            shift = np.linalg.solve(frame.cell.T, (frame.positions - sample.atoms.positions).T)
            np.testing.assert_allclose(shift, np.round(shift), atol=1e-8)
            np.testing.assert_allclose(frame.cell, sample.atoms.cell.array, atol=1e-7)
            assert frame.pbc.all()
        assert frame.energy == pytest.approx(sample.energy, rel=2e-8)  # ASE has CODATA 2014
        np.testing.assert_allclose(frame.forces, sample.forces, rtol=2e-8, atol=1e-8)
        if "stress" in case.lacks:
            assert frame.stress is None
        else:
            np.testing.assert_allclose(frame.stress, [sample.stress[i, j] for i, j in VOIGT], rtol=1e-6, atol=1e-9)
    check_written(frames)


def check_written(frames):
    """Written as extended XYZ they are the same."""
    write_frames("written.xyz", frames)
    for a, b in zip(frames, read_frames("written.xyz"), strict=True):
        assert (a.numbers == b.numbers).all()
        assert (a.pbc == b.pbc).all()
        for kind in ("positions", "cell", "energy", "forces", "stress"):
            left, right = getattr(a, kind), getattr(b, kind)
            assert (left is None) == (right is None)
            if left is not None:
                np.testing.assert_allclose(right, left, rtol=1e-8, atol=2e-8, err_msg=kind)


def test_the_corpus_is_large():
    assert len(CASES) >= 50


OUTCAR = """   NELM   =      3;   NELMIN=  2; NELMDL= -5     # of ELM steps
--------------------------------------- Iteration      1(   1)  ---------------------------------------
--------------------------------------- Iteration      1(   2)  ---------------------------------------
------------------------ aborting loop because EDIFF is reached ----------------------------------------
--------------------------------------- Iteration      2(   1)  ---------------------------------------
--------------------------------------- Iteration      2(   2)  ---------------------------------------
--------------------------------------- Iteration      2(   3)  ---------------------------------------
--------------------------------------- Iteration      3(   1)  ---------------------------------------
--------------------------------------- Iteration      3(   2)  ---------------------------------------
--------------------------------------- Iteration      3(   3)  ---------------------------------------
------------------------ aborting loop because EDIFF is reached ----------------------------------------
"""


def test_steps_of_an_outcar_that_did_not_converge(tmp_path):
    (tmp_path / "OUTCAR").write_text(OUTCAR)
    assert unconverged_steps(tmp_path / "OUTCAR") == {1}
    assert unconverged_steps(tmp_path / "frames.xyz") == set()
