"""Learn hydrogen peroxide on the fly, with PBE of PySCF as the reference (`pip install pyscf`).

It shows how to write a reference calculator. The script can be interrupted, and continues where it was.

    python examples/md/peroxide_active_pyscf.py [--time 1]

The command line does the same, with this file as the reference:

    wk-potential active H2O2.xyz --reference examples/md/peroxide_active_pyscf.py:PBE -o peroxide.wkp ...
"""

import argparse

import numpy as np
from ase import units
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes

from wk_potential import TrainingOptions
from wk_potential.active.learner import ActiveLearner
from wk_potential.simulation.integrators import MDSettings


class PBE(Calculator):
    """PBE of a molecule without unpaired electrons; any other code would do."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, basis="def2-svp"):
        super().__init__()
        self.basis = basis

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Compute energy and forces."""
        from pyscf import dft, gto

        super().calculate(atoms, properties, system_changes)
        geometry = list(zip(self.atoms.symbols, self.atoms.positions.tolist(), strict=True))
        mol = gto.M(atom=geometry, basis=self.basis, verbose=0)
        scf = dft.RKS(mol, xc="pbe")
        energy = scf.kernel()
        if not scf.converged:
            raise RuntimeError("the SCF did not converge")
        gradient = scf.nuc_grad_method()
        gradient.grid_response = True  # the grid moves with the atoms: without it the forces do not sum to zero
        forces = -gradient.kernel() * units.Hartree / units.Bohr
        self.results = {"energy": energy * units.Hartree, "forces": np.asarray(forces)}


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--basis", default="def2-svp")
    parser.add_argument("--time", type=float, default=1.0, help="ps")
    parser.add_argument("--forces-limit", type=float, default=0.1, help="eV/Å, above which PBE is called")
    args = parser.parse_args(arguments)
    try:
        import pyscf  # noqa: F401
    except ImportError:
        raise SystemExit("this example needs PySCF: pip install pyscf") from None

    learner = ActiveLearner(
        molecule("H2O2"), PBE(args.basis), "peroxide.wkp", options=TrainingOptions(lmax=2, order=3),
        forces_limit=args.forces_limit, log=print,
    )  # fmt: skip
    settings = MDSettings("nvt-langevin", temperature=500, timestep=0.5, time=args.time)
    learner.run(settings, "peroxide.traj")
    print(f"{len(learner.labelled.frames)} calls for {settings.steps} steps; seconds: {learner.seconds}")
    return learner


if __name__ == "__main__":
    main()
