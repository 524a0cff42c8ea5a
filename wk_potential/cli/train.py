"""`wk-potential train`: its options are the fields of `TrainingOptions`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..training.options import TrainingOptions
from .common import RanksCommand, check_not_replaced, check_outputs
from .options import PATH, data_argument, field_option, given, threads_option

if TYPE_CHECKING:
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
    """
    check_outputs(output)
    check_outputs(output.with_suffix(".baseline.npz"))
    files = [value for value in values["isolated_atoms"] if isinstance(value, Path)]
    values["isolated_atoms"] = tuple(value for value in values["isolated_atoms"] if value not in files)
    chosen = given(values)
    if config is None:
        options = TrainingOptions.checked(chosen, "command line")
    else:
        options = TrainingOptions.from_toml(config, **chosen)
    check_not_replaced(output, options.baseline, "baseline", "new model")
    train_model(screen, data, output, _with_isolated_atoms(options, files), threads, valid)
    screen.say(f"\nWritten to {output}. Next: wk-potential evaluate {output} TEST_DATA", "bold")


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
) -> None:
    """Read frames, train on them, write the model and tell what happens."""
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
