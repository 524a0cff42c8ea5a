"""Files of molecular dynamics, and runs that go on from them."""

from dataclasses import replace
from itertools import pairwise
from resource import RLIMIT_FSIZE, getrlimit, setrlimit

import numpy as np
import pytest
from ase.io import read

from wk_potential import WKCalculator
from wk_potential.atoms.trajectories import write_structure
from wk_potential.errors import DynamicsError, StructureError
from wk_potential.simulation.dynamics import read_log, run_md
from wk_potential.simulation.integrators import MDSettings


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
    write_structure(tmp_path / "plain.xyz", cell)
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
