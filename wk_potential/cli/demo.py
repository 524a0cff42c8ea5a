"""`wk-potential demo`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Command, Interrupted
from .options import threads_option

if TYPE_CHECKING:
    from .screen import Screen

NEXT = """
Next, look at {parity} and {energy}, then try
  wk-potential info {model}
  wk-potential evaluate {model} {test} --plot parity.png
  wk-potential md {model} {test} --ensemble nvt-langevin --temperature 300 --time 5 -o nvt.traj
  wk-potential relax {model} {test} -o relaxed.xyz
and with your own frames
  wk-potential train FRAMES.xyz -o MODEL.wkp"""


@click.command(cls=Command, short_help="Train, test and run ethanol, in one to three minutes.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default="wk-potential-demo",
    show_default=True,
    metavar="FOLDER",
    help="Folder for the files.",
)
@threads_option
@click.pass_obj
def demo(screen: "Screen", output: Path, threads: int | None) -> None:
    """Train a model of ethanol, test it and run molecular dynamics, in one to three minutes.

    The package holds 100 labelled frames of ethanol (energies in eV, forces in eV/Angstrom). Every second one is for
    training, the others are for the test. The run has 1 ps at constant energy, starts at 300 K and has a time step of
    0.5 fs.

    \b
    Example:
      wk-potential demo -o ethanol-demo
    """
    from ..demo.run import run_demo
    from .tables import show_errors, show_run

    try:
        with screen.progress() as progress:
            result = run_demo(output, threads, screen.say, progress)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what was finished is in {output}") from None
    screen.say()
    show_errors(screen, result.table, "Errors on the 50 frames that were not trained on")
    show_run(screen, result.summary, result.settings, list(result.files.values()))
    screen.say(NEXT.format(**result.files))
