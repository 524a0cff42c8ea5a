"""Training of dipoles and polarisabilities: from files to predictions."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write
from click.testing import CliRunner
from oracles.water import KEYS, OPTIONS, water

from wk_potential import Model, TrainingOptions, WKCalculator, read_frames, train
from wk_potential.analysis.evaluation import errors
from wk_potential.atoms.dataset import data_hash
from wk_potential.atoms.tensor_labels import centre_of_mass
from wk_potential.cli import main
from wk_potential.errors import DataError, OptionsError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("water")
    write(path / "train.xyz", [water(k) for k in range(60)], format="extxyz")
    write(path / "test.xyz", [water(k) for k in range(100, 120)], format="extxyz")
    write(path / "ion.xyz", [water(k, 1.0) for k in range(40)], format="extxyz")
    return path


def relative_errors(model, frames):
    table = errors(frames, model.predict(frames, 1))
    return [
        table[f"{name}_rmse"] / np.std([getattr(frame, name) for frame in frames])
        for name in ("dipole", "polarizability")
    ]


@pytest.fixture(scope="module")
def trained(folder):
    lines = []
    frames = read_frames(folder / "train.xyz", **KEYS)
    return train(frames, TrainingOptions(**OPTIONS), threads=1, log=lines.append), lines


def test_tensors_are_learnt_without_energies(folder, trained):
    model, lines = trained
    assert model.scales == []
    test = read_frames(folder / "test.xyz", **KEYS)
    assert max(relative_errors(model, test)) < 0.01
    # what training expected is what the test finds
    facts = model.info["training"]["tensors"]["dipole"]["ranks"]["1"]
    found = errors(test, model.predict(test, 1))["dipole_rmse"]
    assert 0.5 < found / facts["leave_one_out_rmse"] < 2
    assert sum("leave-one-out error" in line for line in lines) == 3
    assert not any("Warning" in line for line in lines)
    assert model.info["training"]["tensors"]["polarizability"]["unit"] == "Angstrom^3"


def test_labels_are_converted(folder):
    frame = read_frames(folder / "train.xyz", ":1", **KEYS)[0]
    atoms = water(0)
    assert frame.dipole == pytest.approx(atoms.info["mu"] * units.Bohr, rel=1e-6)
    assert frame.polarizability == pytest.approx(atoms.info["alpha"].reshape(3, 3) * units.Bohr**3, rel=1e-6)
    debye = read_frames(folder / "train.xyz", ":1", dipole_key="mu", dipole_unit="debye")[0]
    assert debye.dipole == pytest.approx(atoms.info["mu"] * units.Debye, rel=1e-6)
    assert debye.polarizability is None
    plain = replace(frame, dipole=None, polarizability=None)
    assert len({data_hash([f]) for f in (frame, debye, plain)}) == 3


def test_dipoles_of_ions_need_their_origin(folder):
    ion, neutral = folder / "ion.xyz", read_frames(folder / "train.xyz", ":40", **KEYS)
    with pytest.raises(DataError, match=r"ion.xyz, frame 0: with a charge of 1 e .* --dipole-origin"):
        read_frames(ion, **KEYS, charge=1.0)
    frames = read_frames(ion, **KEYS, charge=1.0, dipole_origin="coordinates")
    for frame, expected in zip(frames, neutral, strict=True):
        assert frame.dipole == pytest.approx(expected.dipole, abs=1e-6)
    mass = read_frames(ion, **KEYS, charge=1.0, dipole_origin="mass")[0]
    assert mass.dipole == pytest.approx(frames[0].dipole + centre_of_mass(frames[0]), abs=1e-6)


def test_unstated_charge_is_noticed(folder):
    lines = []
    frames = read_frames(folder / "ion.xyz", dipole_key="mu", dipole_unit="e*bohr")
    train(frames, TrainingOptions(**OPTIONS), threads=1, log=lines.append)
    (warning,) = (line for line in lines if "Warning" in line)
    assert "dipoles change by 1.0" in warning or "dipoles change by 0.9" in warning
    assert "dipole_origin" in warning


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"mu": "high"}, r"'mu' is no dipole: .* instead of numbers of shape \(3,\); see --dipole-key"),
        ({"mu": np.array([1.0, np.nan, 0.0])}, "dipole 'mu' is NaN or infinite; correct it or remove the frame"),
        ({"alpha": np.arange(9.0)}, "'alpha' is not symmetric"),
    ],
)
def test_bad_labels_are_refused(tmp_path, info, message):
    atoms = water(1)
    atoms.info |= info
    write(tmp_path / "bad.xyz", atoms, format="extxyz")
    with pytest.raises(DataError, match=message):
        read_frames(tmp_path / "bad.xyz", **KEYS)


def test_unknown_units_and_keys(folder):
    with pytest.raises(DataError, match=r"unknown --dipole-unit 'C m': choose one of e\*Angstrom, e\*bohr, Debye"):
        read_frames(folder / "train.xyz", dipole_key="mu", dipole_unit="C m")
    with pytest.raises(OptionsError, match=r"dipole_origin: .*'coordinates' or 'mass'"):
        read_frames(folder / "train.xyz", dipole_key="mu", dipole_origin="here")
    with pytest.raises(DataError, match="--polarizability-key 'a' is in no frame; keys found: alpha, energy_ev, mu"):
        read_frames(folder / "train.xyz", polarizability_key="a")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lmax": 1}, "polarizability: needs lmax of at least 2, not 1"), ({"order": 5}, "orders 1 to 4, not 5")],
)
def test_limits_of_tensors(folder, options, message):
    frames = read_frames(folder / "train.xyz", ":3", polarizability_key="alpha")
    with pytest.raises(DataError, match=message):
        train(frames, TrainingOptions(**OPTIONS | options), threads=1)


def test_energy_and_dipole_in_one_model(folder, monkeypatch):
    """The density that was chosen for energies is not that of the dipoles."""
    chosen = {"angular_weight": -0.4, "saturation": 1.0}
    monkeypatch.setattr("wk_potential.training.train.tried", lambda _, options, *__: options.model_copy(update=chosen))
    frames = read_frames(folder / "train.xyz", ":20", energy_key="energy_ev", dipole_key="mu", dipole_unit="e*bohr")
    model = train(frames, TrainingOptions(**OPTIONS, map=False), threads=1)
    alone = train(frames, TrainingOptions(**OPTIONS, use_energy=False), threads=1)
    assert alone.scales == []
    calculator, other = WKCalculator(model, threads=1), WKCalculator(alone, threads=1)
    atoms = water(3)
    assert calculator.get_property("energy", atoms) == pytest.approx(atoms.info["energy_ev"], abs=0.05)
    dipoles = [c.get_property("dipole", atoms) for c in (calculator, other)]
    np.testing.assert_array_equal(*dipoles)
    assert calculator.neighbour_list.n_built == 1
    calculator.clear_history()  # as a restart needs it, also of what is not computed yet
    calculator.get_property("dipole_derivatives", atoms)
    assert calculator.neighbour_list.n_built == 2


def run(*arguments):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    return result.exit_code, result.output


def test_command_line(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = [f"--{name.replace('_', '-')}={value}" for name, value in KEYS.items()]
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    code, text = run("train", folder / "train.xyz", "-o", "m.wkp", "--frames", ":30", *labels, *options, "--threads", 1)
    assert code == 0, text
    assert "polarizability" in text
    assert set(Model.load("m.wkp").tensors) == {"dipole", "polarizability"}
    code, text = run(
        "evaluate", "m.wkp", folder / "test.xyz", *labels, "--json", "e.json", "--plot", "p.png", "-o", "p.xyz"
    )
    assert code == 0, text
    table = json.loads((tmp_path / "e.json").read_text())
    assert table["n_dipoles"] == 60
    assert table["dipole_mae"] < 0.02
    assert table["energy_mae"] is None
    predicted = read_frames(tmp_path / "p.xyz", dipole_key="dipole")
    assert len(predicted) == 20
    assert (tmp_path / "p.png").stat().st_size > 10000
    code, text = run("info", "m.wkp")
    assert code == 0, text
    assert "leave-one-out RMSE" in text


def vibrating(n, interval):
    """Frames of a molecule whose one bond vibrates at 2000 cm^-1."""
    from wk_potential.analysis.spectra import LIGHT

    frames = []
    for k in range(n):
        atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
        atoms.positions[1, 0] += 0.05 * np.cos(2 * np.pi * LIGHT * 2000 * interval * k)
        atoms.info["time"] = 1e-3 * interval * k
        frames.append(atoms)
    return frames


def test_spectrum_on_the_command_line(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained[0].save("m.wkp")
    write("run.xyz", vibrating(700, 2.0), format="extxyz")
    arguments = ["spectrum", "run.xyz", "m.wkp", "--resolution", 30, "--threads", 1]
    code, text = run(*arguments)
    assert code == 1
    assert "no velocities" in text
    code, text = run(*arguments, "--temperature", 300, "-o", "s.csv", "--plot", "s.png")
    assert code == 0, text
    names = (tmp_path / "s.csv").read_text().partition("\n")[0]
    assert names == "wavenumber/cm-1,infrared/(km/mol/cm-1),raman/(Angstrom^4/amu/cm-1)"
    k, infrared, raman = np.loadtxt("s.csv", delimiter=",", skiprows=1).T
    assert k[np.argmax(infrared)] == pytest.approx(2000, abs=5)
    assert k[np.argmax(raman)] == pytest.approx(2000, abs=5)
    assert (tmp_path / "s.png").stat().st_size > 10000
    code, text = run(*arguments, "--temperature", 300, "--frames", "::3")
    assert "folded back" in text
    code, text = run(*arguments, "--temperature", 300, "--harmonic")
    assert (code, "needs a model that has energies" in text) == (1, True)
