from dataclasses import replace
from itertools import pairwise
from resource import RLIMIT_FSIZE, getrlimit, setrlimit

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io import read

from wk_potential import WKCalculator
from wk_potential.dynamics import read_log, run_md
from wk_potential.ensembles import DynamicsError, MDSettings, degrees_of_freedom, make_dynamics, set_velocities
from wk_potential.model import UnknownElementError
from wk_potential.relaxation import RelaxationError, relax
from wk_potential.structures import StructureError, read_structure, write_structure


@pytest.fixture
def copper(copper_model):
    """Thirty-two atoms of copper."""
    atoms = bulk("Cu", a=3.59, cubic=True).repeat(2)
    atoms.calc = WKCalculator(copper_model, threads=1)
    return atoms


@pytest.fixture
def cell(copper_model):
    """Four atoms of copper."""
    atoms = bulk("Cu", a=3.59, cubic=True)
    atoms.calc = WKCalculator(copper_model, threads=1)
    return atoms


# --- velocities ---


@pytest.mark.parametrize(
    ("atoms", "free", "thermostatted"),
    [
        (molecule("CH3CH2OH"), 21, 24),
        (molecule("CO2"), 4, 6),
        (molecule("CO"), 1, 3),
        (Atoms("C"), 3, 3),
        (bulk("Cu", cubic=True), 9, 9),
    ],
    ids=str,
)
def test_velocities(atoms, free, thermostatted):
    assert degrees_of_freedom(atoms) == free
    assert degrees_of_freedom(atoms, thermostatted=True) == thermostatted
    set_velocities(atoms, 500, np.random.default_rng(0))
    assert 2 * atoms.get_kinetic_energy() / (free * units.kB) == pytest.approx(500)
    if len(atoms) > 1:
        np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0, atol=1e-12)
        if not atoms.pbc.any():
            np.testing.assert_allclose(atoms.get_angular_momentum(), 0, atol=1e-10)


def test_velocities_of_constrained_atoms_stay_zero():
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([1]))
    set_velocities(atoms, 300, np.random.default_rng(0))
    np.testing.assert_array_equal(atoms.get_momenta()[1], 0)
    assert atoms.get_temperature() == pytest.approx(300)


def test_velocities_are_maxwell_boltzmann():
    atoms = bulk("NaCl", "rocksalt", a=5, cubic=True).repeat(6)
    set_velocities(atoms, 300, np.random.default_rng(0))
    for symbol in ("Na", "Cl"):
        own = atoms[[a.index for a in atoms if a.symbol == symbol]]
        scaled = own.get_momenta() / np.sqrt(own.get_masses()[:, None] * units.kB * 300)
        assert scaled.std() == pytest.approx(1, abs=0.03)
        assert (scaled**4).mean() == pytest.approx(3, abs=0.3)


# --- ensembles ---


def test_nve_conserves_the_energy_better_with_shorter_steps(tmp_path, copper):
    spread = []
    for step in (4.0, 2.0):
        settings = MDSettings("nve", temperature=300, timestep=step, time=0.4, log_interval=1)
        summary = run_md(copper, settings, tmp_path / "md.traj")
        spread.append(read_log(tmp_path / "md.log")["total"].std() / len(copper))
        assert abs(summary.drift) < 1e-3
        assert summary.time == 0.4
    assert spread[0] < 3e-4
    assert spread[1] < spread[0] / 3  # velocity Verlet is of second order


