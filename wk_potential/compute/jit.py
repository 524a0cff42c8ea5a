"""`njit` with a cache on disk for this package.

Numba's own cache knows a function by the time stamp of its file: machine code that a change elsewhere made wrong stays
valid, and so it does across releases, whose files all bear one date. It also loses or mixes up entries when processes
write at once. Here the name of a file holds the hash of the code that the machine code depends on: that of the
function's module and of all that it imports, without docstrings, comments and line numbers. Each signature has a file
of its own, written under a temporary name and renamed. Numba's key of a signature, part of the name too, holds the
processor and its features. A file that cannot be read or written is done without, and so is one that is damaged.

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
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from types import FunctionType
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

PACKAGE = Path(__file__).parents[1]
MEMORY = "sources.json"  # in the cache folder: what `Sources` found in source files
CHECK = hashlib.sha256().digest_size  # bytes at the beginning of an entry: the hash of the others


class _Source(NamedTuple):
    """Code of a file: the hash of its syntax tree without docstrings, and the files of the package that it imports."""

    digest: str
    imports: list[str]


def _imports(root: Path, file: str, tree: ast.Module) -> list[str]:
    """Files below `root` that a file may get something from, all given relative to `root`, in order."""
    found = set()
    for node in ast.walk(tree):
        places = []
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")
            if node.level or module[0] == root.name:
                start = PurePosixPath(file).parents[node.level - 1] if node.level else PurePosixPath()
                place = start.joinpath(*(module if node.level else module[1:]))
                places = [place, *(place / alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            places = [PurePosixPath(*name[1:]) for name in names if name[0] == root.name]
        for place in places:
            found |= {(place / "__init__.py").as_posix(), place.parent.joinpath(f"{place.name}.py").as_posix()}
    return sorted(path for path in found if (root / path).is_file())


def _code(tree: ast.Module) -> bytes:
    """What a file does: its syntax tree, from which docstrings are removed."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    return ast.dump(tree).encode()


class Sources:
    """Hashes of the source files of a package, each of which is parsed once for all processes.

    Args:
        root: folder of the package.
        memory: file for what was found in source files, by the hash of their bytes; it need not be there, and may be
            damaged.

    """

    def __init__(self, root: Path, memory: Path) -> None:
        self._root, self._memory = root, memory
        self._sources: dict[str, _Source] = {}
        self._digests: dict[str, str] = {}
        self._reader = Path(__file__).read_bytes()  # who reads otherwise shall not trust what was found
        self._known: dict[str, list[Any]] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            content = json.loads(memory.read_bytes())
            if content["check"] == _check(content["known"]):
                self._known = content["known"]

    def _source(self, file: str) -> _Source:
        """Return what a file says: of its bytes as they were when it was first asked for."""
        if file not in self._sources:
            text = (self._root / file).read_bytes()
            key = hashlib.sha256(b"\0".join((self._reader, file.encode(), text))).hexdigest()[:32]
            if key not in self._known:
                tree = ast.parse(text)
                imports = _imports(self._root, file, tree)
                self._known[key] = [hashlib.sha256(_code(tree)).hexdigest(), imports]
                with contextlib.suppress(OSError):
                    content = {"check": _check(self._known), "known": self._known}
                    write_whole(self._memory, json.dumps(content).encode())
            self._sources[file] = _Source(*self._known[key])
        return self._sources[file]

    def digest(self, file: str) -> str:
        """Hash of all that decides what machine code is made of a file: its code and all that it imports.

        Args:
            file: path below the package, with forward slashes.

        Raises:
            OSError: a source file cannot be read.

        """
        if file not in self._digests:
            found, waiting = {file}, [file]
            while waiting:
                new = set(self._source(waiting.pop()).imports) - found
                found |= new
                waiting += new
            parts = [sys.version, numba.__version__, np.__version__]
            parts += [f"{name} {self._source(name).digest}" for name in sorted(found)]
            self._digests[file] = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        return self._digests[file]


def _check(known: dict[str, list[Any]]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it, so that nobody reads half of it.

    Raises:
        OSError: that is not possible.

    """
    number, name = tempfile.mkstemp(suffix=".tmp", dir=path.parent)
    try:
        with open(number, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def is_ours(folder: Path) -> bool:
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
    return next((folder for folder in folders if is_ours(folder)), None)


@cache
def _sources(folder: Path) -> Sources:
    return Sources(PACKAGE, folder / MEMORY)


class _Files:
    """One file for each signature of a function: a hash of what follows, and what numba wants to keep.

    Raises:
        OSError: the source of the function cannot be read.

    """

    def __init__(self, folder: Path, py_func: FunctionType) -> None:
        self._folder, self._name = folder, f"{py_func.__module__}.{py_func.__qualname__}"
        # now and not when it is needed: the files on disk may be those of another release by then
        file = Path(py_func.__code__.co_filename).relative_to(PACKAGE).as_posix()
        self._digest = _sources(folder).digest(file)

    def _path(self, key: Any) -> Path:
        signature = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return self._folder / f"{self._name}.{self._digest}.{signature}.nbc"

    def save(self, key: Any, data: Any) -> None:
        content = pickle.dumps(data)
        with contextlib.suppress(OSError):
            write_whole(self._path(key), hashlib.sha256(content).digest() + content)

    def found(self) -> Iterator[Path]:
        return self._folder.glob(f"{self._name}.{self._digest}.*.nbc")

    def load(self, key: Any) -> Any:
        try:
            data = self._path(key).read_bytes()
            check, content = data[:CHECK], data[CHECK:]
            # machine code with a wrong bit would run
            return pickle.loads(content) if hashlib.sha256(content).digest() == check else None
        except Exception:  # missing or not to be read: compile again
            return None

    def flush(self) -> None:
        for file in self.found():
            file.unlink(missing_ok=True)


class _Locator(_CacheLocator):
    """Where the files of a function are, in the terms of numba."""

    def __init__(self, py_func: FunctionType) -> None:
        self._place = py_func.__qualname__

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return ""  # the names of the files tell

    def get_disambiguator(self) -> str:
        return self._place

    @classmethod
    def from_function(cls, py_func: FunctionType, py_file: str) -> "_Locator":
        return cls(py_func)


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # type: ignore[list-item]  # noqa: RUF012


class _Cache(FunctionCache):
    _impl_class = _Impl
    _cache_file: Any  # numba knows its own class only

    def __init__(self, py_func: FunctionType) -> None:
        super().__init__(py_func)
        self._cache_file = _Files(Path(self._cache_path), py_func)


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit` with the cache of this package, for functions of its modules; takes the same options but `cache`."""

    def decorate(f: Any) -> Any:
        dispatcher = numba.njit(**options)(f)
        if cache_folder() is not None:
            with contextlib.suppress(OSError):  # no source files
                dispatcher._cache = _Cache(f)
        return dispatcher

    return decorate if function is None else decorate(function)


def is_compiled(function: Any) -> bool:
    """Whether the cache on disk has a compiled function of this package, for some types of arguments."""
    cache = getattr(function, "_cache", None)
    return isinstance(cache, _Cache) and any(cache._cache_file.found())
