"""Arguments and options that several commands share."""

from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ENSEMBLES = ("nve", "nvt-langevin", "nvt-bussi", "npt", "npt-flexible")  # as in `simulation`, which imports slowly
PATH = click.Path(path_type=Path)

data_argument = click.argument("data", nargs=-1, required=True, type=PATH)
model_argument = click.argument("model", type=PATH)
structure_argument = click.argument("structure", type=PATH)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Number of threads [default: OMP_NUM_THREADS, else one for each core].",
)
frame_option = click.option(
    "--frame",
    default=-1,
    show_default=True,
    metavar="INDEX",
    help="Which frame of STRUCTURE to take, counted from 0; -1 is the last.",
)
frames_option = click.option(
    "--frames",
    default=":",
    metavar="SLICE",
    help="Python slice of the frames, such as :50 or -100: [default: all].",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Precision of the arithmetic. float32 is faster, and only for models in mapped form (see `map`).",
)

baseline_option = click.option(
    "--baseline",
    metavar="FILE.py:NAME",
    help="Calculator that the model adds to, if it was trained with one of yours; others are in the model file.",
)

_DYNAMICS = [
    click.option("--ensemble", type=click.Choice(ENSEMBLES), default="nve", show_default=True, help="See above."),
    click.option(
        "--temperature", default=300.0, show_default=True, help="Temperature of start velocities and thermostat, K."
    ),
    click.option("--timestep", default=0.5, show_default=True, help="Time step, fs."),
    click.option(
        "--time", default=1.0, show_default=True, help="Length of the trajectory, ps, with what --restart finds."
    ),
    click.option("--friction", default=5.0, show_default=True, help="Friction of nvt-langevin, 1/ps."),
    click.option(
        "--thermostat-time", default=100.0, show_default=True, help="Relaxation time of nvt-bussi and npt, fs."
    ),
    click.option("--barostat-time", default=1000.0, show_default=True, help="Relaxation time of the cell in npt, fs."),
    click.option("--pressure", default=0.0, show_default=True, help="Pressure of npt, GPa."),
    click.option("--interval", default=10, show_default=True, help="Steps between frames of the trajectory."),
    click.option("--log-interval", default=10, show_default=True, help="Steps between lines of the log."),
    click.option("--log", type=PATH, metavar="FILE", help="Log [default: named as the trajectory, ending in .log]."),
    click.option("--seed", default=0, show_default=True, help="Seed of start velocities and thermostat."),
    click.option("--keep-velocities", is_flag=True, help="Start with the velocities that STRUCTURE holds."),
]


def dynamics_options(command: Any) -> Any:
    """Give a command the options of `MDSettings`, and --log."""
    for option in reversed(_DYNAMICS):
        command = option(command)
    return command


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


class _PairOrFile(_Pair):
    """SYMBOL=VALUE, or a file."""

    name = "symbol=value or file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return {symbol: value}, or the path."""
        return super().convert(value, param, ctx) if "=" in str(value) else Path(value)


class _Words(click.ParamType):
    """Words with commas between."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the words."""
        return [item.strip() for item in str(value).split(",")]


class _Numbers(click.ParamType):
    """Numbers with commas between."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        """Return the numbers."""
        try:
            return [float(item) for item in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 1,0.5,0.2", param, ctx)


def field_option(name: str, field: "FieldInfo") -> Any:
    """Return the command-line option of a field of `TrainingOptions`."""
    kinds = [field.annotation]
    if get_origin(field.annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    kind, origin = kinds[0], get_origin(kinds[0])
    flag = f"--{name.replace('_', '-')}"
    text = field.description or ""
    if "[default: " not in text and field.default not in (None, {}):
        text += f" [default: {str(field.default).lower() if kind is bool else field.default}]"
    settings: dict[str, Any] = {"default": None, "help": f"{text}."}
    if kind is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    elif origin is dict:
        settings |= {"type": _Pair(), "multiple": True, "metavar": "SYMBOL=VALUE"}
        if name == "isolated_atoms":
            settings |= {"type": _PairOrFile(), "metavar": "SYMBOL=VALUE|FILE"}
        elif name == "config_weights":
            settings["metavar"] = "NAME=VALUE"
    elif kind == list[str]:
        settings |= {"type": _Words(), "metavar": "A,B,..."}
    elif origin is list:
        settings |= {"type": _Numbers(), "metavar": "A1,A2,..."}
    elif origin is Literal:
        settings["type"] = click.Choice(get_args(kind))
    else:
        settings["type"] = kind
    return click.option(flag, name, **settings)


def reading_options(command: Any) -> Any:
    """Give a command the options that say how data are read."""
    from ..atoms.reading_options import ReadingOptions

    for name, field in reversed(ReadingOptions.model_fields.items()):
        command = field_option(name, field)(command)
    return command


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that stand on the command line; repeated pairs become one dictionary."""
    found = {}
    for name, value in values.items():
        if isinstance(value, tuple):
            value = {symbol: number for pairs in value for symbol, number in pairs.items()} or None
        if value is not None:
            found[name] = value
    return found
