"""What the commands share: errors in one line instead of tracebacks, checks of outputs, a structure with its model."""

import errno
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ..errors import OptionsError, WKError

if TYPE_CHECKING:
    from .screen import Screen

INTERRUPTED, TERMINATED = 130, 143  # exit codes after Ctrl-C and SIGTERM, as shells have them
ERROR_LOG = "wk-potential-error.log"
_FULL = (errno.ENOSPC, errno.EDQUOT)  # Python does not say of which file


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that has written something; the message says what."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, the signal by which batch systems end a job: the command ends as after Ctrl-C."""


def end_on_sigterm() -> None:
    """Make SIGTERM end a command as Ctrl-C does, unless somebody else wants the signal."""

    def terminate(number: int, frame: Any) -> NoReturn:
        raise Terminated

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)


class Command(click.Command):
    """A command that fails with one line and hands its function a `Screen` as the first argument."""

    many_ranks = False  # whether it may run under mpiexec

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit with 1 after an error, 130 after Ctrl-C and 143 after SIGTERM."""
        from .screen import Screen

        ctx.obj = screen = Screen()
        end_on_sigterm()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("default", category=UserWarning)
                warnings.showwarning = lambda message, *rest, **more: screen.warn(str(message))
                self._check_ranks()
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException):
            raise
        except KeyboardInterrupt as stop:
            sys.exit(tell(screen, stop))
        except BrokenPipeError:
            # the reader of a pipe is gone, and Python would complain once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            leave(tell(screen, error, ctx.params.get("output")))

    def _check_ranks(self) -> None:
        from ..compute.ranks import launched_ranks

        if not self.many_ranks and launched_ranks().size > 1:
            raise OptionsError(
                f"{self.name} runs as one process, whose threads use all cores: leave out mpiexec. Several processes "
                "are for train, lammps, and scripts with WKCalculator(model, comm=MPI.COMM_WORLD)"
            )


class RanksCommand(Command):
    """A command that may run on many ranks."""

    many_ranks = True


def tell(screen: "Screen", error: BaseException, output: Path | None = None) -> int:
    """Print one line of an error or of Ctrl-C, and return the exit code.

    Args:
        screen: where to.
        error: of any kind.
        output: file or folder that the command writes: the traceback of a fault of the program is saved beside it.

    """
    if isinstance(error, KeyboardInterrupt):
        text = str(error) or "interrupted, nothing written"
        if not (isinstance(error, Terminated) or isinstance(error.__context__, Terminated)):
            screen.warn(text, label="")
            return INTERRUPTED
        screen.warn(text.replace("interrupted", "ended by SIGTERM", 1), label="")
        return TERMINATED
    if (comm := _ranks()) is not None and comm.Get_rank() > 0:
        from ..compute.ranks import FORWARDING

        time.sleep(2 * FORWARDING)  # if the first rank has the same error, it says so and ends this one meanwhile
    screen.warn(_line(error, output), label="Error: ")
    return 1


def leave(code: int) -> NoReturn:
    """Exit, under mpiexec with all ranks: the others may wait for this one."""
    if (comm := _ranks()) is not None:
        from ..compute.ranks import abort

        abort(comm, code)
    sys.exit(code)


def _ranks() -> Any:
    """Return the communicator of all processes that mpiexec has started, None if there is but one."""
    mpi = sys.modules.get("mpi4py.MPI")
    return None if mpi is None or mpi.COMM_WORLD.Get_size() == 1 else mpi.COMM_WORLD


def _line(error: BaseException, output: Path | None) -> str:
    """Return what to print: of what the user can put right the message, of a fault of the program where its log is."""
    if isinstance(error, OSError) and error.strerror and (error.filename or error.errno in _FULL):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, WKError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({error})" if str(error) else "there is not enough memory"
    folder = Path(".") if output is None else output if output.is_dir() else output.parent
    text = f"unexpected {type(error).__name__}: {error}"
    path = folder / ERROR_LOG
    try:
        path.write_text("".join(traceback.format_exception(error)), "utf-8", "backslashreplace")
    except OSError:
        traceback.print_exception(error)
        return f"{text}. This is a fault of the program; the traceback is above"
    return f"{text}. This is a fault of the program; the traceback is in {path}"


def check_outputs(*paths: Path | None) -> None:
    """Refuse outputs that cannot be written, before the work is done; None stands for one that is not wanted.

    Raises:
        OptionsError: the folder is not there or not writable, or the path is a folder.

    """
    for path in paths:
        if path is None:
            continue
        if not path.parent.is_dir():
            raise OptionsError(f"{path}: the folder {path.parent} does not exist; make it first")
        if path.is_dir():
            raise OptionsError(f"{path}: is a folder; give the name of a file")
        if not os.access(path.parent, os.W_OK):
            raise OptionsError(f"{path}: the folder {path.parent} is not writable; write elsewhere")


def check_not_replaced(output: Path, text: str | None, what: str, new: str) -> None:
    """Refuse to write a model over one that it is made from.

    Args:
        output: where it is to be written.
        text: baselines or a teacher, which may name model files.
        what, new: what these are, and what would replace them.

    Raises:
        OptionsError: this would happen.

    """
    from ..baselines.potential import model_files

    if text is not None and output.resolve() in [path.resolve() for path in model_files(text)]:
        raise OptionsError(f"{output}: is the {what}, which the {new} would replace; name another file")


def check_new(*paths: Path | None) -> None:
    """Refuse outputs that exist: frames may have taken months, so no file of them is replaced. As `check_outputs`.

    Raises:
        OptionsError: as there, or the file exists.

    """
    check_outputs(*paths)
    for path in paths:
        if path is not None and path.exists():
            raise OptionsError(f"{path}: exists, and no data are replaced; name another file, or remove it first")


def check_pictures(*paths: Path | None) -> None:
    """Refuse pictures that cannot be written; as `check_outputs`.

    Raises:
        OptionsError: as there, or the ending is not that of a format.

    """
    check_outputs(*paths)
    if wanted := [path for path in paths if path is not None]:
        from ..analysis.plots import check_format

        for path in wanted:
            check_format(path)


def load_atoms(
    model: Path, structure: Path, frame: int, threads: int | None, precision: str, baseline: str | None,
    uncertainty: bool = False,
) -> Any:  # fmt: skip
    """Return the structure with a calculator."""
    from ..atoms.trajectories import read_structure
    from ..calculator import WKCalculator

    calculator = WKCalculator(model, threads, precision, uncertainty=uncertainty, baseline=baseline)
    atoms = read_structure(structure, frame)
    atoms.calc = calculator
    return atoms
