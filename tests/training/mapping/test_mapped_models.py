"""Models in mapped form: files, calculators, precisions."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from oracles.mapped import SYSTEMS, TOLERANCES, predict
from oracles.systems import scale_of

from wk_potential import Model, WKCalculator
from wk_potential.errors import ClashError, PrecisionWarning
from wk_potential.model.container import read_container


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("tolerance", [0, TOLERANCES[1]])
def test_file(tmp_path, mapped, tolerance, precision):
    """Predictions are equal to the last bit; factors are of single precision unless the form is exact."""
    model, path = mapped[tolerance], tmp_path / "model.wkp"
    model.save(path)
    loaded = Model.load(path)
    assert loaded.info == model.info
    for system in SYSTEMS.values():
        pairs = zip(*(predict(m, system, precision=precision) for m in (model, loaded)), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    assert read_container(path)[1]["scale0_mapped_vectors"].dtype == (np.float64 if tolerance == 0 else np.float32)
    loaded.save(tmp_path / "again.wkp")
    assert (tmp_path / "again.wkp").read_bytes() == path.read_bytes()


def test_calculator(tmp_path, mapped, unmapped):
    model, atoms = mapped[TOLERANCES[1]], SYSTEMS["crystal"].copy()
    model.save(tmp_path / "model.wkp")

    def results(m, **options):
        atoms.calc = WKCalculator(m, **options)
        return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()

    for a, b in zip(results(tmp_path / "model.wkp", direct=True), results(unmapped), strict=True):
        assert np.array_equal(a, b)
    for precision in ("float64", "float32"):
        energy, forces, stress = results(tmp_path / "model.wkp", precision=precision)
        energies, expected, virial = predict(model, atoms, precision=precision)
        assert energy == pytest.approx(energies.sum(), rel=1e-5)
        assert forces == pytest.approx(expected, abs=1e-5 * scale_of(expected))
        assert stress[0] == pytest.approx(virial[0, 0] / atoms.cell.volume, abs=1e-5 * scale_of(stress))
        for other in (copy.deepcopy(atoms), pickle.loads(pickle.dumps(atoms))):
            other.rattle(1e-9, seed=0)
            assert other.get_forces() == pytest.approx(forces, abs=1e-4 * scale_of(forces))


def test_rounding_that_matters_is_said(mapped):
    model = mapped[TOLERANCES[1]]
    facts = {"largest_force_deviation": 1e-4, "largest_force_deviation_float32": 0.02}
    suspicious = replace(model, info={**model.info, "mapping": facts})
    suspicious.potential()
    with pytest.warns(PrecisionWarning, match="by up to 2.0e-02 eV/Angstrom"):
        suspicious.potential("float32")


def test_precisions_and_forms_are_made_once(mapped, unmapped):
    model = mapped[TOLERANCES[1]]
    assert model.potential("float32") is model.potential("float32")
    assert model.potential() is not model.potential("float32")
    assert model.potential(direct=True) is model.direct
    assert unmapped.potential() is unmapped.direct


def test_precision_must_be_known(mapped, unmapped):
    for model in (mapped[0], unmapped):
        with pytest.raises(ValueError, match="'float64' or 'float32', not 'float16'"):
            model.potential("float16")
    for model, direct in ((unmapped, False), (mapped[0], True)):
        with pytest.raises(ValueError, match="float32 is for models in mapped form"):
            model.potential("float32", direct)
        with pytest.raises(ValueError, match="float32 is for models in mapped form"):
            WKCalculator(model, precision="float32", direct=direct)


@pytest.mark.parametrize("options", [{}, {"direct": True}, {"precision": "float32"}])
def test_two_atoms_on_one_site(mapped, options):
    atoms = SYSTEMS["molecule"].copy()
    atoms.positions[6] = atoms.positions[3]
    atoms.calc = WKCalculator(mapped[TOLERANCES[0]], threads=2, **options)
    with pytest.raises(ClashError, match=r"atoms (3 and 6|6 and 3) are less than 0.1 Angstrom apart"):
        atoms.get_forces()
