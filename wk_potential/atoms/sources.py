"""From what a user names to files: paths, folders, patterns, and a choice of frames behind an @."""

from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import TypeVar

from ..errors import DataError

# names of files that are read when a folder is given, and of folders that are a set of data themselves
PATTERNS = ("*.xyz", "*.extxyz", "*.traj", "*.npz", "*.cfg", "*.db", "vasprun.xml", "OUTCAR")
DEEPMD = "type.raw"
Item = TypeVar("Item")


def files_of(source: str | Path) -> list[tuple[Path, str]]:
    """Return the files, sorted, that a path, a pattern or a folder stands for, each with a slice of its frames.

    Args:
        source: an existing path; a pattern such as "run*/OUTCAR"; either of them with "@SLICE" behind it. Of a folder
            all files of known names are taken, those of its folders too.

    Raises:
        DataError: there is no such file, or none of a known name in a folder.

    """
    path, frames = Path(source).expanduser(), ":"
    if not path.exists() and "@" in str(path):
        text, _, frames = str(path).rpartition("@")
        path = Path(text)
    if path.is_dir():
        return [(file, frames) for file in _in_folder(path)]
    if not path.exists() and has_magic(str(path)):
        found = sorted(Path(name) for name in glob(str(path), recursive=True))
        if not found:
            raise DataError(f"{path}: no file has such a name; check the pattern")
        return [(file, frames) for item in found for file in (_in_folder(item) if item.is_dir() else [item])]
    return [(path, frames)]


def _in_folder(folder: Path) -> list[Path]:
    """Files and DeePMD systems in a folder and below."""
    if (folder / DEEPMD).exists():
        return [folder]
    systems = {file.parent for file in folder.rglob(DEEPMD)}
    found = {file for pattern in PATTERNS for file in folder.rglob(pattern) if file.is_file()}
    # the same run of VASP twice; arrays of DeePMD
    outcars = {file for file in found if file.name == "OUTCAR" and file.with_name("vasprun.xml") in found}
    found = {file for file in found - outcars if not any(system in file.parents for system in systems)}
    if not systems | found:
        raise DataError(
            f"{folder}: no training data in this folder: no {', '.join(PATTERNS)}, and no DeePMD system ({DEEPMD}); "
            "name the files"
        )
    return sorted(systems | found)


def selected(items: Sequence[Item], text: str, option: str = "--frames ") -> list[Item]:
    """Return the items that an index or a Python slice, given as text, selects.

    Args:
        items: to choose from.
        text: such as ":50" or "-1".
        option: where the text comes from, for the message.

    Raises:
        DataError: it is neither, or it selects nothing.

    """
    try:
        bounds = [int(part) if part.strip() else None for part in text.split(":")]
        chosen = list(items[slice(*bounds) if len(bounds) > 1 else slice(int(text), int(text) + 1 or None)])
    except (TypeError, ValueError):
        raise DataError(f"{option}{text!r} is neither an index nor a Python slice such as ':50'") from None
    if not chosen:
        raise DataError(f"{option}{text!r} selects nothing: there are {len(items)} frames, counted from 0")
    return chosen
