"""The demonstration: from a hundred labelled frames of ethanol to a trajectory, in one to three minutes."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.evaluation import errors
from ..analysis.plots import md_figure, parity_figure
from ..atoms.frame import Frame
from ..atoms.reading import read_frames
from ..compute.jit import is_compiled
from ..model.model import Model
from ..simulation.dynamics import MDSummary, read_log, run_md
from ..simulation.integrators import MDSettings
from ..training.full.gram_pairs import add_pairs
from ..training.options import TrainingOptions
from ..training.train import train
from . import DATA
from .ahead import compiling_ahead
from .clock import overall

FILES = {
    "train": "train.xyz",
    "test": "test.xyz",
    "model": "ethanol.wkp",
    "parity": "parity.png",
    "trajectory": "md.traj",
    "log": "md.log",
    "energy": "energy.png",
}
# What training would choose here after some trials, which take a minute
OPTIONS = TrainingOptions(element_mixing=0.0, saturation=2.0)
# Seconds of each stage on two cores, when functions must be compiled first and when they were compiled earlier
SECONDS = {
    "environments": 19.0, "Gram matrices": 51.0, "likelihood": 22.0, "mapping": 32.0, "error bars": 3.0,
    "predicting": 1.0, "nve": 11.0,
}  # fmt: skip
SECONDS_COMPILED = {
    "environments": 3.0, "Gram matrices": 13.0, "likelihood": 13.0, "mapping": 35.0, "error bars": 4.0,
    "predicting": 1.0, "nve": 11.0,
}  # fmt: skip


@dataclass(frozen=True)
class Demo:
    """What the demonstration has made.

    Attributes:
        model: trained on every second frame.
        table: its errors on the others, as `wk_potential.analysis.evaluation.errors` returns them.
        settings: of the molecular dynamics.
        summary: how it went.
        files: path of each file, with the keys of `FILES`.

    """

    model: Model
    table: dict[str, Any]
    settings: MDSettings
    summary: MDSummary
    files: dict[str, Path]


def _write_frames(path: Path, frames: list[Frame]) -> None:
    from ase.io import write

    write(path, [frame.to_atoms() for frame in frames], format="extxyz")


def run_demo(
    folder: str | Path,
    threads: int | None = None,
    log: Callable[[str], None] | None = None,
    progress: Callable[[str, float], None] | None = None,
    time: float = 1.0,
    options: TrainingOptions | None = None,
) -> Demo:
    """Train on every second frame, test on the others, run molecular dynamics, draw both.

    Files of an earlier demonstration are replaced.

    Args:
        folder: where the files go, made if need be.
        threads: as in `thread_count`.
        log: receives lines of text for people.
        progress: receives "demo: " with the name of the stage, and the fraction of the whole time that has passed.
        time: of the molecular dynamics, ps.
        options: of the training [`OPTIONS`].

    Raises:
        OSError: the folder cannot be made or written to.

    """
    from ..calculator import WKCalculator

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / file for name, file in FILES.items()}
    frames = read_frames(DATA)
    seen, unseen = frames[::2], frames[1::2]
    _write_frames(files["train"], seen)
    _write_frames(files["test"], unseen)
    settings = MDSettings("nve", temperature=300, timestep=0.5, time=time)
    seconds, ahead = (SECONDS_COMPILED, nullcontext()) if is_compiled(add_pairs) else (SECONDS, compiling_ahead())
    with overall(seconds, progress) as report, ahead:
        model = train(seen, options or OPTIONS, threads, log, report)
        model.save(files["model"])
        predictions = model.predict(unseen, threads, progress=report)
        parity_figure(unseen, predictions, files["parity"])
        atoms = unseen[-1].to_atoms()
        atoms.calc = WKCalculator(model, threads)
        summary = run_md(atoms, settings, files["trajectory"], files["log"], progress=report)
        md_figure(read_log(files["log"]), len(atoms), files["energy"], "Ethanol, constant energy")
    return Demo(model, errors(unseen, predictions), settings, summary, files)
