"""The potential to which a model adds: a sum of methods, calculators of the user, and other models.

It is computed without memory of earlier structures, so that results do not depend on them.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple, Protocol

import numpy as np
from ase import Atoms
from threadpoolctl import ThreadpoolController

from ..atoms.structure import StructureLike
from ..errors import BaselineError, OptionsError
from .foreign import as_calculator, ask, load_calculator, not_finite
from .methods import Method

CHECKED, CHECKED_FORCES = 1e-5, 1e-3  # eV per atom and eV/Angstrom, by which a check may differ
MANY_ATOMS = 150  # with fewer, threads of OpenMP wait for each other longer than they work
_ONE_AT_A_TIME = RLock()  # calculators of users need not be safe in threads
_PLUS = re.compile(r"\+(?![^()]*\))")  # outside parentheses


class BaselineResult(NamedTuple):
    """What a baseline gives for a structure.

    Attributes:
        energy: eV.
        forces: (N, 3) eV/Angstrom.
        stress: (6,) eV/Angstrom^3, Voigt, tension positive; None if there is none.

    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


ModelEnergies = Callable[[Path, StructureLike, int], BaselineResult]  # of the model in a file


class Term(Protocol):
    """A part of a baseline."""

    def __str__(self) -> str:
        """Return its name for people."""

    def facts(self) -> dict[str, Any]:
        """Return what the header of a model says of it."""

    @property
    def identity(self) -> str:
        """What tells it from an earlier one with the same facts."""

    def evaluate(self, structure: StructureLike, threads: int) -> BaselineResult:
        """Energy, forces and stress of a structure."""


@dataclass(frozen=True)
class MethodTerm:
    """A method with a name."""

    method: Method
    version: str = ""  # of the package with which a model was trained

    def __str__(self) -> str:
        return str(self.method)

    def facts(self) -> dict[str, Any]:
        """Return name, parameters, package and version."""
        version = self.version or self.method.version
        return {"method": self.method.name, "parameters": dict(self.method.parameters), "version": version}

    @property
    def identity(self) -> str:
        """Nothing: the facts say all."""
        return ""

    def evaluate(self, structure: StructureLike, threads: int) -> BaselineResult:
        """Energy, forces and stress by a calculator made for this structure.

        Raises:
            BaselineError: the package is not installed, the method fails, or some directions are periodic and others
                not, which the packages do not know.

        """
        if np.any(structure.pbc) and not np.all(structure.pbc):
            raise BaselineError(
                f"the baseline {self} knows molecules and crystals only, and this structure is periodic in "
                f"{np.count_nonzero(structure.pbc)} directions: make it periodic in all, with vacuum between the images"
            )
        calculator = self.method.calculator()
        few = 1 if len(structure.numbers) < MANY_ATOMS else threads
        with _controller(self.method.name).limit(limits=few, user_api="openmp"):
            return _ask(calculator, structure, str(self))


@dataclass(frozen=True)
class CalculatorTerm:
    """A calculator of the user; None where a model file speaks of it, which does not hold it."""

    name: str
    calculator: Any = None

    def __str__(self) -> str:
        return self.name

    def facts(self) -> dict[str, Any]:
        """Return the name."""
        return {"method": "calculator", "name": self.name}

    @property
    def identity(self) -> str:
        """What tells it from an earlier calculator of the same name, as far as a file says."""
        file = Path(self.name.partition(":")[0])
        return _digest(file) if file.suffix == ".py" and file.is_file() else ""

    def evaluate(self, structure: StructureLike, threads: int) -> BaselineResult:
        """Energy, forces and stress.

        Raises:
            BaselineError: it fails.

        """
        with _ONE_AT_A_TIME:
            return _ask(self.calculator, structure, str(self))


