"""Figures: parity of predictions and labels, dimers, and the course of a molecular dynamics run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atoms.files import replacing
from ..atoms.frame import Frame
from ..atoms.kinds import GPA, TENSORS
from ..errors import DataError, OptionsError
from ..model.prediction import Prediction
from .dimers import DimerCurve
from .reliability import LEVELS, calibration_curve, countable, errors_and_deviations, miscalibration_area
from .spectra import HarmonicSpectrum, Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by the colour-blind too
BLUE, VERMILION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#666666"
MOST_POINTS = 100_000  # drawn in a panel, a random choice if there are more
LOW = 0.32  # height by width of the panels of errors
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "axes.formatter.useoffset": False,
}
# kind: title, unit, factor to it, unit of the errors, factor to it
_PANELS = {
    "energy": ("Energy per atom", "eV", 1.0, "meV", 1e3),
    "forces": ("Force components", "eV/Å", 1.0, "meV/Å", 1e3),
    "stress": ("Stress components", "GPa", GPA, "GPa", GPA),
    "dipole": ("Dipole components", "e Å", 1.0, "e mÅ", 1e3),
    "polarizability": ("Polarisability components", "Å³", 1.0, "Å³", 1.0),
}


def check_format(path: str | Path) -> None:
    """Refuse the name of a picture that does not tell its format.

    Raises:
        OptionsError: matplotlib knows no format of this ending.

    """
    from matplotlib.figure import Figure

    known = set(Figure().canvas.get_supported_filetypes()) - {"pgf"}  # which needs TeX
    if Path(path).suffix[1:].lower() not in known:
        raise OptionsError(f"{path}: no format of pictures has this ending; use .png, .pdf or .svg")


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure; the format follows the name of the file.

    Raises:
        OptionsError: matplotlib does not know the format.

    """
    check_format(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=160, facecolor="white")


