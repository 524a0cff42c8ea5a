import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.io import write

from wk_potential import WKCalculator

pytest.importorskip("ipi")
EXAMPLE = Path(__file__).parents[1] / "examples" / "md" / "water_path_integrals.py"


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


@pytest.mark.train
def test_path_integrals(tmp_path):
    """Zero-point motion: by 330 K quantum nuclei of water have twice the classical kinetic energy or more."""
    # in a process of its own, for i-PI takes hold of signals and leaves files open
    command = [sys.executable, EXAMPLE, "--side", "2", "--steps", "80"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if "kinetic energy" in line]
    classical, quantum = (float(line[line.index("kT:") + 1].rstrip(",")) for line in lines)
    assert 0.5 < classical < 1.6
    assert 1.8 < quantum < 4.0
    widths = [float(line[line.index("+-") + 1]) for line in lines]
    assert widths[1] > 1.5 * widths[0]
    assert (tmp_path / "water_path_integrals.png").stat().st_size > 5000
