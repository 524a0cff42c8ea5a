"""`wk-potential info`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Command, check_pictures
from .options import PATH, model_argument

if TYPE_CHECKING:
    from .screen import Screen


@click.command(cls=Command, short_help="Show what a model is.")
@model_argument
@click.option("--json", "as_json", is_flag=True, help="Print the whole header of the file as JSON.")
@click.option("--dimers", type=PATH, metavar="FILE.png", help="Draw energies of two atoms against their distance.")
@click.pass_obj
def info(screen: "Screen", model: Path, as_json: bool, dimers: Path | None) -> None:
    """Show what MODEL is and what it was trained on.

    Lengths are in Angstrom and energies in eV unless another unit is printed.

    \b
    Examples:
      wk-potential info ethanol.wkp
      wk-potential info ethanol.wkp --dimers dimers.png
    """
    from ..model.container import read_container
    from ..model.model import Model
    from .tables import show_model

    check_pictures(dimers)
    if as_json:
        screen.say(json.dumps(read_container(model)[0], indent=1))
    else:
        show_model(screen, Model.load(model), str(model))
    if dimers is not None:
        from ..analysis.dimers import dimer_curves
        from ..analysis.plots import dimer_figure

        dimer_figure(dimer_curves(Model.load(model)), dimers)
        if not as_json:
            screen.say(f"Written to {dimers}")
