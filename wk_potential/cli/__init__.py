"""The command line: `wk-potential COMMAND`. Commands are imported when they are called or listed."""

import os
import sys
from importlib import import_module
from typing import Any

import click

from .. import __version__

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
_COMMANDS = {"train": "train", "evaluate": "inspect", "info": "inspect"}
_COMMANDS |= {"check": "check"}
_COMMANDS |= {"map": "speed", "bench": "speed"}
_COMMANDS |= {"active": "active"}
_COMMANDS |= {"md": "simulate", "relax": "simulate", "spectrum": "spectrum", "lammps": "lammps", "demo": "demo"}


class _Commands(click.Group):
    """Subcommands in the order in which one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".{_COMMANDS[cmd_name]}", __name__)
        return getattr(module, "map_command" if cmd_name == "map" else cmd_name)

    def main(self, args: Any = None, *rest: Any, **extra: Any) -> Any:
        """Run as a program if there are no arguments here."""
        try:
            return super().main(args, *rest, **extra)
        except SystemExit as stop:
            if args is None and stop.code == INTERRUPTED:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(INTERRUPTED)  # Python would wait for threads in long compiled loops
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
