"""Path integrals of liquid water with i-PI: ring polymers of 8 beads, compared with classical nuclei.

The kinetic energy of quantum nuclei (centroid virial estimator) is far above 3/2 kT. Most of it is zero-point motion.
The figure shows the distribution of O-H bond lengths, which zero-point motion makes several times as broad.

    pip install '.[ipi]'
    python examples/md/water_path_integrals.py [--beads 8] [--steps 2000] [--side 4]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.build import molecule
from ase.io import read, write
from ase.neighborlist import neighbor_list

import wk_potential

MODEL = Path(__file__).parents[2] / "models" / "water.wkp"
TEMPERATURE = 330  # K
SPACING = 3.104  # Å between molecules: 1 g/cm^3
INPUT = """
<simulation verbosity="quiet">
  <output prefix="{name}">
    <properties filename="out" stride="1"> [step, kinetic_cv{{electronvolt}}] </properties>
    <trajectory filename="pos" stride="10" format="ase"> positions </trajectory>
  </output>
  <prng> <seed> 1 </seed> </prng>
  <ffdirect name="model">
    <pes> custom </pes>
    <pes_path> {driver} </pes_path>
    <parameters> {{template: start.xyz, model: {model}}} </parameters>
  </ffdirect>
  <system>
    <initialize nbeads="{beads}">
      <file mode="ase" units="angstrom"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> {temperature} </velocities>
    </initialize>
    <forces> <force forcefield="model"/> </forces>
    <ensemble> <temperature units="kelvin"> {temperature} </temperature> </ensemble>
    <motion mode="dynamics">
      <dynamics mode="nvt">
        <timestep units="femtosecond"> 0.5 </timestep>
        <thermostat mode="pile_g"> <tau units="femtosecond"> 20 </tau> </thermostat>
      </dynamics>
    </motion>
  </system>
</simulation>
"""


def run(name, beads, steps, model):
    """Run i-PI; returns mean kinetic energy (eV) and lengths of O-H bonds (Å) of all beads over the second half."""
    from ipi.scripting import InteractiveSimulation

    driver = Path(wk_potential.__file__).parent / "ipi_driver.py"
    text = INPUT.format(name=name, driver=driver, model=model, beads=beads, temperature=TEMPERATURE)
    InteractiveSimulation(text).run(steps)
    _, kinetic = np.loadtxt(f"{name}.out", unpack=True)
    bonds = []
    for path in Path().glob(f"{name}.pos_*"):
        frames = read(path, ":", format="extxyz")
        bonds += [neighbor_list("d", atoms, {("O", "H"): 1.4}) for atoms in frames[len(frames) // 2 :]]
    return kinetic[len(kinetic) // 2 :].mean(), np.concatenate(bonds)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--beads", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2000, help="of 0.5 fs")
    parser.add_argument("--side", type=int, default=4, help="molecules along each side of the cell")
    parser.add_argument("--model", type=Path, default=MODEL)
    args = parser.parse_args(arguments)

    atoms = molecule("H2O", cell=3 * [SPACING], pbc=True).repeat(args.side)  # an ice of its own, which melts at once
    atoms.rattle(0.02, seed=0)
    write("start.xyz", atoms)
    thermal = 1.5 * len(atoms) * units.kB * TEMPERATURE
    figure, axes = plt.subplots(layout="constrained")
    ratios, widths = [], []
    for name, beads in (("classical", 1), ("quantum", args.beads)):
        kinetic, bonds = run(name, beads, args.steps, args.model)
        ratios.append(kinetic / thermal)
        widths.append(float(np.std(bonds)))
        print(
            f"{name}, beads: {beads}, kinetic energy {kinetic / (len(atoms) // 3):.3f} eV per molecule, "
            f"relative to 3/2 N kT: {ratios[-1]:.2f}, O-H {bonds.mean():.3f} +- {widths[-1]:.3f} Å"
        )
        axes.hist(bonds, np.arange(0.7, 1.4, 0.01), density=True, histtype="step", label=f"{name}, {beads} beads")
    axes.set(xlabel="O-H distance (Å)", ylabel="probability density (1/Å)")
    axes.legend()
    figure.savefig("water_path_integrals.png", dpi=150)
    plt.close(figure)
    return ratios, widths


if __name__ == "__main__":
    main()
