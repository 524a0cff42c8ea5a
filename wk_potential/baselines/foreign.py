"""Calculators that users bring: objects, or text that says where one is defined."""

import importlib
import runpy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError

from ..errors import OptionsError


def as_calculator(given: Any) -> BaseCalculator:
    """Return an ASE calculator: the object itself, or what it makes.

    Raises:
        OptionsError: it is neither.

    """
    if callable(given) and (isinstance(given, type) or not hasattr(given, "get_potential_energy")):
        given = given()
    if not hasattr(given, "get_potential_energy"):
        raise OptionsError(f"{given!r} is no ASE calculator, nor a function that makes one")
    return given


def ask(calculator: BaseCalculator, atoms: Atoms) -> dict[str, Any]:
    """Return energy, forces and, for crystals, the stress if the calculator has one; its errors may be of any class."""
    atoms.calc = calculator
    results: dict[str, Any] = {"energy": float(atoms.get_potential_energy()), "forces": np.array(atoms.get_forces())}
    if atoms.pbc.all():
        with suppress(PropertyNotImplementedError, NotImplementedError):
            results["stress"] = np.array(atoms.get_stress())
    return results


def not_finite(results: dict[str, Any]) -> list[str]:
    """Return the names of results that are not finite."""
    return [name for name, value in results.items() if not np.isfinite(value).all()]


def load_calculator(text: str, option: str) -> Any:
    """Return the calculator that FILE.py, FILE.py:NAME or MODULE:NAME defines, by itself or as what makes it.

    Args:
        text: where it is.
        option: that has this text, for messages.

    Raises:
        OptionsError: there is no such file, module or name, it fails, or it is no calculator.

    """
    source, colon, name = text.rpartition(":")
    if not colon:
        source, name = text, "calculator"
    load = runpy.run_path if source.endswith(".py") else lambda module: vars(importlib.import_module(module))
    namespace = _run_foreign(text, option, lambda: load(source))
    if name not in namespace:
        raise OptionsError(f"{option} {text}: {source} defines no {name!r}; name the calculator after a colon")
    made = _run_foreign(text, option, lambda: _made(namespace[name]))
    if made is None:
        raise OptionsError(f"{option} {text}: {name} is no ASE calculator, nor does it make one")
    return made


def _made(given: Any) -> BaseCalculator | None:
    try:
        return as_calculator(given)
    except OptionsError:
        return None


def _run_foreign(text: str, option: str, function: Callable[[], Any]) -> Any:
    """Return what code of the user returns.

    Raises:
        OptionsError: it raises an error, whatever that is, or ends the program.

    """
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise OptionsError(
            f"{option} {text}: cannot be loaded ({type(error).__name__}: {error}); give FILE.py that defines "
            "`calculator`, or MODULE:NAME"
        ) from error
