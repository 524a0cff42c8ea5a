"""`wk-potential md`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DynamicsError
from .common import Command, Interrupted, check_outputs, check_pictures, load_atoms
from .options import (
    PATH,
    baseline_option,
    dynamics_options,
    frame_option,
    model_argument,
    precision_option,
    structure_argument,
    threads_option,
)

if TYPE_CHECKING:
    from .screen import Screen

ACTIONS, LIMIT = ("warn", "save", "stop"), 2.0  # as in `simulation.extrapolation`, which takes long to import


@click.command(cls=Command, short_help="Run molecular dynamics.")
@model_argument
@structure_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="Trajectory: .traj, or extended .xyz.")
@dynamics_options
@click.option("--plot", type=PATH, metavar="FILE.png", help="Draw energies and temperature against time.")
@click.option(
    "--on-extrapolation",
    type=click.Choice(ACTIONS),
    help="What to do if an atom is in an environment unlike those of the training set: warn, save the structure (in "
    "FILE.unknown.traj or .xyz), or save it and stop.",
)
@click.option(
    "--grade-limit",
    default=LIMIT,
    show_default=True,
    help="Extrapolation grade above which an environment counts as unlike: 1 is at the edge of the training set.",
)
@click.option(
    "--restart", is_flag=True, help="Continue the trajectory until --time is reached, or begin it if it is not there."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing trajectory.")
@frame_option
@precision_option
@baseline_option
@threads_option
@click.pass_obj
def md(
    screen: "Screen",
    /,
    model: Path,
    structure: Path,
    output: Path,
    log: Path | None,
    plot: Path | None,
    restart: bool,
    overwrite: bool,
    frame: int,
    precision: str,
    baseline: str | None,
    threads: int | None,
    **settings: Any,
) -> None:
    """Run molecular dynamics of STRUCTURE with MODEL.

    \b
    The ensembles are
    nve           constant energy (velocity Verlet)
    nvt-langevin  constant temperature: Langevin thermostat, with the centre of mass at rest
    nvt-bussi     constant temperature: stochastic velocity rescaling (Bussi, Donadio, Parrinello)
    npt           constant pressure (Martyna, Tobias, Klein); the cell keeps its shape
    npt-flexible  the same, and the cell may change its shape

    The log holds step, time (ps), potential, kinetic and total energy (eV), temperature (K), and with npt also
    volume (Angstrom^3) and pressure (GPa). After any interruption the same command with --restart goes on; with a .traj
    file the result is the same to the last bit. --on-extrapolation needs a model with error bars (train
    --uncertainty, which is the default).

    \b
    Example:
      wk-potential md ethanol.wkp ethanol.xyz --ensemble nve --temperature 300 --time 5 -o md.traj
    """
    from ..simulation.dynamics import read_log, run_md
    from ..simulation.integrators import MDSettings
    from .tables import show_run

    run = MDSettings(**settings)
    log = output.with_suffix(".log") if log is None else log
    check_outputs(output, log)
    check_pictures(plot)
    if output.exists() and not (restart or overwrite):
        raise DynamicsError(f"{output}: exists; continue it with --restart or replace it with --overwrite")
    if restart and not output.exists():
        screen.say(f"{output} is not there yet: the run begins")
    atoms = load_atoms(model, structure, frame, threads, precision, baseline, run.on_extrapolation is not None)
    what = f"{run.ensemble}, {run.steps} steps of {run.timestep:g} fs, {run.temperature:g} K"
    screen.say(f"{atoms.get_chemical_formula()}, {what}")
    try:
        with screen.progress() as progress:
            summary = run_md(atoms, run, output, log, restart, progress)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {output} is whole up to its last frame, go on with --restart") from None
    if plot is not None:
        from ..analysis.plots import md_figure

        md_figure(read_log(log), len(atoms), plot, f"{atoms.get_chemical_formula()}, {run.ensemble}")
    show_run(screen, summary, run, [path for path in (output, log, plot) if path is not None])
