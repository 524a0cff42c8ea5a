"""Figures of a data set: its quantities frame by frame, and the scores of its frames."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.plots import BLUE, GREY, STYLE, VERMILION, save_figure
from ..atoms.frame import Frame
from .outliers import Outliers
from .summary import Summary, quantities

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST = 0.01  # score that is drawn: smaller ones only stretch the axis
MOST_LABELS = 12  # names of frames in a panel: more cover each other
_WHAT = {  # quantities of a summary: title, what findings call it, logarithmic
    "energy per atom": ("Energy per atom", "energy", False),
    "forces, rms": ("Forces, rms", "forces", True),
    "stress, rms": ("Stress, rms", "stress", True),
    "volume per atom": ("Volume per atom", "volume", False),
}
_SCORES = {
    "energy": "Energy",
    "forces": "Forces of a frame",
    "atom": "Forces of its worst atom",
    "exchange": "Forces of two atoms that seem to be exchanged",
    "stress": "Stress",
}


def _points(axes: "Axes", values: np.ndarray, named: Iterable[int]) -> None:
    """Draw a value for each frame, nan where there is none, those of named frames in another colour."""
    odd = np.zeros(len(values), bool)
    odd[list(named)] = True
    odd &= ~np.isnan(values)
    axes.scatter(np.flatnonzero(~odd), values[~odd], s=9, color=BLUE, linewidths=0, zorder=3)
    axes.scatter(np.flatnonzero(odd), values[odd], s=24, color=VERMILION, linewidths=0, zorder=4)
    worst = sorted(np.flatnonzero(odd), key=lambda k: -abs(values[k] - np.nanmedian(values)))[:MOST_LABELS]
    for k in worst:
        axes.annotate(str(k), (k, values[k]), (4, 2), textcoords="offset points", fontsize=7.5, color=VERMILION)


def summary_figure(frames: Sequence[Frame], summary: Summary, path: str | Path) -> None:
    """Draw energies, forces, stresses and volumes frame by frame; frames that stand out are marked by their index.

    Args:
        frames: of the data set.
        summary: of the same frames.
        path: of the picture; its ending names the format.

    Raises:
        OptionsError: matplotlib does not know the format.

    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    found = {name: values for name, values in _by_frame(frames).items() if not np.isnan(values).all()}
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.6 + 1.9 * len(found)), layout="constrained")
        panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, values) in zip(panels, found.items(), strict=True):
            title, what, logarithmic = _WHAT[name]
            _points(axes, values, {f.number for f in summary.findings if f.what == what})
            if logarithmic and np.nanmin(values) > 0:
                axes.set_yscale("log")
            axes.set(title=title, ylabel=quantities(frames)[name][0])
        panels[-1].set_xlabel("frame")
        save_figure(figure, path)


def _by_frame(frames: Sequence[Frame]) -> dict[str, np.ndarray]:
    """Values (F,) of each quantity that is drawn, nan where a frame lacks it."""
    own = [quantities([frame]) for frame in frames]
    return {name: np.array([q[name][1][0] if name in q else np.nan for q in own]) for name in _WHAT}


def outliers_figure(outliers: Outliers, path: str | Path) -> None:
    """Draw the scores of all frames with the limits above which they are named.

    Args:
        outliers: as `find_outliers` returns them.
        path: of the picture; its ending names the format.

    Raises:
        OptionsError: matplotlib does not know the format.

    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.6 + 1.9 * len(outliers.scores)), layout="constrained")
        panels = figure.subplots(len(outliers.scores), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, values) in zip(panels, outliers.scores.items(), strict=True):
            limit = outliers.limits[name]
            _points(axes, np.maximum(values, LEAST), np.flatnonzero(np.nan_to_num(values) > limit))
            axes.axhline(limit, color=GREY, linewidth=0.9, linestyle="--", zorder=2)
            axes.set_yscale("log")
            axes.set(title=_SCORES[name], ylabel="error / error bar")
        panels[-1].set_xlabel("frame")
        save_figure(figure, path)
