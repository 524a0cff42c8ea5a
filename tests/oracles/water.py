"""Water molecules with dipoles and polarisabilities that are known, and options to train small models with."""

import numpy as np
from ase import Atoms, units

OPTIONS = {"cutoff": 3.0, "short_cutoff": 0.0, "cutoff_width": 2.0, "lmax": 2, "order": 3, "channel_tolerance": 3e-2}


def water(seed, charge=0.0):
    """A bent molecule somewhere in space with bond dipoles and bond polarisabilities that depend on the lengths."""
    rng = np.random.default_rng(seed)
    atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    atoms.positions += rng.normal(0, 0.08, (3, 3))
    atoms.rotate(rng.uniform(0, 360), rng.normal(size=3))
    atoms.positions += rng.normal(size=3)
    dipole, alpha = np.zeros(3), 0.7 * np.eye(3)
    for h in (1, 2):
        bond = atoms.positions[h] - atoms.positions[0]
        r = np.linalg.norm(bond)
        dipole += 0.35 * bond * np.exp(-0.5 * (r - 1))
        alpha += (0.4 + r**2) * np.outer(bond, bond) / r**2
    atoms.info = {
        "mu": (dipole + charge * atoms.get_center_of_mass()) / units.Bohr,
        "alpha": alpha.ravel() / units.Bohr**3,
        "energy_ev": 5 * np.sum((atoms.get_distances(0, [1, 2]) - 0.96) ** 2) + 1.0,
    }
    return atoms


KEYS = {
    "dipole_key": "mu", "dipole_unit": "e*bohr", "polarizability_key": "alpha", "polarizability_unit": "bohr^3",
}  # fmt: skip
