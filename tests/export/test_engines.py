"""Exported models in other programs: batches of TorchSim, and i-PI."""

import subprocess
import sys

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write
from oracles.mapped import exactly_mapped, rattled

import wk_potential
from wk_potential import WKCalculator, export_model

pytest.importorskip("torch", reason="exported models need the extra 'torch'")
pytest.importorskip("metatomic.torch", reason="exported models need the extra 'torch'")
BOX = 22.0  # Angstrom: larger than a molecule and the cutoff, which TorchSim wants
STEPS = 20


@pytest.fixture(scope="module")
def model(random_model):
    return exactly_mapped(random_model(cutoffs=(4.0,), order_weights=(1e-3, 3e-4, 1e-4, 3e-5)))


def ethanols(n):
    """Rattled molecules of ethanol, each in a box."""
    out = [rattled(molecule("CH3CH2OH"), seed) for seed in range(n)]
    for atoms in out:
        atoms.set_cell(3 * [BOX])
        atoms.pbc = True
    return out


@pytest.fixture(scope="module")
def batched(model, tmp_path_factory):
    """TorchSim, and the model as TorchSim loads it."""
    folder = tmp_path_factory.mktemp("exported")
    path = folder / "model.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))  # TorchSim writes a log there
        torch_sim = pytest.importorskip("torch_sim", reason="needs TorchSim")
        MetatomicModel = pytest.importorskip("metatomic_torchsim").MetatomicModel
    export_model(model, path)
    return torch_sim, MetatomicModel(str(path), device="cpu")


@pytest.mark.train
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # metatomic's format is TorchScript
def test_batch_of_dynamics(model, batched):
    """200 replicas at constant temperature in one batch; the energies at the end are those of single systems."""
    torch_sim, loaded = batched
    systems = ethanols(200)
    final = torch_sim.integrate(
        system=systems, model=loaded, integrator=torch_sim.Integrator.nvt_langevin, n_steps=STEPS, timestep=5e-4,
        temperature=300,
    )  # fmt: skip
    moved = final.to_atoms()
    calculator = WKCalculator(model, threads=1)
    alone = [calculator.get_potential_energy(atoms) for atoms in moved]
    assert final.energy.numpy() == pytest.approx(alone, abs=1e-6)
    shifts = [np.abs(a.positions - b.positions).max() for a, b in zip(moved, systems, strict=True)]
    assert min(shifts) > 0.01  # Angstrom


@pytest.mark.train
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # metatomic's format is TorchScript
def test_batch_of_relaxations(model, batched):
    """100 structures relax in one batch: energies fall, and are those of single systems."""
    torch_sim, loaded = batched
    systems = ethanols(100)
    final = torch_sim.optimize(system=systems, model=loaded, optimizer=torch_sim.Optimizer.fire, max_steps=STEPS)
    calculator = WKCalculator(model, threads=1)
    before = np.array([calculator.get_potential_energy(atoms) for atoms in systems])
    after = [calculator.get_potential_energy(atoms) for atoms in final.to_atoms()]
    assert final.energy.numpy() == pytest.approx(after, abs=1e-6)
    assert (final.energy.numpy() < before).all()


INPUT = """
<simulation verbosity="quiet">
  <prng> <seed> 1 </seed> </prng>
  <ffdirect name="model"> {pes} </ffdirect>
  <system>
    <initialize nbeads="1">
      <file mode="ase" units="angstrom"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 300 </velocities>
    </initialize>
    <forces> <force forcefield="model"/> </forces>
    <motion mode="dynamics">
      <dynamics mode="nve"> <timestep units="femtosecond"> 0.5 </timestep> </dynamics>
    </motion>
  </system>
</simulation>
"""
DRIVERS = {
    "ours": "<pes>custom</pes><pes_path>{driver}</pes_path>"
    "<parameters>{{template: start.xyz, model: model.wkp}}</parameters>",
    "metatomic": "<pes>metatomic</pes><parameters>{{template: start.xyz, model: model.pt}}</parameters>",
}
RUN = """
import sys, warnings
from pathlib import Path
from ipi.scripting import InteractiveSimulation
warnings.simplefilter("ignore")
simulation = InteractiveSimulation(Path(sys.argv[1]).read_text())
simulation.run(int(sys.argv[2]), write_outputs=False)
import numpy as np
np.save(sys.argv[3], simulation.get_structures().positions)
"""


@pytest.mark.train
def test_dynamics_in_i_pi(model, tmp_path):
    """The driver of metatomic moves the atoms as the one of this package does."""
    pytest.importorskip("ipi")
    model.save(tmp_path / "model.wkp")
    export_model(model, tmp_path / "model.pt")
    (start,) = ethanols(1)
    write(tmp_path / "start.xyz", start, format="extxyz")
    driver = wk_potential.__path__[0] + "/ipi_driver.py"
    ends = []
    for name, pes in DRIVERS.items():
        (tmp_path / f"{name}.xml").write_text(INPUT.format(pes=pes.format(driver=driver)))
        # in a process of its own, for i-PI takes hold of signals and leaves files open
        command = [sys.executable, "-c", RUN, f"{name}.xml", str(STEPS), f"{name}.npy"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        ends.append(np.load(tmp_path / f"{name}.npy"))
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-8)
    assert np.abs(ends[0] - start.positions).max() > 0.01
