"""`wk-potential data` and its parts."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write
from oracles.faults import alloy_frames, with_faults

from wk_potential import read_frames
from wk_potential.atoms.trajectories import write_frames
from wk_potential.cli.data import data as group

OPTIONS = 'lmax = 2\norder = 3\ncutoff = 5.0\nsupport_points = 200\nforces_unit = "eV/Angstrom"\n'


@pytest.fixture
def files(tmp_path):
    """A file of frames with ten faults, and options of a quick fit."""
    write_frames(tmp_path / "alloy.xyz", with_faults(alloy_frames(70))[0])
    (tmp_path / "options.toml").write_text(OPTIONS)


@pytest.mark.parametrize("name", list(group.commands))
def test_help_of_each_part_has_units_and_an_example(run, name):
    text = run("data", name, "--help").output
    assert re.search(rf"Example:\n +wk-potential data {name} ", text)
    assert re.search(r"\b(eV|Angstrom)\b", text)
    assert "--energy-unit" in text
    assert f"  {name} " in run("data", "--help").output


@pytest.mark.train
def test_summary_and_outliers(run, files):
    printed = run("data", "summary", "alloy.xyz", "--json", "s.json", "--plot", "s.png", "--threads", "1").output
    for text in ("alloy.xyz@3 ", "as if it were in Ha", "Duplicates: 2 groups", "with different labels", "Cu-Au"):
        assert text in printed
    summary = json.loads(Path("s.json").read_text())
    assert summary["n_frames"] == 70
    assert summary["elements"] == {"Cu": 319, "Au": 241}
    assert summary["distances"]["Cu-Cu"]["distance"] == pytest.approx(2.2, abs=0.2)
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")
    arguments = ["alloy.xyz", "--config", "options.toml", "--threads", "1"]
    printed = run("data", "outliers", *arguments, "--json", "o.json", "--plot", "o.png", "-o", "clean.xyz").output
    found = json.loads(Path("o.json").read_text())
    named = {f["number"] for f in found["findings"]}
    assert re.search(rf"{len(named)} of 70 frames contradict the others", printed)
    assert "alloy.xyz@31 " in printed
    assert len(read("clean.xyz", ":")) == 70 - len(named)
    assert len(found["scores"]) == 70
    assert Path("o.png").stat().st_size > 10_000


def test_sound_frames_have_nothing_to_tell(run, files):
    write_frames("sound.xyz", alloy_frames(16))
    assert "No frame contradicts the others" in run("data", "outliers", "sound.xyz", "--config", "options.toml").output
    assert "stand out" not in run("data", "summary", "sound.xyz").output


def test_split_select_merge_and_convert(run):
    write_frames("a.xyz", alloy_frames(8, name="a"))
    write_frames("b.xyz", [*alloy_frames(4, 3, name="b"), *alloy_frames(2, name="a")])
    assert "8 frames written to p_train.xyz" in run("data", "split", "a.xyz", "b.xyz@:2", "-o", "p").output
    assert len(read("p_test.xyz", ":")) == 2
    chosen = run("data", "select", "3", "a.xyz", "-o", "c.xyz").output
    assert len(read("c.xyz", ":")) == 3
    assert re.search(r"Chosen: a\.xyz@\d, a\.xyz@\d, a\.xyz@\d", chosen)
    merged = run("data", "merge", "a.xyz", "b.xyz", "-o", "m.traj").output
    assert "b.xyz@4 repeats a.xyz@0 and is left out" in merged
    assert "12 frames written to m.traj" in merged
    run("data", "convert", "a.xyz", "kcal.xyz", "--energy-unit", "kcal/mol", "--length-unit", "Angstrom")
    factor = read_frames("kcal.xyz")[0].energy / read_frames("a.xyz")[0].energy
    assert factor == pytest.approx(1 / 23.060548)


def test_an_archive_becomes_extended_xyz(run):
    rng = np.random.default_rng(0)
    numbers, water = np.array([8, 1, 1]), np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    coords = water + rng.normal(0, 0.05, (4, 3, 3))
    np.savez(
        "water.npz", nuclear_charges=numbers, coords=coords, energies=np.arange(4.0), forces=rng.normal(size=(4, 3, 3))
    )
    run("data", "convert", "water.npz", "water.xyz", "--energy-unit", "kcal/mol")
    given, found = read_frames("water.npz", energy_unit="kcal/mol"), read_frames("water.xyz")
    for a, b in zip(given, found, strict=True):
        assert b.energy == pytest.approx(a.energy)
        assert b.forces == pytest.approx(a.forces, abs=1e-8)
        assert dict(b.keys) == {"energy": "energy", "forces": "forces"}


def test_frames_to_be_selected_need_no_labels(run, structure):
    images = [read(structure) for _ in range(5)]
    for k, atoms in enumerate(images):
        atoms.rattle(0.1, seed=k)
    write("bare.xyz", images)
    run("data", "select", "2", "bare.xyz", "-o", "chosen.xyz")
    assert len(read("chosen.xyz", ":")) == 2
    assert "2 frames describe" not in run("data", "select", "2", "bare.xyz", "-o", "again.xyz").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["outliers", "d.xyz", "-o", "d.xyz"], "d.xyz: exists, and no data are replaced"),
        (["merge", "d.xyz", "-o", "d.xyz"], "d.xyz: exists, and no data are replaced"),
        (["convert", "d.xyz", "out.cif"], "out.cif: frames are written with all labels as .xyz"),
        (["convert", "d.xyz", "nowhere/out.xyz"], "nowhere/out.xyz: the folder nowhere does not exist"),
        (["outliers", "d.xyz"], "there are 3 frames with energies, forces or stresses, and 12 are needed"),
        (["select", "9", "d.xyz", "-o", "out.xyz"], "9 frames of 3 cannot be chosen; ask for 1 to 3"),
        (["split", "d.xyz", "-o", "p", "--test-fraction", "2"], "test_fraction must be more than 0"),
        (["summary", "e.xyz"], "e.xyz: file not found"),
        (["summary", "d.xyz", "--plot", "s.doc"], "s.doc: no format of pictures has this ending"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(run, error_line, arguments, message):
    write_frames("d.xyz", alloy_frames(3, name="d"))
    before = {path: path.read_bytes() for path in Path().iterdir()}
    assert message in error_line(run("data", *arguments, code=1))
    assert {path: path.read_bytes() for path in Path().iterdir()} == before
