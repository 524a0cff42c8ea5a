"""`wk-potential data`: look at training data, find faults in them, divide, choose and join frames."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Command, check_new, check_outputs, check_pictures
from .options import PATH, given, reading_options, threads_option

if TYPE_CHECKING:
    from ..data.findings import Finding
    from .screen import Screen

MOST_NAMES = 5  # of a list in the tables; --json has all of them
json_option = click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write all of it to a JSON file.")


class _Parts(click.Group):
    """Subcommands in the order in which one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Parts, short_help="Look at training data: faults, outliers, parts.")
def data() -> None:
    """Look at training data, find faults in them, and divide, choose and join frames.

    FILES are what train reads: files, folders, patterns ("run*/OUTCAR") and choices of frames (frames.xyz@:50). Frames
    are named by file and index from 0: frames.xyz@12.

    \b
    Examples:
      wk-potential data summary frames.xyz  # ranges in eV and Angstrom, duplicates, frames that stand out
      wk-potential data outliers frames.xyz -o clean.xyz
    """


def _files_command(name: str, help_text: str) -> Callable[[Any], click.Command]:
    """Return a decorator: a subcommand of `data` with FILES and the options that say how they are read."""

    def decorate(function: Any) -> click.Command:
        argument = click.argument("files", nargs=-1, required=True, type=PATH)
        return data.command(name, cls=Command, short_help=help_text)(argument(reading_options(function)))

    return decorate


def _write_json(path: Path | None, table: Any) -> None:
    from ..atoms.files import write_atomically

    if path is not None:
        write_atomically(path, (json.dumps(table, indent=1, allow_nan=False) + "\n").encode())


def _say_written(screen: "Screen", *paths: Path | None) -> None:
    if written := [str(path) for path in paths if path is not None]:
        screen.say(f"Written to {', '.join(written)}")


def _check_frames_files(*paths: Path | None) -> None:
    """Refuse files of frames that exist, or whose ending is that of no format that keeps all labels."""
    from ..atoms.trajectories import frames_format

    check_new(*paths)
    for path in paths:
        if path is not None:
            frames_format(path)


def _few(names: Sequence[str]) -> str:
    """Names with commas between, of a long list the first ones."""
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _show_findings(screen: "Screen", title: str, findings: Sequence["Finding"]) -> None:
    """Print the frames that are named, how odd they are, and what they look like."""
    if findings:
        screen.facts(title, [(f.frame, f"{abs(f.size):8.3g}  {f.reason}") for f in findings])
        screen.say()


@_files_command("summary", "What a data set holds, and what looks wrong.")
@json_option
@click.option("--plot", type=PATH, metavar="FILE.png", help="Draw energies, forces, stresses and volumes.")
@threads_option
@click.pass_obj
def summary(
    screen: "Screen",
    /,
    files: tuple[Path, ...],
    json_file: Path | None,
    plot: Path | None,
    threads: int | None,
    **reading: Any,
) -> None:
    """Say what FILES hold, without training a model.

    It prints elements, labels, ranges (eV, Angstrom), nearest distances, duplicates, near-duplicates, files in wrong
    units, and each frame that stands out. Near-duplicates differ less than random displacements of 0.02 Angstrom do.

    \b
    Example:
      wk-potential data summary frames.xyz --json summary.json --plot summary.png
    """
    from ..atoms.reading import read_frames
    from ..data.summary import summarise
    from .tables import show_labels

    check_outputs(json_file)
    check_pictures(plot)
    frames = read_frames(files, **given(reading))
    with screen.progress() as progress:
        found = summarise(frames, threads, progress)
    show_labels(screen, frames)
    rows = [
        (name, r["unit"], *(f"{r[key]:.5g}" for key in ("least", "median", "largest")))
        for name, r in found.ranges.items()
    ]
    screen.table("Ranges", ("", "unit", "least", "median", "largest"), rows)
    distances = [(pair, f"{d['distance']:.3f}", d["frame"]) for pair, d in found.distances.items()]
    screen.table("Nearest distances, Å", ("", "distance", "frame"), distances)
    for title, groups in (
        ("Duplicates", [_duplicates(d) for d in found.duplicates]),
        ("Near-duplicates", found.near_duplicates),
    ):
        if groups:
            screen.facts(f"{title}: {len(groups)} groups", [(str(len(g)), _few(g)) for g in groups])
            screen.say()
    for doubt in found.doubts:
        screen.warn(doubt)
    _show_findings(
        screen, "Frames that stand out (standard deviations of the others, what it looks like)", found.findings
    )
    _write_json(json_file, found.to_json())
    if plot is not None:
        from ..data.figures import summary_figure

        summary_figure(frames, found, plot)
    _say_written(screen, json_file, plot)


