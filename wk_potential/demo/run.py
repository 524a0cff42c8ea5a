"""The demonstration: from a hundred labelled frames of ethanol to a trajectory, in a few minutes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.evaluation import errors
from ..analysis.plots import md_figure, parity_figure
from ..atoms.frame import Frame
from ..atoms.reading import read_frames
from ..model.model import Model
from ..simulation.dynamics import MDSummary, read_log, run_md
from ..simulation.integrators import MDSettings
from ..training.options import TrainingOptions
from ..training.train import train

DATA = Path(__file__).parent / "ethanol.xyz"
FILES = {
    "train": "train.xyz",
    "test": "test.xyz",
    "model": "ethanol.wkp",
    "parity": "parity.png",
    "trajectory": "md.traj",
    "log": "md.log",
    "energy": "energy.png",
}


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
    time: float = 5.0,
    options: TrainingOptions | None = None,
) -> Demo:
    """Train on every second frame, test on the others, run molecular dynamics, draw both.

    Files of an earlier demonstration are replaced.

    Args:
        folder: where the files go, made if need be.
        threads: as in `thread_count`.
        log: receives lines of text for people.
        progress: receives the name of a stage and the fraction of it that is done.
        time: of the molecular dynamics, ps.
        options: of the training.

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
    model = train(seen, options, threads, log, progress)
    model.save(files["model"])
    predictions = model.predict(unseen, threads, progress=progress)
    parity_figure(unseen, predictions, files["parity"])
    atoms = unseen[-1].to_atoms()
    atoms.calc = WKCalculator(model, threads)
    settings = MDSettings("nve", temperature=300, timestep=0.5, time=time)
    summary = run_md(atoms, settings, files["trajectory"], files["log"], progress=progress)
    md_figure(read_log(files["log"]), len(atoms), files["energy"], "Ethanol, constant energy")
    return Demo(model, errors(unseen, predictions), settings, summary, files)
