"""Names of baselines, their parameters, and their packages."""

import sys

import pytest

from wk_potential import TrainingOptions
from wk_potential.baselines.methods import Method
from wk_potential.errors import BaselineError, OptionsError


@pytest.mark.parametrize(
    ("text", "shown", "parameters"),
    [
        ("gfn2-xtb", "gfn2-xtb", {"charge": 0.0, "multiplicity": 0}),
        ("GFN1-xTB(charge=-1)", "gfn1-xtb(charge=-1)", {"charge": -1.0}),
        ("gfn2-xtb( 1, 2 )", "gfn2-xtb(charge=1, multiplicity=2)", {"charge": 1.0, "multiplicity": 2}),
        ("d3(PBE)", "d3(pbe)", {"functional": "pbe", "damping": "d3bj"}),
        ("d3(pbe, d3zero)", "d3(pbe, damping=d3zero)", {"damping": "d3zero"}),
        ("d4(functional=r2scan)", "d4(r2scan)", {"functional": "r2scan"}),
    ],
)
def test_a_text_stands_for_a_method(text, shown, parameters):
    method = Method.parse(text)
    assert str(method) == shown
    assert Method.parse(shown) == method
    assert parameters.items() <= method.parameters.items()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gfn3-xtb", "expected gfn1-xtb, gfn2-xtb, d3, d4"),
        ("", "expected gfn1-xtb"),
        ("d3", "needs the parameter functional"),
        ("d3(pbe, bj)", "damping must be one of d3bj"),
        ("d3(pbe, d3bj, 3)", "has only the parameters functional, damping"),
        ("d3(pbe, functional=pbe)", "functional is given twice"),
        ("d3(pbe/../x)", "functional must be a word"),
        ("gfn2-xtb(charge=one)", "charge must be a number"),
        ("gfn2-xtb(charge=nan)", "charge must be from -10 to 10"),
        ("gfn2-xtb(charge=30)", "charge must be from -10 to 10"),
        ("gfn2-xtb(accuracy=0)", "accuracy must be from 0.0001 to 10"),
        ("gfn2-xtb(multiplicity=-3)", "multiplicity must be from 0 to 20"),
        ("gfn2-xtb(multiplicity=1.5)", "multiplicity must be a whole number"),
        ("gfn2-xtb(spin=1)", "has no parameter 'spin'; it has charge, multiplicity"),
        ("gfn2-xtb)", "expected gfn1-xtb"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(OptionsError, match=message.replace("(", r"\(")):
        Method.parse(text)


@pytest.mark.parametrize("text", ["gfn2-xtb + d3(pbe)", "base.wkp", "d4(pbe)+base.wkp", "mine.py:calculator", "a.b:c"])
def test_options_take_sums_files_and_calculators(text):
    assert TrainingOptions(baseline=text).baseline == text


@pytest.mark.parametrize("text", ["gfn2-xtb +", "pbe", "d3(pbe)+d5(pbe)", ""])
def test_options_refuse_what_is_no_baseline(text):
    with pytest.raises(OptionsError, match="baseline"):
        TrainingOptions.checked({"baseline": text})


def test_a_package_that_is_not_there_is_named(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("wk_potential.baselines.methods.version", absent)
    monkeypatch.setitem(sys.modules, "tblite.ase", None)  # as if it could not be imported
    for use in (lambda method: method.calculator(), lambda method: method.version):
        with pytest.raises(BaselineError, match=r"needs the package tblite: pip install 'wk_potential\[xtb\]'"):
            use(Method.parse("gfn2-xtb"))
