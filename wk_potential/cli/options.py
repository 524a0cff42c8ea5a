"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Any

import click

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
    click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of start velocities and thermostat."
    ),
    click.option("--keep-velocities", is_flag=True, help="Start with the velocities that STRUCTURE holds."),
]


def dynamics_options(command: Any) -> Any:
    """Give a command the options of `MDSettings`, and --log."""
    for option in reversed(_DYNAMICS):
        command = option(command)
    return command
