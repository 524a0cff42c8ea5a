import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from oracles.oriented import CUTOFF, Oriented

from wk_potential.errors import OptionsError
from wk_potential.symmetry.average import SymmetrisedCalculator
from wk_potential.symmetry.probe import probe

PAIR = Atoms("CO", [[0, 0, 0], [0.5, 0.7, 0.9]])


def test_one_angular_momentum_of_a_pair():
    """The mean square of Re (x + iy)^2 over rotations is r^4 4 / 15; its gradient has 4 r^2 2 / 3 = <|2 (x, y)|^2>."""
    atoms = PAIR.copy()
    r2 = float(np.sum((atoms.positions[1] - atoms.positions[0]) ** 2))
    h = 1 - r2 / CUTOFF**2
    found = probe(atoms, Oriented(2))
    expected = 1e3 * 0.1 * h**3 * r2 * np.sqrt(4 / 15) / 2
    assert found.energy[[1, 5]] == pytest.approx(expected)
    assert found.energy[[0, 2, 3, 4]] == pytest.approx(0, abs=1e-5)
    assert found.inversion == pytest.approx((0, 0), abs=1e-12)
    assert found.net_force == pytest.approx(0, abs=1e-12)
    # the torque is r x grad: the mean square of l (l + 1) = 6 times that of the energy
    assert found.torque == pytest.approx(np.sqrt(6) * 2e-3 * expected)
    left = {one.rotations: one.energy for one in found.left}
    assert left == pytest.approx({12: 0, 24: 0, 60: 0}, abs=1e-5)


def test_what_an_average_leaves():
    """A part of l = 3 is left by twelve rotations: a seventh of its mean square on average over turns of the grid."""
    found = probe(PAIR, Oriented(3))
    assert found.energy[2] > 0.1
    left = {one.rotations: (one.energy, one.forces) for one in found.left}
    assert left[12] == pytest.approx((found.energy[2] / np.sqrt(7), found.forces[2] / np.sqrt(7)), rel=1e-6)
    assert left[24] == pytest.approx((0, 0), abs=1e-5)
    averaged = probe(PAIR, SymmetrisedCalculator(Oriented(3), degree=3, inversion=False), lmax=2)
    assert averaged.energy == pytest.approx(0, abs=1e-5)


def test_parts_add_up_and_inversion_is_told():
    atoms = molecule("CH3CH2OH")
    atoms.calc = Oriented(1, 4, 6)
    found = probe(atoms, lmax=5)
    assert (found.energy[[0, 3, 5]] > 1e-3).all()  # 1, 4, and those above 5
    assert found.energy[[1, 2, 4]] == pytest.approx(0, abs=1e-5)
    for values in (found.energy, found.forces):
        assert np.sum(values[:-1] ** 2) == pytest.approx(values[-1] ** 2)
    odd = probe(atoms, Oriented(1)).inversion
    assert found.inversion == pytest.approx(odd)
    assert min(odd) > 1e-4
    assert found.energy_range > 2 * 1e-3 * len(atoms) * found.energy[-1]


def test_symmetric_calculators_have_nothing():
    found = probe(PAIR, Oriented())
    assert found.energy == pytest.approx(0, abs=1e-5)
    assert found.forces == pytest.approx(0, abs=1e-8)


def test_arguments_that_make_no_sense():
    with pytest.raises(OptionsError, match="lmax"):
        probe(PAIR, Oriented(2), lmax=0)
    with pytest.raises(OptionsError, match="no ASE calculator"):
        probe(PAIR)
