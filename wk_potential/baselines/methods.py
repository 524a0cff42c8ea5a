"""Methods that a baseline may be made of, by name: xTB and corrections for dispersion, each in a package of its own."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import BaselineError, OptionsError

Value = str | float | int


class Parameter(NamedTuple):
    """A parameter of a method.

    Attributes:
        name: of the parameter.
        kind: its type.
        default: its value if none is given, None if it has to be given.
        choices: the values that are allowed, or none for all.
        least, most: of a number.

    """

    name: str
    kind: type
    default: Value | None = None
    choices: tuple[Value, ...] = ()
    least: float = 0.0
    most: float = 0.0


class KnownMethod(NamedTuple):
    """A method with a name.

    Attributes:
        package: that has it, as `pip` knows it.
        module, factory: where its ASE calculator is.
        extra: of this package that installs it.
        parameters: in the order in which they may be given without their names.
        keywords: makes the keywords of the calculator from the values of the parameters.

    """

    package: str
    module: str
    factory: str
    extra: str
    parameters: tuple[Parameter, ...]
    keywords: Callable[..., dict[str, Any]]


def _xtb(method: str) -> KnownMethod:
    def keywords(charge: float, multiplicity: int, accuracy: float, temperature: float) -> dict[str, Any]:
        return {
            "method": method, "charge": charge, "multiplicity": multiplicity or None, "accuracy": accuracy,
            "electronic_temperature": temperature, "verbosity": 0,
        }  # fmt: skip

    parameters = (
        Parameter("charge", float, 0.0, least=-10, most=10),
        Parameter("multiplicity", int, 0, most=20),  # 0: the lowest that the number of electrons allows
        Parameter("accuracy", float, 0.1, least=1e-4, most=10),
        Parameter("temperature", float, 300.0, most=20_000),  # K, of the electrons
    )
    return KnownMethod("tblite", "tblite.ase", "TBLite", "xtb", parameters, keywords)


METHODS: Mapping[str, KnownMethod] = MappingProxyType({
    "gfn1-xtb": _xtb("GFN1-xTB"),
    "gfn2-xtb": _xtb("GFN2-xTB"),
    "d3": KnownMethod(
        "dftd3", "dftd3.ase", "DFTD3", "dispersion",
        (Parameter("functional", str), Parameter("damping", str, "d3bj", ("d3bj", "d3zero", "d3bjm", "d3zerom"))),
        lambda functional, damping: {"method": functional, "damping": damping},
    ),
    "d4": KnownMethod(
        "dftd4", "dftd4.ase", "DFTD4", "dispersion", (Parameter("functional", str),),
        lambda functional: {"method": functional},
    ),
})  # fmt: skip
NUMBERS = {float: "a number", int: "a whole number", str: "a word"}
_TERM = re.compile(r"([\w-]+)(?:\(([^()]*)\))?")
_WORD = re.compile(r"[\w.+-]{1,40}")


@dataclass(frozen=True)
class Method:
    """A method with the values of its parameters; all of them, so that later defaults do not change a model.

    Attributes:
        name: one of `METHODS`.
        parameters: values by name.

    """

    name: str
    parameters: Mapping[str, Value]

    @classmethod
    def of(cls, name: str, given: Mapping[str, Any]) -> "Method":
        """Return a method, with defaults for the parameters that are not given.

        Raises:
            OptionsError: the name, a parameter or a value is not allowed, or a parameter is missing.

        """
        if name not in METHODS:
            raise OptionsError(f"baseline {name!r} is not known; there are {', '.join(METHODS)}")
        known = {p.name: p for p in METHODS[name].parameters}
        if unknown := [key for key in given if key not in known]:
            raise OptionsError(f"baseline {name} has no parameter {unknown[0]!r}; it has {', '.join(known)}")
        values = {p.name: _value(name, p, given.get(p.name, p.default)) for p in known.values()}
        return cls(name, values)

    @classmethod
    def parse(cls, text: str) -> "Method":
        """Return the method that a text such as `gfn2-xtb`, `gfn2-xtb(charge=1)` or `d3(pbe)` stands for.

        Raises:
            OptionsError: as `of`, or the text is none of that kind.

        """
        match = _TERM.fullmatch(text.strip())
        name = match[1].lower() if match else ""
        if match is None or name not in METHODS:
            raise OptionsError(
                f"baseline {text.strip()!r}: expected {', '.join(METHODS)}, with parameters as in d3(pbe), a model "
                "file MODEL.wkp, or a calculator as FILE.py:NAME or MODULE:NAME"
            )
        names, given = [p.name for p in METHODS[name].parameters], {}
        for k, item in enumerate(part.strip() for part in (match[2] or "").split(",") if part.strip()):
            key, equals, value = (part.strip() for part in item.partition("="))
            if not equals and k >= len(names):
                raise OptionsError(f"baseline {text.strip()!r}: {name} has only the parameters {', '.join(names)}")
            key, value = (key, value) if equals else (names[k], key)
            if key in given:
                raise OptionsError(f"baseline {text.strip()!r}: {key} is given twice")
            given[key] = value
        return cls.of(name, given)

    def __str__(self) -> str:
        defaults = {p.name: p.default for p in METHODS[self.name].parameters}
        shown = [
            f"{value}" if defaults[name] is None else f"{name}={value:g}" if isinstance(value, float) else
            f"{name}={value}"
            for name, value in self.parameters.items() if value != defaults[name]
        ]  # fmt: skip
        return f"{self.name}({', '.join(shown)})" if shown else self.name

    @property
    def version(self) -> str:
        """Package and version that would compute it, such as `tblite 0.8.0`.

        Raises:
            BaselineError: the package is not installed.

        """
        known = METHODS[self.name]
        try:
            return f"{known.package} {version(known.package)}"
        except PackageNotFoundError:
            raise BaselineError(self._absent) from None

    def calculator(self) -> Any:
        """Make the ASE calculator.

        Raises:
            BaselineError: the package is not installed.

        """
        known = METHODS[self.name]
        try:
            module = import_module(known.module)
        except ModuleNotFoundError:
            raise BaselineError(self._absent) from None
        return getattr(module, known.factory)(**known.keywords(**self.parameters))

    @property
    def _absent(self) -> str:
        known = METHODS[self.name]
        return f"the baseline {self} needs the package {known.package}: pip install 'wk_potential[{known.extra}]'"


def _value(method: str, parameter: Parameter, value: Any) -> Value:
    """Return a value with the type of its parameter.

    Raises:
        OptionsError: it is missing, or not allowed.

    """
    name, kind = parameter.name, parameter.kind
    if value is None:
        raise OptionsError(f"baseline {method} needs the parameter {name}, as in {method}(pbe)")
    try:
        found = kind(value)
    except (TypeError, ValueError):
        raise OptionsError(f"baseline {method}: {name} must be {NUMBERS[kind]}, not {value!r}") from None
    if kind is str:
        found = found.lower()
        if not _WORD.fullmatch(found):
            raise OptionsError(f"baseline {method}: {name} must be a word, not {value!r}")
    elif not parameter.least <= found <= parameter.most:
        raise OptionsError(
            f"baseline {method}: {name} must be from {parameter.least:g} to {parameter.most:g}, not {value!r}"
        )
    if parameter.choices and found not in parameter.choices:
        raise OptionsError(f"baseline {method}: {name} must be one of {', '.join(map(str, parameter.choices))}")
    return found
