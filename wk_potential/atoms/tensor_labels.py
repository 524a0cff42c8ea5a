"""Shapes and units of labels, and reading dipoles and polarisabilities with the origin of those of charged frames."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from ase.data import atomic_masses

from ..errors import DataError
from .kinds import TENSORS
from .units import unit_factor

if TYPE_CHECKING:
    from .frame import Frame


TensorReader: TypeAlias = Callable[..., dict[str, np.ndarray]]  # of a frame and the values found in it
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {"dipole": ((3,),), "polarizability": ((3, 3), (9,))}
ASYMMETRY = 1e-2  # of a polarisability's norm, above which it is not one


def checked_numbers(value: Any, shapes: Sequence[tuple[int, ...]], kind: str, key: str, source: str) -> np.ndarray:
    """Return a label as floating-point numbers.

    Args:
        value: what was read.
        shapes: that the label may have.
        kind, key, source: kind of label, its name in the file, and the frame, for the message.

    Raises:
        DataError: it is not numeric or has another shape.

    """
    value = np.asarray(value)
    if value.dtype.kind not in "iuf" or value.shape not in shapes:
        text = f"{source}: {key!r} is no {kind}: {value.dtype} of shape {value.shape}"
        expected = " or ".join(map(str, shapes))
        advice = "correct it" if kind == "weight" else f"see --{kind}-key"
        raise DataError(f"{text} instead of numbers of shape {expected}; {advice}")
    return value.astype(float)


def tensor_reader(
    keys: dict[str, str | None], unit_names: dict[str, str | None], charge: float | None, origin: str | None
) -> TensorReader:
    """Return the function that reads the labels of a frame, see `tensor_labels`.

    Args:
        keys, unit_names: name and unit of each kind.
        charge, origin: as in `tensor_labels`.

    Raises:
        DataError: an unknown unit or origin.

    """
    factors = {kind: unit_factor(kind, unit) for kind, unit in unit_names.items()}
    return lambda frame, values: tensor_labels(frame, values, keys, factors, charge, origin)


def tensor_labels(
    frame: "Frame", values: dict[str, Any], keys: dict[str, str | None], factors: dict[str, float],
    charge: float | None = None, origin: str | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Dipole (3,) in e Angstrom from the centre of mass and polarisability (3, 3) in Angstrom^3, those that there are.

    Args:
        frame: the structure.
        values: all that may be labels, by name.
        keys: name of each kind of label, None if it is not wanted.
        factors: to the units of the package, of each kind.
        charge: total charge, e; without it values["charge"], else 0.
        origin: that of the dipoles, "coordinates" or "mass"; needed where there is a charge.

    Raises:
        DataError: a value of the wrong shape, not finite or not symmetric, a charge without an origin.

    """
    found = {}
    for kind in TENSORS:
        if (key := keys.get(kind)) is None or values.get(key) is None:
            continue
        value = checked_numbers(values[key], SHAPES[kind], kind, key, frame.source)
        if not np.isfinite(value).all():
            raise DataError(f"{frame.source}: {kind} {key!r} is NaN or infinite; correct it or remove the frame")
        found[kind] = value * factors[kind]
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
    frame: "Frame", dipole: np.ndarray, values: dict[str, Any], charge: float | None, origin: str | None
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


def centre_of_mass(frame: "Frame") -> np.ndarray:
    """Centre of mass (3,), Angstrom."""
    masses = atomic_masses[frame.numbers]
    return masses @ frame.positions / masses.sum()
