"""Figure of how a calculator depends on the orientation."""

from pathlib import Path

from ..symmetry.probe import OrientationReport
from .plots import BLUE, GREEN, GREY, PURPLE, STYLE, VERMILION, save_figure


def symmetry_figure(report: OrientationReport, path: str | Path) -> None:
    """Draw how energy and forces depend on the orientation, by angular momentum, and what averages leave of it.

    Args:
        report: from `symmetry.probe.probe`.
        path: of the picture; its ending names the format.

    Raises:
        OptionsError: matplotlib does not know the format.

    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names = [*map(str, range(1, len(report.energy) - 1)), "above"]
    with rc_context(STYLE):
        figure = Figure(figsize=(7.8, 3.4), layout="constrained")
        panels = figure.subplots(1, 2)
        kinds = (("energy", report.energy, "meV/atom", 1.0), ("forces", 1e3 * report.forces, "meV/Å", 1e3))
        for axes, (kind, values, unit, factor) in zip(panels, kinds, strict=True):
            axes.bar(names, values[:-1], color=BLUE)
            for one, color in zip(report.left, (GREEN, PURPLE, VERMILION), strict=True):
                left = factor * getattr(one, kind)
                axes.axhline(left, color=color, label=f"average over {one.rotations} rotations: {left:.2g}")
            axes.axhline(values[-1], color=GREY, linestyle="--", label=f"all: {values[-1]:.2g}")
            axes.set(xlabel="angular momentum", ylabel=f"{kind}, rms over orientations / ({unit})")
            axes.legend(frameon=False, fontsize=8)
        save_figure(figure, path)
