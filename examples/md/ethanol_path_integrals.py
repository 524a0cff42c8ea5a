"""Path integrals of ethanol at 300 K with i-PI: ring polymers of 8 beads beside classical nuclei.

The kinetic energy of quantum nuclei (centroid virial estimator) is far above 3/2 kT: most of it is zero-point motion.

    pip install 'wk-potential[ipi]'
    python examples/md/ethanol_path_integrals.py [--beads 8] [--steps 4000] [--model ethanol.wkp]
"""

import argparse
from pathlib import Path

import numpy as np
from ase import units
from ase.io import write

import wk_potential
from wk_potential import TrainingOptions, read_frames, train

DATA = Path(wk_potential.__file__).parent / "demo_data" / "ethanol.xyz"
INPUT = """
<simulation verbosity="quiet">
  <output prefix="{name}">
    <properties filename="out" stride="1"> [step, time{{picosecond}}, potential{{electronvolt}}, \
kinetic_cv{{electronvolt}}, conserved{{electronvolt}}] </properties>
  </output>
  <prng> <seed> 1 </seed> </prng>
  <ffdirect name="model">
    <pes> custom </pes>
    <pes_path> {driver} </pes_path>
    <parameters> {{template: start.xyz, model: {model}, threads: 1}} </parameters>
  </ffdirect>
  <system>
    <initialize nbeads="{beads}">
      <file mode="ase" units="angstrom"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 300 </velocities>
    </initialize>
    <forces> <force forcefield="model"/> </forces>
    <ensemble> <temperature units="kelvin"> 300 </temperature> </ensemble>
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
    """Run i-PI; returns the mean kinetic energy over the second half, eV."""
    from ipi.scripting import InteractiveSimulation

    driver = Path(wk_potential.__file__).parent / "ipi_driver.py"
    simulation = InteractiveSimulation(INPUT.format(name=name, driver=driver, model=model, beads=beads))
    simulation.run(steps)
    _, _, _, kinetic, _ = np.loadtxt(f"{name}.out", unpack=True)
    return kinetic[len(kinetic) // 2 :].mean()


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--beads", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4000, help="of 0.5 fs")
    parser.add_argument("--frames", type=int, default=50, help="frames to train on, without --model")
    parser.add_argument("--model", type=Path)
    args = parser.parse_args(arguments)

    frames = read_frames(DATA, f":{args.frames}")
    model = args.model
    if model is None:
        model = Path("ethanol.wkp")
        train(frames, TrainingOptions(), log=print).save(model)
    atoms = frames[0].to_atoms()
    atoms.calc = None
    atoms.center(vacuum=10)  # i-PI wants a cell
    atoms.pbc = False
    write("start.xyz", atoms)
    thermal = 1.5 * len(atoms) * units.kB * 300
    results = {}
    for name, beads in (("classical", 1), ("quantum", args.beads)):
        results[name] = run(name, beads, args.steps, model)
        ratio = results[name] / thermal
        print(f"{name}, beads: {beads}, kinetic energy {results[name]:.3f} eV, relative to 3/2 N kT: {ratio:.2f}")


if __name__ == "__main__":
    main()
