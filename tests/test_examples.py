"""The examples run, at reduced length, and show what they promise."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "md"


def test_every_example_is_tested():
    tested = {
        "ethanol_nve.py",
        "copper_surface.py",
        "water_infrared.py",
        "ethanol_path_integrals.py",
    }  # the last in test_ipi.py
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_ethanol_nve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change = runpy.run_path(str(EXAMPLES / "ethanol_nve.py"))["main"](["--frames", "12", "--steps", "40"])
    assert abs(change) < 1.0
    assert (tmp_path / "ethanol.wkp").is_file()


def test_copper_surface(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = runpy.run_path(str(EXAMPLES / "copper_surface.py"))["main"](["--frames", "12"])
    assert results["model"][0] == pytest.approx(results["reference"][0], abs=0.02)
    assert results["model"][1] == pytest.approx(results["reference"][1], rel=0.1)


@pytest.mark.filterwarnings("ignore:.* frames repeat an earlier one")
def test_water_infrared(tmp_path, monkeypatch, shared_data):
    monkeypatch.chdir(tmp_path)
    folder = shared_data / "water_tensors"
    arguments = [str(folder), "--frames", "60", "--time", "1.2", "--resolution", "40", "--temperature", "100"]
    main = runpy.run_path(str(EXAMPLES / "water_infrared.py"))["main"]
    harmonic, bands, areas = main(arguments)
    assert bands == pytest.approx(harmonic.wavenumbers[-3:], abs=15)
    assert areas == pytest.approx(harmonic.infrared[-3:], rel=0.25, abs=2)
    assert (tmp_path / "water_monomer.png").is_file()


def test_silicon_model():
    """The model in models/ holds the diamond lattice constant and bulk modulus of PBE (5.47 Å, 89 GPa)."""
    import numpy as np
    from ase import units
    from ase.build import bulk
    from ase.eos import EquationOfState

    from wk_potential import WKCalculator

    calculator = WKCalculator(EXAMPLES.parents[1] / "models" / "Si.wkp", threads=1)
    volumes, energies = [], []
    for a in np.linspace(5.35, 5.59, 7):
        atoms = bulk("Si", a=a)
        atoms.calc = calculator
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    volume, _, modulus = EquationOfState(volumes, energies, "birchmurnaghan").fit()
    assert (4 * volume) ** (1 / 3) == pytest.approx(5.47, abs=0.02)
    assert modulus / units.GPa == pytest.approx(89, abs=8)
