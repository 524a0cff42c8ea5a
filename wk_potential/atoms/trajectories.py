"""Read and write structures and trajectories; trajectories can be continued."""

import os
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from ..errors import StructureError
from .files import naming, replacing, uninterrupted
from .frame import Frame

_ULM_MAGIC, _ULM_HEADER = b"- of Ulm", 56  # of .traj files: first bytes, and all before a frame (32: their number)
_STANDARD = ("energy", "forces", "stress", "energies", "dipole")  # results that writers of ASE know
_WHOLE = ("stress_std", "dipole_std", "polarizability", "polarizability_std")  # arrays of the whole structure
_LOSSLESS = {".xyz": "extxyz", ".extxyz": "extxyz", ".traj": "traj"}  # formats that keep labels, by ending
RECORDED = ("energy", "forces", "stress")  # results in trajectories


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise StructureError(f"{path}: {'not a file' if path.exists() else 'file not found'}; check the path")
    return path


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]


def read_structure(path: str | Path, index: int = -1, keep_results: bool = False) -> Atoms:
    """Read one structure with ASE.

    Args:
        path: in any format that ASE reads.
        index: of the frame, from 0, or from the end if negative.
        keep_results: keep energy, forces and stress that the file may hold.

    Raises:
        StructureError: the file or the frame is not there or cannot be read.

    """
    path = _existing(path)
    try:
        atoms: Any = read(path, index=index, do_not_split_by_at_sign=True)
    except (IndexError, StopIteration):
        raise StructureError(f"{path}: there is no frame {index}") from None
    except Exception as error:  # the readers raise errors of any class
        raise StructureError(f"{path}: cannot be read as a structure ({_reason(error)})") from error
    if not len(atoms):
        raise StructureError(f"{path}: no atoms in the frame")
    for what, array in (("position of atom", atoms.positions), ("cell vector", atoms.cell.array)):
        if not np.isfinite(array).all():
            row = int(np.argmin(np.isfinite(array).all(axis=1)))
            raise StructureError(f"{path}: the {what} {row} is not finite: {array[row]}")
    if not keep_results:
        atoms.calc = None
    return atoms


def read_trajectory(path: str | Path, frames: str = ":") -> list[Atoms]:
    """Read frames of one system with ASE, without the results that the file may hold.

    Args:
        path: in any format that ASE reads.
        frames: a Python slice, or the number of one frame.

    Raises:
        StructureError: the file cannot be read, the slice selects nothing, or frames differ in their atoms.

    """
    path = _existing(path)
    try:
        images: Any = read(path, index=frames, do_not_split_by_at_sign=True)
    except Exception as error:  # the readers raise errors of any class
        raise StructureError(f"{path}: cannot be read as a trajectory ({_reason(error)})") from error
    images = [images] if isinstance(images, Atoms) else images
    if not images:
        raise StructureError(f"{path}: no frame in {frames!r}")
    for number, atoms in enumerate(images):
        if len(atoms) != len(images[0]) or (atoms.numbers != images[0].numbers).any():
            raise StructureError(f"{path}: frame {number} of {frames!r} has other atoms than the first; select frames")
        atoms.calc = None
    return images


def output_format(path: str | Path) -> str:
    """Return ASE's name of the format that a file is to be written in.

    Raises:
        StructureError: the name does not tell.

    """
    try:
        kind = filetype(str(path), read=False)
    except UnknownFileTypeError:
        kind = ""
    if kind not in ioformats or not ioformats[kind].can_write:
        raise StructureError(f"{path}: no format to write has this name or ending; use .xyz, .cif or .traj")
    return kind


