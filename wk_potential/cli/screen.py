"""What the user sees: results on stdout, progress and warnings on stderr, plain if not on a terminal."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from .encoding import writable

PLAIN_WIDTH = 110  # of output that is not on a terminal
EVERY = 10.0  # seconds between lines of progress that is not on a terminal


def _begins_anew(done: float, fraction: float) -> bool:
    """Whether a stage that was done comes again, as in a training in rounds; threads may overtake each other a bit."""
    return done >= 1 and fraction < 0.5


def _seconds_left(elapsed: float, fraction: float) -> float:
    """Seconds left if all goes on as it did so far."""
    return elapsed * (1 - fraction) / fraction


class _TimeLeft(ProgressColumn):
    """The time left of a stage."""

    def render(self, task: Task) -> Text:
        """Return minutes and seconds; rich calls this."""
        if not task.completed or task.elapsed is None:
            return Text("-:--")
        minutes, seconds = divmod(round(_seconds_left(task.elapsed, min(task.completed, 1.0))), 60)
        return Text(f"{minutes}:{seconds:02d}")


class Screen:
    """Prints, so that text and progress bars do not run into each other."""

    def __init__(self) -> None:
        self.out, self.err = self._console(False), self._console(True)
        self._bars: Progress | None = None

    @staticmethod
    def _console(stderr: bool) -> Console:
        stream = sys.stderr if stderr else sys.stdout
        width = None if stream is not None and stream.isatty() else PLAIN_WIDTH
        return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)

    def _print(self, console: Console, thing: Text | Table) -> None:
        live = self._bars is not None and console.is_terminal
        (self.err if live else console).print(thing, soft_wrap=isinstance(thing, Text))

    def _text(self, text: str, style: str = "") -> Text:
        """Text that both streams can write; it is replaced here so that columns of tables stay in line."""
        return Text(writable(writable(text, self.out.encoding), self.err.encoding), style)

    def silence(self) -> None:
        """Print errors and warnings only: one rank of many is enough to tell the rest."""
        self.out.quiet = True

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line of text."""
        self._print(self.out, self._text(text, style))

    def warn(self, text: str, label: str = "Warning: ") -> None:
        """Print a line of text on stderr."""
        style = "bold red" if label.startswith("Error") else "yellow"
        self._print(self.err, Text(label, style) + self._text(" ".join(text.split())))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: str = "") -> None:
        """Print a table, its first column to the left and the others to the right, and notes that explain it."""
        table = Table(title=self._text(title, "bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for i, name in enumerate(columns):
            table.add_column(self._text(name), justify="right" if i else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(self._text, row))
        self._print(self.out, table)
        for line in notes.splitlines():
            self.say(f"  {line}", "dim")
        if notes:
            self.say()

    def facts(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Print names and what belongs to them, line by line."""
        self.say(title, "bold")
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.say(f"  {name:<{width}}  {value}")

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, float], None]]:
        """Yield a function that takes the name of a stage and the fraction of it that is done.

        What follows a colon in the name may change from call to call.
        """
        if not self.err.is_terminal:
            yield _plain_progress(self)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            _TimeLeft(),
        )
        tasks: dict[str, TaskID] = {}
        done: dict[str, float] = {}
        lock = Lock()
        bars = Progress(*columns, console=self.err, redirect_stdout=False, redirect_stderr=False)

        def show(stage: str, fraction: float) -> None:
            name = stage.partition(":")[0]
            with lock:
                if name not in tasks:
                    tasks[name] = bars.add_task(stage, total=1.0)
                elif _begins_anew(done[name], fraction):
                    bars.reset(tasks[name])
                    done[name] = 0.0
                done[name] = max(fraction, done.get(name, 0.0))  # threads may overtake each other
                bars.update(tasks[name], completed=done[name], description=self._text(stage).plain)

        self._bars = bars
        try:
            with bars:
                yield show
        finally:
            self._bars = None


def _plain_progress(screen: Screen) -> Callable[[str, float], None]:
    """A line now and then for stages that take long."""
    started: dict[str, float] = {}
    done: dict[str, float] = {}
    told = time.monotonic()
    lock = Lock()

    def show(stage: str, fraction: float) -> None:
        nonlocal told
        now = time.monotonic()
        name = stage.partition(":")[0]
        with lock:
            if name not in started or _begins_anew(done[name], fraction):
                started[name], done[name] = now, 0.0
                told = now
            done[name] = max(fraction, done[name])
            if now - told > EVERY and 0 < fraction < 1:
                told = now
                left = _seconds_left(now - started[name], fraction)
                screen.warn(f"{stage}: {100 * fraction:.0f} %, {left:.0f} s left", label="")

    return show
