"""Which unit labels seem to have, from how many times too large or too small they are."""

from itertools import product

from ..atoms.units import ENERGY_UNITS, LENGTH_UNITS, PRESSURE_UNITS

_ENERGIES = ("Ha", "kcal/mol", "kJ/mol", "Ry", "meV", "eV")
_LENGTHS = ("Angstrom", "bohr")
_ENERGY = {name: ENERGY_UNITS[name] for name in _ENERGIES}
_FORCES = {f"{e}/{r}": ENERGY_UNITS[e] / LENGTH_UNITS[r] for r, e in product(_LENGTHS, _ENERGIES)}
_PRESSURES = {name: PRESSURE_UNITS[name] for name in ("GPa", "kbar", "bar")}
_STRESS = _PRESSURES | {f"{e}/{r}^3": ENERGY_UNITS[e] / LENGTH_UNITS[r] ** 3 for r, e in product(_LENGTHS, _ENERGIES)}
_USUAL = {"energy": "eV", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3"}
_UNITS = {"energy": _ENERGY, "forces": _FORCES, "stress": _STRESS}


def likely_unit(kind: str, ratio: float, tolerance: float) -> str:
    """Return the unit of labels that are `ratio` times what they should be, read as eV and Angstrom; "" if none fits.

    Args:
        kind: energy, forces or stress.
        ratio: of the numbers found to those expected; not zero.
        tolerance: of the ratio, relative.

    """
    found = [(abs(abs(ratio) * factor - 1), name) for name, factor in _UNITS[kind].items() if name != _USUAL[kind]]
    error, name = min(found)
    if error > tolerance:
        return ""
    return name if ratio > 0 else f"{name}, with the opposite sign"
