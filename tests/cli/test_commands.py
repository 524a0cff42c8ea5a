import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write

from wk_potential import Model, __version__

CONTRACT = ("energy_mae", "energy_rmse", "energy_per_atom_mae", "energy_per_atom_rmse", "forces_mae")
CONTRACT += ("forces_rmse", "stress_mae", "n_frames")
QUICK = ["--cutoff", "4", "--cutoff-width", "2", "--lmax", "1", "--order", "2", "--density-width", "0.5"]
QUICK += ["--channel-tolerance", "0.01", "--threads", "1"]


# --- train ---


def test_train(run, data):
    result = run("train", data, "-o", "m.wkp", *QUICK, "--frames", ":5", "--isolated-atoms", "Cu=0.1")
    model = Model.load("m.wkp")
    assert model.cutoff == 4
    assert model.baseline.tolist() == [0.1]
    assert model.info["training"]["frames"] == 5
    assert model.info["options"]["lmax"] == 1
    for text in ("energy", "forces", "stress", "Cu", "The model", "Written to m.wkp"):
        assert text in result.stdout
    assert [p.name for p in Path().iterdir()].count("m.wkp") == 1


def test_train_says_what_the_labels_are_called(run, data):
    frames = read(data, ":")
    for atoms in frames:
        atoms.info["REF_energy"] = atoms.get_potential_energy() + 1
        atoms.arrays["dft_forces"] = atoms.get_forces()
        atoms.calc = None
    write(data, frames)
    result = run("train", data, "-o", "m.wkp", *QUICK)
    assert re.search(r"energy +REF_energy +6 +6\b", result.stdout)
    assert re.search(r"forces +dft_forces +6 +72\b", result.stdout)
    assert re.search(r"stress +none +0 +0\b", result.stdout)


def test_options_from_a_file_and_the_command_line_wins(run, data):
    Path("o.toml").write_text("cutoff = 3.5\nlmax = 1\norder = 2\nframes = ':4'\nelement_weights = { Cu = 2.0 }\n")
    options = ["--cutoff", "4", "--cutoff-width", "2", "--density-width", "0.5"]
    run("train", data, "-o", "m.wkp", "--config", "o.toml", *options)
    info = Model.load("m.wkp").info
    assert info["options"]["cutoff"] == 4
    assert info["options"]["element_weights"] == {"Cu": 2}
    assert info["training"]["frames"] == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cutof = 3", "unknown option 'cutof'; did you mean 'cutoff'?"),
        ("cutoff = 'long'", "cutoff"),
        ("lmax = 99", "lmax"),
        ("cutoff 3", "TOML"),
    ],
)
def test_mistakes_in_the_options_file(run, data, text, expected, error_line):
    Path("o.toml").write_text(text)
    line = error_line(run("train", data, "-o", "m.wkp", "--config", "o.toml", code=1))
    assert expected in line
    assert "o.toml" in line
    assert not Path("m.wkp").exists()


def test_dictionaries_and_lists_on_the_command_line(run, data):
    pairs = ["--element-weights", "Cu=2,H=0.3", "--element-weights", "O=0.7", "--order-weights", "1,0.5"]
    run("train", data, "-o", "m.wkp", *QUICK, *pairs)
    options = Model.load("m.wkp").info["options"]
    assert options["element_weights"] == {"Cu": 2, "H": 0.3, "O": 0.7}
    assert options["order_weights"] == [1, 0.5]
    assert "SYMBOL=VALUE" in run("train", data, "-o", "m.wkp", "--element-weights", "Cu", code=2).stderr
    assert "list of numbers" in run("train", data, "-o", "m.wkp", "--order-weights", "1;2", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["missing.xyz", "-o", "m.wkp"], "missing.xyz: file not found"),
        (["data.xyz", "-o", "none/m.wkp"], "the folder none does not exist"),
        (["data.xyz", "-o", "."], "is a folder"),
        (["data.xyz", "-o", "m.wkp", "--frames", "9:"], "selects nothing"),
        (["data.xyz", "-o", "m.wkp", "--energy-unit", "furlong"], "energy-unit"),
        (["data.xyz", "-o", "m.wkp", "--energy-key", "e"], "keys found"),
        (["data.xyz", "-o", "m.wkp", "--cutoff", "-1"], "cutoff: Input should be greater"),
        (["data.xyz", "-o", "m.wkp", "--config", "none.toml"], "none.toml"),
    ],
)
def test_errors_of_train_are_one_line(run, data, arguments, expected, error_line):
    assert expected in error_line(run("train", *arguments, code=1))
    assert not Path("m.wkp").exists()


