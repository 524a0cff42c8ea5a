"""`wk-potential check`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ChecksFailedError
from .common import Command, load_atoms
from .options import frame_option, model_argument, precision_option, structure_argument, threads_option

if TYPE_CHECKING:
    from .screen import Screen


@click.command(cls=Command, short_help="Check that a model conserves and is symmetric.")
@model_argument
@structure_argument
@click.option("--temperature", default=300.0, show_default=True, help="K, of the run at constant energy.")
@click.option("--timestep", default=0.5, show_default=True, help="fs, of that run.")
@click.option("--time", default=1.0, show_default=True, help="ps, of that run.")
@frame_option
@precision_option
@threads_option
@click.pass_obj
def check(
    screen: "Screen",
    model: Path,
    structure: Path,
    temperature: float,
    timestep: float,
    time: float,
    frame: int,
    precision: str,
    threads: int | None,
) -> None:
    """Check MODEL on STRUCTURE: forces and stress (eV/Angstrom, eV/Angstrom^3) as derivatives, drift of the energy,
    smoothness at the cutoff, rotations, inversion, permutations, translations, supercells.

    The exit code is 1 if a check fails. Limits are those of double precision; float32 will miss some.

    \b
    Example:
      wk-potential check ethanol.wkp ethanol.xyz
    """
    from ..testing import run_checks

    atoms = load_atoms(model, structure, frame, threads, precision)
    rows = run_checks(atoms, temperature, timestep, time)
    table = [(r.name, f"{r.value:.2g}", f"{r.limit:g}", r.unit, "passed" if r.passed else "FAILED") for r in rows]
    screen.table(f"{model} on {structure}", ("", "found", "limit", "unit", ""), table)
    if failed := [row.name for row in rows if not row.passed]:
        raise ChecksFailedError(f"{len(failed)} of {len(rows)} checks failed: {'; '.join(failed)}")
