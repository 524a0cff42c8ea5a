"""`wk-potential map`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Command, check_outputs
from .options import PATH, data_argument, frames_option, model_argument, threads_option

if TYPE_CHECKING:
    from .screen import Screen


@click.command(cls=Command, short_help="Make a model fast: quadratic forms instead of support points.")
@model_argument
@data_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="MODEL.wkp", help="Model to write.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    help="Largest deviation of a force component from the support points, eV/Å; 0 is exact [default: 0.03 of the "
    "expected rms error of forces, from 1e-4 to 5e-3].",
)
@frames_option
@threads_option
@click.pass_obj
def map(
    screen: "Screen",
    model: Path,
    data: tuple[Path, ...],
    output: Path,
    tolerance: float | None,
    frames: str,
    threads: int | None,
) -> None:
    """Write MODEL with a mapped form, whose cost does not depend on the number of support points.

    The form is made as small as the tolerance allows on frames of DATA, which should be the training data: labels
    are not looked at. Training does this by itself; here the tolerance can be changed afterwards.

    \b
    Example:
      wk-potential map ethanol.wkp train.xyz --tolerance 1e-3 -o ethanol_fast.wkp
    """
    from ..atoms.reading import read_frames
    from ..model.model import Model
    from ..training.mapping.mapping import map_model

    check_outputs(output)
    loaded, structures = Model.load(model), read_frames(data, frames)
    with screen.progress() as progress:
        report = partial(progress, "mapping")
        mapped = map_model(loaded, structures, tolerance, threads, screen.say, report)
    mapped.save(output)
    screen.say(f"Written to {output}", "bold")
