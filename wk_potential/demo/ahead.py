"""Compile what the demonstration runs after the fit, in a second process, while the first compiles the fit.

Numba compiles one function after the other. The second process runs every later step once, at a small size, and what it
compiles goes to the cache on disk, where the first process finds it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..density.expansion import Density
    from ..training.options import DensityShape, TrainingOptions

N_FRAMES = 4  # of the demonstration, for the second process
N_SUPPORT = 8  # support points of each element
CHANNEL_STEP = 12  # of the channels of the density, one in so many is used
WEIGHT = 1e-9  # their size, for forces that hardly move an atom


@contextmanager
def compiling_ahead() -> Iterator[subprocess.Popen[bytes] | None]:
    """Run the second process beside the block, and end it with the block; yield it, or None if it cannot start.

    It helps and is never needed: where it fails, the first process compiles everything.
    """
    process = None
    with suppress(OSError):
        process = subprocess.Popen(
            [sys.executable, "-m", "wk_potential.demo.ahead"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        yield process
    finally:
        if process is not None:
            process.kill()
            process.wait()


def run_later_steps() -> None:
    """Map a model with random support points, fit its error bars, predict, and run a few steps of dynamics."""
    from ..atoms.dataset import Dataset
    from ..atoms.reading import read_frames
    from ..calculator import WKCalculator
    from ..model.model import Model
    from ..model.scale import Scale
    from ..model.support import SupportPoints
    from ..simulation.dynamics import run_md
    from ..simulation.integrators import MDSettings
    from ..training.baseline import fit_baseline
    from ..training.options import TrainingOptions
    from ..training.task import Fit, LeftOut, Task, quiet
    from ..training.train import completed
    from . import DATA

    frames = read_frames(DATA)[:N_FRAMES]
    # a tolerance that any form keeps
    options, data = TrainingOptions(map_tolerance=1.0), Dataset(frames)
    baseline, compositions = fit_baseline(data, None)
    densities = [_some_channels(options, shape, len(data.elements)) for shape in (options.long, options.short) if shape]
    task = Task(data, options, baseline, compositions, "full", densities, 1, quiet, quiet)
    rng, n_elements = np.random.default_rng(0), len(task.elements)
    scales = []
    for density in task.densities:
        shape = (N_SUPPORT, (density.lmax + 1) ** 2, density.projection.shape[3])
        points = [
            SupportPoints(rng.normal(size=shape), rng.normal(0, WEIGHT, N_SUPPORT), rng.normal(0, WEIGHT, shape))
            for _ in range(n_elements)
        ]
        scales.append(Scale(density, np.ones((n_elements, options.order)), points))
    counts = np.diff(task.data.label_first)
    left_out = LeftOut(lambda chosen: [rng.normal(size=counts[k]) for k in chosen])
    fit = Fit(scales, np.full(3, 0.1), {}, {}, 0.0, left_out)
    model = completed(Model(task.elements, scales, task.baseline, task.compositions), task, fit)
    model.predict(frames[:1], 1)
    atoms = frames[0].to_atoms()
    atoms.calc = WKCalculator(model, 1)
    with tempfile.TemporaryDirectory() as folder:
        run_md(atoms, MDSettings("nve", temperature=300, timestep=0.5, time=0.002), Path(folder) / "md.traj")


def _some_channels(options: "TrainingOptions", shape: "DensityShape", n_elements: int) -> "Density":
    """Some channels of a density as they are: to choose them would compile what the first process compiles first."""
    from ..density.expansion import full_density
    from ..density.radial import radial_table

    full = full_density(options.lmax, radial_table(*shape, options.lmax, options.radial_tolerance), n_elements)
    return full._replace(projection=full.projection[..., ::CHANNEL_STEP].copy(), saturation=1.0)


if __name__ == "__main__":
    run_later_steps()
