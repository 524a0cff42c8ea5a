"""The command line: `wk-potential COMMAND`. The command NAME is the function NAME in the module NAME.

A command is imported when it is called or listed.
"""

import os
import sys
from importlib import import_module
from typing import Any

import click

from .. import __version__
from .common import INTERRUPTED, TERMINATED
from .encoding import replace_what_cannot_be_written

COMMANDS = (
    "data", "train", "evaluate", "info", "check", "map", "pareto", "bench", "active", "distil", "md", "relax",
    "spectrum", "lammps", "export", "demo",
)  # fmt: skip


class _Commands(click.Group):
    """Subcommands in the order in which one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return getattr(import_module(f".{cmd_name}", __name__), cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C while it is imported gives the same exit code as Ctrl-C while it runs."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    def main(self, args: Any = None, *rest: Any, **extra: Any) -> Any:
        """Run as a program if there are no arguments here."""
        for stream in (sys.stdout, sys.stderr):
            replace_what_cannot_be_written(stream)
        try:
            return super().main(args, *rest, **extra)
        except SystemExit as stop:
            if args is None and stop.code in (INTERRUPTED, TERMINATED):
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(int(stop.code))  # Python would wait for threads in long compiled loops
            raise


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="wk-potential")
def main() -> None:
    """Wigner-kernel interatomic potentials: train them on labelled frames, test them, run them.

    Energies are in eV, lengths in Angstrom, forces in eV/Angstrom, stresses in eV/Angstrom^3 unless an option
    says otherwise. See `wk-potential COMMAND --help`.

    \b
    Try it:  wk-potential demo
    """


__all__ = ["main"]
