"""`wk-potential active`: active learning."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ActiveLearningError
from .common import Command, Interrupted, check_outputs
from .options import PATH, dynamics_options, frame_option, structure_argument, threads_option

if TYPE_CHECKING:
    from .screen import Screen

FORCES_LIMIT, GRADE_LIMIT = 0.2, 5.0  # as in `active.learner`, which takes long to import
MOST_ROWS = 30  # of the table of calls


def _check_files(output: Path, trajectory: Path, log: Path | None, is_file: bool, restart: bool) -> None:
    """Refuse files that cannot be written, or that are there although nothing is to be continued.

    Raises:
        OptionsError: a file cannot be written.
        ActiveLearningError: a file is there.

    """
    from ..active.learner import labelled_file

    check_outputs(output, log, trajectory if is_file else None)
    for path in (output, labelled_file(output), trajectory):
        if path.exists() and not restart:
            raise ActiveLearningError(f"{path}: exists; go on with --restart, or name another file")


@click.command(cls=Command, short_help="Learn on the fly: molecular dynamics that calls a reference.")
@structure_argument
@click.option(
    "--reference",
    required=True,
    metavar="FILE.py|MODULE:NAME",
    help="Calculator of the reference method (DFT, say), which labels structures; see above.",
)
@click.option("-o", "--output", type=PATH, required=True, metavar="MODEL.wkp", help="Model to write.")
@click.option("--initial", type=PATH, multiple=True, metavar="FRAMES", help="Labelled frames to start from.")
@click.option(
    "--forces-limit",
    default=FORCES_LIMIT,
    show_default=True,
    help="Call the reference if the standard deviation of a force component is larger, eV/Angstrom.",
)
@click.option(
    "--grade-limit",
    default=GRADE_LIMIT,
    show_default=True,
    help="Call it also if the extrapolation grade of an atom is larger: 1 is at the edge of the training set.",
)
@click.option("--calls", type=click.IntRange(1), metavar="N", help="Stop after N calls of the reference in all.")
@click.option(
    "--explore",
    type=click.IntRange(1),
    metavar="N",
    help="Learn in rounds of N runs with different seeds, instead of on the fly from one run; see above.",
)
@click.option("--config", type=PATH, metavar="FILE.toml", help="Training options from a TOML file, as for train.")
@click.option(
    "--trajectory",
    type=PATH,
    metavar="FILE",
    help="Trajectory; with --explore a folder of trajectories [default: MODEL.traj, MODEL.runs].",
)
@dynamics_options
@click.option("--restart", is_flag=True, help="Continue with the files that are there, or begin if there are none.")
@frame_option
@threads_option
@click.pass_obj
def active(
    screen: "Screen",
    /,
    structure: Path,
    reference: str,
    output: Path,
    initial: tuple[Path, ...],
    explore: int | None,
    config: Path | None,
    trajectory: Path | None,
    log: Path | None,
    restart: bool,
    frame: int,
    **given: Any,
) -> None:
    """Run molecular dynamics of STRUCTURE with a model that learns while it runs.

    The model predicts its own error. Where the predicted error is larger than --forces-limit or --grade-limit allows,
    the reference calculator is called, the labelled frame is saved in MODEL.labelled.xyz, the model is updated, and
    the dynamics goes on. Without --initial the structure and four rattled copies of it are labelled first.

    The reference is a Python file that defines `calculator`: an ASE calculator, or a function that makes one.
    FILE.py:NAME and MODULE:NAME give another name. After any interruption the same command with --restart goes on;
    no structure is labelled twice. The ensembles are those of md.

    With --explore the N runs are made again and again. In each round every run goes on until its end, or until the
    model is of no use any more (its predicted error is five times the limit, or atoms collide); then the frame with
    the largest predicted error is labelled. This ends when no frame is beyond the limits. It takes fewer calls, and
    suits short runs. The folder MODEL.runs holds the trajectories of the last round.

    \b
    Examples:
      wk-potential active ethanol.xyz --reference pbe.py --ensemble nvt-langevin --time 10 -o ethanol.wkp
      wk-potential active cu.xyz --reference ase.calculators.emt:EMT --temperature 800 -o cu.wkp
      wk-potential active cu.xyz --reference ase.calculators.emt:EMT --explore 4 --time 1 --calls 40 -o cu.wkp
    """
    from ..atoms.reading import read_frames
    from ..atoms.trajectories import read_structure
    from ..baselines.foreign import load_calculator
    from ..simulation.integrators import MDSettings
    from ..training.options import TrainingOptions

    limits = {name: given.pop(name) for name in ("forces_limit", "grade_limit", "calls", "threads")}
    settings = MDSettings(**given)
    if trajectory is None:
        trajectory = output.with_suffix(".traj" if explore is None else ".runs")
    _check_files(output, trajectory, log, explore is None, restart)
    atoms = read_structure(structure, frame)
    frames = read_frames(initial) if initial else []
    options = TrainingOptions() if config is None else TrainingOptions.from_toml(config)
    calculator = load_calculator(reference, "--reference")
    learner = {"reference": calculator, "path": output, "initial": frames, "options": options}
    try:
        _learn(screen, atoms, settings, explore, trajectory, log, **learner, **limits)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; all files are whole, go on with --restart: {output}") from None


def _learn(
    screen: "Screen",
    atoms: Any,
    settings: Any,
    explore: int | None,
    trajectory: Path,
    log: Path | None,
    calls: int | None,
    **learner: Any,
) -> None:
    """Learn, on the fly or in rounds, and print what came of it."""
    from ..active import explore as rounds
    from ..active.learner import ActiveLearner

    what = f"{settings.ensemble}, {settings.steps} steps of {settings.timestep:g} fs, {settings.temperature:g} K"
    limits = (
        f"{learner['forces_limit']:g} eV/Å of predicted error, or of extrapolation grade {learner['grade_limit']:g}"
    )
    screen.say(f"{atoms.get_chemical_formula()}, {what}; the reference is called above {limits}")
    with screen.progress() as progress:
        learning = ActiveLearner(
            atoms, **learner, most_calls=calls, seed=settings.seed, log=screen.say, progress=progress
        )
        if explore is None:
            ended = learning.run(settings, trajectory, log)
        else:
            runs = [(atoms, replace(settings, seed=settings.seed + k)) for k in range(explore)]
            ended = rounds.explore(learning, runs, trajectory)
    _show(screen, learning, ended, [learning.path, learning.labelled.path, trajectory])


def _show(screen: "Screen", learner: Any, ended: bool, files: list[Path]) -> None:
    """Print what was called and what it was good for."""
    calls = [call for call in learner.calls if call.step is not None]
    rows = [
        (str(c.number), str(c.step), f"{c.grade:.2f}", f"{1e3 * c.predicted:.0f}", f"{1e3 * c.found:.0f}")
        for c in calls[-MOST_ROWS:]
    ]
    title = "Calls of the reference" + (f", the last {MOST_ROWS}" if len(calls) > MOST_ROWS else "")
    columns = ("call", "step", "grade", "predicted meV/Å", "found meV/Å")
    notes = "grade: extrapolation grade, 1 is at the edge of the training set\n"
    notes += "predicted, found: error of the forces before the call (root mean square over the frame)"
    screen.table(title, columns, rows, notes)
    seconds = ", ".join(f"{name} {value:.3g} s" for name, value in learner.seconds.items())
    facts = [
        ("calls", f"{len(learner.labelled.frames)}, {learner.labelled.calls} of them now"),
        ("time", seconds),
        ("written", ", ".join(map(str, files))),
    ]
    screen.facts("Done" if ended else "The calls of the reference are used up", facts)
