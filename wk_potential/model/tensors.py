"""Dipoles and polarisabilities of a model, and the conversion between spherical and Cartesian components."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..atoms.structure import Structure
from ..density.expansion import Density, density_from_arrays, density_to_arrays
from ..forms.bilinear import BilinearForm, tensor_from_arrays, tensor_to_arrays
from .container import prefixed, within
from .summary import Summarised
from .tensor_error_bars import TensorSpread, tensor_layers
from .tensor_evaluation import TensorLayer, evaluate_tensors

_S = np.sqrt(0.5)
# Orthonormal bases (2L + 1, 3) or (2L + 1, 3, 3), m = -L..L in the order of real harmonics
_VECTOR = np.eye(3)[[1, 2, 0]]
_ISOTROPIC = np.eye(3)[None] / np.sqrt(3.0)
_SYMMETRIC = np.array([
    [[0, _S, 0], [_S, 0, 0], [0, 0, 0]],
    [[0, 0, 0], [0, 0, _S], [0, _S, 0]],
    np.diag([-1.0, -1.0, 2.0]) / np.sqrt(6.0),
    [[0, 0, _S], [0, 0, 0], [_S, 0, 0]],
    np.diag([_S, -_S, 0.0]),
])  # fmt: skip
BASES = {"dipole": {1: _VECTOR}, "polarizability": {0: _ISOTROPIC, 2: _SYMMETRIC}}


def to_spherical(name: str, momentum: int, values: np.ndarray) -> np.ndarray:
    """Components (..., 2L + 1) of dipoles (..., 3) or symmetric polarisabilities (..., 3, 3); norms are kept."""
    basis = BASES[name][momentum]
    return np.tensordot(values, basis, (tuple(range(1 - basis.ndim, 0)), tuple(range(1, basis.ndim))))


def to_cartesian(name: str, momentum: int, components: np.ndarray) -> np.ndarray:
    """Return the part (..., 3) or (..., 3, 3) of a dipole or polarisability that components (..., 2L + 1) make."""
    return np.tensordot(components, BASES[name][momentum], 1)


@dataclass(frozen=True, eq=False, repr=False)
class TensorPart(Summarised):
    """The part of angular momentum L of a target.

    Attributes:
        momentum: L.
        baseline: (n_elements,) component of each atom of an element, for L = 0.
        forms: of each density and each central element.
        spread: error bars, or None.

    """

    momentum: int
    baseline: np.ndarray
    forms: list[list[BilinearForm]]
    spread: TensorSpread | None = None


@dataclass(frozen=True, eq=False, repr=False)
class TensorProperty(Summarised):
    """A vector or tensor of the whole structure as a sum over atoms.

    Dipoles are in e Angstrom and relative to the centre of mass, which matters for charged structures only;
    polarisabilities are volumes in Angstrom^3, symmetric.

    Attributes:
        name: dipole or polarizability.
        densities: that all parts share.
        parts: of L = 1, or of L = 0 and 2.

    """

    name: str
    densities: list[Density]
    parts: list[TensorPart]

    @property
    def cutoff(self) -> float:
        """Cutoff radius in Angstrom."""
        return max(density.radial.cutoff for density in self.densities)

    @property
    def has_error_bars(self) -> bool:
        """Whether `deviation` can be asked for."""
        return all(part.spread is not None for part in self.parts)

    @cached_property
    def _layers(self) -> list[list[TensorLayer]]:
        return [tensor_layers(self.densities, part.momentum, part.forms) for part in self.parts]

    @cached_property
    def _spreads(self) -> list[tuple[TensorSpread, list[TensorLayer]]]:
        spreads = [part.spread for part in self.parts if part.spread is not None]
        return [(spread, spread.layers(self.densities)) for spread in spreads]

    def predict(self, structure: Structure, threads: int = 1) -> np.ndarray:
        """Return contributions of the atoms, (N, 3) or (N, 3, 3); the target is their sum.

        Raises:
            ClashError: two atoms are less than 0.1 Angstrom apart.

        """
        out = np.zeros(())
        for part, layers in zip(self.parts, self._layers, strict=True):
            values, _ = evaluate_tensors(layers, structure, threads)
            values += part.baseline[structure.species[: len(values)], None]
            out = out + to_cartesian(self.name, part.momentum, values)
        return out

    def derivatives(self, structure: Structure, threads: int = 1) -> np.ndarray:
        """Derivatives of the target by the positions, per Angstrom, (N, 3, 3) or (N, 3, 3, 3).

        The first axes are the atom and the direction in which it moves, the others those of the target.

        Raises:
            ClashError: two atoms are less than 0.1 Angstrom apart.

        """
        out = np.zeros(())
        for part, layers in zip(self.parts, self._layers, strict=True):
            _, slopes = evaluate_tensors(layers, structure, threads, derivatives=True)
            out = out + to_cartesian(self.name, part.momentum, np.moveaxis(slopes, 0, -1))
        return out

    def deviation(self, structure: Structure, threads: int = 1) -> np.ndarray:
        """Standard deviations of the components of the target, (3,) or (3, 3); parts of different L err independently.

        Raises:
            ClashError: two atoms are less than 0.1 Angstrom apart.

        """
        variance = np.zeros(())
        for spread, layers in self._spreads:
            found = to_cartesian(self.name, spread.momentum, spread.deviations(layers, structure, threads))
            variance = variance + np.mean(found**2, axis=0)
        return np.sqrt(variance)


def targets_to_arrays(targets: dict[str, TensorProperty]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return description and arrays of the targets, for a file."""
    facts: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, target in targets.items():
        start = f"tensor_{name}"
        facts[name] = {"densities": [], "parts": []}
        for n, density in enumerate(target.densities):
            numbers, more = density_to_arrays(density)
            facts[name]["densities"].append(numbers)
            arrays |= prefixed(f"{start}_density{n}_", more)
        for part in target.parts:
            descriptions = []
            own = f"{start}_rank{part.momentum}"
            arrays[f"{own}_baseline"] = part.baseline
            for n, forms in enumerate(part.forms):
                description, more = tensor_to_arrays(forms)
                descriptions.append(description)
                arrays |= prefixed(f"{own}_scale{n}_", more)
            facts[name]["parts"].append({"momentum": part.momentum, "forms": descriptions})
            if part.spread is not None:
                facts[name]["parts"][-1]["spread"], more = part.spread.to_arrays()
                arrays |= prefixed(f"{own}_spread_", more)
    return facts, arrays


def targets_from_arrays(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, TensorProperty]:
    """Inverse of `targets_to_arrays`."""
    targets = {}
    for name, target in facts.items():
        start = f"tensor_{name}"
        densities = [
            density_from_arrays(numbers, within(f"{start}_density{n}_", arrays))
            for n, numbers in enumerate(target["densities"])
        ]
        parts = []
        for part in target["parts"]:
            own = f"{start}_rank{part['momentum']}"
            baseline, forms = arrays[f"{own}_baseline"], []
            for n, description in enumerate(part["forms"]):
                more = within(f"{own}_scale{n}_", arrays)
                forms.append(tensor_from_arrays(part["momentum"], len(baseline), description, more))
            spread = None
            if "spread" in part:
                more = within(f"{own}_spread_", arrays)
                spread = TensorSpread.from_arrays(part["momentum"], len(baseline), part["spread"], more)
            parts.append(TensorPart(part["momentum"], baseline, forms, spread))
        targets[name] = TensorProperty(name, densities, parts)
    return targets