def _duplicates(group: dict[str, Any]) -> list[str]:
    """Names of frames of the same structure."""
    names = list(group["frames"])
    return names if group["same_labels"] else [*names[:-1], f"{names[-1]} (with different labels)"]


@_files_command("outliers", "Frames whose labels contradict the others.")
@json_option
@click.option("--plot", type=PATH, metavar="FILE.png", help="Draw the errors of all frames in error bars.")
@click.option("-o", "--output", type=PATH, metavar="FILE.xyz", help="Write the frames that are not named.")
@click.option("--config", type=PATH, metavar="FILE.toml", help="Options of the fit, as of train.")
@threads_option
@click.pass_obj
def outliers(
    screen: "Screen",
    /,
    files: tuple[Path, ...],
    json_file: Path | None,
    plot: Path | None,
    output: Path | None,
    config: Path | None,
    threads: int | None,
    **reading: Any,
) -> None:
    """Name the frames in FILES whose labels contradict those of all other frames.

    Each frame is predicted by a fit to the others. Its error counts in units of the error bar of the prediction. What
    is wrong is said as far as it shows: an energy that is off (eV), another unit, exchanged or noisy forces, another
    sign.

    \b
    Example:
      wk-potential data outliers frames.xyz -o clean.xyz --plot outliers.png
    """
    from ..atoms.reading import read_frames
    from ..atoms.trajectories import write_frames
    from ..data.outliers import find_outliers
    from ..training.options import TrainingOptions

    check_outputs(json_file)
    check_pictures(plot)
    _check_frames_files(output)
    options = None if config is None else TrainingOptions.from_toml(config)
    frames = read_frames(files, **{**(options.reading if options else {}), **given(reading)})
    with screen.progress() as progress:
        found = find_outliers(frames, options, threads, screen.say, progress)
    title = (
        f"{len(found.named)} of {len(frames)} frames contradict the others (error in error bars, what it looks like)"
    )
    screen.say() if found.findings else screen.say("No frame contradicts the others")
    _show_findings(screen, title, found.findings)
    _write_json(json_file, found.to_json())
    if plot is not None:
        from ..data.figures import outliers_figure

        outliers_figure(found, plot)
    if output is not None:
        write_frames(output, found.clean())
    _say_written(screen, json_file, plot, output)


@_files_command("split", "Divide frames into training and test sets.")
@click.option("--test-fraction", default=0.2, show_default=True, help="Fraction of the frames for the test set.")
@click.option("-o", "--output", required=True, metavar="PREFIX", help="Write PREFIX_train.xyz and PREFIX_test.xyz.")
@click.option(
    "--near", default=0.02, show_default=True, metavar="ANGSTROM",
    help="Frames that differ less than random displacements of this size (rms) do go to the same set.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of the random choice.")
@threads_option
@click.pass_obj
def split(
    screen: "Screen",
    /,
    files: tuple[Path, ...],
    test_fraction: float,
    output: str,
    near: float,
    seed: int,
    threads: int | None,
    **reading: Any,
) -> None:
    """Divide the frames in FILES into a training set and a test set without near-duplicates across them.

    Frames that are nearly the same, or that a chain of such frames joins, as in a trajectory, go to the same set. The
    distance is in Angstrom.

    \b
    Example:
      wk-potential data split frames.xyz --test-fraction 0.2 -o silicon
    """
    from ..atoms.reading import read_frames
    from ..atoms.trajectories import write_frames
    from ..data.split import split_frames

    paths = [Path(f"{output}_{part}.xyz") for part in ("train", "test")]
    _check_frames_files(*paths)
    frames = read_frames(files, **given(reading))
    with screen.progress() as progress:
        parts = split_frames(frames, test_fraction, seed, near, threads, progress)
    for path, part in zip(paths, parts, strict=True):
        write_frames(path, part)
        screen.say(f"{len(part)} frames written to {path}")


