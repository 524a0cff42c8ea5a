"""`wk-potential lammps`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Interrupted, RanksCommand, tell
from .options import PATH, baseline_option, model_argument, precision_option, threads_option

if TYPE_CHECKING:
    from .screen import Screen


@click.command(
    cls=RanksCommand,
    short_help="Run a LAMMPS input with a model.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@precision_option
@baseline_option
@threads_option
@model_argument
@click.argument("script", type=PATH)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[LAMMPS OPTIONS]...")
@click.pass_obj
def lammps(
    screen: "Screen",
    /,
    model: Path,
    script: Path,
    arguments: tuple[str, ...],
    precision: str,
    baseline: str | None,
    threads: int | None,
) -> None:
    """Run the LAMMPS input SCRIPT with MODEL, under mpiexec with many processes.

    In the script, after the box is made, two lines stand for the potential; the second names the element of each atom
    type:

    \b
      pair_style  wk
      pair_coeff  * * Si O

    The units of the script must be metal or real. Everything else works as LAMMPS does it: integrators, thermostats,
    minimisers, restart files, energies and stresses per atom. The energy is part of pe and etotal, as that of a fix,
    but not of evdwl. Commands that would go wrong because the model is a fix to LAMMPS are refused. With `pair_style
    wk heat_flux` the compute wk_flux is the heat flux. `jump SELF` works after these two lines, to labels after them.
    Options after SCRIPT are those of LAMMPS. With `neighbor 1.0 bin` (a skin of 1 Angstrom) a run is often faster
    than with the 2 Angstrom that LAMMPS takes by itself.

    \b
    Examples:
      wk-potential lammps Si.wkp in.melt
      mpiexec -n 4 wk-potential lammps --threads 1 Si.wkp in.melt -var T 1500 -log melt.log
    """
    from ..lammps import run_script
    from ..model.model import Model

    def report(error: BaseException) -> int:
        if isinstance(error, KeyboardInterrupt):
            error = Interrupted("interrupted; what LAMMPS has written until now is there")
        return tell(screen, error)

    loaded = Model.load(model)
    if baseline is not None:
        loaded = loaded.with_baseline(baseline)
    coupling = run_script(loaded, script, arguments, threads, precision, report=report)
    if coupling.comm.rank == 0:
        potential, rest = coupling.seconds["potential"], coupling.seconds["coupling"]
        screen.say(f"Potential: {potential:.2f} s; exchange with LAMMPS and waiting for other processes: {rest:.2f} s")
