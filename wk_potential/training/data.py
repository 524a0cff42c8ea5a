"""Reading training data: structures and labels from any file that ASE reads, or from rMD17 archives.

Everything leaves this module checked and in eV, eV/Angstrom and eV/Angstrom^3; what cannot be right is a
`DataError` that names the file, the frame and the atom. Frames and atoms are counted from 0.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import vesin
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.io import iread
from scipy.spatial.distance import pdist

from ..tensors.targets import RANKS
from .tensors.labels import TensorReader, tensor_reader

KINDS = ("energy", "forces", "stress")
MIN_DISTANCE = 0.1  # Angstrom; no useful frame has atoms closer than this
UNITS = {"eV": 1.0, "meV": 1e-3, "kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol}
UNITS |= {"Hartree": units.Hartree, "Ha": units.Hartree}

# Lower case, best first: a key that says it is the reference beats a plain one, which may belong to the model
# that drove the sampling. free_energy is last: it differs from the energy by the entropy of the smearing.
_REF = ("ref_", "dft_", "qm_", "")
_ENERGIES = ("total_energy", "totenergy", "potential_energy", "u0", "free_energy")
_KEYS = {
    "energy": tuple(ref + "energy" for ref in _REF) + _ENERGIES,
    "forces": tuple(ref + name for ref in _REF for name in ("forces", "force")),
    "stress": tuple(ref + name for ref in _REF for name in ("stress", "virial", "virials")),
}
_NPZ_KEYS: dict[str, tuple[str, ...]] = {"energy": ("energies", "e"), "forces": ("forces", "f"), "stress": ()}


class DataError(ValueError):
    """Training data that cannot be used; the message says where and what to do about it."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A structure and the labels it has."""

    numbers: np.ndarray  # (N,) atomic numbers, int64
    positions: np.ndarray  # (N, 3) Angstrom
    cell: np.ndarray  # (3, 3) Angstrom, rows are vectors, zeros if there is none
    pbc: np.ndarray  # (3,) bool
    energy: float | None = None  # eV
    forces: np.ndarray | None = None  # (N, 3) eV/Angstrom
    stress: np.ndarray | None = None  # (6,) eV/Angstrom^3, Voigt xx yy zz yz xz xy, tension positive
    source: str = ""  # "file.xyz, frame 12"
    config_type: str = ""
    keys: tuple[tuple[str, str], ...] = ()  # each kind of label with the key it was read from
    dipole: np.ndarray | None = None  # (3,) e Angstrom, from the centre of mass
    polarizability: np.ndarray | None = None  # (3, 3) Angstrom^3

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell in Angstrom^3, 0 if there is none."""
        return float(abs(np.linalg.det(self.cell)))

    @classmethod
    def from_atoms(cls, atoms: Atoms, source: str = "Atoms object", **options: str | None) -> "Frame":
        """Take over an ASE structure and its labels, if any; options and errors as in `read_frames`."""
        return _convert([_from_atoms(atoms, source)], None, **options)[0]

    def to_atoms(self) -> Atoms:
        """Return an ASE structure whose calculator holds the labels."""
        info = {"config_type": self.config_type} if self.config_type else {}
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc, info=info)
        if labels := {kind: getattr(self, kind) for kind in KINDS if getattr(self, kind) is not None}:
            atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.info |= {kind: getattr(self, kind) for kind in RANKS if getattr(self, kind) is not None}
        return atoms


def read_frames(
    paths: str | Path | Sequence[str | Path],
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

    Stress is kept only for cells that are periodic in three directions. A `UserWarning` says where names for
    one label differ in value, where frames are repeated, and that an archive was read without `energy_unit`.

    Parameters
    ----------
    paths : path or sequence of paths
        Files that ASE reads, or npz archives: `nuclear_charges` or `z` (N,), `coords` or `R` (n, N, 3),
        `energies` or `E` (n,), `forces` or `F` (n, N, 3).
    frames : str
        A Python slice or a single index into the frames of all files, one file after the other.
    energy_unit : str, optional
        eV (default), meV, kcal/mol, kJ/mol or Hartree (Ha); forces are per Angstrom, stresses per Angstrom^3.
    energy_key, forces_key, stress_key : str, optional
        Names in the calculator's results, `atoms.info`, `atoms.arrays` or the archive. By default the usual
        ones are tried, in any case: with REF_, DFT_ or QM_ first, then plain. A "virial" is -stress * volume.
    dipole_key, polarizability_key : str, optional
        Names of dipoles (3,) and polarisabilities (3, 3) or (9,); these are read only if they are named.
    dipole_unit, polarizability_unit : str, optional
        e*Angstrom (default), e*bohr or Debye; Angstrom^3 (default) or bohr^3.
    charge : float, optional
        Total charge of the frames, e; by default `atoms.info["charge"]`, else 0.
    dipole_origin : str, optional
        "coordinates" or "mass": what the dipoles of charged frames are relative to.

    Raises
    ------
    DataError
        For files that cannot be read, structures or labels that make no sense, a slice that selects nothing,
        an explicit key that is in no frame, or no label at all.
    """
    files = [paths] if isinstance(paths, str | Path) else paths
    raws = _select([raw for path in files for raw in _read(Path(path))], frames)
    read_tensors = tensor_reader(
        {key for raw in raws for key in raw.values}, dipole_key, dipole_unit, polarizability_key, polarizability_unit,
        charge, dipole_origin,
    )  # fmt: skip
    result = _convert(raws, read_tensors, energy_unit, energy_key, forces_key, stress_key)
    if not any(frame.keys for frame in result):
        raise DataError(
            f"{', '.join(map(str, files))}: no energy, forces or stress; keys found: {_keys_found(raws)}. "
            "Say where the labels are with --energy-key, --forces-key, --stress-key, --dipole-key"
        )
    _warn_of_unit_and_repetition(raws, result, energy_unit)
    return result


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


