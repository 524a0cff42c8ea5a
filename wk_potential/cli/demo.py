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


@click.command(cls=Command, short_help="Train, test and run ethanol, in about two minutes.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default="wk-potential-demo",
    show_default=True,
    metavar="FOLDER",
    help="Where the files go.",
)
@threads_option
@click.pass_obj
def demo(screen: "Screen", output: Path, threads: int | None) -> None:
    """Train on ethanol, test, run molecular dynamics: everything once, in about two minutes.

    Of 100 frames in the package (eV, Angstrom) every second one is for training and the others are for the
    test. Then 5 ps at constant energy, 300 K, 0.5 fs time step.

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
