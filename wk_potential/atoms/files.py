"""Write files completely or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file completely or not at all.

    Raises:
        FileError: it cannot be written.

    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)