def label_table(frames: Sequence[Frame]) -> list[tuple[str, str, int, int]]:
    """Count what a data set holds: rows of (kind, name, frames, numbers).

    The kinds are energy, forces and stress, named by the keys they were read from (a single unnamed row where
    there are none), then element and config_type with the number of atoms, last "total".
    """
    tensors = [kind for kind in RANKS if any(getattr(frame, kind) is not None for frame in frames)]
    kinds = (*KINDS, *tensors, "element", "config_type", "total")
    counts: dict[str, dict[str, list[int]]] = {kind: {} for kind in kinds}
    for frame in frames:
        for kind in (*KINDS, *tensors):
            if (label := getattr(frame, kind)) is not None:
                counts[kind].setdefault(dict(frame.keys).get(kind, kind), []).append(np.size(label))
        for number, n in zip(*np.unique(frame.numbers, return_counts=True), strict=True):
            counts["element"].setdefault(chemical_symbols[number], []).append(int(n))
        counts["config_type"].setdefault(frame.config_type, []).append(len(frame))
        counts["total"].setdefault("", []).append(len(frame))
    found = ((kind, name, n) for kind, names in counts.items() for name, n in (names or {"": []}).items())
    return [(kind, name, len(n), sum(n)) for kind, name, n in found]


def data_hash(frames: Sequence[Frame]) -> str:
    """Return the SHA-256 of all structures and labels in order, in hex; sources and keys do not count."""
    digest = hashlib.sha256()
    for frame in frames:
        for name in ("numbers", "positions", "cell", "pbc", *KINDS):
            value = getattr(frame, name)
            array = np.asarray([] if value is None else value, "<i8" if name in ("numbers", "pbc") else "<f8")
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        for name in RANKS:
            if (value := getattr(frame, name)) is not None:
                digest.update(name.encode() + np.asarray(value, "<f8").tobytes())
    return digest.hexdigest()


class _Raw(NamedTuple):
    """A structure without labels, everything found that may be a label, and the usual names of labels."""

    frame: Frame
    values: dict[str, Any]
    names: dict[str, tuple[str, ...]]


def _keys_found(raws: Sequence[_Raw]) -> str:
    return ", ".join(sorted({key for raw in raws for key in raw.values})) or "none"


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
    except Exception as error:  # the readers raise whatever they like
        where = f"{path}, frame {len(raws)}" if raws else path
        text = f"{where}: cannot be read ({type(error).__name__}: {error})"
        raise DataError(f"{text}; check that the file is whole and named as its format is") from error
    if not raws:
        raise DataError(f"{path}: no frame in the file; leave it out")
    return raws


def _from_atoms(atoms: Atoms, source: str) -> _Raw:
    values = {str(key): value for key, value in (*atoms.arrays.items(), *atoms.info.items())}
    for key in ("numbers", "positions", "config_type"):
        values.pop(key, None)
    # the raw results: get_forces() zeroes those on constrained atoms; stale ones belong to other positions
    if (results := getattr(atoms.calc, "results", None)) and not atoms.calc.check_state(atoms):
        values |= results
    numbers, cell = atoms.numbers.astype(np.int64), atoms.cell.array.copy()
    frame = Frame(numbers, atoms.positions.copy(), cell, atoms.pbc.copy(), source=source)
    return _Raw(replace(frame, config_type=str(atoms.info.get("config_type", ""))), values, _KEYS)


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


