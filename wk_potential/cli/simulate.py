"""`wk-potential md` and `wk-potential relax`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Command, Interrupted, UserError, check_output, model_argument, structure_argument, threads_option

if TYPE_CHECKING:
    from .screen import Screen

ENSEMBLES = ("nve", "nvt-langevin", "nvt-bussi", "npt", "npt-flexible")
ACTIONS, LIMIT = ("warn", "save", "stop"), 2.0  # as in `extrapolation`, which takes long to import
OPTIMISERS = ("LBFGS", "BFGS", "FIRE")
_path = click.Path(path_type=Path)
frame_option = click.option("--frame", default=-1, show_default=True, metavar="INDEX", help="Frame of STRUCTURE.")


precision_option = click.option(
    "--precision",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="float32 is faster, for models in mapped form.",
)


_DYNAMICS = [
    click.option(
        "--ensemble",
        type=click.Choice(ENSEMBLES),
        default="nve",
        show_default=True,
        help="See above.",
    ),
    click.option("--temperature", default=300.0, show_default=True, help="K, of initial velocities and thermostat."),
    click.option("--timestep", default=0.5, show_default=True, help="fs."),
    click.option("--time", default=1.0, show_default=True, help="ps, from the start of the trajectory to its end."),
    click.option("--friction", default=5.0, show_default=True, help="1/ps, of nvt-langevin."),
    click.option("--thermostat-time", default=100.0, show_default=True, help="fs, of nvt-bussi and npt."),
    click.option("--barostat-time", default=1000.0, show_default=True, help="fs, of npt."),
    click.option("--pressure", default=0.0, show_default=True, help="GPa, of npt."),
    click.option("--interval", default=10, show_default=True, help="Steps between frames of the trajectory."),
    click.option("--log-interval", default=10, show_default=True, help="Steps between lines of the log."),
    click.option("--log", type=_path, metavar="FILE", help="Log [default: as the trajectory, ending in .log]."),
    click.option("--seed", default=0, show_default=True, help="Of initial velocities and thermostat."),
    click.option("--keep-velocities", is_flag=True, help="Start with the velocities in STRUCTURE."),
]


def dynamics_options(command: Any) -> Any:
    """Give a command the options of `MDSettings`, and --log."""
    for option in reversed(_DYNAMICS):
        command = option(command)
    return command


def load_atoms(
    model: Path, structure: Path, frame: int, threads: int | None, precision: str, uncertainty: bool = False
) -> Any:
    """Return the structure with a calculator."""
    from ..atoms.trajectories import read_structure
    from ..calculator import WKCalculator

    calculator = WKCalculator(model, threads, precision, uncertainty=uncertainty)
    atoms = read_structure(structure, frame)
    atoms.calc = calculator
    return atoms


@click.command(cls=Command, short_help="Run molecular dynamics.")
@model_argument
@structure_argument
@click.option("-o", "--output", type=_path, required=True, metavar="FILE", help="Trajectory, .traj or extended .xyz.")
@dynamics_options
@click.option("--plot", type=_path, metavar="FILE.png", help="Draw energies and temperature against time.")
@click.option(
    "--on-extrapolation",
    type=click.Choice(ACTIONS),
    help="Where atoms leave the training set: warn, save the structures (FILE.unknown.traj or .xyz), save and stop.",
)
@click.option("--grade-limit", default=LIMIT, show_default=True, help="Extrapolation grade that counts as leaving.")
@click.option("--restart", is_flag=True, help="Continue the trajectory until --time is reached, or begin it.")
@click.option("--overwrite", is_flag=True, help="Replace an existing trajectory.")
@frame_option
@precision_option
@threads_option
@click.pass_obj
def md(
    screen: "Screen",
    model: Path,
    structure: Path,
    output: Path,
    log: Path | None,
    plot: Path | None,
    restart: bool,
    overwrite: bool,
    frame: int,
    precision: str,
    threads: int | None,
    **settings: Any,
) -> None:
    """Run molecular dynamics of STRUCTURE with MODEL.

    \b
    nve           velocity Verlet
    nvt-langevin  Langevin thermostat, the centre of mass at rest
    nvt-bussi     stochastic velocity rescaling
    npt           Martyna, Tobias, Klein; the cell keeps its shape
    npt-flexible  the same with a cell that is free

    The log holds step, time (ps), potential, kinetic and total energy (eV), temperature (K), with npt also
    the volume (Angstrom^3) and the pressure (GPa). After an interruption of any kind, the same command with
    --restart goes on; with a .traj file the result is the same, to the last bit. With --on-extrapolation the
    error bars of the model, trained with --uncertainty, tell where atoms are in environments unlike those of the
    training set.

    \b
    Example:
      wk-potential md ethanol.wkp ethanol.xyz --ensemble nve --temperature 300 --time 5 -o md.traj
    """
    from ..simulation.dynamics import read_log, run_md
    from ..simulation.integrators import MDSettings

    run = MDSettings(**settings)
    log = output.with_suffix(".log") if log is None else log
    for path in (output, log, plot):
        if path is not None:
            check_output(path)
    if output.exists() and not (restart or overwrite):
        raise UserError(f"{output}: exists; continue it with --restart or replace it with --overwrite")
    if restart and not output.exists():
        screen.say(f"{output} is not there yet: the run begins")
    atoms = load_atoms(model, structure, frame, threads, precision, run.on_extrapolation is not None)
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


def show_run(screen: "Screen", summary: Any, run: Any, files: list[Path]) -> None:
    """Print how a run went."""
    per_day = 86400 / summary.seconds_per_step * run.timestep * 1e-6
    speed = f"{1e3 * summary.seconds_per_step:.3g} ms per step, {per_day:.3g} ns per day"
    rows = [("steps", f"{summary.steps} to {summary.time:g} ps"), ("speed", speed)]
    rows.append(("temperature", f"{summary.temperature:.1f} K on average over the second half"))
    if run.ensemble == "nve":
        rows.append(("drift", f"{1e3 * summary.drift:.2g} meV per atom and ps of the total energy"))
    if summary.volume is not None:
        rows.append(("volume", f"{summary.volume:.3f} Å³ on average over the second half"))
    rows.append(("written", ", ".join(map(str, files))))
    screen.facts("Done", rows)


@click.command(cls=Command, short_help="Relax positions, with --cell also the cell.")
@model_argument
@structure_argument
@click.option("-o", "--output", type=_path, required=True, metavar="FILE", help="Relaxed structure, any ASE format.")
@click.option("--fmax", default=0.01, show_default=True, help="eV/Angstrom, the largest force left.")
@click.option("--cell", is_flag=True, help="Relax the cell as well.")
@click.option("--pressure", default=0.0, show_default=True, help="GPa, with --cell.")
@click.option("--optimiser", type=click.Choice(OPTIMISERS), default="LBFGS", show_default=True, help="Search method.")
@click.option("--steps", type=click.IntRange(1), default=1000, show_default=True, help="At most so many.")
@frame_option
@precision_option
@threads_option
@click.pass_obj
def relax(
    screen: "Screen",
    model: Path,
    structure: Path,
    output: Path,
    frame: int,
    precision: str,
    threads: int | None,
    **settings: Any,
) -> None:
    """Relax STRUCTURE with MODEL: positions, with --cell also the cell.

    \b
    Example:
      wk-potential relax silicon.wkp silicon.cif --cell --fmax 0.001 -o relaxed.xyz
    """
    from ..atoms.trajectories import output_format, write_structure
    from ..simulation.relaxation import relax as relax_atoms

    check_output(output)
    output_format(output)
    atoms = load_atoms(model, structure, frame, threads, precision)
    with screen.progress() as progress:
        summary = relax_atoms(atoms, progress=progress, **settings)
    write_structure(output, atoms)
    if not summary.converged:
        screen.warn(f"not converged after {summary.steps} steps; go on from {output}")
    rows = [
        ("steps", str(summary.steps)),
        ("energy", f"{summary.energy:.6f} eV, {summary.gained:.6f} below the start"),
        ("largest force", f"{summary.fmax:.5f} eV/Å"),
    ]
    if summary.pressure is not None:
        rows.append(("pressure", f"{summary.pressure:.4f} GPa"))
        rows.append(("cell", ", ".join(f"{x:.5g}" for x in atoms.cell.cellpar()) + " (Å, degrees)"))
    screen.facts("Converged" if summary.converged else "Not converged", [*rows, ("written", str(output))])
