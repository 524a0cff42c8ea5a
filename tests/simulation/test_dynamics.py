"""Molecular dynamics: velocities, ensembles, and what goes wrong."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io import read

from wk_potential import WKCalculator
from wk_potential.errors import DynamicsError, UnknownElementError
from wk_potential.simulation.dynamics import read_log, run_md
from wk_potential.simulation.integrators import MDSettings, degrees_of_freedom, make_dynamics, set_velocities


@pytest.fixture
def copper(copper_model):
    """Thirty-two atoms of copper."""
    atoms = bulk("Cu", a=3.59, cubic=True).repeat(2)
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
    run_md(atoms, MDSettings("nve", temperature=100, timestep=0.25, time=0.01), tmp_path / "md.traj")
    last = read(tmp_path / "md.traj")
    np.testing.assert_allclose(last.get_momenta().sum(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(last.get_angular_momentum(), 0, atol=1e-8)
    np.testing.assert_allclose(last.get_center_of_mass(), atoms.get_center_of_mass(), atol=1e-10)


@pytest.mark.train
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
    with pytest.raises(DynamicsError, match=f"step 1[234] .*{message}.*All earlier frames"):
        run_md(atoms, MDSettings(timestep=2.0, time=1, interval=5, log_interval=1), tmp_path / "md.traj")
    assert [f.info["step"] for f in read(tmp_path / "md.traj", ":")] == [0, 5, 10]
    assert np.isfinite(read_log(tmp_path / "md.log")["total"]).all()


def test_too_long_a_time_step_is_noticed(tmp_path, cell):
    with pytest.raises(DynamicsError, match=r"stopped at.*smaller time step"):
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


def test_constraints_that_hold_all_atoms(cell, tmp_path):
    cell.set_constraint(FixAtoms(range(len(cell))))
    with pytest.raises(DynamicsError, match="constraints hold all atoms: nothing can move"):
        run_md(cell, MDSettings(time=0.001), tmp_path / "md.traj")
    assert not (tmp_path / "md.traj").exists()
