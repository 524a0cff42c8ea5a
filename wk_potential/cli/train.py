"""`wk-potential train`: its options are the fields of `TrainingOptions`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import OptionsError
from ..training.options import TrainingOptions
from .common import RanksCommand, check_not_replaced, check_outputs
from .distil import MOST_STARTS, check_no_labels, learn
from .options import PATH, data_argument, field_option, given, threads_option

if TYPE_CHECKING:
    from ..atoms.frame import Frame
    from .screen import Screen


def _training_options(command: Any) -> Any:
    for name, field in reversed(TrainingOptions.model_fields.items()):
        command = field_option(name, field)(command)
    return command


@click.command(cls=RanksCommand, short_help="Train a model on labelled frames.")
@data_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="MODEL.wkp", help="Model to write.")
@click.option("--config", type=PATH, metavar="FILE.toml", help="Options from a TOML file.")
@click.option(
    "--valid",
    type=PATH,
    multiple=True,
    metavar="DATA",
    help="Frames to validate the model on, as DATA; they do not take part in the training.",
)
@click.option(
    "--distil", is_flag=True,
    help="Then learn a student without the --baseline from the model: MODEL.wkp is the student, and MODEL.teacher.wkp "
    "is the model with the baseline.",
)  # fmt: skip
@threads_option
@_training_options
@click.pass_obj
def train(
    screen: "Screen",
    /,
    data: tuple[Path, ...],
    output: Path,
    config: Path | None,
    valid: tuple[Path, ...],
    distil: bool,
    threads: int | None,
    **values: Any,
) -> None:
    """Train a model on the frames in DATA: files that ASE reads, rMD17 archives (npz), systems of DeePMD, .cfg of MLIP.

    DATA may be folders, patterns ("run*/OUTCAR") and choices of frames (frames.xyz@:50). Energies are in eV and forces
    in eV/Angstrom unless --energy-unit says otherwise; stresses are in eV/Angstrom^3, in Voigt order, positive under
    tension. Every option below may also be in the file of --config, with _ instead of - (cutoff = 5.0, isolated_atoms =
    { H = -13.6 }). If an option is in both, the command line counts.

    \b
    Examples:
      wk-potential train frames.xyz -o model.wkp
      wk-potential train rmd17_ethanol.npz --frames :50 --energy-unit kcal/mol -o ethanol.wkp --optimise
      mpiexec -n 4 wk-potential train many_frames.xyz -o model.wkp
      wk-potential train frames.xyz --baseline gfn2-xtb --distil -o fast.wkp
    """
    check_outputs(output)
    files = [value for value in values["isolated_atoms"] if isinstance(value, Path)]
    values["isolated_atoms"] = tuple(value for value in values["isolated_atoms"] if value not in files)
    chosen = given(values)
    if config is None:
        options = TrainingOptions.checked(chosen, "command line")
    else:
        options = TrainingOptions.from_toml(config, **chosen)
    check_not_replaced(output, options.baseline, "baseline", "new model")
    options = _with_isolated_atoms(options, files)
    if distil:
        _check_distil(output, options, valid)
    first = output.with_suffix(".teacher.wkp") if distil else output
    check_outputs(first, first.with_suffix(".baseline.npz"))
    frames = train_model(screen, data, first, options, threads, valid)
    screen.say(f"\nWritten to {first}. Next: wk-potential evaluate {first} TEST_DATA", "bold")
    if distil:
        _distil(screen, frames, first, output, options, threads)


def _check_distil(output: Path, options: TrainingOptions, valid: tuple[Path, ...]) -> None:
    """Refuse what a distillation after the training cannot do.

    Raises:
        OptionsError: there is no baseline, no energies, frames to validate on, or there are several processes.
        ActiveLearningError: there are labels of an earlier distillation.

    """
    from ..compute.ranks import launched_ranks

    if options.baseline is None:
        raise OptionsError("--distil makes a student of a model that adds to a potential: name it with --baseline")
    if not options.use_energy:
        raise OptionsError("--distil needs the energies: leave out --no-use-energy")
    if valid or options.valid_fraction:
        raise OptionsError(
            "--distil knows no frames of validation: use wk-potential evaluate on both models afterwards"
        )
    if launched_ranks().size > 1:
        raise OptionsError("--distil runs as one process, whose threads use all cores: leave out mpiexec")
    check_no_labels(output, "go on with wk-potential distil --restart, or name another model")


def _distil(
    screen: "Screen", known: "list[Frame]", teacher: Path, output: Path, options: TrainingOptions,
    threads: int | None,
) -> None:  # fmt: skip
    """Distil the model that has been trained, from its own frames and at their temperature."""
    from ..active.distil import settings_for, spread
    from ..calculator import WKCalculator

    calculator = WKCalculator(teacher, threads, baseline=options.baseline)
    starts = [frame.to_atoms() for frame in spread(known, MOST_STARTS)]
    settings = settings_for(known, calculator)
    screen.say(
        f"A student of {teacher}: it visits {settings.temperatures[0]:g} K, about the temperature of the frames, until "
        f"its forces are off by {1e3 * settings.forces_error:.2g} meV/Å (rms) from the teacher's"
    )
    own = options.model_copy(update={"baseline": None, "optimise": False})
    advice = f"go on with wk-potential distil {teacher} --with DATA START... -o {output} --restart"
    learn(screen, starts, calculator, output, settings, own, known, threads, advice)


def _with_isolated_atoms(options: TrainingOptions, files: list[Path]) -> TrainingOptions:
    """Return the options with the energies of the isolated atoms in some files."""
    from ..training.isolated import energies_of_isolated_atoms

    energies = dict(options.isolated_atoms or {})
    for file in files:
        energies |= energies_of_isolated_atoms(file, options.cutoff, **{**options.reading, "frames": ":"})
    return options.model_copy(update={"isolated_atoms": energies}) if files else options


def train_model(
    screen: "Screen",
    data: tuple[Path, ...],
    output: Path,
    options: TrainingOptions,
    threads: int | None,
    valid: tuple[Path, ...] = (),
) -> "list[Frame]":
    """Read frames, train on them, write the model and tell what happens; returns the frames."""
    from ..atoms.reading import read_frames
    from ..compute.ranks import launched_ranks
    from ..training.train import train as fit
    from .tables import show_labels, show_model

    comm = launched_ranks()
    if comm.rank > 0:
        screen.silence()
    frames = read_frames(data, **options.reading)
    held_out = None
    if valid:
        held_out = read_frames(valid, **{**options.reading, "frames": ":"})
        show_labels(screen, held_out, "Found in the data of validation")
    show_labels(screen, frames)
    search_file, baseline_file = output.with_suffix(".search.json"), output.with_suffix(".baseline.npz")
    with screen.progress() as progress:
        model = fit(
            frames, options, threads, screen.say, progress, comm, search_file, valid=held_out,
            baseline_file=baseline_file,
        )  # fmt: skip
    comm.first(model.save, output)
    if comm.rank == 0:
        search_file.unlink(missing_ok=True)
    screen.say()
    show_model(screen, model, "The model")
    return frames