def _pairs(frames: Sequence[Frame], predictions: Sequence[Prediction]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Label and prediction, flat, of each kind that there is; energies per atom less the labels' mean."""
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    both = list(zip(frames, predictions, strict=True))
    energies = [
        (f.energy / len(f), p.energy / len(f)) for f, p in both if f.energy is not None and p.energy is not None
    ]
    if energies:
        reference, predicted = np.array(energies).T
        pairs["energy"] = (reference - reference.mean(), predicted - reference.mean())
    for kind in ("forces", "stress", *TENSORS):
        labelled = [(getattr(f, kind), getattr(p, kind)) for f, p in both]
        found = [(r.ravel(), p.ravel()) for r, p in labelled if r is not None and p is not None]
        if found:
            pairs[kind] = (np.concatenate([r for r, _ in found]), np.concatenate([p for _, p in found]))
    return pairs


def _scatter(axes: "Axes", x: np.ndarray, y: np.ndarray, extent: Sequence[float], height: float) -> None:
    """Draw points, darker where they are dense, on a logarithmic scale; the box is `height` by 1."""
    from matplotlib.colors import LinearSegmentedColormap

    if len(x) > MOST_POINTS:
        chosen = np.random.default_rng(0).choice(len(x), MOST_POINTS, replace=False)
        x, y = x[chosen], y[chosen]
    if len(x) < 500:
        axes.scatter(x, y, s=15, color=BLUE, alpha=0.7, linewidths=0, zorder=3)
        return
    columns = min(int(np.sqrt(len(x))), 100)
    bins = (columns, int(columns * height))
    bounds = np.array(extent).reshape(2, 2)
    counts, *_ = np.histogram2d(x, y, bins, bounds.tolist())
    place = np.stack([x, y]) - bounds[:, :1]
    i, j = (place / np.ptp(bounds, axis=1)[:, None] * np.array(bins)[:, None]).astype(int)
    density = np.log(counts[i, j])
    order = np.argsort(density, kind="stable")
    colours = LinearSegmentedColormap.from_list("blues", ["#8FC1E3", BLUE, "#002B4D"])
    size = 9 if len(x) < 20000 else 4
    axes.scatter(x[order], y[order], s=size, c=density[order], cmap=colours, linewidths=0, zorder=3)


def _parity_panel(top: "Axes", below: "Axes", kind: str, reference: np.ndarray, predicted: np.ndarray) -> None:
    title, unit, factor, error_unit, error_factor = _PANELS[kind]
    difference = (predicted - reference) * error_factor
    x, y = reference * factor, predicted * factor
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.04 * (high - low) or 0.5
    low, high = low - margin, high + margin
    span = 1.15 * float(np.abs(difference).max()) or 1.0
    top.plot([low, high], [low, high], color=GREY, linewidth=0.9, zorder=2)
    top.set_box_aspect(1)
    below.set_box_aspect(LOW)
    _scatter(top, x, y, (low, high, low, high), 1)
    top.set(xlim=(low, high), ylim=(low, high), ylabel=f"predicted / {unit}", title=title)
    top.tick_params(labelbottom=False)
    mae, rmse = np.abs(difference).mean(), np.sqrt(np.mean(difference**2))
    text = f"MAE {mae:.3g} {error_unit}\nRMSE {rmse:.3g} {error_unit}\n{len(x):,} values".replace(",", " ")
    top.text(0.04, 0.96, text, transform=top.transAxes, va="top", linespacing=1.5)
    below.axhline(0, color=GREY, linewidth=0.9, zorder=2)
    _scatter(below, x, difference, (low, high, -span, span), LOW)
    below.set(xlim=(low, high), ylim=(-span, span))
    below.set(xlabel=f"reference / {unit}", ylabel=f"error / {error_unit}")


def parity_figure(frames: Sequence[Frame], predictions: Sequence[Prediction], path: str | Path) -> None:
    """Draw predictions and errors against labels, a panel for each kind of label.

    Args:
        frames: labelled structures.
        predictions: of the same frames.
        path: of the picture; its ending names the format.

    Raises:
        DataError: the frames have no label.
        OptionsError: matplotlib does not know the format.

    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    pairs = _pairs(frames, predictions)
    if not pairs:
        raise DataError("there is nothing to draw: the frames have no energies, forces or stresses")
    with rc_context(STYLE):
        figure = Figure(figsize=(3.9 * len(pairs), 5.2), layout="constrained")
        panels = figure.subplots(2, len(pairs), sharex="col", squeeze=False, height_ratios=[1, LOW])
        for column, (kind, (reference, predicted)) in enumerate(pairs.items()):
            _parity_panel(panels[0, column], panels[1, column], kind, reference, predicted)
        save_figure(figure, path)


def calibration_figure(frames: Sequence[Frame], predictions: Sequence[Prediction], path: str | Path) -> None:
    """Draw what part of the errors is within intervals of each probability, and errors against predicted ones.

    Args:
        frames: labelled structures.
        predictions: of the same frames, with error bars.
        path: of the picture; its ending names the format.

    Raises:
        DataError: there are no error bars or no labels.
        OptionsError: matplotlib does not know the format.

    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    found = errors_and_deviations(frames, predictions)
    if not found:
        raise DataError("there is nothing to draw: the frames have no labels that the model has error bars for")
    with rc_context(STYLE):
        figure = Figure(figsize=(3.9 * len(found), 7.4), layout="constrained")
        panels = figure.subplots(2, len(found), squeeze=False)
        for column, (kind, (errors, deviations)) in enumerate(found.items()):
            own = countable(deviations)
            _calibration_panel(panels[0, column], kind, errors[own], deviations[own])
            _deviation_panel(panels[1, column], kind, np.abs(errors[own]), deviations[own])
        save_figure(figure, path)


def _calibration_panel(axes: "Axes", kind: str, errors: np.ndarray, deviations: np.ndarray) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.9)
    observed = calibration_curve(errors, deviations)
    axes.plot(LEVELS, observed, color=BLUE, linewidth=1.8)
    axes.fill_between(LEVELS, LEVELS, observed, color=BLUE, alpha=0.2, linewidth=0)
    axes.set_box_aspect(1)
    text = f"miscalibration area {miscalibration_area(errors, deviations):.3f}\n{errors.size:,} values".replace(
        ",", " "
    )
    axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", linespacing=1.5)
    title = _PANELS[kind][0] if kind != "energy" else "Energy"
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the interval", ylabel="errors within it", title=title)


