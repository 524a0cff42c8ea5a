"""`njit` with a cache on disk for this package.

Numba's own cache knows a function by the time stamp of its file: machine code that a change elsewhere made wrong stays
valid, and so it does across releases, whose files all bear one date. It also loses or mixes up entries when processes
write at once. Here the name of a file holds the hash of the code that the machine code depends on: that of the
function's module and of all that it imports, without docstrings and comments. Each signature has a file of its own,
written under a temporary name and renamed. A file that cannot be read or written is done without.

The folder is NUMBA_CACHE_DIR if set, else the user's cache folder, else one in the temporary folder.
"""

import ast
import contextlib
import hashlib
import json
import os
import pickle
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

PACKAGE = Path(__file__).parents[1]
MEMORY = "sources.json"  # in the cache folder: what `_read` found in source files, by the hash of their bytes


class _Source(NamedTuple):
    """Code of a file: the hash of its syntax tree without docstrings, and the files of the package that it imports."""

    digest: str
    imports: list[str]


def _read(file: str, text: bytes) -> _Source:
    """Parse a file of the package; comments, docstrings and line numbers do not count."""
    tree = ast.parse(text)
    imports = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = Path(file).parents[node.level - 1] / (node.module or "").replace(".", "/")
            paths = [folder.parent / f"{folder.name}.py", *(folder / f"{alias.name}.py" for alias in node.names)]
            imports |= {path.as_posix() for path in paths if (PACKAGE / path).is_file()}
    return _Source(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), sorted(imports))


class _Sources:
    """Source files of the package, each parsed once for all processes."""

    def __init__(self, memory: Path):
        self._memory = memory
        try:
            self._known = {key: _Source(*value) for key, value in json.loads(memory.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._known = {}

    @cache  # noqa: B019
    def source(self, file: str) -> _Source:
        """Return what a file, given relative to the package, says."""
        text = (PACKAGE / file).read_bytes()
        key = hashlib.sha256(file.encode() + b"\0" + text).hexdigest()[:32]
        if key not in self._known:
            self._known[key] = _read(file, text)
            with contextlib.suppress(OSError):
                _replace(self._memory, json.dumps(self._known).encode())
        return self._known[key]

    @cache  # noqa: B019
    def digest(self, file: str) -> str:
        """Hash of all that decides what machine code is made of a file: its code and all that it imports."""
        found, waiting = {file}, [file]
        while waiting:
            new = set(self.source(waiting.pop()).imports) - found
            found |= new
            waiting += new
        parts = [sys.version, numba.__version__, *(f"{name} {self.source(name).digest}" for name in sorted(found))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _replace(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it.

    Raises:
        OSError: that is not possible.

    """
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


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
    """Folder of the compiled functions, None if there is no place for it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folders = [home / "wk_potential", Path(tempfile.gettempdir()) / f"wk_potential-{user}"]
    if os.environ.get("NUMBA_CACHE_DIR"):
        folders = [Path(os.environ["NUMBA_CACHE_DIR"]) / "wk_potential"]
    return next((folder for folder in folders if _is_ours(folder)), None)


@cache
def _sources(folder: Path) -> _Sources:
    return _Sources(folder / MEMORY)


class _Files:
    """One file for each signature of a function."""

    def __init__(self, folder: Path, py_func):
        self._folder, self._name = folder, f"{py_func.__module__}.{py_func.__qualname__}"
        # now and not when it is needed: the files on disk may be those of another release by then
        file = Path(py_func.__code__.co_filename).relative_to(PACKAGE).as_posix()
        self._digest = _sources(folder).digest(file)

    def _path(self, key) -> Path:
        signature = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return self._folder / f"{self._name}.{self._digest}.{signature}.nbc"

    def save(self, key, data) -> None:
        with contextlib.suppress(OSError):
            _replace(self._path(key), pickle.dumps(data))

    def load(self, key):
        try:
            return pickle.loads(self._path(key).read_bytes())
        except Exception:  # missing or damaged in any way: compile again
            return None

    def flush(self) -> None:
        for file in self._folder.glob(f"{self._name}.{self._digest}.*.nbc"):
            file.unlink(missing_ok=True)


class _Locator(_CacheLocator):
    """Where the files of a function are, in the terms of numba."""

    def __init__(self, py_func):
        self._place = py_func.__qualname__

    def get_cache_path(self):
        return str(cache_folder())

    def get_source_stamp(self):
        return ""  # the names of the files tell

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
        self._cache_file = _Files(Path(self._cache_path), py_func)


def njit(function=None, **options):
    """`numba.njit` with the cache of this package; takes the same options but `cache`."""

    def decorate(f):
        dispatcher = numba.njit(**options)(f)
        if cache_folder() is not None:
            dispatcher._cache = _Cache(f)
        return dispatcher

    return decorate if function is None else decorate(function)
