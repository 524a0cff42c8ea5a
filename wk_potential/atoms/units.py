"""Units of labels in files, and the factors from them to eV, Angstrom and e."""

from typing import NamedTuple

from ase import units

from ..errors import DataError

LENGTH_UNITS = {"Angstrom": 1.0, "A": 1.0, "Å": 1.0, "bohr": units.Bohr, "nm": 10.0}
ENERGY_UNITS = {"eV": 1.0, "meV": 1e-3, "kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol}
ENERGY_UNITS |= {"Hartree": units.Hartree, "Ha": units.Hartree, "Rydberg": units.Rydberg, "Ry": units.Rydberg}
PRESSURE_UNITS = {"GPa": units.GPa, "kbar": 0.1 * units.GPa, "kB": 0.1 * units.GPa, "bar": units.bar}
UNITS = {
    "energy": ENERGY_UNITS,
    "length": LENGTH_UNITS,
    "dipole": {"e*Angstrom": 1.0, "e*bohr": units.Bohr, "Debye": units.Debye},
    "polarizability": {"Angstrom^3": 1.0, "bohr^3": units.Bohr**3},
}
_QUOTIENTS = {  # kinds with units such as Ha/bohr^3: power of the length, other units, an example
    "forces": (1, {}, "eV/Angstrom or Ha/bohr"),
    "stress": (3, PRESSURE_UNITS, "GPa, kbar, eV/Angstrom^3 or Ha/bohr^3"),
}


class LabelUnits(NamedTuple):
    """Factors from the units of a file to eV and Angstrom."""

    energy: float
    length: float
    forces: float
    stress: float


def label_units(
    energy: str | None = None, length: str | None = None, forces: str | None = None, stress: str | None = None
) -> LabelUnits:
    """Return the factors; forces and stresses are by default in the units of energy and length.

    Raises:
        DataError: a unit is unknown.

    """
    of_energy, of_length = unit_factor("energy", energy), unit_factor("length", length)
    of_forces = of_energy / of_length if forces is None else unit_factor("forces", forces)
    of_stress = of_energy / of_length**3 if stress is None else unit_factor("stress", stress)
    return LabelUnits(of_energy, of_length, of_forces, of_stress)


def unit_factor(kind: str, unit: str | None) -> float:
    """Factor from a unit to that of the package, which is the default; upper and lower case do not matter.

    Args:
        kind: energy, length, forces, stress, dipole or polarizability.
        unit: its name; for forces and stresses also ENERGY/LENGTH and ENERGY/LENGTH^3.

    Raises:
        DataError: the unit is unknown.

    """
    if unit is None:
        return 1.0
    power, known, example = _QUOTIENTS.get(kind, (0, UNITS.get(kind, {}), ""))
    factor = _found(known, unit)
    if factor is None and power:
        above, _, below = unit.removesuffix(f"^{power}" if power > 1 else "").rpartition("/")
        numerator, denominator = _found(ENERGY_UNITS, above), _found(LENGTH_UNITS, below)
        written = power == 1 or unit.endswith(f"^{power}")
        if numerator is not None and denominator is not None and written:
            factor = numerator / denominator**power
    if factor is None:
        choice = f"write {example}" if example else f"choose one of {', '.join(known)}"
        raise DataError(f"unknown --{kind}-unit {unit!r}: {choice}")
    return factor


def _found(known: dict[str, float], unit: str) -> float | None:
    """Factor of a unit, None if it is unknown."""
    return {name.lower(): factor for name, factor in known.items()}.get(unit.strip().lower())
