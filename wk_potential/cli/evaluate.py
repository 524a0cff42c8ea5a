"""`wk-potential evaluate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UncertaintyError
from .common import Command, check_outputs, check_pictures
from .options import PATH, baseline_option, data_argument, given, model_argument, reading_options, threads_option

if TYPE_CHECKING:
    from .screen import Screen


@click.command(cls=Command, short_help="Compare a model with labelled frames.")
@model_argument
@data_argument
@reading_options
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write the errors to a JSON file.")
@click.option("--plot", type=PATH, metavar="FILE.png", help="Draw the predictions against the labels.")
@click.option(
    "--calibration", type=PATH, metavar="FILE.png", help="Draw the errors found against the predicted error bars."
)
@click.option("-o", "--output", type=PATH, metavar="FILE.xyz", help="Write the frames with the predictions.")
@baseline_option
@threads_option
@click.pass_obj
def evaluate(
    screen: "Screen",
    /,
    model: Path,
    data: tuple[Path, ...],
    json_file: Path | None,
    plot: Path | None,
    calibration: Path | None,
    output: Path | None,
    baseline: str | None,
    threads: int | None,
    **reading: Any,
) -> None:
    """Compare predictions of MODEL with the labels of the frames in DATA.

    It prints mean absolute errors (MAE) and root mean square errors (RMSE). The file of --json holds energy_mae,
    energy_rmse, energy_per_atom_mae, energy_per_atom_rmse (eV), forces_mae, forces_rmse (eV/Angstrom), stress_mae,
    stress_rmse (eV/Angstrom^3), dipole_mae, dipole_rmse (e Angstrom), polarizability_mae, polarizability_rmse
    (Angstrom^3) and n_frames; an error is null if no frame has the label. It holds the same by element and
    config_type and, if the model has error bars, how good they are.

    \b
    Examples:
      wk-potential evaluate ethanol.wkp test.xyz --json errors.json --plot parity.png
      wk-potential evaluate ethanol.wkp rmd17_ethanol.npz --frames -100: --energy-unit kcal/mol
    """
    from ..analysis.evaluation import errors
    from ..analysis.reliability import reliability
    from ..atoms.files import write_atomically
    from ..atoms.reading import read_frames
    from ..atoms.trajectories import frames_format
    from ..model.model import Model
    from .tables import show_errors, show_reliability

    check_outputs(json_file, output)
    check_pictures(plot, calibration)
    if output is not None:
        frames_format(output)
    loaded = Model.load(model)
    if baseline is not None:
        loaded = loaded.with_baseline(baseline)
    if calibration is not None and not loaded.error_bars:
        raise UncertaintyError(f"{model}: has no error bars to draw; train it again, with --uncertainty (the default)")
    frames = read_frames(data, **given(reading))
    with screen.progress() as progress:
        predictions = loaded.predict(frames, threads, progress=progress)
    table = errors(frames, predictions)
    show_errors(screen, table, f"Errors on {table['n_frames']} frames, {table['n_atoms']} atoms")
    if loaded.error_bars:
        table["uncertainty"] = reliability(frames, predictions)
        show_reliability(screen, table["uncertainty"])
    if json_file is not None:
        write_atomically(json_file, (json.dumps(table, indent=1, allow_nan=False) + "\n").encode())
    if plot is not None:
        from ..analysis.plots import parity_figure

        parity_figure(frames, predictions, plot)
    if calibration is not None:
        from ..analysis.plots import calibration_figure

        calibration_figure(frames, predictions, calibration)
    if output is not None:
        _write_predictions(output, frames, predictions)
    written = [str(path) for path in (json_file, plot, calibration, output) if path is not None]
    if written:
        screen.say(f"Written to {', '.join(written)}")


def _write_predictions(path: Path, frames: Any, predictions: Any) -> None:
    """Write the frames with what is predicted instead of their labels, as extended XYZ."""
    from dataclasses import replace

    from ..atoms.kinds import KINDS, TENSORS
    from ..atoms.trajectories import write_frames

    predicted = [
        replace(f, **{kind: getattr(p, kind) for kind in (*KINDS, *TENSORS)})
        for f, p in zip(frames, predictions, strict=True)
    ]
    write_frames(path, predicted)