def test_nothing_is_read_when_the_output_cannot_be_written(run, error_line):
    line = error_line(run("train", "missing.xyz", "-o", "none/m.wkp", code=1))
    assert "the folder none does not exist; make it first" in line


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_is_not_writable(run, data, error_line):
    Path("locked").mkdir(mode=0o500)
    assert "not writable" in error_line(run("train", data, "-o", "locked/m.wkp", code=1))


def test_warnings_are_short_lines(run, data):
    frames = read(data, ":")
    write(data, [*frames, frames[0]])
    lines = run("train", data, "-o", "m.wkp", *QUICK).stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Warning: 1 frames repeat an earlier one")


def test_units_that_look_wrong_are_warned_of(run, data, copper_frames):
    write(data, [replace(frame, forces=100 * frame.forces).to_atoms() for frame in copper_frames[:5]])
    assert "Warning: forces are" in run("train", data, "-o", "m.wkp", *QUICK).stderr


# --- evaluate ---


def test_evaluate_writes_what_scripts_rely_on(run, model, data):
    result = run("evaluate", model, data, "--json", "e.json", "--plot", "p.png", "-o", "p.xyz")
    table = json.loads(Path("e.json").read_text())
    assert set(CONTRACT) <= set(table)
    assert table["n_frames"] == 6
    assert 0 < table["forces_mae"] < table["forces_rmse"] < 0.1
    assert table["energy_per_atom_mae"] == pytest.approx(table["energy_mae"] / 4)
    assert 0 < table["stress_mae"] < 0.01
    assert table["forces_by_element"]["Cu"]["forces_mae"] == table["forces_mae"]
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    difference = read("p.xyz", 2).get_forces() - read(data, 2).get_forces()
    assert 0 < np.abs(difference).max() < 0.2
    for text in ("Errors on 6 frames, 24 atoms", "meV/Å", "GPa", "Cu", "Written to e.json, p.png, p.xyz"):
        assert text in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--frames", ":2"], 2),
        (["--frames", "-5:"], 5),
        (["--frames=-5:"], 5),
        (["--frames", "1::2"], 3),
        (["--frames", "-1"], 1),
        ([], 6),
    ],
)
def test_slices(run, model, data, given, expected):
    run("evaluate", model, data, "--json", "e.json", *given)
    assert json.loads(Path("e.json").read_text())["n_frames"] == expected


def test_labels_that_are_missing_are_null(run, model, data, copper_frames):
    write(data, [replace(f, forces=None, stress=None).to_atoms() for f in copper_frames[:3]])
    run("evaluate", model, data, "--json", "e.json")
    table = json.loads(Path("e.json").read_text())
    assert table["forces_mae"] is table["stress_mae"] is None
    assert table["energy_mae"] > 0


def test_energy_unit(run, model, data, copper_frames):
    run("evaluate", model, data, "--json", "a.json")
    factor = 23.060548
    frames = [
        replace(f, energy=f.energy * factor, forces=f.forces * factor, stress=f.stress * factor).to_atoms()
        for f in copper_frames[:6]
    ]
    write("kcal.xyz", frames)
    run("evaluate", model, "kcal.xyz", "--energy-unit", "kcal/mol", "--json", "b.json")
    a, b = (json.loads(Path(name).read_text()) for name in ("a.json", "b.json"))
    for name in CONTRACT:
        assert a[name] == pytest.approx(b[name], rel=1e-3)


def test_several_files_and_config_types(run, model, data, copper_frames):
    frames = [replace(f, config_type="hot").to_atoms() for f in copper_frames[6:8]]
    write("more.xyz", frames)
    result = run("evaluate", model, data, "more.xyz", "--json", "e.json")
    table = json.loads(Path("e.json").read_text())
    assert table["n_frames"] == 8
    assert table["by_config_type"]["hot"]["n_frames"] == 2
    assert "hot" in result.stdout


