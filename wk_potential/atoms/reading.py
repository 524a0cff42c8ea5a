"""Read training data: structures and labels from files of many formats.

The frames are checked and in eV, eV/Angstrom and eV/Angstrom^3. Data that cannot be right raise a `DataError` that
names the file, the frame and the atom. Frames and atoms are counted from 0.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ase import Atoms

from ..errors import DataError
from .archives import NPZ_NAMES
from .formats import read_file
from .frame import Frame, _convert, _from_atoms, _keys_found, _Raw
from .qm9 import QM9_NAMES
from .reading_options import ReadingOptions
from .sources import files_of, selected

FrameSource: TypeAlias = str | Path | Atoms | Sequence[str | Path | Atoms]


def read_frames(data: FrameSource, frames: str = ":", unlabelled: bool = False, **reading: Any) -> list[Frame]:
    """Read, check and convert structures with their labels, of which any may be missing.

    Labels of `Atoms` are the results of their calculator, `info` and `arrays`. By default the usual names are tried, in
    any case: with REF_, DFT_ or QM_ first, then plain. Dipoles and polarisabilities are read only if they are named.
    Stress is kept only for cells that are periodic in three directions. A "virial" is -stress * volume.

    A `UserWarning` says where names for one label differ in value, where frames are repeated, that an archive was read
    without `energy_unit`, and which steps of a VASP run have not converged and are left out.

    Args:
        data: structures, or what names files: a path, a folder, a pattern, with or without "@SLICE" behind it. Files
            are of any format that ASE reads, npz archives (`nuclear_charges` or `z` (N,), `coords` or `R` (n, N, 3),
            `energies` or `E` (n,), `forces` or `F` (n, N, 3); or of molecules of all sizes `counts` (n,), `numbers`
            (sum,), `positions` (sum, 3) and labels), systems of DeePMD, `.cfg` of MLIP or the files of QM9. One of
            them or a sequence.
        frames: a Python slice or a single index into all frames, one file after the other.
        unlabelled: no frame need have a label.
        reading: names, units and signs of the labels, such as energy_key, forces_unit and positive_stress: those
            options of `TrainingOptions` that say how data are read.

    Raises:
        DataError: a file cannot be read, structures or labels make no sense, a unit is unknown, a slice selects
            nothing, an explicit key is in no frame, or there is no label at all.
        OptionsError: an unknown keyword, or a value that is not allowed.

    """
    options = ReadingOptions(frames=frames, **reading)
    sources = [data] if isinstance(data, str | Path | Atoms) else list(data)
    raws = [raw for k, source in enumerate(sources) for raw in _raws(source, k, options)]
    raws = selected(raws, options.frames)
    if options.energy_unit is None and not unlabelled and any(raw.names is QM9_NAMES for raw in raws):
        raise DataError(f"{_names(sources)}: files of QM9 are in Hartree; say so with --energy-unit Ha")
    result = _convert(raws, options)
    if not unlabelled and not any(frame.keys for frame in result):
        raise DataError(
            f"{_names(sources)}: no energy, forces or stress; keys found: {_keys_found(raws)}. "
            "Say where the labels are with --energy-key, --forces-key, --stress-key, --dipole-key"
        )
    _warn_of_unit_and_repetition(raws, result, options.energy_unit)
    return result


def frames_of(data: FrameSource | Sequence[Frame], unlabelled: bool = False, **reading: Any) -> list[Frame]:
    """Return frames as they are, anything else as `read_frames` reads it.

    Args:
        data: frames, or what `read_frames` takes.
        unlabelled: no frame need have a label.
        reading: keywords of `read_frames`.

    Raises:
        DataError: as `read_frames`; or there are frames and keywords, which would have no effect.

    """
    if isinstance(data, Frame):
        data = [data]
    if isinstance(data, str | Path | Atoms) or not all(isinstance(frame, Frame) for frame in data):
        return read_frames(data, unlabelled=unlabelled, **reading)  # type: ignore[arg-type]
    if reading:
        raise DataError(f"{', '.join(reading)}: only for files and Atoms; a Frame is in the units of the package")
    if not data:
        raise DataError("no frames: the list is empty")
    return list(data)  # type: ignore[arg-type]


def _raws(source: Any, k: int, options: ReadingOptions) -> list[_Raw]:
    if isinstance(source, str | Path):
        return [
            raw
            for path, frames in files_of(source)
            for raw in selected(read_file(path, options.type_map), frames, f"{path}@")
        ]
    if isinstance(source, Atoms):
        return [_from_atoms(source, f"structure {k}")]
    raise DataError(
        f"entry {k} is a {type(source).__name__}; expected a path or ase.Atoms, and not a mixture with frames"
    )


def _names(sources: Sequence[Any]) -> str:
    return ", ".join(str(s) for s in sources if not isinstance(s, Atoms)) or f"{len(sources)} structures"


def _warn_of_unit_and_repetition(raws: Sequence["_Raw"], frames: Sequence[Frame], energy_unit: str | None) -> None:
    archives = [
        raw.frame.source for raw, frame in zip(raws, frames, strict=True) if raw.names is NPZ_NAMES and frame.keys
    ]
    if energy_unit is None and archives:
        text = f"{archives[0].rpartition(',')[0]}: read as eV, but the file does not say so (rMD17 is in kcal/mol)"
        warnings.warn(f"{text}; give the unit with --energy-unit", stacklevel=3)
    first: dict[tuple[bytes, ...], Frame] = {}
    pairs = []
    for frame in frames:
        if (earlier := first.setdefault(frame.structure_key, frame)) is not frame:
            pairs.append(f"{earlier.source} and {frame.source}")
    if pairs:
        text = f"{len(pairs)} frames repeat an earlier one (same atoms, positions and cell), first {pairs[0]}"
        warnings.warn(f"{text}; remove them unless they are meant", stacklevel=3)
