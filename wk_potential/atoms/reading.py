"""Read training data: structures and labels from any file that ASE reads, or from rMD17 archives.

The frames are checked and in eV, eV/Angstrom and eV/Angstrom^3. Data that cannot be right raise a `DataError` that
names the file, the frame and the atom. Frames and atoms are counted from 0.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from ase import Atoms
from ase.io import iread

from ..errors import DataError
from .frame import Frame, _convert, _from_atoms, _keys_found, _Raw
from .tensor_labels import tensor_reader

FrameSource: TypeAlias = str | Path | Atoms | Sequence[str | Path | Atoms]
_NPZ_KEYS: dict[str, tuple[str, ...]] = {"energy": ("energies", "e"), "forces": ("forces", "f"), "stress": ()}


def read_frames(
    data: FrameSource,
    frames: str = ":",
    energy_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    dipole_key: str | None = None,
    dipole_unit: str | None = None,
    polarizability_key: str | None = None,
    polarizability_unit: str | None = None,
    charge: float | None = None,
    dipole_origin: str | None = None,
) -> list[Frame]:
    """Read, check and convert structures with their labels, of which any may be missing.

    Labels of `Atoms` are the results of their calculator, `info` and `arrays`.

    Stress is kept only for cells that are periodic in three directions. A `UserWarning` says where names for
    one label differ in value, where frames are repeated, and that an archive was read without `energy_unit`.

    Args:
        data: structures, or files that ASE reads, or npz archives: `nuclear_charges` or `z` (N,), `coords` or `R`
            (n, N, 3), `energies` or `E` (n,), `forces` or `F` (n, N, 3). One of them or a sequence.
        frames: a Python slice or a single index into all frames, one file after the other.
        energy_unit: eV (default), meV, kcal/mol, kJ/mol or Hartree (Ha); forces are per Angstrom, stresses per
            Angstrom^3.
        energy_key, forces_key, stress_key: names in the calculator's results, `atoms.info`, `atoms.arrays` or the
            archive. By default the usual ones are tried, in any case: with REF_, DFT_ or QM_ first, then plain. A
            "virial" is -stress * volume.
        dipole_key, polarizability_key: names of dipoles (3,) and polarisabilities (3, 3) or (9,); these are read only
            if they are named.
        dipole_unit, polarizability_unit: e*Angstrom (default), e*bohr or Debye; Angstrom^3 (default) or bohr^3.
        charge: total charge of the frames, e [`atoms.info["charge"]`, else 0].
        dipole_origin: "coordinates" or "mass": what the dipoles of charged frames are relative to.

    Raises:
        DataError: a file cannot be read, structures or labels make no sense, a slice selects nothing, an explicit key
            is in no frame, or there is no label at all.

    """
    sources = [data] if isinstance(data, str | Path | Atoms) else list(data)
    raws = _select([raw for k, source in enumerate(sources) for raw in _raws(source, k)], frames)
    tensor_keys = {"dipole": dipole_key, "polarizability": polarizability_key}
    tensor_units = {"dipole": dipole_unit, "polarizability": polarizability_unit}
    found = {key for raw in raws for key in raw.values}
    read_tensors = tensor_reader(found, tensor_keys, tensor_units, charge, dipole_origin)
    result = _convert(raws, read_tensors, tensor_keys, energy_unit, energy_key, forces_key, stress_key)
    if not any(frame.keys for frame in result):
        raise DataError(
            f"{_names(sources)}: no energy, forces or stress; keys found: {_keys_found(raws)}. "
            "Say where the labels are with --energy-key, --forces-key, --stress-key, --dipole-key"
        )
    _warn_of_unit_and_repetition(raws, result, energy_unit)
    return result


def frames_of(data: FrameSource | Sequence[Frame], **reading: Any) -> list[Frame]:
    """Return frames as they are, anything else as `read_frames` reads it.

    Args:
        data: frames, or what `read_frames` takes.
        reading: keywords of `read_frames`.

    Raises:
        DataError: as `read_frames`; or there are frames and keywords, which would have no effect.

    """
    if isinstance(data, Frame):
        data = [data]
    if isinstance(data, str | Path | Atoms) or not all(isinstance(frame, Frame) for frame in data):
        return read_frames(data, **reading)  # type: ignore[arg-type]
    if reading:
        raise DataError(f"{', '.join(reading)}: only for files and Atoms; a Frame is in the units of the package")
    if not data:
        raise DataError("no frames: the list is empty")
    return list(data)  # type: ignore[arg-type]


def _raws(source: Any, k: int) -> list[_Raw]:
    if isinstance(source, str | Path):
        return _read(Path(source).expanduser())
    if isinstance(source, Atoms):
        return [_from_atoms(source, f"structure {k}")]
    raise DataError(
        f"entry {k} is a {type(source).__name__}; expected a path or ase.Atoms, and not a mixture with frames"
    )


def _names(sources: Sequence[Any]) -> str:
    return ", ".join(str(s) for s in sources if not isinstance(s, Atoms)) or f"{len(sources)} structures"


def _warn_of_unit_and_repetition(raws: Sequence["_Raw"], frames: Sequence[Frame], energy_unit: str | None) -> None:
    if energy_unit is None and (archives := [raw.frame.source for raw in raws if raw.names is _NPZ_KEYS]):
        text = f"{archives[0].rpartition(',')[0]}: read as eV, but rMD17 is in kcal/mol"
        warnings.warn(f"{text}; give the unit with --energy-unit", stacklevel=3)
    first: dict[tuple[bytes, ...], Frame] = {}
    pairs = []
    for frame in frames:
        key = tuple((array + 0).tobytes() for array in (frame.numbers, frame.positions, frame.cell))  # no -0
        if (earlier := first.setdefault(key, frame)) is not frame:
            pairs.append(f"{earlier.source} and {frame.source}")
    if pairs:
        text = f"{len(pairs)} frames repeat an earlier one (same atoms, positions and cell), first {pairs[0]}"
        warnings.warn(f"{text}; remove them unless they are meant", stacklevel=3)


def _select(raws: list[_Raw], text: str) -> list[_Raw]:
    try:
        bounds = [int(part) if part.strip() else None for part in text.split(":")]
        chosen = raws[slice(*bounds) if len(bounds) > 1 else slice(int(text), int(text) + 1 or None)]
    except (TypeError, ValueError):
        raise DataError(f"--frames {text!r} is neither an index nor a Python slice such as ':50'") from None
    if not chosen:
        raise DataError(f"--frames {text!r} selects nothing: there are {len(raws)} frames, counted from 0")
    return chosen


def _read(path: Path) -> list[_Raw]:
    if not path.is_file():
        raise DataError(f"{path}: {'not a file' if path.exists() else 'file not found'}; check the path")
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty; write it again or leave it out")
    raws: list[_Raw] = []
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                raws = _from_npz(dict(archive), path)
        else:
            for atoms in iread(str(path), ":", do_not_split_by_at_sign=True):
                raws.append(_from_atoms(atoms, f"{path}, frame {len(raws)}"))
    except DataError:
        raise
    except Exception as error:  # the readers raise errors of any class
        where = f"{path}, frame {len(raws)}" if raws else path
        text = f"{where}: cannot be read ({type(error).__name__}: {error})"
        raise DataError(
            f"{text}; check that the file is complete and that its name has the ending of its format"
        ) from error
    if not raws:
        raise DataError(f"{path}: no frame in the file; leave it out")
    return raws


def _from_npz(arrays: dict[str, np.ndarray], path: Path) -> list[_Raw]:
    numbers = arrays.get("nuclear_charges", arrays.get("z", np.empty(0)))
    coords = arrays.get("coords", arrays.get("R", np.empty(0)))
    labels = {k: v for k, v in arrays.items() if v.shape[:1] == coords.shape[:1] and v is not coords}
    usual = {key for key in arrays if any(key.lower() in names for names in _NPZ_KEYS.values())}
    if coords.shape[1:] != (*numbers.shape, 3) or not usual <= set(labels) or "lattice" in arrays:
        found = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise DataError(
            f"{path}: expected nuclear_charges or z (N,), coords or R (n, N, 3), energies or E (n,), "
            f"forces or F (n, N, 3) and no lattice, but found {found}; convert other data to extended XYZ"
        )
    numbers, cell, pbc = numbers.astype(np.int64), np.zeros((3, 3)), np.zeros(3, bool)
    raws = []
    for i, positions in enumerate(coords.astype(float)):
        frame = Frame(numbers, positions, cell, pbc, source=f"{path}, frame {i}")
        raws.append(_Raw(frame, {key: array[i] for key, array in labels.items()}, _NPZ_KEYS))
    return raws
