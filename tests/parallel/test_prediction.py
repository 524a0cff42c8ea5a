import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.io import Trajectory, write
from scripts.mpi import SILICON, crystal, needs, run_ranks, structures

from wk_potential import WKCalculator
from wk_potential.compute.threads import available_cores, thread_count
from wk_potential.parallel.bisection import lattice_coordinates, share
from wk_potential.training.full import shared_rows
from wk_potential.training.full.shared_rows import SharedRows
from wk_potential.training.sparse.design import deal

SCRIPTS = Path(__file__).parents[1] / "scripts"
with_mpi = needs("mpi4py")


@pytest.fixture(scope="module")
def molecules(random_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "molecules.wkp"
    random_model(lmax=1, cutoffs=(3.5, 2.5)).save(path)
    return path


@pytest.fixture(scope="module")
def serial(molecules):
    from scripts.ranks_calculator import run

    return run(molecules)[0]


# --- division of space ---


@pytest.mark.parametrize("n_parts", [1, 2, 3, 5, 8])
def test_parts_are_disjoint_complete_and_of_equal_work(n_parts):
    rng = np.random.default_rng(0)
    points, work = rng.uniform(0, [40, 10, 10], (500, 3)), rng.uniform(1, 3, 500)
    parts = [share(points, work, k, n_parts) for k in range(n_parts)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(500))
    sums = [work[p].sum() for p in parts]
    assert max(sums) - min(sums) <= 2 * work.max() * np.ceil(np.log2(n_parts))
    if n_parts == 2:
        assert points[parts[0], 0].max() <= points[parts[1], 0].min()


def test_fewer_atoms_than_parts():
    parts = [share(np.zeros((2, 3)), np.ones(2), k, 4) for k in range(4)]
    assert sorted(map(len, parts)) == [0, 0, 1, 1]
    assert [len(share(np.zeros((0, 3)), np.zeros(0), k, 3)) for k in range(3)] == [0, 0, 0]


def test_lattice_coordinates():
    atoms = structures()["smaller than the cutoff"]
    coordinates = lattice_coordinates(atoms.positions, np.linalg.inv(atoms.cell.array), atoms.pbc)
    np.testing.assert_allclose(coordinates.scaled, atoms.get_scaled_positions(), atol=1e-12)
    back = (coordinates.scaled - coordinates.wrapped) @ atoms.cell.array
    np.testing.assert_allclose(back, atoms.positions, atol=1e-12)
    heights = atoms.get_volume() / np.linalg.norm(np.cross(atoms.cell[[1, 2, 0]], atoms.cell[[2, 0, 1]]), axis=1)
    np.testing.assert_allclose(coordinates.heights, heights)


# --- threads ---


def test_ranks_share_the_cores_unless_threads_are_asked_for(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert thread_count(None, cores=3) == 3
    assert thread_count(5, cores=3) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert thread_count(None, cores=3) == 4


# --- many ranks ---


@with_mpi
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 4])
def test_same_as_on_one_rank(n_ranks, molecules, serial, tmp_path):
    done = run_ranks(n_ranks, SCRIPTS / "ranks_calculator.py", molecules, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    comm = pickle.loads((tmp_path / "out").read_bytes())
    assert len(comm) == n_ranks
    first = comm[0][0]
    for computed, *_ in comm[1:]:
        for name, values in computed.items():
            for key, value in values.items():
                np.testing.assert_array_equal(value, first[name][key], err_msg=f"{name}, {key}: to the last bit")
    for name, values in serial.items():
        assert values.keys() == first[name].keys()
        for key, expected in values.items():
            scale = 1e-10 * np.abs(expected).max(initial=1e-3)
            # a chaotic trajectory multiplies rounding errors
            tolerance = 1e-8 if name == "dynamics" else scale
            np.testing.assert_allclose(first[name][key], expected, rtol=0, atol=tolerance, err_msg=f"{name}, {key}")
    assert serial["dynamics"]["lists"] > 2
    assert comm[0][1]["half empty"] < 1.1
    assert comm[0][1]["crystal of 4096"] < 1.05
    for _, _, refused, threads in comm:
        check_refusals(refused, n_ranks)
        assert threads == max(1, len(available_cores()) // n_ranks)


def check_refusals(refused, n_ranks):
    """All ranks get the error that the last one made."""
    if n_ranks == 1:
        del refused[1:-1]
    else:
        assert refused[1][0] == "RanksDifferError"
        assert "not the same on all ranks" in refused[1][1]
        assert refused[2][0] == "StructureError"
        assert "atom 2 is not finite" in refused[2][1]
        assert refused[3][0] == "ClashError"
        assert sorted(int(word) for word in refused[3][1].split() if word.isdigit()) == [4, 15]
    assert refused[0] == ("UnknownElementError", "atom 3 is O, but the model was trained on Si only")
    atoms = crystal((2, 1, 1))
    atoms.calc = WKCalculator(SILICON, threads=1)
    assert refused[-1] == pytest.approx(atoms.get_potential_energy(), rel=1e-10)


# --- training ---


def test_frames_are_dealt_by_folds_and_work():
    costs, folds = np.array([1, 5, 1, 1, 2, 2, 9, 1, 2]), np.array([0, 1, 2, 3, 0, 1, 2, 3, 0])
    np.testing.assert_array_equal(deal(costs, folds, 1), 0)
    np.testing.assert_array_equal(deal(costs, folds, 3), folds % 3)
    np.testing.assert_array_equal(deal(costs, folds, 6), [0, 1, 2, 3, 0, 5, 2, 3, 4])


@with_mpi
@pytest.mark.parametrize("n_ranks", [2, 5])
def test_training_on_many_ranks_makes_the_same_model(n_ranks, copper_frames, tmp_path):
    write(tmp_path / "frames.xyz", [frame.to_atoms() for frame in copper_frames])
    options = ["--cutoff", 4, "--cutoff-width", 2, "--lmax", 2, "--order", 3, "--estimator", "sparse"]
    train = ["-m", "wk_potential", "train", "frames.xyz", "--support-points", 20, "--no-map", *options]
    said = []
    for n in (1, n_ranks):
        done = run_ranks(n, *train, "-o", f"{n}.wkp", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[1].count("Support points: Cu 20") == 1
    assert f"on each of {n_ranks} ranks" in said[1]
    for frame in copper_frames:
        forces = []
        for n in (1, n_ranks):
            atoms = frame.to_atoms()
            atoms.calc = WKCalculator(tmp_path / f"{n}.wkp", threads=1)
            forces.append(atoms.get_forces())
        # whole folds are summed in one order; where ranks share them rounding is multiplied by the condition number,
        # and the search for the noise may end a little elsewhere
        tolerance = 1e-10 if n_ranks <= 4 else 1e-4
        np.testing.assert_allclose(forces[1], forces[0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 7])
def test_rows_are_shared_by_frames_and_work(n_ranks, monkeypatch):
    monkeypatch.setattr(shared_rows, "ROWS", 5)
    counts, sizes = np.arange(100) % 5, 1 + np.arange(100) % 7
    parts = [SharedRows(counts, sizes, SimpleNamespace(rank=k, size=n_ranks)) for k in range(n_ranks)]
    frames = [part.own_frames() for part in parts]
    np.testing.assert_array_equal(np.sort(np.concatenate(frames)), np.arange(100))
    ends = np.concatenate([[0], np.cumsum(counts)])
    for part, own in zip(parts, frames, strict=True):
        rows = np.concatenate([np.arange(block.start, block.stop) for block in part.own_rows()])
        np.testing.assert_array_equal(rows, np.concatenate([np.arange(*ends[f : f + 2]) for f in own]))
    work = [sum(sizes[f] * sizes[f:].sum() for f in own) for own in frames]
    assert max(work) < 1.1 * np.mean(work)
    alone = [(block.start, block.stop) for block in SharedRows(counts, sizes).own_rows()]
    together = [(block.start, block.stop) for part in parts for block in part.own_rows()]
    assert sorted(together) == alone


@pytest.fixture(scope="module")
def labelled(copper_frames, tmp_path_factory):
    """Files with forces and stresses, with energies alone, and with dipoles alone."""
    folder = tmp_path_factory.mktemp("labelled")
    write(folder / "forces.xyz", [frame.to_atoms() for frame in copper_frames])
    write(folder / "energy.xyz", [replace(f, forces=None, stress=None).to_atoms() for f in copper_frames])
    rng, molecules = np.random.default_rng(0), []
    for _ in range(16):
        atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
        atoms.positions += rng.normal(0, 0.08, (3, 3))
        atoms.info["mu"] = np.array([-0.6, 0.3, 0.3]) @ atoms.positions
        molecules.append(atoms)
    write(folder / "dipole.xyz", molecules)
    return folder


def _trained_on_ranks(n_ranks, rows, folder, output):
    """What `ranks_training.py` found, on each rank."""
    done = run_ranks(n_ranks, SCRIPTS / "ranks_training.py", folder, output, rows, timeout=600)
    assert done.returncode == 0, done.stderr
    return pickle.loads(output.read_bytes())


@with_mpi
@pytest.mark.parametrize(("n_ranks", "rows"), [(2, 3), (4, 100)])  # 100 leave a rank without any
def test_full_estimator_is_the_same_on_many_ranks(n_ranks, rows, labelled, tmp_path):
    trained_on_one_rank, *comm = (
        found for n in (1, n_ranks) for found in _trained_on_ranks(n, rows, labelled, tmp_path / f"{n}")
    )
    assert len(comm) == n_ranks
    for all_searched in (0, 1):  # or some of the frames
        expected = trained_on_one_rank[all_searched]
        dipoles = ["dipole", "dipole sparse", "dipole_std", "dipole_std sparse"]
        assert sorted(expected) == [*dipoles, "energy", "energy_std", "forces", "forces_std"]
        for found in comm:
            for name, values in expected.items():
                np.testing.assert_allclose(found[all_searched][name], values, rtol=0, atol=1e-10, err_msg=name)
        assert np.abs(trained_on_one_rank[0]["forces"] - trained_on_one_rank[1]["forces"]).max() > 1e-10
    for found in comm:  # by conjugate gradients, whose sums over ranks are rounded in another order
        for name in ("energy", "forces"):
            np.testing.assert_allclose(found[2][name], trained_on_one_rank[2][name], rtol=0, atol=1e-6, err_msg=name)


@with_mpi
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["evaluate", SILICON, "frames.xyz"], "evaluate runs as one process"),
        (["train", "nothing.xyz", "-o", "model.wkp"], "nothing.xyz: file not found"),
    ],
)
def test_commands_that_end_on_many_ranks(command, message, tmp_path):
    done = run_ranks(2, "-m", "wk_potential", *command, timeout=30, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr


# --- what goes wrong ends all ranks ---

ENDS = """
import os, resource, signal, sys
import numpy as np
from ase import units
from ase.io import Trajectory
from ase.md.verlet import VelocityVerlet
from mpi4py import MPI
from scripts.mpi import SILICON, crystal
from wk_potential import WKCalculator

how, rank = sys.argv[1], MPI.COMM_WORLD.Get_rank()
atoms = crystal((2, 2, 2))
atoms.calc = WKCalculator(SILICON, comm=MPI.COMM_WORLD)

def after_three_steps():
    if dynamics.nsteps == 3 and rank == 1:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            sys.exit(0)
        if how == "error":
            raise RuntimeError("the first rank knows nothing of this")
        if how == "element":
            atoms.numbers[0] = 8
    if how == "disk" and dynamics.nsteps == 3 and rank == 0:
        size = os.path.getsize("md.traj") + 1000  # less than a frame
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

with Trajectory("md.traj", "w", atoms) as trajectory:
    dynamics = VelocityVerlet(atoms, units.fs)
    dynamics.attach(after_three_steps)
    dynamics.attach(trajectory)
    dynamics.run(100)
"""


@with_mpi
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("kill", "Killed (signal 9)"),
        ("error", "the first rank knows nothing of this"),
        ("exit", "rank 1 has left the program, and the others wait for it"),
        ("element", "atom 0 is O, but the model was trained on Si only"),
        ("disk", "File too large"),
    ],
)
def test_failure_of_one_rank_ends_all(how, message, tmp_path):
    (tmp_path / "run.py").write_text(ENDS)
    done = run_ranks(2, "run.py", how, timeout=30, cwd=tmp_path)
    assert done.returncode != 0
    assert message in " ".join((done.stdout + done.stderr).split())
    with Trajectory(tmp_path / "md.traj") as trajectory:
        frames = list(trajectory)
    assert len(frames) in (3, 4)  # steps 0, 1, 2, and 3 where the first rank was the faster one
    for frame in frames:
        assert len(frame) == 64
        assert np.isfinite(frame.get_potential_energy())


def test_comm_must_be_a_communicator():
    pytest.importorskip("mpi4py")
    with pytest.raises(TypeError, match=r"mpi4py, such as MPI.COMM_WORLD"):
        WKCalculator(SILICON, comm="world")


def test_mpi4py_is_imported_only_if_a_communicator_is_given():
    code = "import sys; from wk_potential import WKCalculator; WKCalculator(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, SILICON], check=True, capture_output=True, text=True)
    assert "wk_potential.calculator" in done.stdout.split()
    assert "mpi4py" not in done.stdout.split()
