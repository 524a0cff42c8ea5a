"""`wk-potential distil`: a fast student of a slow teacher."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ActiveLearningError
from .common import Command, Interrupted, check_not_replaced, check_outputs
from .options import PATH, baseline_option, threads_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from ..active.distil import DistilSettings
    from ..atoms.frame import Frame
    from ..training.options import TrainingOptions
    from .screen import Screen

MOST_STARTS = 8


@click.command(cls=Command, short_help="Learn a fast model from a slow potential.")
@click.argument("teacher")
@click.argument("starts", nargs=-1, required=True, type=PATH, metavar="START...")
@click.option("-o", "--output", type=PATH, required=True, metavar="STUDENT.wkp", help="Model of the student.")
@click.option(
    "--temperature", "temperatures", type=float, multiple=True, default=(300.0,), show_default=True,
    help="Temperature of the runs, K; may be given several times.",
)  # fmt: skip
@click.option("--pressure", type=float, metavar="GPA", help="Run at this pressure [default: at constant volume].")
@click.option("--frames", type=click.IntRange(16), default=500, show_default=True, help="Frames to label, at most.")
@click.option(
    "--forces-error", default=0.0, show_default=True, metavar="EV/A",
    help="End when the rms error of the forces at new frames is below this; 0 goes on until the errors stop falling.",
)  # fmt: skip
@click.option("--spacing", default=50.0, show_default=True, help="Time between frames of a run, fs.")
@click.option("--timestep", default=0.5, show_default=True, help="Time step, fs.")
@click.option(
    "--with", "known", type=PATH, multiple=True, metavar="DATA",
    help="Labelled frames that the student learns too, such as those of the teacher.",
)  # fmt: skip
@click.option("--config", type=PATH, metavar="FILE.toml", help="Options of the training.")
@click.option("--seed", default=0, show_default=True, help="Seed of velocities and rattled copies.")
@click.option("--restart", is_flag=True, help="Go on with the labelled frames that are there.")
@baseline_option
@threads_option
@click.pass_obj
def distil(
    screen: "Screen",
    /,
    teacher: str,
    starts: tuple[Path, ...],
    output: Path,
    known: tuple[Path, ...],
    config: Path | None,
    restart: bool,
    baseline: str | None,
    threads: int | None,
    **given: Any,
) -> None:
    """Train a fast model, the student, on labels of a slow potential, the TEACHER.

    TEACHER is a model file (such as one that adds to xTB), a method of train --baseline such as gfn2-xtb, or an ASE
    calculator as FILE.py:NAME or MODULE:NAME. START are structures to start from: files, with choices of frames
    (frames.xyz@:50:10); eight are taken at most.

    In rounds the student runs dynamics from every START at every temperature, the teacher labels frames of it, the
    errors of the student there are measured, and the student learns them. The number of frames doubles from round to
    round. It ends when the errors are below --forces-error, have stopped falling, or --frames are labelled.
    STUDENT.labelled.xyz holds the labels; after any interruption the same command with --restart goes on.

    \b
    Examples:
      wk-potential distil delta.wkp frames.xyz@:50:10 --with frames.xyz --temperature 500 -o fast.wkp
      wk-potential distil chgnet.model.dynamics:CHGNetCalculator cell.cif --temperature 800 -o fast.wkp
    """
    from ..active.distil import DistilSettings, spread, teacher_of
    from ..atoms.reading import read_frames
    from ..atoms.sources import files_of
    from ..atoms.trajectories import read_trajectory
    from ..training.options import TrainingOptions

    settings = DistilSettings(**{**given, "temperatures": tuple(given["temperatures"])})
    check_outputs(output)
    check_not_replaced(output, teacher, "teacher", "student")
    if not restart:
        check_no_labels(output, "go on with --restart, or name another student")
    found = [atoms for start in starts for path, part in files_of(start) for atoms in read_trajectory(path, part)]
    structures = spread(found, MOST_STARTS)
    options = TrainingOptions() if config is None else TrainingOptions.from_toml(config)
    calculator = teacher_of(teacher, threads, baseline)
    own = read_frames(known, **{**options.reading, "frames": ":"}) if known else []
    screen.say(f"{len(structures)} structures to start from; the teacher is {teacher}")
    learn(screen, structures, calculator, output, settings, options, own, threads, "go on with --restart")


def check_no_labels(output: Path, what: str) -> None:
    """Refuse to begin where labels of an earlier distillation are; the message says what to do.

    Raises:
        ActiveLearningError: they are there.

    """
    labelled = output.with_suffix(".labelled.xyz")
    if labelled.exists():
        raise ActiveLearningError(f"{labelled}: exists; {what}")


def learn(
    screen: "Screen",
    starts: "Sequence[Atoms]",
    teacher: Any,
    output: Path,
    settings: "DistilSettings",
    options: "TrainingOptions",
    known: "Sequence[Frame]",
    threads: int | None,
    advice: str,
) -> None:
    """Distil the teacher, and print the student beside it; `advice` is what to do after an interruption."""
    from ..active.distil import Distillation

    try:
        with screen.progress() as progress:
            distillation = Distillation(
                starts, teacher, output, settings, options, known, threads, screen.say, progress
            )
            why = distillation.run()
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {output.with_suffix('.labelled.xyz')} is whole, {advice}") from None
    _show(screen, distillation, starts[0], why)


def _show(screen: "Screen", distillation: Any, atoms: Any, why: str) -> None:
    """Print the rounds, and the student beside the teacher."""
    from ..analysis.timing import measure

    rows = [
        (*map(str, (k, r.frames, r.new)), f"{1e3 * r.energy:.2f}", f"{1e3 * r.forces:.1f}", *map(str, r[4:]))
        for k, r in enumerate(distillation.rounds, 1)
    ]
    columns = ("round", "frames", "new", "energy meV/atom", "forces meV/Å", "steps", "stopped")
    notes = "errors (rms) of the student at new frames of its own dynamics, before it learned them\n"
    notes += "stopped: runs that left the training set"
    screen.table("Student against teacher", columns, rows, notes)
    speed, labelled = measure(distillation.model, atoms, 1), distillation.labelled
    facts = [
        ("frames", f"{len(labelled.frames)} labelled by the teacher, {labelled.calls} of them now"),
        ("student", f"{speed.total:.0f} µs per atom and step on one core ({speed.form} form)"),
    ]
    if distillation.seconds:
        facts.append(("teacher", f"{1e6 * distillation.seconds:.0f} µs per atom and call"))
    facts.append(("written", f"{distillation.path}, {labelled.path}"))
    screen.facts(f"Done: {why}", facts)
