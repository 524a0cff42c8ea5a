"""`wk-potential spectrum`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import SpectrumError
from .common import Command, check_outputs, check_pictures
from .options import PATH, frames_option, model_argument, threads_option

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from ..analysis.spectra import HarmonicSpectrum, Spectrum
    from ..model.model import Model
    from .screen import Screen

_TITLES = {"infrared": "infrared", "raman": "Raman"}
_UNITS = {"infrared": "km/mol", "raman": "Å⁴/amu"}


@click.command(cls=Command, short_help="Infrared and Raman spectra of a trajectory.")
@click.argument("trajectory", type=PATH)
@model_argument
@click.option("-o", "--output", type=PATH, metavar="FILE.csv", help="Write the spectra to a table.")
@click.option("--plot", type=PATH, metavar="FILE.png", help="Draw the spectra.")
@click.option("--interval", type=float, metavar="FS", help="Time between frames, fs [default: from the frames].")
@click.option("--temperature", type=float, metavar="K", help="Temperature, K [default: from the velocities].")
@click.option(
    "--resolution", default=10.0, show_default=True, metavar="CM-1", help="Width that a sharp line gets, cm^-1."
)
@frames_option
@click.option("--harmonic", is_flag=True, help="Relax the last frame and add the lines of its harmonic vibrations.")
@threads_option
@click.pass_obj
def spectrum(
    screen: "Screen",
    trajectory: Path,
    model: Path,
    output: Path | None,
    plot: Path | None,
    interval: float | None,
    temperature: float | None,
    resolution: float,
    frames: str,
    harmonic: bool,
    threads: int | None,
) -> None:
    """Compute infrared and Raman spectra of TRAJECTORY from the dipoles and polarisabilities that MODEL predicts.

    The spectra are Fourier transforms of autocorrelation functions, with a Blackman window and the harmonic quantum
    correction factor. Infrared absorption is in km/mol per cm^-1, Raman activity in Angstrom^4/amu per cm^-1, so that
    the area of a band is its intensity. The trajectory has to be equilibrated and its frames close: 2 fs with hydrogen
    (md --interval 4).

    \b
    Example:
      wk-potential md water.wkp water.xyz --time 20 --interval 4 -o water.traj
      wk-potential spectrum water.traj water.wkp --plot water.png -o water.csv --harmonic
    """
    from ..analysis.spectra import check_settings, frames_interval, frames_temperature, harmonic_spectrum
    from ..analysis.spectra import spectrum as correlate
    from ..atoms.files import write_atomically
    from ..atoms.trajectories import read_trajectory
    from ..model.model import Model

    check_outputs(output)
    check_pictures(plot)
    loaded = Model.load(model)
    images = read_trajectory(trajectory, frames)
    step = frames_interval(images, interval)
    kelvin = temperature if temperature is not None else frames_temperature(images)
    check_settings(step, kelvin, resolution)
    _warn_of_folding(screen, images, step)
    found = correlate(_predicted(screen, loaded, images, threads), step, kelvin, resolution)
    modes = harmonic_spectrum(_relaxed(images[-1], loaded, threads)) if harmonic else None
    length = step * (len(images) - 1) / 1000
    screen.say(f"{len(images)} frames, {step:g} fs apart, {length:.4g} ps, {kelvin:.1f} K")
    _show_bands(screen, found)
    if modes is not None:
        _show_lines(screen, modes)
    if output is not None:
        write_atomically(output, _table(found).encode())
    if plot is not None:
        from ..analysis.plots import spectrum_figure

        spectrum_figure(found, plot, modes)
    if written := [str(path) for path in (output, plot) if path is not None]:
        screen.say(f"Written to {', '.join(written)}")


def _warn_of_folding(screen: "Screen", images: Sequence["Atoms"], step: float) -> None:
    """Say so if vibrations of hydrogen are too fast for the time between frames."""
    from ..analysis.spectra import LIGHT, STRETCH

    highest = 0.5 / (LIGHT * step)
    if highest < STRETCH and 1 in images[0].numbers:
        screen.warn(
            f"frames {step:g} fs apart show up to {highest:.0f} cm^-1; faster vibrations of hydrogen are folded back: "
            "write frames more often"
        )


def _predicted(
    screen: "Screen", model: "Model", images: Sequence["Atoms"], threads: int | None
) -> dict[str, "np.ndarray"]:
    """Dipoles and polarisabilities of the frames."""
    from ..analysis.spectra import predict_targets

    done = 0.0
    with screen.progress() as progress:

        def report(part: float) -> None:
            nonlocal done
            done += part
            progress("dipoles", min(done, 1.0))

        return predict_targets(model, images, threads, report)


def _show_bands(screen: "Screen", found: "Spectrum") -> None:
    from ..analysis.spectra import peaks

    for name, unit in _UNITS.items():
        if (values := getattr(found, name)) is not None:
            rows = [(f"{k:.0f}", f"{area:.4g}") for k, area in zip(*peaks(found.wavenumbers, values), strict=True)]
            screen.table(f"Bands of the {_TITLES[name]} spectrum", ("position, cm⁻¹", f"area, {unit}"), rows)


def _show_lines(screen: "Screen", modes: "HarmonicSpectrum") -> None:
    columns = {name: values for name in _UNITS if (values := getattr(modes, name)) is not None}
    lines = [
        (f"{k:.1f}", *(f"{values[i]:.4g}" for values in columns.values()))
        for i, k in enumerate(modes.wavenumbers)
        if abs(k) > 20
    ]
    heads = ("position, cm⁻¹", *(f"{_TITLES[name]}, {_UNITS[name]}" for name in columns))
    screen.table("Harmonic vibrations of the relaxed last frame", heads, lines)


def _relaxed(atoms: "Atoms", model: "Model", threads: int | None) -> "Atoms":
    """Return a relaxed copy with a calculator."""
    from ase.optimize import BFGS

    from ..calculator import WKCalculator

    if not model.scales:
        raise SpectrumError("--harmonic needs a model that has energies")
    copy = atoms.copy()
    copy.calc = WKCalculator(model, threads)
    with BFGS(copy, logfile=None) as search:
        converged = search.run(fmax=1e-4, steps=500)
    if not converged:
        raise SpectrumError("the last frame does not relax to a minimum within 500 steps")
    return copy


def _table(found: "Spectrum") -> str:
    """Wavenumbers and spectra with commas between."""
    names = [name for name in ("infrared", "raman") if getattr(found, name) is not None]
    units = {"infrared": "infrared/(km/mol/cm-1)", "raman": "raman/(Angstrom^4/amu/cm-1)"}
    lines = [",".join(["wavenumber/cm-1", *(units[name] for name in names)])]
    for i, k in enumerate(found.wavenumbers):
        lines.append(",".join([f"{k:.4f}", *(f"{getattr(found, name)[i]:.8g}" for name in names)]))
    return "\n".join(lines) + "\n"
