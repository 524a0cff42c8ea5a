"""`wk-potential export`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Command, check_outputs
from .options import PATH, model_argument, precision_option

if TYPE_CHECKING:
    from .screen import Screen


@click.command(cls=Command, short_help="Write a model as a file for PyTorch: TorchSim, metatomic.")
@model_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="MODEL.pt", help="File to write.")
@precision_option
@click.pass_obj
def export(screen: "Screen", model: Path, output: Path, precision: str) -> None:
    """Write MODEL as a TorchScript file with the interface of metatomic.

    ASE, TorchSim, i-PI and LAMMPS can run the file, on processors and graphics processors. Loading it needs PyTorch and
    metatomic-torch, and not this package. Energies are in eV and lengths in Angstrom; forces and stress come from
    automatic differentiation. The model must have energies in mapped form (see `map`). Dipoles and polarisabilities are
    in the file too; error bars are left out. Exporting needs the extra `torch`: pip install 'wk-potential[torch]'.

    \b
    Example:
      wk-potential export ethanol.wkp -o ethanol.pt
    """
    from ..export.exporting import export_model
    from ..model.model import Model

    check_outputs(output)
    export_model(Model.load(model), output, precision, screen.say)
    screen.say(f"Written to {output}", "bold")
