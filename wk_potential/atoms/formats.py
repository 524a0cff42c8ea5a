"""Read frames from a file of any kind: what ASE reads, archives, systems of DeePMD, `.cfg` of MLIP, QM9.

What is read here has been checked for its layout only; `wk_potential.atoms.frame` checks structures and labels.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from ase.io import iread

from ..errors import DataError
from .archives import from_npz
from .frame import USUAL_NAMES, Frame, _from_atoms, _Raw
from .qm9 import from_qm9, is_qm9
from .sources import DEEPMD
from .vasp import unconverged_steps

_CFG = "BEGIN_CFG"
_DEEPMD_ARRAYS = ("coord", "box", "real_atom_types")  # those that are no labels
# words of extended XYZ that ASE knows in one spelling only, and how large their values are
_EXTXYZ = {"lattice": ("Lattice", 9), "properties": ("Properties", 1), "pbc": ("pbc", 3)}
_REFUSED = {  # endings of names: what it is
    ".pckl.gzip": "a pickled table of pacemaker",
    ".pkl": "a pickle",
    ".pickle": "a pickle",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".lmdb": "an LMDB data base",
    ".aselmdb": "an LMDB data base",
    "input.data": "data of n2p2 or RuNNer, in bohr and Hartree",
}


def read_file(path: Path, type_map: Sequence[str] | None = None) -> list[_Raw]:
    """Read all frames of a file or of a folder of DeePMD.

    Args:
        path: of any kind that the package reads.
        type_map: elements of the types 0, 1, ... in files that number them.

    Raises:
        DataError: it cannot be read, or holds no frame.

    """
    if path.is_dir() and (path / DEEPMD).exists():
        return _checked_to_hold(path, _reading(path, lambda: _from_deepmd(path, type_map)))
    if not path.is_file():
        raise DataError(f"{path}: {'not a file' if path.exists() else 'file not found'}; check the path")
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty; write it again or leave it out")
    for name, what in _REFUSED.items():
        if path.name.lower().endswith(name):
            raise DataError(f"{path}: {what}, which is not read; convert it to extended XYZ")
    if path.suffix.lower() == ".npz":
        raws = _reading(path, lambda: from_npz(path))
    elif _starts_with(path, _CFG):
        raws = _reading(path, lambda: _from_cfg(path, type_map))
    elif is_qm9(path):
        raws = _reading(path, lambda: [from_qm9(path)])
    else:
        raws = _from_ase(path)
    return _checked_to_hold(path, raws)


def _checked_to_hold(path: Path, raws: list[_Raw]) -> list[_Raw]:
    if not raws:
        raise DataError(f"{path}: no frame in the file; leave it out")
    return raws


def _starts_with(path: Path, text: str) -> bool:
    with path.open("rb") as file:
        return file.read(200).lstrip().startswith(text.encode())


def _reading(where: str | Path, read: Any) -> Any:
    """Return what a function reads; errors of any class name the place."""
    try:
        return read()
    except DataError:
        raise
    except Exception as error:  # readers raise errors of any class
        text = f"{where}: cannot be read ({type(error).__name__}: {error})"
        raise DataError(
            f"{text}; check that the file is complete and that its name has the ending of its format"
        ) from error


def _from_ase(path: Path) -> list[_Raw]:
    raws: list[_Raw] = []
    images = iread(str(path), ":", do_not_split_by_at_sign=True)
    while True:
        where = f"{path}, frame {len(raws)}"
        atoms = _reading(where if raws else path, lambda: next(images, None))
        if atoms is None:
            break
        for key, value in atoms.info.items():
            right, size = _EXTXYZ.get(str(key).lower(), ("", 0))
            if right and np.size(value) == size and key != right:
                raise DataError(f"{where}: {key!r} in the second line has no effect; ASE knows it as {right!r}")
        raws.append(_from_atoms(atoms, where))
    bad = unconverged_steps(path)
    left = [raw for step, raw in enumerate(raws) if step not in bad]
    if raws and not left:
        raise DataError(f"{path}: the electronic self-consistency converged in no step; raise NELM and run it again")
    if len(left) < len(raws):
        steps = ", ".join(str(step) for step in sorted(bad)[:10]) + (", ..." if len(bad) > 10 else "")
        text = f"{path}: the electronic self-consistency did not converge in {len(raws) - len(left)} steps"
        warnings.warn(f"{text}, which are left out: frames {steps}", stacklevel=2)
    return left


def _elements(types: np.ndarray, type_map: Sequence[str] | None, where: str | Path) -> np.ndarray:
    """Atomic numbers of atoms whose types are numbered from 0."""
    if type_map is None:
        raise DataError(
            f"{where}: its atoms have the types {', '.join(map(str, np.unique(types)))} and no elements; name those of "
            "the types 0, 1, ... with --type-map, such as --type-map O,H"
        )
    if unknown := [symbol for symbol in type_map if symbol not in atomic_numbers]:
        raise DataError(f"{where}: {unknown[0]!r} in the type map is no chemical symbol; see --type-map")
    if types.min() < 0 or types.max() >= len(type_map):
        raise DataError(
            f"{where}: there is an atom of type {types.max()}, but the type map has {len(type_map)} elements "
            f"({', '.join(type_map)}); see --type-map"
        )
    return np.array([atomic_numbers[symbol] for symbol in type_map], np.int64)[types]


def _from_deepmd(folder: Path, type_map: Sequence[str] | None) -> list[_Raw]:
    """Frames of a DeePMD system: `type.raw`, `type_map.raw`, `nopbc`, and arrays in `set.*`, in eV and Angstrom."""
    types = np.loadtxt(folder / DEEPMD, dtype=int, ndmin=1)
    names = folder / "type_map.raw"
    type_map = names.read_text().split() if names.exists() else type_map
    sets = sorted(folder.glob("set.*"))
    if not sets:
        raise DataError(f"{folder}: a DeePMD system without set.* folders; make them with dpdata or raw_to_set.sh")
    raws: list[_Raw] = []
    for of_set in sets:
        arrays = {file.stem: np.load(file, allow_pickle=False) for file in sorted(of_set.glob("*.npy"))}
        periodic = not (folder / "nopbc").exists()
        if missing := [name for name in ("coord", "box")[: 1 + periodic] if name not in arrays]:
            raise DataError(f"{of_set}: {missing[0]}.npy is missing")
        n_frames = len(arrays["coord"])
        for name, array in arrays.items():
            if len(array) != n_frames:
                raise DataError(f"{of_set}: {name}.npy has {len(array)} rows, coord.npy has {n_frames}")
        for k in range(n_frames):
            where = f"{folder}, frame {len(raws)}"
            own = arrays["real_atom_types"][k].astype(int) if "real_atom_types" in arrays else types
            numbers = _elements(own, type_map, where)
            cell = arrays["box"][k].reshape(3, 3).astype(float) if periodic else np.zeros((3, 3))
            positions = arrays["coord"][k].reshape(len(numbers), 3).astype(float)
            frame = Frame(numbers, positions, cell, np.full(3, periodic), source=where)
            values = {name: array[k] for name, array in arrays.items() if name not in _DEEPMD_ARRAYS}
            if "force" in values:
                values["force"] = values["force"].reshape(positions.shape)
            raws.append(_Raw(frame, values, USUAL_NAMES))
    return raws


def _from_cfg(path: Path, type_map: Sequence[str] | None) -> list[_Raw]:
    """Frames of MLIP (moment tensor potentials): blocks from BEGIN_CFG to END_CFG, in eV and Angstrom."""
    raws: list[_Raw] = []
    with path.open() as file:
        lines = (line.split() for line in file)
        for words in lines:
            if words[:1] == [_CFG]:
                where = f"{path}, frame {len(raws)}"
                raws.append(_reading(where, lambda where=where: _block(lines, where, type_map)))
    return raws


def _block(lines: Iterator[list[str]], where: str, type_map: Sequence[str] | None) -> _Raw:
    """One configuration of MLIP, whose BEGIN_CFG has been read."""
    size, values = 0, dict[str, Any]()
    cell, columns, rows = list[list[float]](), list[str](), list[list[str]]()
    for words in lines:
        name = words[0].lower() if words else ""
        if name == "end_cfg":
            break
        if name == "size":
            size = int(next(lines)[0])
        elif name == "atomdata:":
            columns, rows = words[1:], [next(lines) for _ in range(size)]
        elif name == "energy":
            values["energy"] = float(next(lines)[0])
        elif name == "plusstress:":  # minus the derivative by the strain, as a virial of QUIP
            parts = dict(zip(words[1:], map(float, next(lines)), strict=True))
            values["virial"] = np.array([parts[key] for key in ("xx", "yy", "zz", "yz", "xz", "xy")])
        elif name in ("stress:", "virial:"):
            raise DataError(f"{where}: {words[0]} is of an old version of MLIP, whose signs differ; write PlusStress")
        elif name == "feature":
            values[" ".join(words[1:2])] = " ".join(words[2:])
        elif len(words) == 3 and not columns:
            cell.append([float(x) for x in words])
    else:
        raise DataError(f"{where}: END_CFG is missing; check that the file is complete")
    table = {name: [row[k] for row in rows] for k, name in enumerate(columns)}
    positions = _columns(table, "cartes_x", "cartes_y", "cartes_z")
    vectors = np.zeros((3, 3))
    vectors[: len(cell)] = np.reshape(cell, (-1, 3))
    if positions is None and (scaled := _columns(table, "direct_x", "direct_y", "direct_z")) is not None:
        positions = scaled @ vectors
    if positions is None or "type" not in table:
        raise DataError(f"{where}: AtomData lacks type, cartes_x, cartes_y or cartes_z; it has {', '.join(columns)}")
    if (forces := _columns(table, "fx", "fy", "fz")) is not None:
        values["forces"] = forces
    numbers = _elements(np.array(table["type"], int), type_map, where)
    pbc = np.arange(3) < len(cell)
    return _Raw(Frame(numbers, positions, vectors, pbc, source=where), values, USUAL_NAMES)


def _columns(table: dict[str, list[str]], *names: str) -> np.ndarray | None:
    if not set(names) <= set(table):
        return None
    return np.array([table[name] for name in names], float).T
