"""`wk-potential pareto`."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DataError
from .common import Command, check_outputs, check_pictures
from .options import PATH, data_argument, given, model_argument, reading_options, threads_option

if TYPE_CHECKING:
    from .screen import Screen

NOTES = """deviation: largest change of a force component by the mapped form; map --tolerance writes about that form
time: CPU time per atom and step (energy, forces, stress) on one core; give it to map as --microseconds
errors: on TEST, mean absolute ones"""


@click.command(cls=Command, short_help="Error against time of a model's fast forms, to choose one.")
@model_argument
@data_argument
@click.option("--test", type=PATH, required=True, metavar="TEST", help="Labelled structures on which errors are taken.")
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write the table as JSON.")
@click.option("--plot", type=PATH, metavar="FILE.png", help="Draw errors against time.")
@reading_options
@threads_option
@click.pass_obj
def pareto(
    screen: "Screen",
    /,
    model: Path,
    data: tuple[Path, ...],
    test: Path,
    json_file: Path | None,
    plot: Path | None,
    threads: int | None,
    **reading: Any,
) -> None:
    """Print error against time of mapped forms of MODEL of all sizes, from the fastest on.

    DATA are the training data, in whose metric the forms are made. Times are measured on the largest structure of TEST,
    repeated if it is a small cell. Choose a row, and write that form with `map --tolerance` or `map --microseconds`.

    \b
    Example:
      wk-potential pareto silicon.wkp train.xyz --test test.xyz --plot pareto.png
    """
    from dataclasses import replace

    from ..analysis.plots import pareto_figure
    from ..analysis.timing import structure_to_time
    from ..atoms.files import write_atomically
    from ..atoms.reading import read_frames
    from ..model.model import Model
    from ..training.mapping.mapping import Ladder

    check_outputs(json_file)
    check_pictures(plot)
    loaded = replace(Model.load(model), uncertainty=None)  # error bars would be computed for each form
    structures = read_frames(data, unlabelled=True, **given(reading))
    tests = read_frames(test, **{name: value for name, value in given(reading).items() if name != "frames"})
    if all(frame.energy is None and frame.forces is None for frame in tests):
        raise DataError(f"{test}: no energies and no forces, of which errors could be taken")
    atoms = structure_to_time(tests)
    with screen.progress() as progress:
        ladder = Ladder(loaded, structures, threads, partial(progress, "mapping"))
        table = [_row(rung, tests, atoms, threads) for rung in ladder.useful()]
    columns = ("deviation, eV/Å", "thousand multiply-adds", "time, µs", "float32", "E, meV/atom", "F, meV/Å")
    rows = [[f"{value:.3g}" if value is not None else "-" for value in row.values()] for row in table]
    screen.table(f"Mapped forms, {len(atoms)} atoms timed, {len(tests)} structures tested", columns, rows, NOTES)
    if loaded.baseline_potential is not None:
        screen.say(f"Not in these times: {loaded.baseline_potential}, to which the model adds")
    if json_file is not None:
        write_atomically(json_file, (json.dumps(table, indent=1) + "\n").encode())
    if plot is not None:
        pareto_figure(table, plot)
    for path in (json_file, plot):
        if path is not None:
            screen.say(f"Written to {path}")


def _row(model: Any, tests: Any, atoms: Any, threads: int | None) -> dict[str, float | None]:
    """Facts of a form: deviation, cost, times and errors."""
    from ..analysis.evaluation import evaluate
    from ..analysis.timing import cpu_time

    facts, errors = model.info["mapping"], evaluate(model, tests, threads)
    energy, forces = errors["energy_per_atom_mae"], errors["forces_mae"]
    return {
        "deviation": facts["largest_force_deviation"],
        "thousand_multiply_adds": facts["multiply_adds"] / 1e3,
        "microseconds": cpu_time(atoms, model),
        "microseconds_float32": cpu_time(atoms, model, "float32"),
        "energy_mae": None if energy is None else 1e3 * energy,
        "forces_mae": None if forces is None else 1e3 * forces,
    }