def test_errors_of_evaluate_are_one_line(run, model, data, tmp_path, error_line):
    write("al.xyz", bulk("Al", cubic=True))
    frames = read(data, ":2")
    frames[1].numbers[2] = 13
    write("mixed.xyz", frames)
    for arguments, expected in (
        (["none.wkp", data], "none.wkp: cannot be read"),
        ([data, data], "data.xyz: not a wk_potential model file"),
        ([model, "none.xyz"], "none.xyz: file not found"),
        ([model, "al.xyz"], "no energy, forces or stress"),
        ([model, "mixed.xyz"], "mixed.xyz, frame 1: atom 2 is Al, but the model was trained on Cu only"),
        ([model, data, "--json", "none/e.json"], "the folder none does not exist"),
    ):
        assert expected in error_line(run("evaluate", *arguments, code=1))


# --- info ---


def test_info(run, model):
    text = run("info", model).stdout
    for expected in ("cu.wkp", "elements", "Cu", "4 Å", "lmax 2, order 3", "8 frames", "meV/Å", __version__):
        assert expected in text
    header = json.loads(run("info", model, "--json").stdout)
    assert header["training"]["frames"] == 8
    assert header["cutoff"] == 4


def test_info_of_a_model_without_any(run, random_model, tmp_path, error_line):
    random_model().save("bare.wkp")
    assert "H C O" in run("info", "bare.wkp").stdout
    assert "truncated" in error_line(run("info", cut("bare.wkp"), code=1))


def cut(path):
    Path(path).write_bytes(Path(path).read_bytes()[:-100])
    return path


# --- md and relax ---


def test_md_and_restart(run, model, structure, error_line):
    start = ["md", model, structure, "-o", "md.traj", "--timestep", "2", "--interval", "5", "--threads", "1"]
    result = run(*start, "--time", "0.02", "--plot", "md.png")
    assert "Cu4, nve, 10 steps of 2 fs, 300 K" in result.stdout
    assert "meV per atom and ps" in result.stdout
    assert Path("md.png").stat().st_size > 10000
    assert "continue it with --restart" in error_line(run(*start, "--time", "0.04", code=1))
    run(*start, "--time", "0.04", "--restart")
    assert [f.info["step"] for f in read("md.traj", ":")] == [0, 5, 10, 15, 20]
    assert len(Path("md.log").read_text().splitlines()) == 4
    run(*start, "--time", "0.01", "--overwrite")
    assert len(read("md.traj", ":")) == 2


@pytest.mark.parametrize("ensemble", ["nvt-langevin", "nvt-bussi", "npt", "npt-flexible"])
def test_md_ensembles(run, model, structure, ensemble):
    settings = ["--ensemble", ensemble, "--temperature", "200", "--time", "0.01", "--pressure", "1"]
    result = run("md", model, structure, "-o", "md.xyz", *settings)
    assert ("volume" in result.stdout) == ensemble.startswith("npt")
    assert len(read("md.xyz", ":")) == 3


def test_md_interrupted(run, model, structure, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("wk_potential.simulation.dynamics.append_frame", interrupt)
    result = run("md", model, structure, "-o", "md.traj", code=130)
    assert "go on with --restart" in result.stderr


def test_errors_of_md_are_one_line(run, model, structure, error_line):
    for arguments, expected in (
        (["none.xyz", "-o", "md.traj"], "none.xyz: file not found"),
        ([structure, "-o", "none/md.traj"], "the folder none does not exist"),
        ([structure, "-o", "md.traj", "--timestep", "0"], "timestep must be positive"),
        ([structure, "-o", "md.traj", "--frame", "4"], "no frame 4"),
    ):
        assert expected in error_line(run("md", model, *arguments, code=1))
    assert "nvt-bussi" in run("md", model, structure, "-o", "md.traj", "--ensemble", "nvt", code=2).stderr


def test_relax(run, model, structure, error_line):
    result = run("relax", model, structure, "-o", "relaxed.xyz", "--cell")
    assert "Converged" in result.stdout
    atoms = read("relaxed.xyz")
    assert np.abs(atoms.get_forces()).max() < 0.01
    assert np.abs(atoms.get_stress()).max() < 1e-3
    assert "no format" in error_line(run("relax", model, structure, "-o", "relaxed.what", code=1))


def test_relax_that_does_not_converge_warns(run, model, structure):
    result = run("relax", model, structure, "-o", "relaxed.cif", "--steps", "1", "--fmax", "1e-6")
    assert result.stderr.startswith("Warning: not converged after 1 steps")
    assert Path("relaxed.cif").exists()