@dataclass(frozen=True)
class ModelTerm:
    """Another model file."""

    path: Path
    models: ModelEnergies

    def __str__(self) -> str:
        return self.path.name

    def facts(self) -> dict[str, Any]:
        """Return the path."""
        return {"method": "model", "name": str(self.path)}

    @property
    def identity(self) -> str:
        """What tells it from an earlier model at the same path."""
        return _digest(self.path) if self.path.is_file() else ""

    def evaluate(self, structure: StructureLike, threads: int) -> BaselineResult:
        """Energy, forces and stress.

        Raises:
            ModelFileError: there is no such file, or it is no model.

        """
        return self.models(self.path, structure, threads)


class Check(NamedTuple):
    """A structure with its energy (eV) and forces (eV/Angstrom) by the baseline, which tell whether it is the same."""

    structure: Atoms
    energy: float
    forces: np.ndarray

    def facts(self) -> dict[str, Any]:
        """Return what the header of a model says."""
        a = self.structure
        return {
            "numbers": a.numbers.tolist(), "positions": a.positions.tolist(), "cell": a.cell.array.tolist(),
            "pbc": a.pbc.tolist(), "energy": self.energy, "forces": self.forces.tolist(),
        }  # fmt: skip


@dataclass(eq=False)
class BaselinePotential:
    """A sum of terms.

    Attributes:
        terms: at least one.
        check: of a model, which the first evaluation compares with.

    """

    terms: Sequence[Term]
    check: Check | None = None
    _is_checked: bool = field(default=False, repr=False)

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))

    @property
    def description(self) -> str:
        """Name, and the versions of packages with which the model was trained."""
        versions = [term.version for term in self.terms if isinstance(term, MethodTerm) and term.version]
        return f"{self} ({', '.join(versions)})" if versions else str(self)

    @classmethod
    def of(cls, given: Any, models: ModelEnergies) -> "BaselinePotential":
        """Return a baseline: of a text such as `gfn2-xtb`, `d3(pbe)+model.wkp` or `FILE.py:NAME`, or a calculator.

        Raises:
            OptionsError: the text is not of that kind, or the object is no calculator.

        """
        if not isinstance(given, str):
            calculator = as_calculator(given)
            return cls([CalculatorTerm(type(calculator).__name__, calculator)])
        return cls([_term(part, models) for part in _parts(given)])

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], models: ModelEnergies) -> "BaselinePotential":
        """Return the baseline that the header of a model describes.

        Raises:
            OptionsError: a method, parameter or value is not known.

        """
        terms: list[Term] = []
        for entry in facts["methods"]:
            if entry["method"] == "model":
                terms.append(ModelTerm(Path(entry["name"]), models))
            elif entry["method"] == "calculator":
                terms.append(CalculatorTerm(entry["name"]))
            else:
                terms.append(MethodTerm(Method.of(entry["method"], entry["parameters"]), entry["version"]))
        check = facts["check"]
        structure = Atoms(check["numbers"], check["positions"], cell=check["cell"], pbc=check["pbc"])
        return cls(terms, Check(structure, check["energy"], np.array(check["forces"])))

    def facts(self) -> dict[str, Any]:
        """Return what the header of a model says of the baseline."""
        check = {} if self.check is None else {"check": self.check.facts()}
        return {"methods": [term.facts() for term in self.terms], **check}

    def with_check(self, structure: StructureLike) -> "BaselinePotential":
        """Return the baseline with what it gives a structure, which tells later whether it still is the same."""
        atoms = _as_atoms(structure)
        found = self._sum(atoms, 1)
        return BaselinePotential(self.terms, Check(atoms, found.energy, found.forces), True)

    def evaluate(self, structure: StructureLike, threads: int = 1) -> BaselineResult:
        """Energy, forces and stress of a structure.

        Args:
            structure: ASE `Atoms`, a frame or the like.
            threads: that a method may use.

        Raises:
            BaselineError: a package or a calculator is not there or fails, or the energies are not those that the model
                was trained with.

        """
        if any(isinstance(term, CalculatorTerm) and term.calculator is None for term in self.terms):
            raise BaselineError(
                f"the model adds to a calculator that it does not hold: give it again, the whole of {self}, as "
                "WKCalculator(model, baseline=calculator), or on the command line as --baseline FILE.py:NAME"
            )
        if not self._is_checked and self.check is not None:
            self._compare(self.check)
        return self._sum(structure, threads)

    def _sum(self, structure: StructureLike, threads: int) -> BaselineResult:
        parts = [term.evaluate(structure, threads) for term in self.terms]
        stresses = [p.stress for p in parts if p.stress is not None]
        stress = np.sum(stresses, axis=0) if len(stresses) == len(parts) else None
        return BaselineResult(sum(p.energy for p in parts), np.sum([p.forces for p in parts], axis=0), stress)

    def _compare(self, check: Check) -> None:
        """Compute energy and forces of the check again.

        Raises:
            BaselineError: they are others.

        """
        found = self._sum(check.structure, 1)
        far = float(np.abs(found.forces - check.forces).max())
        if not (abs(found.energy - check.energy) <= CHECKED * len(check.structure) and far <= CHECKED_FORCES):
            raise BaselineError(
                f"the baseline is not the one that the model was trained with, {self.description}: the energy of "
                f"{check.structure.get_chemical_formula()} is {found.energy:.6f} eV instead of {check.energy:.6f}, and "
                f"forces differ by up to {far:.1e} eV/Å"
            )
        self._is_checked = True


