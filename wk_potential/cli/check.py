"""`wk-potential check`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ChecksFailedError
from .common import Command, load_atoms
from .options import baseline_option, frame_option, model_argument, precision_option, structure_argument, threads_option

if TYPE_CHECKING:
    from .screen import Screen


@click.command(cls=Command, short_help="Check that a model conserves energy and is symmetric.")
@model_argument
@structure_argument
@click.option("--temperature", default=300.0, show_default=True, help="Temperature of the run at constant energy, K.")
@click.option("--timestep", default=0.5, show_default=True, help="Time step of that run, fs.")
@click.option("--time", default=1.0, show_default=True, help="Length of that run, ps.")
@frame_option
@precision_option
@baseline_option
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
    baseline: str | None,
    threads: int | None,
) -> None:
    """Check MODEL on STRUCTURE: does it behave as physics demands?

    Forces (eV/Angstrom) and stress (eV/Angstrom^3) must be the derivatives of the energy. Nothing may jump where atoms
    cross the cutoff. The total energy of a run at constant energy must not drift. Rotations, inversion, translations,
    another order of the atoms and supercells must change energy, forces and stress as they change the structure.

    The exit code is 1 if a check fails. The limits are meant for double precision; float32 fails some of them.

    \b
    Example:
      wk-potential check ethanol.wkp ethanol.xyz
    """
    from ..testing import run_checks

    atoms = load_atoms(model, structure, frame, threads, precision, baseline)
    rows = run_checks(atoms, temperature, timestep, time)
    table = [(r.name, f"{r.value:.2g}", f"{r.limit:g}", r.unit, "passed" if r.passed else "FAILED") for r in rows]
    notes = "found: the largest deviation (rms: its root mean square), which has to be below the limit"
    screen.table(f"{model} on {structure}", ("", "found", "limit", "unit", ""), table, notes)
    if failed := [row.name for row in rows if not row.passed]:
        raise ChecksFailedError(f"{len(failed)} of {len(rows)} checks failed: {'; '.join(failed)}")
