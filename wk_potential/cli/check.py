"""`wk-potential check`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ..errors import ChecksFailedError, OptionsError
from .common import Command, check_pictures, load_atoms
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


WITHOUT_SYMMETRY, WITH_SYMMETRY = ("temperature", "timestep", "time", "precision"), ("lmax", "plot")


@click.command(cls=Command, short_help="Check that a model conserves energy and is symmetric.")
@model_argument
@structure_argument
@click.option("--temperature", default=300.0, show_default=True, help="Temperature of the run at constant energy, K.")
@click.option("--timestep", default=0.5, show_default=True, help="Time step of that run, fs.")
@click.option("--time", default=1.0, show_default=True, help="Length of that run, ps.")
@click.option(
    "--symmetry", is_flag=True,
    help="Measure how energy and forces depend on the orientation instead; MODEL may be any ASE calculator.",
)  # fmt: skip
@click.option(
    "--lmax", type=click.IntRange(1), default=4, show_default=True,
    help="Largest angular momentum that --symmetry tells apart.",
)  # fmt: skip
@click.option("--plot", type=PATH, metavar="FILE.png", help="Draw what --symmetry finds.")
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
    symmetry: bool,
    lmax: int,
    plot: Path | None,
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

    With --symmetry, MODEL is a model file, a method such as gfn2-xtb, or an ASE calculator as FILE.py:NAME or
    MODULE:NAME, which need not be symmetric. Energy and forces are computed for orientations that are spread evenly
    over all rotations.

    \b
    Examples:
      wk-potential check ethanol.wkp ethanol.xyz
      wk-potential check --symmetry mycode.py:calculator ethanol.xyz --plot symmetry.png
    """
    _refuse(WITHOUT_SYMMETRY if symmetry else WITH_SYMMETRY, "with" if symmetry else "without")
    if symmetry:
        _symmetry(screen, str(model), structure, frame, threads, baseline, lmax, plot)
        return
    from ..testing import run_checks

    atoms = load_atoms(model, structure, frame, threads, precision, baseline)
    rows = run_checks(atoms, temperature, timestep, time)
    table = [(r.name, f"{r.value:.2g}", f"{r.limit:g}", r.unit, "passed" if r.passed else "FAILED") for r in rows]
    notes = "found: the largest deviation (rms: its root mean square), which has to be below the limit"
    screen.table(f"{model} on {structure}", ("", "found", "limit", "unit", ""), table, notes)
    if failed := [row.name for row in rows if not row.passed]:
        raise ChecksFailedError(f"{len(failed)} of {len(rows)} checks failed: {'; '.join(failed)}")


def _refuse(names: Sequence[str], how: str) -> None:
    """Refuse options that would have no effect.

    Raises:
        OptionsError: one of them is given.

    """
    source = click.get_current_context().get_parameter_source
    if given := [f"--{name}" for name in names if source(name) is ParameterSource.COMMANDLINE]:
        raise OptionsError(f"{', '.join(given)}: no effect {how} --symmetry; leave it out")


def _symmetry(
    screen: "Screen", text: str, structure: Path, frame: int, threads: int | None, baseline: str | None, lmax: int,
    plot: Path | None,
) -> None:  # fmt: skip
    """Print, and draw, how energy and forces of a calculator depend on the orientation."""
    from functools import partial

    from ..active.distil import teacher_of
    from ..analysis.orientation import symmetry_figure
    from ..atoms.trajectories import read_structure
    from ..symmetry.probe import probe

    check_pictures(plot)
    atoms, calculator = read_structure(structure, frame), teacher_of(text, threads, baseline)
    with screen.progress() as progress:
        found = probe(atoms, calculator, lmax, partial(progress, "orientations"))
    names = [*(f"angular momentum {l}" for l in range(1, lmax + 1)), f"above {lmax}", "all"]
    parts = zip(names, found.energy, found.forces, strict=True)
    left = [(f"left by an average over {x.rotations} rotations", x.energy, x.forces) for x in found.left]
    rows = [*parts, ("inversion", *found.inversion), *left]
    table = [(name, f"{energy:.2g}", f"{1e3 * forces:.2g}") for name, energy, forces in rows]
    notes = "root mean squares over all orientations of this structure; a symmetric calculator has zeros\n"
    notes += "averages: SymmetrisedCalculator in Python"
    screen.table(f"{text} on {structure}", ("", "energy meV/atom", "forces meV/Å"), table, notes)
    facts = [("energies", f"{found.energy_range:.2g} eV from the lowest to the highest orientation")]
    facts.append(("net force", f"{1e3 * found.net_force:.2g} meV/Å per atom (rms)"))
    if found.torque is not None:
        facts.append(("torque", f"{found.torque:.2g} eV (rms), of a molecule that should feel none"))
    if plot is not None:
        symmetry_figure(found, plot)
        facts.append(("written", str(plot)))
    screen.facts("Effect of the orientation", facts)
