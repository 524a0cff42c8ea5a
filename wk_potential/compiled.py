"""`njit` with a cache on disk for this package.

Numba's own cache knows a function by the time stamp of its file: machine code that a change elsewhere made wrong stays
valid, and so it does across releases, whose files all bear one date. It also loses or mixes up entries when processes
write at once. Here a folder belongs to one content of the package, and each signature has a file of its own, written
under a temporary name and renamed; a file that cannot be read or written is done without.

The folder is NUMBA_CACHE_DIR if set, else the user's cache folder, else one in the temporary folder.
"""

import contextlib
import hashlib
import os
import pickle
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

PACKAGE = Path(__file__).parent


@cache
def _content() -> str:
    """Hash of all that decides what machine code is made of the package's functions."""
    digest = hashlib.sha256(f"{sys.version} {numba.__version__}".encode())
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _is_ours(folder: Path) -> bool:
    """Make the folder and tell whether we can write to it and nobody else can put code there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return False
    return os.access(folder, os.W_OK)


@cache
def cache_folder() -> Path | None:
    """Folder of the compiled functions of this version of the package, None if there is no place for it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folders = [home / "wk_potential", Path(tempfile.gettempdir()) / f"wk_potential-{user}"]
    if os.environ.get("NUMBA_CACHE_DIR"):
        folders = [Path(os.environ["NUMBA_CACHE_DIR"]) / "wk_potential"]
    return next((f / _content() for f in folders if _is_ours(f) and _is_ours(f / _content())), None)


class _Files:
    """One file for each signature of a function."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name

    def _path(self, key) -> Path:
        return self.folder / f"{self.name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def save(self, key, data) -> None:
        path = self._path(key)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_bytes(pickle.dumps(data))
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def load(self, key):
        try:
            return pickle.loads(self._path(key).read_bytes())
        except Exception:  # missing or damaged in any way: compile again
            return None

    def flush(self) -> None:
        for file in self.folder.glob(f"{self.name}.*.nbc"):
            file.unlink(missing_ok=True)


class _Locator(_CacheLocator):
    """Where the files of a function are, in the terms of numba."""

    def __init__(self, py_func):
        self._place = f"{py_func.__code__.co_firstlineno}"

    def get_cache_path(self):
        return str(cache_folder())

    def get_source_stamp(self):
        return _content()

    def get_disambiguator(self):
        return self._place

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func)


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # type: ignore[list-item]  # noqa: RUF012


class _Cache(FunctionCache):
    _impl_class = _Impl

    def __init__(self, py_func):
        super().__init__(py_func)
        self._cache_file = _Files(Path(self._cache_path), f"{py_func.__module__}.{py_func.__qualname__}")


def njit(function=None, **options):
    """`numba.njit` with the cache of this package; takes the same options but `cache`."""

    def decorate(f):
        dispatcher = numba.njit(**options)(f)
        if cache_folder() is not None:
            dispatcher._cache = _Cache(f)
        return dispatcher

    return decorate if function is None else decorate(function)
