"""A calculator whose energy depends on the orientation through some angular momenta."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress

CUTOFF = 3.0  # Angstrom


class Oriented(Calculator):
    """Sum over pairs of h(r) (1 + sum over l of s_l Re (x + iy)^l), h = (1 - r^2 / 9)^3 eV: solid harmonics, m = l.

    s is 0.1 for even l and the difference of the atomic numbers over 100 for odd ones.
    """

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, *momenta):
        super().__init__()
        self.momenta = momenta

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, j, d = neighbor_list("ijD", atoms, CUTOFF)
        z = atoms.numbers.astype(float)
        h = 1 - np.sum(d**2, axis=1) / CUTOFF**2
        plane, angular, slopes = d[:, 0] + 1j * d[:, 1], np.ones(len(d)), np.zeros((len(d), 3))
        for l in self.momenta:
            sign = 0.1 if l % 2 == 0 else (z[j] - z[i]) / 100
            angular += sign * np.real(plane**l)
            slope = h**3 * sign * l * plane ** (l - 1)
            slopes[:, 0] += np.real(slope)
            slopes[:, 1] -= np.imag(slope)
        slopes -= 6 / CUTOFF**2 * (h**2 * angular)[:, None] * d
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, i, 0.5 * slopes)
        np.add.at(forces, j, -0.5 * slopes)
        self.results = {"energy": 0.5 * float(np.sum(h**3 * angular)), "forces": forces}
        if atoms.pbc.all():
            virial = 0.5 * d.T @ slopes / atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(0.5 * (virial + virial.T))
