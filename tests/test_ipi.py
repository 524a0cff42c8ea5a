import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.io import write

import wk_potential
from wk_potential import TrainingOptions, WKCalculator, read_frames, train

pytest.importorskip("ipi")
DATA = Path(wk_potential.__file__).parent / "demo_data" / "ethanol.xyz"
EXAMPLE = Path(__file__).parents[1] / "examples" / "md" / "ethanol_path_integrals.py"


def test_driver_returns_atomic_units(random_model, tmp_path):
    from wk_potential.ipi_driver import WKDriver

    model = tmp_path / "model.wkp"
    random_model().save(model)
    atoms = bulk("CO", "zincblende", a=4.0, cubic=True)
    write(tmp_path / "start.xyz", atoms)
    atoms.rattle(0.2, seed=0)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.triu(np.ones((3, 3)))), scale_atoms=True)
    driver = WKDriver(str(tmp_path / "start.xyz"), str(model), threads=1)
    energy, forces, virial, extras = driver(atoms.cell.array.T / units.Bohr, atoms.positions / units.Bohr)
    atoms.calc = WKCalculator(model, threads=1)
    assert energy == pytest.approx(atoms.get_potential_energy() / units.Hartree, rel=1e-6)
    np.testing.assert_allclose(forces, atoms.get_forces() * units.Bohr / units.Hartree, rtol=1e-6, atol=1e-7)
    stress = atoms.get_stress(voigt=False) * atoms.get_volume() / units.Hartree
    np.testing.assert_allclose(np.reshape(virial, (3, 3)), -stress, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(json.loads(extras)["energies"], atoms.get_potential_energies(), rtol=1e-6)


def test_path_integrals(tmp_path):
    """Zero-point motion: by 300 K quantum nuclei of ethanol have twice the classical kinetic energy or more."""
    frames = read_frames(DATA, ":12")
    options = TrainingOptions(cutoff=4.0, cutoff_width=3.0, lmax=2, order=3, channel_tolerance=1e-2, map=False)
    train(frames, options, threads=1).save(tmp_path / "ethanol.wkp")
    # in a process of its own, for i-PI takes hold of signals and leaves files open
    command = [sys.executable, EXAMPLE, "--model", "ethanol.wkp", "--steps", "60"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ratios = [float(line.split()[-1]) for line in done.stdout.splitlines() if "kinetic energy" in line]
    assert 0.5 < ratios[0] < 1.6
    assert 1.8 < ratios[1] < 4.0