@data.command("select", cls=Command, short_help="The most informative frames.")
@click.argument("n", type=click.IntRange(1))
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE.xyz", help="Write the frames that are chosen.")
@threads_option
@reading_options
@click.pass_obj
def select(
    screen: "Screen", /, n: int, files: tuple[Path, ...], output: Path, threads: int | None, **reading: Any
) -> None:
    """Choose the N frames in FILES from which a model learns most, such as those to label with DFT.

    The kernel decides, which needs no labels: each next frame has the environment (neighbours up to 6 Angstrom) that
    the chosen ones describe worst. The frames are written in the order of their choice.

    \b
    Example:
      wk-potential data select 50 run.traj -o to_label.xyz
    """
    from ..atoms.reading import read_frames
    from ..atoms.trajectories import write_frames
    from ..data.findings import named
    from ..data.select import select_frames

    _check_frames_files(output)
    frames = read_frames(files, unlabelled=True, **given(reading))
    with screen.progress() as progress:
        chosen = select_frames(frames, n, threads=threads, progress=progress)
    write_frames(output, [frames[k] for k in chosen])
    if len(chosen) < n:
        screen.warn(f"{len(chosen)} frames describe all others to rounding, so no more are chosen")
    screen.say(f"Chosen: {_few(named(frames, chosen))}")
    _say_written(screen, output)


@_files_command("merge", "Join files: one unit, one name of each label.")
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE.xyz", help="File to write.")
@click.pass_obj
def merge(screen: "Screen", /, files: tuple[Path, ...], output: Path, **reading: Any) -> None:
    """Join the frames in FILES in one file of extended XYZ (or .traj).

    Labels are called energy, forces and stress there, and are in eV, eV/Angstrom and eV/Angstrom^3. Frames that repeat
    an earlier one are left out. The options that say how data are read hold for all files: convert files in other
    units on their own first.

    \b
    Example:
      wk-potential data merge bulk.xyz surfaces.xyz -o all.xyz
    """
    _merge(screen, files, output, reading)


@data.command("convert", cls=Command, short_help="Write a file in extended XYZ.")
@click.argument("source", type=PATH, metavar="IN")
@click.argument("output", type=PATH, metavar="OUT")
@reading_options
@click.pass_obj
def convert(screen: "Screen", /, source: Path, output: Path, **reading: Any) -> None:
    """Write the frames of IN, a file of any kind that is read, to OUT: extended XYZ or .traj, in eV and Angstrom.

    \b
    Example:
      wk-potential data convert rmd17_ethanol.npz ethanol.xyz --energy-unit kcal/mol
    """
    _merge(screen, (source,), output, reading)


def _merge(screen: "Screen", files: tuple[Path, ...], output: Path, reading: dict[str, Any]) -> None:
    """Read frames, write them without those that are repeated, and tell which ones."""
    import warnings

    from ..atoms.reading import read_frames
    from ..atoms.trajectories import write_frames
    from ..data.merge import merge_frames
    from .tables import show_labels

    _check_frames_files(output)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* frames repeat an earlier one", category=UserWarning)
        frames = read_frames(files, **given(reading))
    show_labels(screen, frames)
    found = merge_frames(frames)
    write_frames(output, found.frames)
    for again, first in found.repeated:
        screen.say(f"{again} repeats {first} and is left out")
    for again, first in found.contradictory:
        screen.warn(f"{again} has the structure of {first} but other labels; both are kept")
    screen.say(f"{len(found.frames)} frames written to {output}")