def _deviation_panel(axes: "Axes", kind: str, errors: np.ndarray, deviations: np.ndarray) -> None:
    _, _, _, unit, factor = _PANELS[kind]
    low, high = np.quantile(deviations, [0, 1]) * factor * [0.8, 1.25]
    x, y = np.log10(deviations * factor), np.log10(np.maximum(errors * factor, 1e-2 * low))
    extent = (np.log10(low), np.log10(high), np.log10(1e-2 * low) - 0.05, np.log10(max(high, y.max())) + 1)
    line = np.array(extent[:2])
    for multiple in (1, 2, 3):
        axes.plot(line, line + np.log10(multiple), color=GREY, linewidth=0.9, zorder=2)
    _scatter(axes, x, y, extent, 1)
    axes.set_box_aspect(1)
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel=f"log10 (predicted / {unit})", ylabel=f"log10 (error / {unit})")


def dimer_figure(curves: Sequence[DimerCurve], path: str | Path) -> None:
    """Draw the energy of two atoms against their distance, a panel for each pair of elements.

    Args:
        curves: as `wk_potential.analysis.dimers.dimer_curves` returns them.
        path: of the picture; its ending names the format.

    """
    from ase.data import chemical_symbols
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = min(len(curves), 4)
    rows = -(-len(curves) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(3.0 * columns, 4.5), 2.5 * rows + 0.4), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes, curve in zip(panels.flat, curves, strict=False):
            inside = curve.learned[(curve.distances > 0.5) & np.isfinite(curve.learned)]
            inside = inside if len(inside) else np.zeros(1)
            span = max(float(np.ptp(inside)), 1.0)
            axes.axhline(0, color=GREY, linewidth=0.9, zorder=2)
            if curve.outer is not None:
                axes.axvspan(curve.distances[0], curve.outer, color="#F0F0F0", zorder=0)
                axes.plot(curve.distances, curve.learned, color=VERMILION, linewidth=1.2, linestyle="--")
            axes.plot(curve.distances, curve.energies, color=BLUE, linewidth=1.8)
            axes.set(ylim=(inside.min() - 0.2 * span, inside.max() + 1.5 * span), xlim=curve.distances[[0, -1]])
            axes.set_title("-".join(chemical_symbols[z] for z in curve.numbers))
        for axes in panels.flat[len(curves) :]:
            axes.set_axis_off()
        figure.supxlabel("distance / Å", fontsize=9.5)
        figure.supylabel("energy / eV", fontsize=9.5)
        if curves[0].outer is not None:
            title = "two atoms alone; dashed: without repulsion, which acts in the grey range"
            figure.suptitle(title, fontsize=9.5)
        save_figure(figure, path)


def _running_means(time: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Time and values averaged over smooth windows, a fiftieth of the run wide at half their height."""
    window = np.hanning(len(time) // 25 + 2)
    window /= window.sum()
    return np.convolve(time, window, "valid"), np.convolve(values, window, "valid")


def pareto_figure(table: Sequence[Mapping[str, float | None]], path: str | Path) -> None:
    """Draw errors of energies and forces against time, for mapped forms of all sizes.

    Args:
        table: of each form `microseconds`, `microseconds_float32`, `energy_mae` (meV/atom) and `forces_mae` (meV/Å).
        path: of the picture; its ending names the format.

    Raises:
        OptionsError: matplotlib does not know the format.

    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    units = {"forces_mae": "error of forces / (meV/Å)", "energy_mae": "error of energies / (meV/atom)"}
    kinds = [kind for kind in units if table[0][kind] is not None]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.9 * len(kinds), 3.6), layout="constrained")
        for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
            for name, label, color in (
                ("microseconds", "float64", BLUE), ("microseconds_float32", "float32", VERMILION),
            ):  # fmt: skip
                x, y = ([row[key] for row in table] for key in (name, kind))
                axes.loglog(x, y, "o-", color=color, label=label, markersize=4, linewidth=1.2)
            axes.set(xlabel="time / (µs per atom and step)", ylabel=units[kind])
            axes.legend(frameon=False)
        save_figure(figure, path)