def _convert(
    raws: list[_Raw],
    read_tensors: TensorReader | None,
    energy_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
) -> list[Frame]:
    """Check structures and labels, bring labels to eV, and warn where names for one label differ in value."""
    factor = {name.lower(): value for name, value in UNITS.items()}.get((energy_unit or "eV").lower())
    if factor is None:
        raise DataError(f"unknown --energy-unit {energy_unit!r}: choose one of {', '.join(UNITS)}")
    explicit = dict(zip(KINDS, (energy_key, forces_key, stress_key), strict=True))
    for kind, key in explicit.items():
        if key and not any(key in raw.values for raw in raws):
            raise DataError(f"--{kind}-key {key!r} is in no frame; keys found: {_keys_found(raws)}")
    frames = []
    clashes: dict[tuple[str, str, str], list[str]] = {}
    for frame, values, usual in raws:
        _check_structure(frame)
        labels: dict[str, Any] = {}
        keys: list[tuple[str, str]] = []
        for kind, key in explicit.items():
            names = [key] if key else [k for name in usual[kind] for k in values if k.lower() == name]
            names = [name for name in names if values.get(name) is not None]
            if not names or (kind == "stress" and not frame.pbc.all()):
                continue  # without a volume a stress has no meaning
            label, *others = (_label(values[name], frame, kind, name) for name in names)
            _check_finite(label, f"{kind} {names[0]!r}", frame)
            labels[kind] = label * factor
            keys.append((kind, names[0]))
            for name, other in zip(names[1:], others, strict=True):
                if name != "free_energy" and not np.allclose(label, other, rtol=1e-7, atol=1e-4):
                    clashes.setdefault((kind, names[0], name), []).append(frame.source)
        for kind, value in (read_tensors(frame, values) if read_tensors else {}).items():
            labels[kind] = value
            keys.append((kind, kind))
        frames.append(replace(frame, **labels, keys=tuple(keys)))
    for (kind, used, name), sources in clashes.items():
        text = f"{sources[0]}: {used!r} and {name!r} differ (in {len(sources)} frames) and {used!r} is used"
        warnings.warn(f"{text}; name the {kind} that you mean with --{kind}-key", stacklevel=3)
    return frames


def _label(value: Any, frame: Frame, kind: str, key: str) -> Any:
    """Return a label in the unit of the file: energy (), forces (N, 3) or stress (6,)."""
    value = np.asarray(value)
    shapes = {"energy": [(), (1,)], "forces": [frame.positions.shape], "stress": [(6,), (9,), (3, 3)]}[kind]
    if value.dtype.kind not in "iuf" or value.shape not in shapes:
        text = f"{frame.source}: {key!r} is no {kind}: {value.dtype} of shape {value.shape}"
        expected = " or ".join(map(str, shapes))
        raise DataError(f"{text} instead of numbers of shape {expected}; see --{kind}-key")
    value = value.astype(float)
    if kind == "energy":
        return float(value.item())
    if kind == "stress" and value.size == 9:
        full = value.reshape(3, 3)
        value = ((full + full.T) / 2)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return -value / frame.volume if kind == "stress" and "virial" in key.lower() else value


def _atom(frame: Frame, index: int) -> str:
    return f"atom {index} ({chemical_symbols[frame.numbers[index]]})"


def _check_finite(array: Any, what: str, frame: Frame) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        atom = f", {_atom(frame, bad[0][0])}" if what.startswith(("position", "forces")) else ""
        raise DataError(f"{frame.source}{atom}: {what} is NaN or infinite; correct it or remove the frame")


def _check_structure(frame: Frame) -> None:
    numbers, positions, cell, pbc = frame.numbers, frame.positions, frame.cell, frame.pbc
    if not len(frame):
        raise DataError(f"{frame.source}: no atoms; remove the frame")
    if (strange := (numbers < 1) | (numbers >= len(chemical_symbols))).any():
        atom = strange.argmax()
        raise DataError(f"{frame.source}, atom {atom}: {numbers[atom]} is no atomic number; correct it")
    _check_finite(positions, "position", frame)
    _check_finite(cell, "cell", frame)
    if pbc.any() and np.linalg.svd(cell[pbc], compute_uv=False).min() < MIN_DISTANCE:
        zero = [f"vector {'abc'[i]} is zero" for i in np.flatnonzero(pbc & ~cell.any(axis=1))]
        zero.append(f"{cell.tolist()} has no volume")
        text = f"{frame.source}: periodic, but the cell {zero[0]}"
        raise DataError(f'{text}; give the cell, in extended XYZ as Lattice="...", or set pbc="F F F"')
    if not pbc.any() and len(frame) < 200:
        i, j = np.triu_indices(len(frame), 1)
        distances = pdist(positions)
    else:
        # a longer cutoff than needed: the search grows slow with the number of cutoff-sized cells
        search = vesin.NeighborList(cutoff=10 * MIN_DISTANCE, full_list=False)
        i, j, distances = search.compute(positions, cell, pbc, "ijd")
    if len(distances) and distances.min() < MIN_DISTANCE:
        k = distances.argmin()
        pair = f"{_atom(frame, i[k])} and {_atom(frame, j[k])}{' or its image' if pbc.any() else ''}"
        text = f"{frame.source}: {pair} are {distances[k]:.3g} Å apart"
        raise DataError(f"{text}; remove the frame or check the unit of length")
