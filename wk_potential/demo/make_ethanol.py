"""Make ``ethanol.xyz``: 100 frames of ethanol at 500 K with PBE/def2-SVP energies and forces.

Needs ``pip install ase pyscf tblite``; about twenty minutes on one core. Run it again after an interruption
and it goes on where it stopped: the geometries are kept in a ``.traj`` file until the last frame is labelled.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.langevin import Langevin

SEED = 20240
N_FRAMES = 100
TEMPERATURE = 500.0  # K
TIMESTEP = 0.5  # fs
FRICTION = 0.01  # 1/fs
EQUILIBRATION = 2000.0  # fs
INTERVAL = 500.0  # fs between frames
SAMPLER = "GFN2-xTB"

FUNCTIONAL = "pbe"
BASIS = "def2-svp"
SCF_TOLERANCE = 1e-10  # Hartree
GRID_LEVEL = 4
DECIMALS = 8  # of the positions, in the file and in the calculation

OUTPUT = Path(__file__).with_name("ethanol.xyz")
GEOMETRIES = OUTPUT.with_suffix(".traj")


def sample() -> Iterator[Atoms]:
    """Yield the frames of a Langevin trajectory, unlabelled."""
    from tblite.ase import TBLite

    rng = np.random.default_rng(SEED)
    atoms = molecule("CH3CH2OH")
    atoms.calc = TBLite(method=SAMPLER, verbosity=0)
    dynamics = Langevin(
        atoms,
        TIMESTEP * units.fs,
        temperature_K=TEMPERATURE,
        friction=FRICTION / units.fs,
        fixcm=False,  # the exact ensemble; the frames are centred below
        rng=rng,
    )
    dynamics.run(round(EQUILIBRATION / TIMESTEP))  # from rest: twenty times the thermostat's relaxation time
    for _ in range(N_FRAMES):
        dynamics.run(round(INTERVAL / TIMESTEP))
        yield Atoms(atoms.numbers, (atoms.positions - atoms.get_center_of_mass()).round(DECIMALS))


def label(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Return the total energy (eV) and the forces (N, 3) (eV/Angstrom) of one frame."""
    from pyscf import dft, gto

    mol = gto.M(atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), basis=BASIS, verbose=0)
    scf = dft.RKS(mol, xc=FUNCTIONAL)
    scf.conv_tol = SCF_TOLERANCE
    scf.grids.level = GRID_LEVEL
    energy = scf.kernel()
    if not scf.converged:
        raise RuntimeError("the SCF did not converge")
    gradient = scf.nuc_grad_method()
    gradient.grid_response = True  # the grid moves with the atoms: without it the forces do not sum to zero
    return energy * units.Hartree, -gradient.kernel() * units.Hartree / units.Bohr


def main() -> None:
    """Sample once, then label what is not labelled yet."""
    if not GEOMETRIES.exists() and not OUTPUT.exists():
        unfinished = GEOMETRIES.with_suffix(".part.traj")
        write(unfinished, list(sample()))
        os.replace(unfinished, GEOMETRIES)
    done = read(OUTPUT, ":") if OUTPUT.exists() else []
    if len(done) == N_FRAMES:
        raise SystemExit(f"{OUTPUT.name} is complete; delete it to make it anew")
    for atoms in read(GEOMETRIES, slice(len(done), None)):
        energy, forces = label(atoms)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        done.append(atoms)
        unfinished = OUTPUT.with_suffix(".part.xyz")
        write(unfinished, done, format="extxyz")
        os.replace(unfinished, OUTPUT)  # at once: a killed run never leaves half a frame
        net = np.abs(forces.sum(axis=0)).max()
        print(f"{len(done)}/{N_FRAMES}  {energy:.6f} eV  net force {net:.1e} eV/Angstrom", flush=True)
    GEOMETRIES.unlink()


if __name__ == "__main__":
    main()