def md_figure(log: Mapping[str, np.ndarray], n_atoms: int, path: str | Path, title: str = "") -> None:
    """Draw energies and temperature (at constant pressure also the volume) of a run against time.

    Args:
        log: columns as `read_log` of `wk_potential.simulation.dynamics` returns them, (n,) each.
        n_atoms: atoms of the structure.
        path: of the picture; its ending names the format.
        title: stands above.

    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    time = log["time"]
    potential, total = log["potential"] - log["potential"][0], log["total"] - log["total"][0]
    curves: list[tuple[str, Any, str]] = [
        ("potential energy\n/ eV", potential, BLUE),
        ("total energy\n/ meV per atom", 1e3 * total / n_atoms, VERMILION),
        ("temperature\n/ K", log["temperature"], GREEN),
    ]
    if "volume" in log:
        curves.append(("volume\n/ Å³ per atom", log["volume"] / n_atoms, PURPLE))
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.5 + 1.75 * len(curves)), layout="constrained")
        panels = figure.subplots(len(curves), 1, sharex=True)
        for axes, (label, values, colour) in zip(panels, curves, strict=True):
            many = len(time) > 300
            axes.plot(time, values, color=colour, linewidth=0.8, alpha=0.45 if many else 1)
            if many:
                axes.plot(*_running_means(time, values), color=colour, linewidth=1.8)
            axes.set_ylabel(label)
            axes.margins(x=0.01)
        mean = log["temperature"].mean()
        panels[2].axhline(mean, color=GREY, linewidth=0.9, linestyle="--", zorder=3)
        panels[2].set_title(f"mean {mean:.0f} K", loc="right", fontsize=9, color=GREY, pad=2)
        panels[0].set_title("relative to the start", loc="right", fontsize=9, color=GREY, pad=2)
        panels[1].set_title("relative to the start", loc="right", fontsize=9, color=GREY, pad=2)
        panels[-1].set_xlabel("time / ps")
        figure.align_ylabels(panels)
        if title:
            figure.suptitle(title, fontsize=11)
        save_figure(figure, path)


def spectrum_figure(found: Spectrum, path: str | Path, harmonic: HarmonicSpectrum | None = None) -> None:
    """Draw the spectra of a trajectory, with the harmonic lines of the same model if they are given.

    Args:
        found: the spectra.
        path: of the picture; its ending names the format.
        harmonic: normal modes.

    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    units = {"infrared": "infrared\n/ km mol⁻¹ cm", "raman": "Raman activity\n/ Å⁴ amu⁻¹ cm"}
    names = [name for name in units if getattr(found, name) is not None]
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.6 + 2.3 * len(names)), layout="constrained")
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, names, strict=True):
            values = getattr(found, name)
            axes.plot(
                found.wavenumbers, values, color=BLUE, linewidth=1.2, label=f"trajectory, {found.temperature:.0f} K"
            )
            if harmonic is not None and (lines := getattr(harmonic, name)) is not None:
                real = harmonic.wavenumbers > 50
                heights = lines[real] / max(lines[real].max(initial=0.0), 1e-300) * values.max()
                axes.vlines(harmonic.wavenumbers[real], 0, heights, color=VERMILION, linewidth=1.6, label="harmonic")
            axes.set_ylabel(units[name])
            axes.set_ylim(bottom=0)
            axes.legend(frameon=False)
        used = found.wavenumbers[np.max([getattr(found, n) / getattr(found, n).max() for n in names], axis=0) > 1e-3]
        panels[-1].set_xlim(0, 1.1 * used.max(initial=1.0))
        panels[-1].set_xlabel("wavenumber / cm⁻¹")
        save_figure(figure, path)
