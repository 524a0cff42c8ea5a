"""What the commands share: options, short messages instead of tracebacks, checks of outputs."""

import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

import click

PACKAGE = Path(__file__).parents[1]
ERROR_LOG = "wk-potential-error.log"

data_argument = click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
model_argument = click.argument("model", type=click.Path(path_type=Path))
structure_argument = click.argument("structure", type=click.Path(path_type=Path))
threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Threads [default: OMP_NUM_THREADS, else the cores].",
)


class Interrupted(Exception):
    """Ctrl-C in a command that has written something; the message says what."""


class UserError(ValueError):
    """Something that the user can put right; the message says what."""


class Command(click.Command):
    """A command that fails with one line and hands its function a `Screen` as the first argument."""

    many_ranks = False  # whether it may run under mpiexec

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit with 1 after an error and 130 after Ctrl-C."""
        from .screen import Screen

        ctx.obj = screen = Screen()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("default", category=UserWarning)
                warnings.showwarning = lambda message, *rest, **more: screen.warn(str(message))
                self._check_ranks()
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException):
            raise
        except (KeyboardInterrupt, Interrupted) as stop:
            screen.warn(str(stop) or "interrupted, nothing written", label="")
            sys.exit(130)
        except BrokenPipeError:
            # the reader of a pipe is gone, and Python would complain once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            screen.warn(_short(error) or _unexpected(error, ctx.params.get("output")), label="Error: ")
            _end()

    def _check_ranks(self) -> None:
        from ..compute.ranks import launched_ranks

        if not self.many_ranks and launched_ranks().size > 1:
            raise UserError(
                f"{self.name} runs on one rank, and its threads use the cores: leave out mpiexec. Many ranks are for "
                "train, lammps, and scripts with WKCalculator(model, comm=MPI.COMM_WORLD)"
            )


class RanksCommand(Command):
    """A command that may run on many ranks."""

    many_ranks = True


def _end() -> NoReturn:
    """Exit with 1, under mpiexec all ranks: the others may wait for this one."""
    if (mpi := sys.modules.get("mpi4py.MPI")) is not None and mpi.COMM_WORLD.Get_size() > 1:
        from ..compute.ranks import abort

        abort(mpi.COMM_WORLD)
    sys.exit(1)


def _short(error: Exception) -> str:
    """Return a line for an error that a user can cause, nothing for others."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    ours = Path(traceback.extract_tb(error.__traceback__)[-1].filename).is_relative_to(PACKAGE)
    if isinstance(error, MemoryError) or (isinstance(error, ValueError) and ours):
        return " ".join(str(error).split()) or "there is not enough memory"
    return ""


def _unexpected(error: Exception, output: Path | None) -> str:
    """Save the traceback beside the output and return a line that names it."""
    folder = Path(".") if output is None else output if output.is_dir() else output.parent
    text = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
    path = folder / ERROR_LOG
    try:
        path.write_text("".join(traceback.format_exception(error)))
    except OSError:
        traceback.print_exception(error)
        return text
    return f"{text}. This is a fault of the program; the traceback is in {path}"


def check_output(path: Path) -> None:
    """Refuse an output that cannot be written, before the work is done.

    Raises:
        UserError: the folder is not there or not writable, or the path is a folder.

    """
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: the folder {path.parent} is not writable")
