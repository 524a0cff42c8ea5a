"""xTB and dispersion agree with the calculators of their packages."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from wk_potential import Frame, Model, TrainingOptions, WKCalculator, dimer_curves, train
from wk_potential.analysis.plots import dimer_figure
from wk_potential.errors import BaselineError, CompositionWarning, ModelFileError, OptionsError
from wk_potential.model.container import read_container, write_container
from wk_potential.model.model import baseline_of
from wk_potential.testing import check_cutoff, check_forces, check_permutation, check_rotations
from wk_potential.training.difference import without_potential

tblite = pytest.importorskip("tblite.ase", reason="needs tblite: pip install 'wk_potential[xtb]'")
dftd3 = pytest.importorskip("dftd3.ase", reason="needs dftd3: pip install 'wk_potential[dispersion]'")
dftd4 = pytest.importorskip("dftd4.ase", reason="needs dftd4: pip install 'wk_potential[dispersion]'")

OPTIONS = {"lmax": 1, "order": 2, "cutoff": 4.0, "short_cutoff": 0, "saturation": 0.0, "element_mixing": 0.0}


def ethanol(seed):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=seed)
    return atoms


def salt(seed):
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


@pytest.mark.parametrize(
    ("text", "calculator"),
    [
        ("gfn2-xtb", lambda: tblite.TBLite(method="GFN2-xTB", accuracy=0.1, verbosity=0)),
        ("gfn1-xtb(charge=1)", lambda: tblite.TBLite(method="GFN1-xTB", charge=1, accuracy=0.1, verbosity=0)),
        ("d3(pbe)", lambda: dftd3.DFTD3(method="pbe", damping="d3bj")),
        ("d3(pbe, d3zero)", lambda: dftd3.DFTD3(method="pbe", damping="d3zero")),
        ("d4(b3lyp)", lambda: dftd4.DFTD4(method="b3lyp")),
    ],
)
@pytest.mark.parametrize("structure", [ethanol(1), salt(1)], ids=["molecule", "crystal"])
def test_methods_are_those_of_their_packages(text, calculator, structure):
    atoms = structure.copy()
    atoms.calc = calculator()
    found = baseline_of(text).evaluate(structure)
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert found.forces == pytest.approx(atoms.get_forces(), abs=1e-10)
    if structure.pbc.all():
        assert found.stress == pytest.approx(atoms.get_stress(), abs=1e-10)
    else:
        assert found.stress is None


def test_a_sum_is_the_sum_of_its_terms():
    atoms = salt(2)
    parts = [baseline_of(text).evaluate(atoms) for text in ("gfn1-xtb", "d3(pbe)")]
    found = baseline_of("gfn1-xtb + d3(pbe)").evaluate(atoms)
    assert found.energy == pytest.approx(sum(p.energy for p in parts), abs=1e-9)
    assert found.stress == pytest.approx(sum(p.stress for p in parts), abs=1e-12)


def test_results_do_not_depend_on_earlier_structures():
    baseline = baseline_of("gfn2-xtb")
    first = baseline.evaluate(ethanol(1))
    baseline.evaluate(ethanol(2))
    assert baseline.evaluate(ethanol(1), threads=2).energy == first.energy


def test_a_method_that_fails_names_the_structure():
    with pytest.raises(BaselineError, match=r"baseline gfn2-xtb fails for Og"):
        baseline_of("gfn2-xtb").evaluate(Atoms("Og"))


@pytest.fixture(scope="module")
def delta(tmp_path_factory):
    """A model of ethanol by GFN1-xTB that adds to GFN2-xTB."""
    frames = []
    for seed in range(6):
        atoms = ethanol(seed)
        atoms.calc = tblite.TBLite(method="GFN1-xTB", accuracy=0.1, verbosity=0)
        atoms.get_potential_energy(), atoms.get_forces()
        frames.append(atoms)
    path = tmp_path_factory.mktemp("delta") / "delta.wkp"
    train(frames, baseline="gfn2-xtb", threads=1, **OPTIONS).save(path)
    return path, frames


@pytest.mark.train
def test_a_model_file_brings_its_method(delta):
    path, frames = delta
    model = Model.load(path)
    assert model.predict(frames[0]).energy == pytest.approx(frames[0].get_potential_energy(), abs=0.01)
    assert model.info["baseline"]["methods"][0]["version"].startswith("tblite ")
    atoms = ethanol(9)
    atoms.calc = WKCalculator(path, threads=1)
    checks = (check_forces, check_rotations, check_permutation, check_cutoff)
    rows = [row for check in checks for row in check(atoms)]
    assert [str(row) for row in rows if not row.passed] == []


@pytest.mark.train
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b["methods"][0].update(method="os.system"), "'os.system' is not known"),
        (lambda b: b["methods"][0]["parameters"].update(charge="x"), "charge must be a number"),
        (lambda b: b["methods"][0]["parameters"].update(path="x"), "has no parameter 'path'"),
        (lambda b: b["methods"][0].update(more=1), "more"),
        (lambda b: b["methods"][0].update(version="\x1b[31m"), "version"),
        (lambda b: b["methods"][0].update(method="model", name="a\0b.wkp"), "name"),
        (lambda b: b["methods"].clear(), "lack gfn2-xtb, which the options name"),
        (lambda b: b.pop("check"), "methods without a structure"),
        (lambda b: b["check"]["positions"].pop(), "methods without a structure"),
        (lambda b: b["check"]["numbers"].__setitem__(0, 1000), "numbers"),
    ],
)
def test_hostile_methods_are_refused(delta, tmp_path, change, message):
    header, arrays = read_container(delta[0])
    change(header["baseline"])
    write_container(tmp_path / "bad.wkp", header, arrays)
    with pytest.raises(ModelFileError, match=message):
        Model.load(tmp_path / "bad.wkp")


@pytest.mark.train
def test_other_results_of_a_package_are_noticed(delta, tmp_path):
    header, arrays = read_container(delta[0])
    header["baseline"]["check"]["energy"] += 1e-3
    write_container(tmp_path / "other.wkp", header, arrays)
    with pytest.raises(BaselineError, match=r"gfn2-xtb \(tblite .*\): the energy of C2H6O is"):
        WKCalculator(tmp_path / "other.wkp").get_potential_energy(ethanol(1))


@pytest.mark.train
def test_curves_of_two_atoms_are_those_of_the_sum(delta, tmp_path):
    model = Model.load(delta[0])
    distances = [0.15, 0.8, 1.2]
    (curve,) = [c for c in dimer_curves(model, distances) if c.numbers == (1, 1)]
    with pytest.warns(CompositionWarning):
        energies = [model.predict(Atoms("H2", [[0, 0, 0], [r, 0, 0]])).energy for r in distances[1:]]
    assert curve.energies[1] - curve.energies[2] == pytest.approx(energies[0] - energies[1], abs=1e-6)
    dimer_figure(dimer_curves(model, distances), tmp_path / "dimers.png")


def test_structures_that_are_periodic_in_some_directions_are_refused():
    atoms = ethanol(1)
    atoms.set_cell([15, 15, 15])
    atoms.pbc = (True, True, False)
    for text in ("gfn2-xtb", "d3(pbe)", "d4(pbe)"):
        with pytest.raises(BaselineError, match=r"molecules and crystals only.* periodic in 2 directions"):
            baseline_of(text).evaluate(atoms)


@pytest.mark.train
def test_a_molecule_in_a_cell_has_a_stress(delta):
    """As i-PI asks for it: the derivative of the energy by strain, divided by the volume of any cell."""
    atoms = ethanol(9)
    atoms.set_cell([20, 20, 20])
    atoms.calc = WKCalculator(delta[0], threads=1)
    found = atoms.get_stress(voigt=False)

    def energy(strain):
        copy = atoms.copy()
        copy.positions = copy.positions @ (np.eye(3) + strain)
        return WKCalculator(delta[0], threads=1).get_potential_energy(copy)

    strain = np.zeros((3, 3))
    strain[0, 0] = 1e-3
    assert found[0, 0] == pytest.approx((energy(strain) - energy(-strain)) / 2e-3 / 8000, abs=1e-7)


@pytest.mark.train
def test_a_baseline_is_one_of_energies(delta):
    rng = np.random.default_rng(0)
    frames = [replace(Frame.from_atoms(atoms), dipole=rng.normal(size=3)) for atoms in delta[1]]
    with pytest.raises(OptionsError, match="a baseline is one of energies"):
        train(frames, baseline="gfn2-xtb", use_energy=False, threads=1, **OPTIONS)


def test_charges_of_frames_are_not_overlooked():
    frames = [ethanol(k) for k in range(3)]
    for atoms in frames:
        atoms.info |= {"energy": -1.0, "charge": 1}
    with pytest.warns(UserWarning, match="frames have a 'charge', which the baseline gfn2-xtb does not get to see"):
        without_potential([Frame.from_atoms(a) for a in frames], TrainingOptions(baseline="gfn2-xtb"))
