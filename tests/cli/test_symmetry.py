import pytest
from ase.build import molecule
from ase.io import write

CALCULATOR = """
from ase.calculators.lj import LennardJones


class Oriented(LennardJones):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms, properties, system_changes):
        super().calculate(atoms, properties, system_changes)
        z = atoms.positions[:, 2] - atoms.positions[:, 2].mean()
        self.results["energy"] += 0.1 * (z**2).sum()
        self.results["forces"][:, 2] -= 0.2 * z
"""


@pytest.fixture
def water(tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"), format="extxyz")
    return tmp_path / "water.xyz"


def test_any_calculator_by_angular_momentum(run, water, tmp_path):
    (tmp_path / "mine.py").write_text(CALCULATOR)
    written = ["--lmax", 2, "--plot", tmp_path / "symmetry.png"]
    text = run("check", "--symmetry", f"{tmp_path}/mine.py:Oriented", water, *written).output
    rows = {line.rpartition("momentum")[2].split()[0]: line.split() for line in text.splitlines() if "momentum" in line}
    assert float(rows["1"][-2]) < 1e-6
    assert float(rows["2"][-2]) > 1
    assert "torque" in text
    assert (tmp_path / "symmetry.png").stat().st_size > 1000


def test_a_model_is_symmetric(run, model, data, tmp_path):
    text = run("check", "--symmetry", model, data, "--lmax", 1).output
    line = next(line for line in text.splitlines() if line.lstrip(" │").startswith("all"))
    assert float(line.split()[-1]) < 1e-6


def test_what_makes_no_sense(run, model, data, water, tmp_path, error_line):
    refused = run("check", model, data, "--plot", tmp_path / "x.png", code=1)
    assert "--plot: no effect without --symmetry" in error_line(refused)
    refused = run("check", "--symmetry", model, data, "--precision", "float32", "--time", 2, code=1)
    assert "--time, --precision: no effect with --symmetry" in error_line(refused)
    refused = run("check", "--symmetry", "nothing.py:None", water, code=1)
    assert "nothing.py" in error_line(refused)
