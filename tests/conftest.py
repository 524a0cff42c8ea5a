import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # before NumPy is loaded: the processes share the cores
    _cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))))

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import write
from oracles.systems import labelled_copper, rattled_frame

from wk_potential import Frame, Model, TrainingOptions, WKCalculator, train
from wk_potential.compute.threads import available_cores
from wk_potential.density.expansion import full_density
from wk_potential.density.radial import radial_table
from wk_potential.model.scale import Scale
from wk_potential.model.support import SupportPoints

MOST_PROCESSES = 4


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Processes of `-n auto`: one for each core, four at most; none beside this one for single files of tests."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None  # pytest-xdist reads it
    if all(Path(argument.partition("::")[0]).is_file() for argument in config.args):
        return 0
    return min(MOST_PROCESSES, len(available_cores()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files first that take long: those with the most runs on several ranks and trainings."""
    effort = Counter(item.path for item in items for name in ("mpi", "train") if item.get_closest_marker(name))
    items.sort(key=lambda item: -effort[item.path])


def _files() -> set[Path]:
    """Files of the checkout, and what the home folder holds, but for hidden folders and environments of Python."""
    found = {path for path in Path.home().iterdir() if path.name not in (".cache", ".config")}
    for folder, inner, names in os.walk(Path(__file__).parents[1]):
        hidden = {n for n in inner if n.startswith((".", "_")) or Path(folder, n, "pyvenv.cfg").exists()}
        inner[:] = set(inner) - hidden - ({"api"} if Path(folder).name == "docs" else set())  # made with the pages
        found |= {Path(folder, name) for name in names}
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind():
    """Tests write into temporary folders only."""
    before = _files()
    yield
    assert _files() <= before, f"left behind: {sorted(map(str, _files() - before))}"


@pytest.fixture
def shared_data() -> Path:
    """Folder with the benchmark data sets: $WK_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("WK_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data: set WK_DATA to their folder ({folder} does not exist)")
    return folder


@pytest.fixture(scope="session")
def random_model() -> Callable[..., Model]:
    """Make a small model with random support points: no physics, but smooth and exact in its derivatives."""

    def make(
        numbers=(1, 6, 8), lmax=2, cutoffs=(4.0, 2.5), n=5, tangents=True, scale=3.0, seed=0,
        order_weights=(0.1, 0.03, 0.01), info=None,
    ) -> Model:  # fmt: skip
        rng = np.random.default_rng(seed)
        scales = []
        for cutoff in cutoffs:
            density = full_density(lmax, radial_table(cutoff, 2.0, 0.5, 4.0, lmax, 1e-2), len(numbers))
            shape = (n, (lmax + 1) ** 2, density.projection.shape[3])
            support = [
                SupportPoints(
                    rng.normal(size=shape),
                    scale * rng.normal(size=n),
                    0.1 * scale * rng.normal(size=shape) if tangents else None,
                )
                for _ in numbers
            ]
            weights = np.outer(1 + 0.2 * np.arange(len(numbers)), order_weights)
            scales.append(Scale(density, weights, support))
        return Model(np.array(numbers), scales, rng.normal(size=len(numbers)), np.eye(len(numbers)), info or {})

    return make


@pytest.fixture(scope="session")
def copper_frames() -> list[Frame]:
    """Twelve frames of copper, on eight of which `copper_model` is trained."""
    return labelled_copper(12)


@pytest.fixture(scope="session")
def copper_model(copper_frames) -> Model:
    """A model of copper that is good enough for dynamics at room temperature."""
    options = TrainingOptions(cutoff=4.0, cutoff_width=2.0, lmax=2, order=3, density_width=0.5, channel_tolerance=1e-2)
    return train(copper_frames[:8], options)


@pytest.fixture
def xyz(tmp_path):
    """Write structures as file.xyz and return the path."""

    def write_xyz(frames, name="file.xyz"):
        write(tmp_path / name, frames, format="extxyz")
        return tmp_path / name

    return write_xyz


@pytest.fixture
def cell(copper_model):
    """Four atoms of copper, with their energy and forces."""
    atoms = bulk("Cu", a=3.59, cubic=True)
    atoms.calc = WKCalculator(copper_model, threads=1)
    atoms.get_forces()
    return atoms


@pytest.fixture(scope="module")
def molecules():
    """Ten ethanol molecules with Lennard-Jones labels, some of them missing."""
    ethanol = molecule("CH3CH2OH")
    frames = [rattled_frame(ethanol, LennardJones(sigma=0.9, rc=10.0), seed) for seed in range(10)]
    frames[3] = dataclasses.replace(frames[3], forces=None)
    frames[4] = dataclasses.replace(frames[4], energy=None)
    return frames


@pytest.fixture(scope="module")
def crystals():
    """Copper in a triclinic cell smaller than the cutoff, with stress."""
    cell = bulk("Cu").repeat((2, 1, 1))
    frames = []
    for seed in range(14):
        strained = cell.copy()
        rng = np.random.default_rng(seed)
        strained.set_cell(cell.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
        frames.append(rattled_frame(strained, EMT(), seed))
    return frames
