"""`wk-potential relax`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Command, check_outputs, load_atoms
from .options import (
    PATH,
    baseline_option,
    frame_option,
    model_argument,
    precision_option,
    structure_argument,
    threads_option,
)

if TYPE_CHECKING:
    from .screen import Screen

OPTIMISERS = ("LBFGS", "BFGS", "FIRE")  # as in `simulation.relaxation`, which takes long to import


@click.command(cls=Command, short_help="Relax positions, with --cell also the cell.")
@model_argument
@structure_argument
@click.option(
    "-o", "--output", type=PATH, required=True, metavar="FILE", help="Relaxed structure, in any format that ASE writes."
)
@click.option("--fmax", default=0.01, show_default=True, help="Largest force that may be left on an atom, eV/Angstrom.")
@click.option("--cell", is_flag=True, help="Relax the cell as well.")
@click.option("--pressure", default=0.0, show_default=True, help="Pressure to relax the cell to, with --cell, GPa.")
@click.option(
    "--optimiser", type=click.Choice(OPTIMISERS), default="LBFGS", show_default=True, help="Search method of ASE."
)
@click.option("--steps", type=click.IntRange(1), default=1000, show_default=True, help="Largest number of steps.")
@frame_option
@precision_option
@baseline_option
@threads_option
@click.pass_obj
def relax(
    screen: "Screen",
    /,
    model: Path,
    structure: Path,
    output: Path,
    frame: int,
    precision: str,
    baseline: str | None,
    threads: int | None,
    **settings: Any,
) -> None:
    """Relax STRUCTURE with MODEL: positions, with --cell also the cell.

    \b
    Example:
      wk-potential relax silicon.wkp silicon.cif --cell --fmax 0.001 -o relaxed.xyz
    """
    from ..atoms.trajectories import output_format, write_structure
    from ..simulation.relaxation import relax as relax_atoms

    check_outputs(output)
    output_format(output)
    atoms = load_atoms(model, structure, frame, threads, precision, baseline)
    with screen.progress() as progress:
        summary = relax_atoms(atoms, progress=progress, **settings)
    write_structure(output, atoms)
    if not summary.converged:
        screen.warn(f"not converged after {summary.steps} steps; go on from {output}")
    rows = [
        ("steps", str(summary.steps)),
        ("energy", f"{summary.energy:.6f} eV, {summary.gained:.6f} below the start"),
        ("largest force", f"{summary.fmax:.5f} eV/Å"),
    ]
    if summary.pressure is not None:
        rows.append(("pressure", f"{summary.pressure:.4f} GPa"))
        rows.append(("cell", ", ".join(f"{x:.5g}" for x in atoms.cell.cellpar()) + " (Å, degrees)"))
    screen.facts("Converged" if summary.converged else "Not converged", [*rows, ("written", str(output))])