def virial_of_molecule(positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """Derivative (3, 3) in eV of the energy of a molecule by strain, from positions and forces (N, 3)."""
    virial = -positions.T @ forces
    return 0.5 * (virial + virial.T)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parts(text: str) -> list[str]:
    """Split a sum. Names of files may hold a plus sign, so a text that names a file is not split."""
    found = []
    for part in re.split(r"\s+\+\s+", text.strip()):
        is_file = Path(part.partition(":")[0]).expanduser().is_file()
        found += [part] if is_file else [term.strip() for term in _PLUS.split(part)]
    return found


def model_files(text: str) -> list[Path]:
    """Return the model files that a text names."""
    return [Path(part).expanduser() for part in _parts(text) if part.endswith(".wkp")]


def check_text(text: str) -> None:
    """Check the methods that a text names, without their packages and without files.

    Raises:
        OptionsError: a method or parameter is not known, or a value is not allowed.

    """
    for part in _parts(text):
        if not part.endswith(".wkp") and not _is_foreign(part):
            Method.parse(part)


def _is_foreign(text: str) -> bool:
    """Whether a text is FILE.py, FILE.py:NAME or MODULE:NAME."""
    return text.endswith(".py") or (":" in text and "(" not in text)


def _term(text: str, models: ModelEnergies) -> Term:
    """Return the term that a text stands for.

    Raises:
        OptionsError: none.

    """
    if text.endswith(".wkp"):
        path = Path(text).expanduser()
        if not path.is_file():
            raise OptionsError(f"baseline {text}: there is no such file")
        return ModelTerm(path, models)
    if _is_foreign(text):
        return CalculatorTerm(text, load_calculator(text, "--baseline"))
    return MethodTerm(Method.parse(text))


def _as_atoms(structure: StructureLike) -> Atoms:
    return Atoms(structure.numbers, structure.positions, cell=np.asarray(structure.cell), pbc=structure.pbc)


def _ask(calculator: Any, structure: StructureLike, name: str) -> BaselineResult:
    """Return the results of an ASE calculator.

    Raises:
        BaselineError: it fails, or its results are not finite.

    """
    atoms = _as_atoms(structure)
    try:
        results = ask(calculator, atoms)
    except Exception as error:  # calculators raise errors of any class
        what = atoms.get_chemical_formula()
        raise BaselineError(f"the baseline {name} fails for {what} ({type(error).__name__}: {error})") from error
    if not_finite(results):
        raise BaselineError(f"the baseline {name} gives {atoms.get_chemical_formula()} results that are not finite")
    return BaselineResult(results["energy"], results["forces"], results.get("stress"))


@cache
def _controller(name: str) -> Any:
    """Return what limits the threads of a method, whose libraries are loaded by now."""
    return ThreadpoolController()
