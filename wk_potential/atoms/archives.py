"""Archives of NumPy (.npz): frames of one molecule as in rMD17, or of many molecules one after the other."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .frame import Frame, _Raw

NPZ_NAMES: dict[str, tuple[str, ...]] = {
    "energy": ("energies", "e", "energy"), "forces": ("forces", "f"), "stress": (),
}  # fmt: skip


def from_npz(path: Path) -> list[_Raw]:
    """Read the frames of an archive; every other array with a row for each frame, or atom, may be a label.

    Raises:
        DataError: the archive has neither of the two layouts.

    """
    with np.load(path, allow_pickle=False) as archive:
        arrays: dict[str, Any] = dict(archive)
    raws = _of_many(path, arrays) if "counts" in arrays else _of_one(path, arrays)
    if raws is None:
        found = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise DataError(
            f"{path}: expected nuclear_charges or z (N,), coords or R (n, N, 3), energies or E (n,), "
            "forces or F (n, N, 3) and no lattice, or of molecules of all sizes counts (n,), and numbers (sum,) and "
            f"positions (sum, 3) of all atoms, but found {found}; convert other data to extended XYZ"
        )
    return raws


def _of_one(path: Path, arrays: dict[str, Any]) -> list[_Raw] | None:
    """Frames of the same atoms, None if the arrays are something else."""
    numbers: np.ndarray = arrays.get("nuclear_charges", arrays.get("z", np.empty(0)))
    coords: np.ndarray = arrays.get("coords", arrays.get("R", np.empty(0)))
    labels = {k: v for k, v in arrays.items() if v.shape[:1] == coords.shape[:1] and v is not coords}
    usual = {key for key in arrays if any(key.lower() in names for names in NPZ_NAMES.values())}
    if coords.shape[1:] != (*numbers.shape, 3) or not usual <= set(labels) or "lattice" in arrays:
        return None
    of_frames = [{key: array[i] for key, array in labels.items()} for i in range(len(coords))]
    numbers = numbers.astype(np.int64)
    return [_raw(path, i, numbers, own, of_frames[i]) for i, own in enumerate(coords.astype(float))]


def _of_many(path: Path, arrays: dict[str, Any]) -> list[_Raw] | None:
    """Molecules whose atoms stand one after the other, None if the arrays are something else."""
    counts, numbers = arrays["counts"], arrays.get("numbers", np.empty(0))
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or not len(counts) or counts.min() < 1 or "lattice" in arrays:
        return None
    positions, first = arrays.get("positions", np.empty(0)), np.cumsum([0, *counts.tolist()])
    n_atoms = (int(first[-1]),)
    if numbers.shape != n_atoms or positions.shape != (*n_atoms, 3):
        return None
    if n_atoms == counts.shape:
        raise DataError(
            f"{path}: every molecule has one atom, so arrays may have rows of molecules or of atoms; "
            "convert it to extended XYZ"
        )
    rest = {key: array for key, array in arrays.items() if key not in ("counts", "numbers", "positions")}
    of_frame = {key: array for key, array in rest.items() if array.shape[:1] == counts.shape}
    of_atoms = {key: array for key, array in rest.items() if array.shape[:1] == n_atoms}
    if len(of_frame) + len(of_atoms) < len(rest):
        return None
    numbers, positions = numbers.astype(np.int64), positions.astype(float)
    raws = []
    for i, own in enumerate(map(slice, first, first[1:])):
        labels = {key: array[i] for key, array in of_frame.items()}
        labels |= {key: array[own] for key, array in of_atoms.items()}
        raws.append(_raw(path, i, numbers[own], positions[own], labels))
    return raws


def _raw(path: Path, i: int, numbers: np.ndarray, positions: np.ndarray, labels: dict[str, Any]) -> _Raw:
    frame = Frame(numbers, positions, np.zeros((3, 3)), np.zeros(3, bool), source=f"{path}, frame {i}")
    return _Raw(frame, labels, NPZ_NAMES)
