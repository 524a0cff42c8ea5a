"""`wk-potential active`: learning on the fly."""

import importlib
import runpy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Command, Interrupted, UserError, check_output, structure_argument, threads_option
from .simulate import dynamics_options, frame_option

if TYPE_CHECKING:
    from .screen import Screen

FORCES_LIMIT, GRADE_LIMIT = 0.2, 5.0  # as in `active.learner`, which takes long to import
MOST_ROWS = 30  # of the table of calls
_path = click.Path(path_type=Path)


def load_reference(text: str) -> Any:
    """Return the calculator that FILE.py, FILE.py:NAME or MODULE:NAME defines, by itself or as what makes it.

    Raises:
        UserError: there is no such file, module or name, or it is no calculator.

    """
    source, colon, name = text.rpartition(":")
    if not colon:
        source, name = text, "calculator"
    try:
        namespace = runpy.run_path(source) if source.endswith(".py") else vars(importlib.import_module(source))
    except (OSError, ImportError) as error:
        raise UserError(
            f"--reference {text}: cannot be loaded ({error}); give FILE.py that defines `calculator`, or MODULE:NAME"
        ) from error
    if name not in namespace:
        raise UserError(f"--reference {text}: {source} defines no {name!r}; name the calculator after a colon")
    found = namespace[name]
    if callable(found) and (isinstance(found, type) or not hasattr(found, "get_potential_energy")):
        found = found()
    if not hasattr(found, "get_potential_energy"):
        raise UserError(f"--reference {text}: {name} is no ASE calculator, nor does it make one")
    return found


@click.command(cls=Command, short_help="Learn on the fly: molecular dynamics that calls a reference.")
@structure_argument
@click.option(
    "--reference", required=True, metavar="FILE.py|MODULE:NAME", help="ASE calculator that labels; see below."
)
@click.option("-o", "--output", type=_path, required=True, metavar="FILE.wkp", help="Model.")
@click.option("--initial", type=_path, multiple=True, metavar="FRAMES", help="Labelled frames to start from.")
@click.option(
    "--forces-limit",
    default=FORCES_LIMIT,
    show_default=True,
    help="eV/Angstrom: the reference is called where a component of a force is less certain.",
)
@click.option(
    "--grade-limit", default=GRADE_LIMIT, show_default=True, help="Or where an atom's extrapolation grade is above."
)
@click.option("--calls", type=click.IntRange(1), metavar="N", help="End after so many calls of the reference.")
@click.option(
    "--explore",
    type=click.IntRange(1),
    metavar="N",
    help="Learn in rounds from N runs with different seeds, instead of on the fly from one; see below.",
)
@click.option("--config", type=_path, metavar="FILE.toml", help="Options of the training, as for train.")
@click.option(
    "--trajectory",
    type=_path,
    metavar="FILE",
    help="Trajectory, or folder of those of --explore [default: as the model, ending in .traj or .runs].",
)
@dynamics_options
@click.option("--restart", is_flag=True, help="Go on with what is there, or begin.")
@frame_option
@threads_option
@click.pass_obj
def active(
    screen: "Screen",
    structure: Path,
    reference: str,
    output: Path,
    initial: tuple[Path, ...],
    forces_limit: float,
    grade_limit: float,
    calls: int | None,
    explore: int | None,
    config: Path | None,
    trajectory: Path | None,
    log: Path | None,
    restart: bool,
    frame: int,
    threads: int | None,
    **settings: Any,
) -> None:
    """Run molecular dynamics of STRUCTURE with a model that learns.

    Where the error bars pass a bound, the reference calculator is called, the labelled frame is saved in
    MODEL.labelled.xyz, the model is updated, and the dynamics goes on. Without --initial it starts from the structure
    and four rattled copies. The reference is a Python file that defines `calculator`, an ASE calculator or a function
    that makes one; FILE.py:NAME and MODULE:NAME name another. After an interruption of any kind the same command with
    --restart goes on, and no structure is labelled twice. Ensembles are those of md.

    With --explore the runs are made again and again, each until its end or until the model has lost its way, and of
    every round the frame with the largest error bar is labelled, until no bound is passed. Runs are short then, and
    calls fewer. Trajectories of the last round are in the folder MODEL.runs.

    \b
    Examples:
      wk-potential active ethanol.xyz --reference pbe.py --ensemble nvt-langevin --time 10 -o ethanol.wkp
      wk-potential active cu.xyz --reference ase.calculators.emt:EMT --temperature 800 -o cu.wkp
      wk-potential active cu.xyz --reference ase.calculators.emt:EMT --explore 4 --time 1 --calls 40 -o cu.wkp
    """
    from ..active import explore as rounds
    from ..active.learner import ActiveLearner, labelled_file
    from ..atoms.reading import read_frames
    from ..atoms.trajectories import read_structure
    from ..simulation.integrators import MDSettings
    from ..training.options import TrainingOptions

    run = MDSettings(**settings)
    if trajectory is None:
        trajectory = output.with_suffix(".traj" if explore is None else ".runs")
    for path in (output, log, trajectory if explore is None else None):
        if path is not None:
            check_output(path)
    for path in (output, labelled_file(output), trajectory):
        if path.exists() and not restart:
            raise UserError(f"{path}: exists; go on with --restart, or name another file")
    atoms = read_structure(structure, frame)
    frames = read_frames(initial) if initial else []
    options = TrainingOptions() if config is None else TrainingOptions.from_toml(config)
    calculator = load_reference(reference)
    what = f"{run.ensemble}, {run.steps} steps of {run.timestep:g} fs, {run.temperature:g} K"
    screen.say(f"{atoms.get_chemical_formula()}, {what}; the reference is called above {forces_limit:g} eV/Å")
    try:
        with screen.progress() as progress:
            learner = ActiveLearner(
                atoms, calculator, output, frames, options, forces_limit, grade_limit, calls, threads, run.seed,
                screen.say, progress,
            )  # fmt: skip
            if explore is None:
                ended = learner.run(run, trajectory, log)
            else:
                runs = [(atoms, replace(run, seed=run.seed + k)) for k in range(explore)]
                ended = rounds.explore(learner, runs, trajectory)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; all files are whole, go on with --restart: {output}") from None
    _show(screen, learner, ended, [output, learner.labelled.path, trajectory])


def _show(screen: "Screen", learner: Any, ended: bool, files: list[Path]) -> None:
    """Print what was called and what it was good for."""
    calls = [call for call in learner.calls if call.step is not None]
    rows = [
        (str(c.number), str(c.step), f"{c.grade:.2f}", f"{1e3 * c.predicted:.0f}", f"{1e3 * c.found:.0f}")
        for c in calls[-MOST_ROWS:]
    ]
    title = "Calls of the reference" + (f", the last {MOST_ROWS}" if len(calls) > MOST_ROWS else "")
    columns = ("call", "step", "grade", "predicted meV/Å", "found meV/Å")
    screen.table(f"{title} (error of forces, rms over the frame)", columns, rows)
    seconds = ", ".join(f"{name} {value:.3g} s" for name, value in learner.seconds.items())
    facts = [
        ("calls", f"{len(learner.labelled.frames)}, {learner.labelled.calls} of them now"),
        ("time", seconds),
        ("written", ", ".join(map(str, files))),
    ]
    screen.facts("Done" if ended else "The calls of the reference are used up", facts)
