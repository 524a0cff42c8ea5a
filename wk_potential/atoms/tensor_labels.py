"""Reading dipoles and polarisabilities: shapes, units, and the origin of the dipoles of charged frames."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
from ase import units
from ase.data import atomic_masses

from ..errors import DataError
from .kinds import TENSORS


class _Structure(Protocol):
    """What this module needs to know of a frame."""

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers (N,)."""

    @property
    def positions(self) -> np.ndarray:
        """Positions (N, 3), Angstrom."""

    @property
    def source(self) -> str:
        """Where it comes from."""


TensorReader: TypeAlias = Callable[..., dict[str, np.ndarray]]  # of a frame and the values found in it
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {"dipole": ((3,),), "polarizability": ((3, 3), (9,))}
UNITS = {
    "dipole": {"e*Angstrom": 1.0, "e*bohr": units.Bohr, "Debye": units.Debye},
    "polarizability": {"Angstrom^3": 1.0, "bohr^3": units.Bohr**3},
}
ORIGINS = ("coordinates", "mass")
ASYMMETRY = 1e-2  # of a polarisability's norm, above which it is not one


def unit_factor(kind: str, unit: str | None) -> float:
    """Factor from a unit to that of the package, which is the default.

    Raises:
        DataError: the unit is unknown.

    """
    known = UNITS[kind]
    factor = 1.0 if unit is None else {name.lower(): value for name, value in known.items()}.get(unit.lower())
    if factor is None:
        raise DataError(f"unknown --{kind}-unit {unit!r}: choose one of {', '.join(known)}")
    return factor


def tensor_reader(
    found: set[str], dipole_key: str | None, dipole_unit: str | None, polarizability_key: str | None,
    polarizability_unit: str | None, charge: float | None, origin: str | None,
) -> TensorReader:  # fmt: skip
    """Return the function that reads the labels of a frame, see `tensor_labels`.

    Args:
        found: names in any of the frames.
        dipole_key, dipole_unit, polarizability_key, polarizability_unit: name and unit of each kind.
        charge, origin: as in `tensor_labels`.

    Raises:
        DataError: a name that is in no frame, an unknown unit or origin.

    """
    keys = {"dipole": dipole_key, "polarizability": polarizability_key}
    for kind, key in keys.items():
        if key and key not in found:
            raise DataError(f"--{kind}-key {key!r} is in no frame; keys found: {', '.join(sorted(found)) or 'none'}")
    if origin is not None and origin not in ORIGINS:
        raise DataError(f"unknown --dipole-origin {origin!r}: choose one of {', '.join(ORIGINS)}")
    factors = {"dipole": unit_factor("dipole", dipole_unit)}
    factors["polarizability"] = unit_factor("polarizability", polarizability_unit)
    return lambda frame, values: tensor_labels(frame, values, keys, factors, charge, origin)


def tensor_labels(
    frame: _Structure, values: dict[str, Any], keys: dict[str, str | None], factors: dict[str, float],
    charge: float | None = None, origin: str | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Dipole (3,) in e Angstrom from the centre of mass and polarisability (3, 3) in Angstrom^3, those that there are.

    Args:
        frame: the structure.
        values: all that may be labels, by name.
        keys: name of each kind of label, None if it is not wanted.
        factors: to the units of the package, of each kind.
        charge: total charge, e; without it values["charge"], else 0.
        origin: that of the dipoles, `ORIGINS`; needed where there is a charge.

    Raises:
        DataError: a value of the wrong shape, not finite or not symmetric, a charge without an origin.

    """
    found = {}
    for kind in TENSORS:
        if (key := keys.get(kind)) is None or values.get(key) is None:
            continue
        value = np.asarray(values[key])
        if value.dtype.kind not in "iuf" or value.shape not in SHAPES[kind]:
            text = f"{frame.source}: {key!r} is no {kind}: {value.dtype} of shape {value.shape}"
            expected = " or ".join(map(str, SHAPES[kind]))
            raise DataError(f"{text} instead of numbers of shape {expected}; see --{kind}-key")
        if not np.isfinite(value).all():
            raise DataError(f"{frame.source}: {kind} {key!r} is NaN or infinite; correct it or remove the frame")
        found[kind] = value.astype(float) * factors[kind]
    if "polarizability" in found:
        alpha = found["polarizability"].reshape(3, 3)
        if np.linalg.norm(alpha - alpha.T) > ASYMMETRY * np.linalg.norm(alpha):
            raise DataError(
                f"{frame.source}: {keys['polarizability']!r} is not symmetric, {alpha.tolist()}; see "
                "--polarizability-key"
            )
        found["polarizability"] = (alpha + alpha.T) / 2
    if "dipole" in found:
        found["dipole"] = _from_centre_of_mass(frame, found["dipole"], values, charge, origin)
    return found


def _from_centre_of_mass(
    frame: _Structure, dipole: np.ndarray, values: dict[str, Any], charge: float | None, origin: str | None
) -> np.ndarray:
    total = charge if charge is not None else float(values.get("charge") or 0.0)
    if not total:
        return dipole
    if origin is None:
        raise DataError(
            f"{frame.source}: with a charge of {total:g} e the dipole depends on its origin; say with --dipole-origin "
            "whether it is that of the coordinates or the centre of mass"
        )
    return dipole if origin == "mass" else dipole - total * centre_of_mass(frame)


def centre_of_mass(frame: _Structure) -> np.ndarray:
    """Centre of mass (3,), Angstrom."""
    masses = atomic_masses[frame.numbers]
    return masses @ frame.positions / masses.sum()
