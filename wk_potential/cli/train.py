"""`wk-potential train`: its options are the fields of `TrainingOptions`."""

from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from ..training.options import TrainingOptions
from .common import RanksCommand, check_outputs
from .options import PATH, data_argument, threads_option

if TYPE_CHECKING:
    from .screen import Screen


class _Pair(click.ParamType):
    """SYMBOL=VALUE, or several with commas between."""

    name = "symbol=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """Return {symbol: value}."""
        pairs = (item.partition("=") for item in str(value).split(","))
        try:
            return {symbol.strip(): float(number) for symbol, _, number in pairs}
        except ValueError:
            self.fail(f"{value!r} is not SYMBOL=VALUE, such as O=0.7", param, ctx)


class _Numbers(click.ParamType):
    """Numbers with commas between."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        """Return the numbers."""
        try:
            return [float(item) for item in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 1,0.5,0.2", param, ctx)


def _option(name: str, field: FieldInfo) -> Any:
    """Make the option of a field."""
    kinds = [field.annotation]
    if get_origin(field.annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    kind, origin = kinds[0], get_origin(kinds[0])
    flag = f"--{name.replace('_', '-')}"
    text = (field.description or "").removesuffix(".")
    first = text.split()[0].rstrip(",") if text else ""
    if first.isalpha() and first.islower():  # not a unit or a symbol
        text = text[:1].upper() + text[1:]
    if field.default not in (None, {}):
        default = str(field.default).lower() if kind is bool else field.default
        text += f" [default: {default}]"
    settings: dict[str, Any] = {"default": None, "help": f"{text}."}
    if kind is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    elif origin is dict:
        settings |= {"type": _Pair(), "multiple": True, "metavar": "SYMBOL=VALUE"}
    elif origin is list:
        settings |= {"type": _Numbers(), "metavar": "A1,A2,..."}
    elif origin is Literal:
        settings["type"] = click.Choice(get_args(kind))
    else:
        settings["type"] = kind
    return click.option(flag, name, **settings)


def _training_options(command: Any) -> Any:
    for name, field in reversed(TrainingOptions.model_fields.items()):
        command = _option(name, field)(command)
    return command


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that stand on the command line; repeated pairs become one dictionary."""
    given = {}
    for name, value in values.items():
        if isinstance(value, tuple):
            value = {symbol: number for pairs in value for symbol, number in pairs.items()} or None
        if value is not None:
            given[name] = value
    return given


@click.command(cls=RanksCommand, short_help="Train a model on labelled frames.")
@data_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="MODEL.wkp", help="Model to write.")
@click.option("--config", type=PATH, metavar="FILE.toml", help="Options from a TOML file.")
@threads_option
@_training_options
@click.pass_obj
def train(
    screen: "Screen",
    data: tuple[Path, ...],
    output: Path,
    config: Path | None,
    threads: int | None,
    **values: Any,
) -> None:
    """Train a model on the frames in DATA: any files that ASE reads, or rMD17 archives (npz).

    Energies in eV and forces in eV/Angstrom unless --energy-unit says otherwise; stresses in eV/Angstrom^3,
    Voigt order, tension positive. Every option below may also stand in the file of --config, with _ for -
    (cutoff = 5.0, isolated_atoms = { H = -13.6 }); the command line wins.

    \b
    Examples:
      wk-potential train frames.xyz -o model.wkp
      wk-potential train rmd17_ethanol.npz --frames :50 --energy-unit kcal/mol -o ethanol.wkp --optimise
      mpiexec -n 4 wk-potential train many_frames.xyz -o model.wkp
    """
    check_outputs(output)
    given = _given(values)
    if config is None:
        options = TrainingOptions.checked(given, "command line")
    else:
        options = TrainingOptions.from_toml(config, **given)
    train_model(screen, data, output, options, threads)
    screen.say(f"\nWritten to {output}. Next: wk-potential evaluate {output} TEST_DATA", "bold")


def train_model(
    screen: "Screen", data: tuple[Path, ...], output: Path, options: TrainingOptions, threads: int | None
) -> None:
    """Read frames, train on them, write the model and tell what happens."""
    from ..atoms.reading import read_frames
    from ..compute.ranks import launched_ranks
    from ..training.doubts import label_warnings, unit_warnings
    from ..training.train import train as fit
    from .tables import show_labels, show_model

    comm = launched_ranks()
    if comm.rank > 0:
        screen.silence()
    frames = read_frames(data, **options.reading)
    show_labels(screen, frames)
    for text in [*unit_warnings(frames), *label_warnings(frames)]:
        screen.warn(text)
    search_file = output.with_suffix(".search.json")
    with screen.progress() as progress:
        model = fit(frames, options, threads, screen.say, progress, comm, search_file)
    comm.first(model.save, output)
    if comm.rank == 0:
        search_file.unlink(missing_ok=True)
    screen.say()
    show_model(screen, model, "The model")