def test_nve_of_a_molecule_keeps_its_momenta(tmp_path, random_model):
    atoms = molecule("CH3CH2OH")
    atoms.calc = WKCalculator(random_model(), threads=1)
    run_md(atoms, MDSettings("nve", temperature=100, timestep=0.25, time=0.02), tmp_path / "md.traj")
    last = read(tmp_path / "md.traj")
    np.testing.assert_allclose(last.get_momenta().sum(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(last.get_angular_momentum(), 0, atol=1e-8)
    np.testing.assert_allclose(last.get_center_of_mass(), atoms.get_center_of_mass(), atol=1e-10)


@pytest.mark.parametrize("ensemble", ["nvt-langevin", "nvt-bussi"])
def test_thermostats_reach_the_temperature(tmp_path, cell, ensemble):
    settings = MDSettings(
        ensemble,
        temperature=400,
        timestep=4,
        time=16,
        friction=20,
        thermostat_time=50,
        interval=1000,
        log_interval=1,
    )
    run_md(cell, settings, tmp_path / "md.traj")
    temperature = read_log(tmp_path / "md.log")["temperature"][1000:]
    assert temperature.mean() == pytest.approx(400, rel=0.1)
    assert temperature.std() == pytest.approx(400 * np.sqrt(2 / 9), rel=0.2)  # of the canonical ensemble
    last = read(tmp_path / "md.traj")
    np.testing.assert_allclose(last.get_center_of_mass(), cell.get_center_of_mass(), atol=1e-6)
    assert not last.constraints


@pytest.mark.parametrize("ensemble", ["npt", "npt-flexible"])
def test_npt_conserves_and_reaches_the_pressure(tmp_path, copper, ensemble):
    settings = MDSettings(ensemble, timestep=4, time=1.2, barostat_time=200, pressure=2.0, log_interval=1)
    set_velocities(copper, 300, np.random.default_rng(0))
    dynamics, _ = make_dynamics(copper, settings, np.random.default_rng(0))
    conserved = [dynamics.get_conserved_energy() for _ in dynamics.irun(100)]
    assert np.std(conserved) / len(copper) < 3e-4
    summary = run_md(copper, settings, tmp_path / "md.traj")
    log = read_log(tmp_path / "md.log")
    late = slice(100, None)
    assert log["pressure"][late].mean() == pytest.approx(2.0, abs=0.5)
    assert summary.volume == pytest.approx(log["volume"][late].mean(), rel=0.02)
    assert summary.temperature == pytest.approx(300, rel=0.25)
    shape = read(tmp_path / "md.traj").cell.array
    assert np.allclose(shape, shape[0, 0] * np.eye(3)) == (ensemble == "npt")


def test_fixed_atoms_stay(tmp_path, cell):
    cell.set_constraint(FixAtoms([2]))
    settings = MDSettings("nvt-langevin", timestep=2, time=0.02)
    run_md(cell, settings, tmp_path / "md.traj")
    last = read(tmp_path / "md.traj")
    np.testing.assert_array_equal(last.positions[2], cell.positions[2])
    assert not np.allclose(last.positions[1], cell.positions[1])


def test_the_structure_is_not_changed(tmp_path, cell):
    before = cell.copy()
    run_md(cell, MDSettings("nvt-langevin", timestep=2, time=0.02), tmp_path / "md.traj")
    assert cell == before
    assert not cell.constraints


# --- files ---


@pytest.mark.parametrize("name", ["md.traj", "md.xyz"])
def test_files(tmp_path, cell, name):
    settings = MDSettings("nve", timestep=2.0, time=0.05, interval=10, log_interval=4)
    seen = []
    run_md(cell, settings, tmp_path / name, progress=lambda stage, fraction: seen.append(fraction))
    frames = read(tmp_path / name, ":")
    assert [f.info["step"] for f in frames] == [0, 10, 20, 25]
    assert frames[1].info["time"] == pytest.approx(0.02)
    log = read_log(tmp_path / "md.log")
    assert log["step"].tolist() == [0, 4, 8, 12, 16, 20, 24, 25]
    assert log["time"][-1] == pytest.approx(0.05)
    np.testing.assert_allclose(log["potential"] + log["kinetic"], log["total"], atol=2e-8)
    assert frames[-1].get_potential_energy() == pytest.approx(log["potential"][-1], abs=1e-6)
    frames[-1].calc = cell.calc
    forces = frames[-1].get_forces()
    np.testing.assert_allclose(read(tmp_path / name).get_forces(), forces, atol=1e-6)
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize(("name", "tolerance"), [("md.traj", 1e-10), ("md.xyz", 2e-6)])
def test_restart_of_nve_goes_on_as_if_nothing_had_happened(tmp_path, cell, name, tolerance):
    whole, part = tmp_path / "whole" / name, tmp_path / "part" / name
    for path in (whole, part):
        path.parent.mkdir()
    settings = {"ensemble": "nve", "timestep": 2.0, "interval": 5, "log_interval": 2}
    run_md(cell, MDSettings(time=0.08, **settings), whole)
    run_md(cell, MDSettings(time=0.04, **settings), part)
    summary = run_md(cell, MDSettings(time=0.08, **settings), part, restart=True)
    assert summary.steps == 20
    expected, found = read(whole, ":"), read(part, ":")
    assert [f.info["step"] for f in found] == [f.info["step"] for f in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, atol=tolerance)
        np.testing.assert_allclose(a.get_momenta(), b.get_momenta(), atol=10 * tolerance)
    for key, values in read_log(whole.with_suffix(".log")).items():
        np.testing.assert_allclose(read_log(part.with_suffix(".log"))[key], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ensemble", ["nvt-langevin", "nvt-bussi", "npt", "npt-flexible"])
def test_restart_of_the_others_continues_positions_momenta_and_cell(tmp_path, cell, ensemble):
    path = tmp_path / "md.traj"
    settings = {"ensemble": ensemble, "timestep": 1.0, "interval": 1}
    run_md(cell, MDSettings(time=0.02, **settings), path)
    run_md(cell, MDSettings(time=0.04, **settings), path, restart=True)
    frames = read(path, ":")
    assert [f.info["step"] for f in frames] == list(range(41))
    for name in ("positions", "momenta"):
        steps = [np.abs(b.arrays[name] - a.arrays[name]).max() for a, b in pairwise(frames)]
        assert 0 < steps[20] < 2 * max(steps[:20])
    volumes = [f.get_volume() for f in frames]
    assert abs(volumes[21] - volumes[20]) <= 2 * np.abs(np.diff(volumes[:21])).max()


def test_restart_after_a_crash_drops_the_surplus_of_the_log(tmp_path, cell):
    path = tmp_path / "md.traj"
    run_md(cell, MDSettings(timestep=2.0, time=0.04, interval=10, log_interval=1), path)
    lines = (tmp_path / "md.log").read_text()
    (tmp_path / "md.log").write_text(lines + lines.splitlines()[-1].replace("       20 ", "       27 ") + "\n   2")
    run_md(cell, MDSettings(timestep=2.0, time=0.06, interval=10, log_interval=1), path, restart=True)
    assert read_log(tmp_path / "md.log")["step"].tolist() == list(range(31))
    assert (tmp_path / "md.log").read_text().startswith("#    step ")
    assert (tmp_path / "md.log").read_text().count("#") == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # ASE leaves the file open
@pytest.mark.parametrize("name", ["md.xyz", "md.traj"])
def test_full_disk_leaves_whole_frames(tmp_path, cell, name):
    path, settings = tmp_path / name, MDSettings(time=0.002, interval=1)
    run_md(cell, settings, path)
    sizes = getrlimit(RLIMIT_FSIZE)
    setrlimit(RLIMIT_FSIZE, (path.stat().st_size + 200, sizes[1]))  # the disk is full within the next frame
    try:
        with pytest.raises(OSError, match=name):
            run_md(cell, replace(settings, time=0.004), path, restart=True)
    finally:
        setrlimit(RLIMIT_FSIZE, sizes)
    assert len(read(path, ":")) == 5
    run_md(cell, replace(settings, time=0.004), path, restart=True)
    frames = read(path, ":")
    assert len(frames) == 9
    assert np.isfinite([frame.get_potential_energy() for frame in frames]).all()


def test_restart_without_a_log_writes_one(tmp_path, cell):
    path = tmp_path / "md.traj"
    run_md(cell, MDSettings(timestep=2.0, time=0.02), path)
    (tmp_path / "md.log").unlink()
    run_md(cell, MDSettings(timestep=2.0, time=0.04), path, restart=True)
    assert read_log(tmp_path / "md.log")["step"].tolist() == [20]


def test_restarts_that_make_no_sense(tmp_path, cell):
    path = tmp_path / "md.traj"
    run_md(cell, MDSettings(timestep=2.0, time=0.02), path)
    with pytest.raises(DynamicsError, match="longer time"):
        run_md(cell, MDSettings(timestep=2.0, time=0.02), path, restart=True)
    with pytest.raises(DynamicsError, match="another time step"):
        run_md(cell, MDSettings(timestep=1.0, time=0.1), path, restart=True)
    with pytest.raises(DynamicsError, match="columns"):
        run_md(cell, MDSettings("npt", timestep=2.0, time=0.1), path, restart=True)
    other = cell.repeat((2, 1, 1))
    other.calc = cell.calc
    with pytest.raises(DynamicsError, match="other atoms"):
        run_md(other, MDSettings(timestep=2.0, time=0.1), path, restart=True)
    write_structure(tmp_path / "plain.xyz", relaxed(cell))
    with pytest.raises(DynamicsError, match="lacks step number"):
        run_md(cell, MDSettings(timestep=2.0, time=0.1), tmp_path / "plain.xyz", restart=True)
    (tmp_path / "other.traj").write_bytes(b"precious, and no trajectory")
    with pytest.raises(StructureError, match=r"other\.traj"):
        run_md(cell, MDSettings(timestep=2.0, time=0.1), tmp_path / "other.traj", restart=True)
    assert (tmp_path / "other.traj").read_bytes() == b"precious, and no trajectory"


@pytest.mark.parametrize("name", ["none.traj", "empty.traj", "cut.traj", "cut.xyz"])
def test_restart_before_the_first_frame_begins(tmp_path, cell, name):
    path, settings = tmp_path / name, MDSettings(timestep=2.0, time=0.02, interval=5)
    if name.startswith("cut"):
        run_md(cell, settings, path)
        path.write_bytes(path.read_bytes()[: 30 if path.suffix == ".traj" else 400])
    elif name.startswith("empty"):
        path.touch()
    run_md(cell, settings, path, restart=True)
    assert [f.info["step"] for f in read(path, ":")] == [0, 5, 10]


@pytest.mark.parametrize("name", ["md.traj", "md.xyz"])
def test_restart_after_half_a_frame(tmp_path, cell, name):
    path, settings = tmp_path / name, MDSettings(timestep=2.0, time=0.02, interval=5)
    run_md(cell, settings, path)
    whole = path.read_bytes()
    run_md(cell, replace(settings, time=0.03), path, restart=True)
    longer = path.read_bytes()
    for cut in (1, 30, 200, len(longer) - len(whole) - 1):
        path.write_bytes(longer[:-cut] if name == "md.xyz" else whole + longer[len(whole) : len(longer) - cut])
        run_md(cell, replace(settings, time=0.03), path, restart=True)
        assert [f.info["step"] for f in read(path, ":")] == [0, 5, 10, 15]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("ensemble", ["nve", "nvt-langevin", "nvt-bussi", "npt", "npt-flexible"])
def test_restarts_make_the_same_run_to_the_last_bit(tmp_path, cell, copper_model, ensemble, threads):
    # one run, and one that a new process takes up again at every third frame
    structure = cell.repeat((2, 2, 1))
    settings = MDSettings(ensemble, 600.0, timestep=3.0, time=0.18, interval=4, log_interval=3, seed=5)
    for name in ("whole.traj", "parts.traj"):
        for time in (0.036, 0.072, 0.18) if name == "parts.traj" else (0.18,):
            structure.calc = WKCalculator(copper_model, threads=threads)
            run_md(structure, replace(settings, time=time), tmp_path / name, restart=True)
    assert same_files(tmp_path, "whole", "parts")


def same_files(folder, first, second):
    a, b = (read(folder / f"{name}.traj", ":") for name in (first, second))
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        for name in ("positions", "momenta"):
            assert x.arrays[name].tobytes() == y.arrays[name].tobytes(), x.info
        assert x.cell.array.tobytes() == y.cell.array.tobytes()
        assert x.get_forces().tobytes() == y.get_forces().tobytes()
    assert (folder / f"{first}.log").read_text() == (folder / f"{second}.log").read_text()
    return True


def relaxed(atoms):
    atoms.get_forces()
    return atoms


# --- what goes wrong ---


class Wrong(WKCalculator):
    """Fails after some evaluations."""

    def __init__(self, *args, after, how, **kwargs):
        super().__init__(*args, **kwargs)
        self.left, self.how = after, how

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.left -= 1
        if self.left < 0:
            self.results[self.how] = self.results[self.how] * (np.nan if self.how == "energy" else 1e5)


@pytest.mark.parametrize(("how", "message"), [("energy", "not finite"), ("forces", "temperature has reached")])
def test_an_explosion_stops_the_run_and_keeps_the_trajectory(tmp_path, copper_model, how, message):
    atoms = bulk("Cu", a=3.59, cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = Wrong(copper_model, after=13, how=how)
    with pytest.raises(DynamicsError, match=f"step 1[234] .*{message}.*All frames before"):
        run_md(atoms, MDSettings(timestep=2.0, time=1, interval=5, log_interval=1), tmp_path / "md.traj")
    assert [f.info["step"] for f in read(tmp_path / "md.traj", ":")] == [0, 5, 10]
    assert np.isfinite(read_log(tmp_path / "md.log")["total"]).all()


def test_too_long_a_time_step_is_noticed(tmp_path, cell):
    with pytest.raises(DynamicsError, match=r"broke off.*smaller time step"):
        run_md(cell, MDSettings(temperature=1000, timestep=100.0, time=50), tmp_path / "md.traj")


@pytest.mark.parametrize(
    "settings",
    [
        {"ensemble": "nvt"},
        {"timestep": 0},
        {"time": -1.0},
        {"temperature": -1.0},
        {"temperature": 0.0, "ensemble": "nvt-bussi"},
        {"interval": 0},
        {"time": float("nan")},
    ],
    ids=str,
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(DynamicsError):
        MDSettings(**settings)


def test_refuses_before_files_are_touched(tmp_path, cell):
    path = tmp_path / "md.traj"
    path.write_bytes(b"precious")
    slab = cell.copy()
    slab.pbc = [True, True, False]
    fixed = cell.copy()
    fixed.set_constraint(FixAtoms([0]))
    for atoms in (slab, fixed):
        atoms.calc = cell.calc
        with pytest.raises(DynamicsError, match=r"npt (needs|does)"):
            run_md(atoms, MDSettings("npt"), path)
    other = bulk("Al", cubic=True)
    other.calc = cell.calc
    with pytest.raises(UnknownElementError):
        run_md(other, MDSettings(), path)
    with pytest.raises(DynamicsError, match="no velocities"):
        run_md(cell, MDSettings(keep_velocities=True), path)
    assert path.read_bytes() == b"precious"


def test_velocities_can_be_kept(tmp_path, cell):
    cell.set_momenta(np.arange(12.0).reshape(4, 3))
    run_md(cell, MDSettings(timestep=0.01, time=0.00001, keep_velocities=True), tmp_path / "md.traj")
    np.testing.assert_allclose(read(tmp_path / "md.traj", 0).get_momenta(), cell.get_momenta(), atol=1e-12)


# --- relaxation ---


@pytest.mark.parametrize("optimiser", ["LBFGS", "BFGS", "FIRE"])
@pytest.mark.parametrize("with_cell", [True, False])
def test_relax(cell, optimiser, with_cell):
    cell.set_cell(3.65 * np.eye(3), scale_atoms=True)
    cell.rattle(0.05, seed=0)
    seen = []
    summary = relax(cell, optimiser, 1e-3, cell=with_cell, progress=lambda stage, fraction: seen.append(fraction))
    assert summary.converged
    assert summary.fmax < 5e-3
    assert summary.gained > 0
    assert abs(summary.pressure) < 0.1 or not with_cell
    assert seen[-1] == 1


def test_relax_under_pressure(cell):
    summary = relax(cell, fmax=1e-4, cell=True, pressure=3.0)
    assert summary.pressure == pytest.approx(3.0, abs=0.01)


def test_relax_that_does_not_converge_says_so(cell):
    cell.rattle(0.05, seed=0)
    summary = relax(cell, fmax=1e-8, steps=2)
    assert not summary.converged
    assert summary.steps == 2


def test_relax_of_a_molecule(random_model):
    atoms = molecule("CH3CH2OH")
    atoms.calc = WKCalculator(random_model(scale=0.3), threads=1)
    summary = relax(atoms, fmax=0.01, steps=5)
    assert summary.pressure is None
    with pytest.raises(RelaxationError, match="three directions"):
        relax(atoms, cell=True)
    with pytest.raises(RelaxationError, match="unknown optimiser"):
        relax(atoms, "Newton")


# --- structures ---


@pytest.mark.parametrize("name", ["a.xyz", "a.cif", "a.traj", "POSCAR", "a.json"])
def test_structures_are_written_in_the_format_of_their_name(tmp_path, cell, name):
    write_structure(tmp_path / name, relaxed(cell))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    np.testing.assert_allclose(read_structure(tmp_path / name).positions, cell.positions, atol=1e-6)


def test_structures_that_cannot_be_read_or_written(tmp_path, cell):
    (tmp_path / "bad.xyz").write_text("3\n\nH 0 0 0\n")
    (tmp_path / "good.xyz").write_text("1\n\nH 0 0 0\n")
    (tmp_path / "none.xyz").write_text("0\n\n")
    for name, message in (
        ("missing.xyz", "file not found"),
        ("bad.xyz", "cannot be read"),
        ("none.xyz", "no atoms"),
    ):
        with pytest.raises(StructureError, match=f"{name}: {message}"):
            read_structure(tmp_path / name)
    with pytest.raises(StructureError, match="not a file"):
        read_structure(tmp_path)
    with pytest.raises(StructureError, match="no frame 3"):
        read_structure(tmp_path / "good.xyz", 3)
    with pytest.raises(StructureError, match="no format"):
        write_structure(tmp_path / "a.unknown", relaxed(cell))
    assert not (tmp_path / "a.unknown").exists()
