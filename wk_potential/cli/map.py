"""`wk-potential map`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import OptionsError
from .common import Command, check_outputs
from .options import PATH, data_argument, frames_option, model_argument, threads_option

if TYPE_CHECKING:
    from .screen import Screen


@click.command(cls=Command, short_help="Make a model faster, or change the tolerance of its fast form.")
@model_argument
@data_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="MODEL.wkp", help="Model to write.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    help="Largest change of a force component, eV/Angstrom; 0 for none [default: a quarter of the expected rms "
    "error of forces, from 1e-4 to 1e-2].",
)
@click.option(
    "--microseconds",
    type=click.FloatRange(0, min_open=True),
    help="Instead of a tolerance: CPU time per atom and step that the form may take, in float64 on this machine, as "
    "measured on the largest structure of DATA.",
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
    microseconds: float | None,
    frames: str,
    threads: int | None,
) -> None:
    """Write MODEL with a mapped form, which is faster.

    A trained model is a sum over support points: environments from the training set, to which each atom is compared.
    The mapped form has quadratic forms instead, whose cost does not depend on the number of support points. It is made
    as small as --tolerance allows on the frames in DATA, which should be the training data; their labels are not used.
    Training makes a mapped form by itself; this command makes one with another tolerance, or the most accurate one
    within some time per atom. `pareto` shows what there is to choose from.

    \b
    Example:
      wk-potential map ethanol.wkp train.xyz --tolerance 1e-3 -o ethanol_fast.wkp
    """
    from ..analysis.timing import cpu_time, structure_to_time
    from ..atoms.reading import read_frames
    from ..model.model import Model
    from ..training.mapping.mapping import Ladder, map_model

    check_outputs(output)
    if tolerance is not None and microseconds is not None:
        raise OptionsError("--tolerance and --microseconds exclude each other")
    loaded, structures = Model.load(model), read_frames(data, frames, unlabelled=True)
    with screen.progress() as progress:
        report = partial(progress, "mapping")
        if microseconds is None:
            mapped = map_model(loaded, structures, tolerance, threads, screen.say, report)
        else:
            atoms = structure_to_time(structures)
            mapped = Ladder(loaded, structures, threads, report).within(microseconds, partial(cpu_time, atoms))
    if microseconds is not None:
        time = f"{cpu_time(atoms, mapped):.3g} µs per atom and step ({len(atoms)} atoms)"
        facts = mapped.info["mapping"] if mapped.is_mapped else {}
        screen.say(
            f"Mapped: {time}; forces deviate from the direct kernel by up to {facts['largest_force_deviation']:.1e} "
            f"eV/Å (rms {facts['rms_force_deviation']:.1e})"
            if facts
            else f"The direct kernel takes {time}: the model needs no mapped form"
        )
    mapped.save(output)
    screen.say(f"Written to {output}", "bold")