def store_results(atoms: Atoms, names: Sequence[str] | None = None) -> Atoms:
    """Return a copy that holds what its calculator has computed, so that every writer of ASE can write it.

    Energy, forces, stress, energies and dipole become results of a `SinglePointCalculator`. All else, error bars and
    the polarisability among them, goes to `info` and, where there is a row for each atom, to `arrays`, under the names
    of the results: energy_std, forces_std, extrapolation_grade, ... Arrays of higher rank are flattened to (N, k).

    Args:
        atoms: with a calculator that has computed something.
        names: of the results to store [all].

    """
    copy = atoms.copy()
    results = {} if atoms.calc is None else dict(atoms.calc.results)
    if names is not None:
        results = {name: results[name] for name in names if name in results}
    copy.calc = SinglePointCalculator(copy, **{name: results[name] for name in _STANDARD if name in results})
    for name in set(results) - set(all_properties):
        value = np.asarray(results[name])
        if name in _WHOLE or value.ndim == 0:
            copy.info[name] = value.tolist() if value.ndim == 0 else value
        else:
            copy.arrays[name] = value if value.ndim == 1 else value.reshape(len(value), -1)
    return copy


def write_structure(path: str | Path, atoms: Atoms) -> None:
    """Write a structure with its results, in the format of its ending; completely or not at all.

    Raises:
        StructureError: the name does not tell the format.

    """
    path, kind = Path(path), output_format(path)
    with replacing(path) as temporary:
        write(temporary, store_results(atoms, RECORDED), format=kind)


def frames_format(path: str | Path) -> str:
    """Return ASE's name of the format in which `write_frames` writes a file.

    Raises:
        StructureError: its ending is not that of a format that keeps all labels.

    """
    kind = _LOSSLESS.get(Path(path).suffix.lower())
    if kind is None:
        raise StructureError(f"{path}: frames are written with all labels as .xyz, .extxyz or .traj; use such a name")
    return kind


def write_frames(path: str | Path, frames: Sequence[Frame]) -> None:
    """Write frames with their labels under ASE's names of them (energy, forces, stress), completely or not at all.

    Extended XYZ keeps 8 decimals of positions and forces, `.traj` every bit.

    Args:
        path: the format follows its ending: .xyz, .extxyz or .traj. Other formats of ASE lose labels.
        frames: structures and labels in the units of the package.

    Raises:
        StructureError: another ending.
        FileError: the file cannot be written.

    """
    kind = frames_format(path)
    with replacing(path) as temporary:
        write(temporary, [frame.to_atoms() for frame in frames], format=kind)


def drop_half_frame(path: Path) -> bool:
    """Cut off a last frame that an interruption left incomplete; return whether any frame is left.

    Args:
        path: written by `append_frame`; it need not exist.

    """
    if not path.exists() or not path.stat().st_size:
        return False
    if path.suffix == ".traj":  # its header counts complete frames only
        with path.open("rb") as file:
            head = file.read(_ULM_HEADER)
        if head[: len(_ULM_MAGIC)] != _ULM_MAGIC[: len(head)]:
            return True  # not a trajectory: the reader will say what is wrong
        return len(head) == _ULM_HEADER and any(head[32:40])
    whole = 0
    with path.open("rb") as file:
        while count := file.readline():
            if not count.strip().isdigit():
                return True
            lines = [line for _ in range(int(count) + 1) if (line := file.readline()).endswith(b"\n")]
            if len(lines) <= int(count):
                break
            whole = file.tell()
    os.truncate(path, whole)
    return whole > 0


def append_frame(path: Path, atoms: Atoms) -> None:
    """Append a structure with its results to a .traj file, or else to extended XYZ.

    Raises:
        FileError: the frame cannot be written, perhaps for lack of space; the file is unchanged.

    """
    with uninterrupted(), naming(path):
        if path.suffix == ".traj":
            from ase.io.trajectory import Trajectory

            with Trajectory(path, "a") as file:
                file.write(atoms)
            return
        text = StringIO()
        write(text, atoms, format="extxyz")
        size = path.stat().st_size if path.exists() else 0
        try:
            with path.open("a") as file:  # in one call: an interruption leaves no incomplete frame
                file.write(text.getvalue())
        except OSError:
            if path.exists():
                os.truncate(path, size)
            raise
