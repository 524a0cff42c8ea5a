"""The temperature of structures by their forces, where it is known: independent springs and a thermostat."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin

from wk_potential.atoms.frame import Frame
from wk_potential.simulation.configurational import configurational_temperature


class Springs(Calculator):
    """Each coordinate on a spring of its own, eV/Angstrom^2."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, constants):
        super().__init__()
        self.constants = constants

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms)
        x = self.atoms.positions
        self.results = {"energy": 0.5 * np.sum(self.constants * x**2), "forces": -self.constants * x}


def test_springs_in_equilibrium():
    """Their positions are drawn from the ensemble; 2400 squares of forces scatter by 3 %."""
    rng = np.random.default_rng(0)
    constants = rng.uniform(1.0, 20.0, (8, 3))
    calculator, frames = Springs(constants), []
    for _ in range(100):
        x = rng.normal(0, np.sqrt(450 * units.kB / constants))
        frames.append(Frame(np.ones(8, int), x, np.zeros((3, 3)), np.zeros(3, bool), 0.0, -constants * x))
    assert configurational_temperature(frames, calculator) == pytest.approx(450, rel=0.1)


def test_a_crystal_with_a_thermostat():
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.calc = EMT()
    rng, frames = np.random.default_rng(1), []
    dynamics = Langevin(atoms, 5 * units.fs, temperature_K=300, friction=0.05, rng=rng, fixcm=False)
    for _ in range(20):
        dynamics.run(20)
        frames.append(Frame(atoms.numbers, atoms.get_positions(), atoms.cell.array, atoms.pbc, 0.0, atoms.get_forces()))
    assert configurational_temperature(frames[5:], EMT()) == pytest.approx(300, rel=0.25)


def test_nothing_to_tell_it_from():
    still = Frame(np.ones(1, int), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, bool), 0.0)
    assert configurational_temperature([still], EMT()) == 0.0
    hill = Springs(-np.ones((1, 3)))
    top = Frame(np.ones(1, int), np.ones((1, 3)), np.zeros((3, 3)), np.zeros(3, bool), 0.0, np.ones((1, 3)))
    assert configurational_temperature([top], hill) == 0.0
