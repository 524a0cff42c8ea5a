"""A frame: a structure and its labels, checked and in the units of the package."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import vesin
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from scipy.spatial.distance import pdist

from ..errors import DataError
from .kinds import KINDS, MIN_DISTANCE, TENSORS, VOIGT, WEIGHTS_FROM, WEIGHTS_TO
from .reading_options import ReadingOptions
from .tensor_labels import checked_numbers, tensor_reader
from .units import LabelUnits, label_units

# Lower case, best first: a key that says it is the reference beats a plain one, which may belong to the model
# that drove the sampling. free_energy is last: it differs from the energy by the entropy of the smearing.
_REF = ("ref_", "dft_", "qm_", "")
_ENERGIES = ("total_energy", "totenergy", "potential_energy", "u0", "free_energy")
USUAL_NAMES = {
    "energy": tuple(ref + "energy" for ref in _REF) + _ENERGIES,
    "forces": tuple(ref + name for ref in _REF for name in ("forces", "force")),
    "stress": tuple(ref + name for ref in _REF for name in ("stress", "virial", "virials")),
}
WEIGHTS = ("weight", "config_weight")  # keys of a frame's weight, in any case
# of ASE, and no labels
STRUCTURAL = frozenset(
    {"tags", "masses", "momenta", "initial_magmoms", "initial_charges", "spacegroup", "spacegroup_kinds"}
)


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
    unused: tuple[str, ...] = ()  # names of what else was found
    weight: float = 1.0  # of its squared errors in training

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell in Angstrom^3, 0 if there is none."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def structure_key(self) -> tuple[bytes, ...]:
        """Atoms, positions and cell as bytes: the same for two frames whose structures are the same to the last bit."""
        return tuple((array + 0).tobytes() for array in (self.numbers, self.positions, self.cell))  # no -0

    def rattled(self, amount: float, rng: np.random.Generator) -> "Frame":
        """Return a copy without labels, its atoms displaced at random by `amount` (rms along each axis, Angstrom)."""
        moved = self.positions + rng.normal(0, amount, self.positions.shape)
        return Frame(self.numbers, moved, self.cell, self.pbc, source=f"{self.source}, rattled")

    @classmethod
    def from_atoms(cls, atoms: Atoms, source: str = "Atoms object", **options: Any) -> "Frame":
        """Convert an ASE structure and its labels, if any; options and errors as in `read_frames`."""
        return _convert([_from_atoms(atoms, source)], ReadingOptions(**options))[0]

    def to_atoms(self) -> Atoms:
        """Return an ASE structure whose calculator holds the labels."""
        info: dict[str, Any] = {"config_type": self.config_type} if self.config_type else {}
        if self.weight != 1.0:
            info["weight"] = self.weight
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc, info=info)
        if labels := {kind: getattr(self, kind) for kind in KINDS if getattr(self, kind) is not None}:
            atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.info |= {kind: getattr(self, kind) for kind in TENSORS if getattr(self, kind) is not None}
        return atoms


class _Raw(NamedTuple):
    """A structure without labels, everything found that may be a label, and the usual names of labels."""

    frame: Frame
    values: dict[str, Any]
    names: dict[str, tuple[str, ...]]


def _keys_found(raws: Sequence[_Raw]) -> str:
    return ", ".join(sorted({key for raw in raws for key in raw.values})) or "none"


def _from_atoms(atoms: Atoms, source: str) -> _Raw:
    values = {str(key): value for key, value in (*atoms.arrays.items(), *atoms.info.items())}
    for key in ("numbers", "positions", "config_type"):
        values.pop(key, None)
    # the raw results: get_forces() zeroes those on constrained atoms; stale ones belong to other positions
    if (results := getattr(atoms.calc, "results", None)) and not atoms.calc.check_state(atoms):
        values |= results
    numbers, cell = atoms.numbers.astype(np.int64), atoms.cell.array.copy()
    frame = Frame(numbers, atoms.positions.copy(), cell, atoms.pbc.copy(), source=source)
    return _Raw(replace(frame, config_type=str(atoms.info.get("config_type", ""))), values, USUAL_NAMES)


def _convert(raws: list[_Raw], options: ReadingOptions) -> list[Frame]:
    """Check structures and labels, bring them to eV and Angstrom, warn where names for one label differ in value."""
    o = options
    units = label_units(o.energy_unit, o.length_unit, o.forces_unit, o.stress_unit)
    found = {key for raw in raws for key in raw.values}
    explicit = {"energy": o.energy_key, "forces": o.forces_key, "stress": o.stress_key}
    tensor_keys = {"dipole": o.dipole_key, "polarizability": o.polarizability_key}
    for kind, key in (*explicit.items(), *tensor_keys.items()):
        if key and key not in found:
            raise DataError(f"--{kind}-key {key!r} is in no frame; keys found: {_keys_found(raws)}")
    tensor_units = {"dipole": o.dipole_unit, "polarizability": o.polarizability_unit}
    read_tensors = tensor_reader(tensor_keys, tensor_units, o.charge, o.dipole_origin)
    frames = []
    clashes: dict[tuple[str, str, str], list[str]] = {}
    for raw, values, usual in raws:
        frame = raw
        if units.length != 1.0:
            frame = replace(raw, positions=raw.positions * units.length, cell=raw.cell * units.length)
        _check_structure(frame)
        labels: dict[str, Any] = {}
        keys: list[tuple[str, str]] = []
        for kind, key in explicit.items():
            names = [key] if key else [k for name in usual[kind] for k in values if k.lower() == name]
            names = [name for name in names if values.get(name) is not None]
            if not names or (kind == "stress" and not frame.pbc.all()):
                continue  # without a volume a stress has no meaning
            label, *others = (_label(values[name], frame, kind, name, units, o.positive_stress) for name in names)
            _check_finite(label, f"{kind} {names[0]!r}", frame)
            labels[kind] = label
            keys.append((kind, names[0]))
            for name, other in zip(names[1:], others, strict=True):
                if name != "free_energy" and not np.allclose(label, other, rtol=1e-7, atol=1e-4):
                    clashes.setdefault((kind, names[0], name), []).append(frame.source)
        for kind, value in read_tensors(frame, values).items():
            labels[kind] = value
            keys.append((kind, tensor_keys[kind] or kind))
        weights = [name for name in values if name.lower() in WEIGHTS and values[name] is not None]
        labels["weight"] = _weight(values, weights, frame)
        used = {name for _, name in keys} | STRUCTURAL | set(weights)
        unused = tuple(sorted(name for name, value in values.items() if name not in used and value is not None))
        frames.append(replace(frame, **labels, keys=tuple(keys), unused=unused))
    for (kind, chosen, name), sources in clashes.items():
        text = f"{sources[0]}: {chosen!r} and {name!r} differ (in {len(sources)} frames) and {chosen!r} is used"
        warnings.warn(f"{text}; name the {kind} that you mean with --{kind}-key", stacklevel=3)
    return frames


def _label(value: Any, frame: Frame, kind: str, key: str, units: LabelUnits, positive_stress: str | None) -> Any:
    """Return a label in the units of the package: energy (), forces (N, 3) or stress (6,)."""
    shapes = {"energy": [(), (1,)], "forces": [frame.positions.shape], "stress": [(6,), (9,), (3, 3)]}[kind]
    value = checked_numbers(value, shapes, kind, key, frame.source)
    if kind == "energy":
        return units.energy * float(value.item())
    if kind == "forces":
        return units.forces * value
    if value.size == 9:
        full = value.reshape(3, 3)
        value = ((full + full.T) / 2)[VOIGT]
    virial = "virial" in key.lower()
    positive = positive_stress or ("compression" if virial else "tension")
    factor = units.energy / frame.volume if virial else units.stress
    return (-factor if positive == "compression" else factor) * value


def _weight(values: dict[str, Any], keys: Sequence[str], frame: Frame) -> float:
    """Return the product of a frame's weights."""
    weight = 1.0
    for key in keys:
        own = float(checked_numbers(values[key], [(), (1,)], "weight", key, frame.source).item())
        if not WEIGHTS_FROM <= own <= WEIGHTS_TO:
            text = f"{frame.source}: {key!r} is {own:g}, and a weight must be from {WEIGHTS_FROM:g} to {WEIGHTS_TO:g}"
            raise DataError(f"{text}; leave frames out that must not count")
        weight *= own
    return weight


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
        # a longer cutoff than needed: the search is slow with many cells of the size of the cutoff
        search = vesin.NeighborList(cutoff=10 * MIN_DISTANCE, full_list=False)
        i, j, distances = search.compute(positions, cell, pbc, "ijd")
    if len(distances) and distances.min() < MIN_DISTANCE:
        k = distances.argmin()
        pair = f"{_atom(frame, i[k])} and {_atom(frame, j[k])}{' or its image' if pbc.any() else ''}"
        text = f"{frame.source}: {pair} are {distances[k]:.3g} Å apart"
        raise DataError(f"{text}; remove the frame or check the unit of length")
