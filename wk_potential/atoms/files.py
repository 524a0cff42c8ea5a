"""Write files completely or not at all."""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ..errors import FileError


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Let errors of writing name the file, which the operating system does not say or calls by a temporary name.

    Raises:
        FileError: for any `OSError` within.

    """
    try:
        yield
    except OSError as error:
        raise FileError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; it is renamed to `path` if all goes well, else removed.

    Raises:
        FileError: the file cannot be written.

    """
    path = Path(path)
    with naming(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        try:
            yield Path(name)
            with open(name, "rb") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the block is done.

    Python drops an exception that a signal raises in a destructor, and files of ASE have destructors: without this a
    run might go on for ever, or leave a file open.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in ours:
        signal.signal(number, lambda n, frame: held.append((n, frame)))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if held:
            ours[signal.Signals(held[0][0])](*held[0])


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file completely or not at all.

    Raises:
        FileError: it cannot be written.

    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)
