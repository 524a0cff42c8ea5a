"""`wk-potential bench`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import OptionsError
from .common import Command, check_outputs
from .options import PATH, model_argument, threads_option

if TYPE_CHECKING:
    from .screen import Screen

NOTES = """density, kernel, forces: CPU time of the three parts of a step; CPU: their sum; wall: time that passes
list: CPU time to make the list of neighbours anew, which is done once in many steps
floor: least time that the arithmetic of the kernel takes on this CPU; share: floor divided by the time of the kernel"""
BENCH_ATOMS = 500  # at least, of the crystal that is built where no structure is given


def _crystal(model: Any) -> Any:
    """Build the crystal of a model of one element."""
    from ase.build import bulk
    from ase.data import chemical_symbols

    if len(model.elements) > 1:
        raise OptionsError("the model has several elements: give a STRUCTURE to time it on")
    symbol = chemical_symbols[model.elements[0]]
    try:
        cell = bulk(symbol, cubic=True)
    except (ValueError, RuntimeError):
        raise OptionsError(f"no simple crystal of {symbol} is known: give a STRUCTURE to time the model on") from None
    atoms = cell * (3 * [next(n for n in range(1, 20) if n**3 * len(cell) >= BENCH_ATOMS)])
    atoms.rattle(0.05, seed=0)
    return atoms


@click.command(cls=Command, short_help="Time a model.")
@model_argument
@click.argument("structure", type=PATH, required=False)
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write the table as JSON.")
@threads_option
@click.pass_obj
def bench(screen: "Screen", model: Path, structure: Path | None, json_file: Path | None, threads: int | None) -> None:
    """Time energy, forces and stress of MODEL on STRUCTURE, or on a crystal if the model has one element.

    It prints microseconds per atom and step. "direct" is the sum over the support points, "mapped" the faster form (see
    `map`).

    \b
    Example:
      wk-potential bench silicon.wkp
    """
    from dataclasses import asdict

    from ..analysis.timing import measure
    from ..atoms.files import write_atomically
    from ..atoms.trajectories import read_structure
    from ..compute.threads import thread_count
    from ..model.energy import PARTS
    from ..model.model import Model

    check_outputs(json_file)
    loaded = Model.load(model)
    atoms = read_structure(structure) if structure is not None else _crystal(loaded)
    cases = [("float64", True)]
    if loaded.is_mapped:
        cases += [("float64", False), ("float32", False)]
    counts = sorted({1, thread_count(threads)})
    speeds = [measure(loaded, atoms, n, precision, direct) for precision, direct in cases for n in counts]
    rows = [
        [
            f"{s.form} {s.precision}", str(s.threads), *(f"{s.microseconds[p]:.2f}" for p in PARTS), f"{s.total:.2f}",
            f"{s.wall:.2f}", f"{s.list_build:.2f}", f"{s.floor:.2f}", f"{s.floor / s.microseconds['kernel']:.0%}",
        ]
        for s in speeds
    ]  # fmt: skip
    columns = ("", "threads", *PARTS, "CPU", "wall", "list", "floor", "share")
    screen.table(f"Microseconds per atom and step, {len(atoms)} atoms", columns, rows, NOTES)
    if loaded.baseline_potential is not None:
        screen.say(f"Not in these times: {loaded.baseline_potential}, to which the model adds")
    if json_file is not None:
        table = [{**asdict(s), "total": s.total, "atoms": len(atoms)} for s in speeds]
        write_atomically(json_file, (json.dumps(table, indent=1) + "\n").encode())
        screen.say(f"Written to {json_file}")
