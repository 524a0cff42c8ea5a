"""A trained model: what it is made of, how it is saved, what it predicts for arrays of atoms."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .density.expansion import Density, density_from_arrays, density_to_arrays
from .density.packed import pack
from .kernel.coupling import wigner_terms
from .kernel.direct import make_support
from .mapping.packing import Factors, from_arrays, pack_forms, to_arrays
from .modelfile import ModelFileError, read_container, within, write_container
from .neighbours import Neighbours
from .potential import Direct, Layer, Potential, Structure, evaluate
from .repulsion import Repulsion
from .tensors.targets import TensorTarget, targets_from_arrays, targets_to_arrays
from .uncertainty.error_bars import EnsemblePotential, Uncertainty, UncertaintyError

if TYPE_CHECKING:
    from .training.data import Frame

LARGE_DEVIATION = 1e-3  # eV/Angstrom by which float32 may change forces without a warning


class UnknownElementError(ValueError):
    """A structure holds an element that the model was not trained on."""


class CompositionWarning(UserWarning):
    """The baseline of a composition is not determined by the training set."""


class PrecisionWarning(UserWarning):
    """Rounding to float32 changes the forces of a model noticeably."""


@dataclass(frozen=True)
class SupportPoints:
    """Support environments of one central element.

    Attributes:
        coefficients: (n, n_lm, Q) density coefficients.
        weights: (n,).
        tangents: (n, n_lm, Q), or None for a model with weights only.

    """

    coefficients: np.ndarray
    weights: np.ndarray
    tangents: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one structure.

    Attributes:
        energies: (n,) eV of the centres, each with its element's baseline; their sum is the energy.
        forces: (N, 3) eV/Angstrom on all atoms.
        virial: (3, 3) eV, derivative of the energy by strain: volume times stress.

    """

    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


@dataclass(frozen=True)
class Scale:
    """One length scale of a model: a density, and a kernel between the environments that it describes.

    Attributes:
        density: the expansion of environments.
        order_weights: (n_elements, order) factors a_nu of the kernel for each central element.
        support: support points of each element.
        mapped: quadratic forms of each element that stand for the support points, or None.

    """

    density: Density
    order_weights: np.ndarray
    support: list[SupportPoints]
    mapped: list[list[Factors]] | None = None

    @property
    def order(self) -> int:
        """Correlation order nu."""
        return self.order_weights.shape[1]

    @cached_property
    def direct(self) -> Layer:
        """The kernel with all support points."""
        terms = wigner_terms(self.density.lmax, self.order)
        support = [make_support(s.coefficients, s.weights, s.tangents) for s in self.support]
        density = pack(self.density)
        energies = [Direct(terms, a, s) for a, s in zip(self.order_weights, support, strict=True)]
        return Layer(density, density.projection, energies)

    def with_forms(self, mapped: list[list[Factors]], precision: str = "float64") -> Layer:
        """Quadratic forms instead of the support points."""
        density, kind = self.direct.density, np.dtype(precision)
        return Layer(density, density.projection.astype(kind), [pack_forms(factors, kind) for factors in mapped])


@dataclass(frozen=True)
class Model:
    """A Wigner-kernel potential.

    Attributes:
        elements: (n,) sorted atomic numbers.
        scales: the length scales, whose energies add up; none in a model without energies.
        baseline: (n,) energy per atom of each element, eV.
        compositions: (k, n) orthonormal basis of the compositions that determine the baseline.
        info: hyperparameters and training summary, as written to the header of the file.
        tensors: dipole and polarisability, by name, if they were trained.
        uncertainty: error bars, or None.
        repulsion: of pairs closer than those of the training set, or None.

    """

    elements: np.ndarray
    scales: list[Scale]
    baseline: np.ndarray
    compositions: np.ndarray
    info: dict = field(default_factory=dict)
    tensors: dict[str, TensorTarget] = field(default_factory=dict)
    uncertainty: Uncertainty | None = None
    repulsion: Repulsion | None = None

    @property
    def cutoff(self) -> float:
        """Cutoff radius in Angstrom."""
        own = [scale.density.radial.cutoff for scale in self.scales]
        return max([*own, *(target.cutoff for target in self.tensors.values())])

    @property
    def is_mapped(self) -> bool:
        """Whether there is a mapped form; see `map`."""
        return all(scale.mapped is not None for scale in self.scales)

    @property
    def support_counts(self) -> np.ndarray:
        """Support points of each element."""
        return np.array([len(s) for scale in self.scales[:1] for s in scale.support])

    @cached_property
    def direct(self) -> Potential:
        """The model as its kernels with all support points."""
        return Potential((scale.direct for scale in self.scales), self.repulsion)

    @cached_property
    def _mapped_potentials(self) -> dict[str, Potential]:
        return {}

    def potential(self, precision: str = "float64", direct: bool = False) -> Potential:
        """Arrays as the compiled functions take them: of the mapped form if there is one, unless `direct` is asked.

        Args:
            precision: float64, or float32 for the arithmetic of the mapped form.
            direct: take the support points although there is a mapped form.

        Raises:
            ValueError: float32 is asked for the direct kernel, or the precision is unknown.

        """
        if precision not in ("float64", "float32"):
            raise ValueError(f"the precision is float64 or float32, not {precision!r}")
        if direct or not self.is_mapped:
            if precision == "float32":
                raise ValueError("float32 is for models in mapped form: map the model first")
            return self.direct
        if precision not in self._mapped_potentials:
            if precision == "float32":
                self._warn_of_rounding()
            layers = [s.with_forms(s.mapped, precision) for s in self.scales if s.mapped is not None]
            self._mapped_potentials[precision] = Potential(layers, self.repulsion)
        return self._mapped_potentials[precision]

    @cached_property
    def ensemble(self) -> EnsemblePotential:
        """The ensemble of the error bars.

        Raises:
            UncertaintyError: the model has none.

        """
        if self.uncertainty is None:
            raise UncertaintyError("the model has no error bars: train it again, with --uncertainty (the default)")
        return self.uncertainty.potential([scale.density for scale in self.scales])

    @property
    def error_bars(self) -> list[str]:
        """What has error bars: energy (with forces and stress), dipole, polarizability."""
        tensors = [name for name, target in self.tensors.items() if target.has_error_bars]
        return tensors if self.uncertainty is None else ["energy", *tensors]

    def _warn_of_rounding(self) -> None:
        facts = self.info.get("mapping", {})
        accepted = max(LARGE_DEVIATION, 2 * facts.get("largest_force_deviation", 0.0))
        deviation = facts.get("largest_force_deviation_float32", 0.0)
        if deviation > accepted:
            warnings.warn(
                f"rounding to float32 changes forces of this model by up to {deviation:.1e} eV/Angstrom",
                PrecisionWarning,
                stacklevel=3,
            )

    def map(self, frames, tolerance: float | None = None, threads: int | None = None) -> "Model":
        """Return the model with its mapped form; see `wk_potential.mapping.mapping.map_model`."""
        from .mapping.mapping import map_model

        return map_model(self, frames, tolerance, threads)

    def element_indices(self, numbers) -> np.ndarray:
        """Return the place of each atom's element in `elements`.

        Raises:
            UnknownElementError: an element is not in the model.

        """
        index = np.searchsorted(self.elements, numbers)
        found = self.elements[np.minimum(index, len(self.elements) - 1)] == numbers
        if not np.all(found):
            from ase.data import chemical_symbols

            atom = int(np.argmin(found))
            raise UnknownElementError(
                f"atom {atom} is {chemical_symbols[numbers[atom]]}, but the model was trained on "
                f"{', '.join(chemical_symbols[z] for z in self.elements)} only"
            )
        return index

    def check_elements(self, frames: Iterable["Frame"]) -> None:
        """Refuse frames with elements that the model has not.

        Raises:
            UnknownElementError: there is one; the message names the frame.

        """
        for frame in frames:
            try:
                self.element_indices(frame.numbers)
            except UnknownElementError as error:
                raise UnknownElementError(f"{frame.source}: {error}") from None

    def predict(self, structure: Structure, threads: int = 1, potential: Potential | None = None) -> Prediction:
        """Energies, forces and virial of one structure, or of those atoms in it that have neighbours listed.

        Args:
            structure: from `structure`.
            threads: how many.
            potential: one of `potential`, which is the default.

        Raises:
            ClashError: two atoms are on one site.

        """
        energies, forces, virial = evaluate(potential or self.potential(), structure, threads)
        return Prediction(energies + self.baseline[structure.elements[: len(energies)]], forces, virial)

    def structure(self, numbers, positions, cell, neighbours: Neighbours) -> Structure:
        """Arrays as `predict` and the targets in `tensors` take them.

        Args:
            numbers: (N,) atomic numbers.
            positions, cell: (N, 3) and (3, 3), Angstrom.
            neighbours: list that holds all pairs within the cutoff of the first n atoms, the centres: usually all.

        Raises:
            UnknownElementError: an element is not in the model.

        """
        index = self.element_indices(numbers)
        return Structure(np.ascontiguousarray(positions, float), np.array(cell, float), index, neighbours)

    def check_composition(self, numbers) -> None:
        """Warn with `CompositionWarning` if the training set leaves the baseline of a composition open."""
        counts = np.bincount(self.element_indices(numbers), minlength=len(self.elements)).astype(float)
        outside = counts - (counts @ self.compositions.T) @ self.compositions
        if np.linalg.norm(outside) > 1e-6 * np.linalg.norm(counts):
            warnings.warn(
                "the training frames do not determine the energy baseline of this composition: forces and energy "
                "differences at fixed composition are meaningful, total energies are not. Train with isolated-atom "
                "energies to lift this",
                CompositionWarning,
                stacklevel=2,
            )

    def save(self, path) -> None:
        """Write the model file, atomically."""
        arrays = {"elements": self.elements, "baseline": self.baseline, "compositions": self.compositions}
        scales = []
        for n, scale in enumerate(self.scales):
            facts, more = _to_arrays(scale)
            scales.append(facts)
            arrays.update({f"scale{n}_{name}": array for name, array in more.items()})
        if self.repulsion is not None:
            arrays |= {f"repulsion_{name}": array for name, array in self.repulsion._asdict().items()}
        header = {"cutoff": self.cutoff, "scales": scales, **self.info}
        if self.tensors:
            header["tensors"], more = targets_to_arrays(self.tensors)
            arrays.update(more)
        if self.uncertainty is not None:
            header["uncertainty"], more = self.uncertainty.to_arrays()
            arrays.update({f"uncertainty_{name}": array for name, array in more.items()})
        write_container(path, header, arrays)

    @classmethod
    def load(cls, path) -> "Model":
        """Read a model file.

        Raises:
            ModelFileError: the file is not a model, of a newer format, truncated or altered.

        """
        header, arrays = read_container(path)
        try:
            del header["cutoff"]  # that of the scales, for readers
            every = enumerate(header.pop("scales"))
            scales = [_from_arrays(facts, within(f"scale{n}_", arrays)) for n, facts in every]
            tensors = targets_from_arrays(header.pop("tensors", {}), arrays)
            uncertainty = repulsion = None  # nor has any model of format 1
            if "uncertainty" in header:
                uncertainty = Uncertainty.from_arrays(header.pop("uncertainty"), within("uncertainty_", arrays))
            if "repulsion_outer" in arrays:
                repulsion = Repulsion(**within("repulsion_", arrays))
            basis = arrays["elements"], scales, arrays["baseline"], arrays["compositions"]
            return cls(*basis, header, tensors, uncertainty, repulsion)
        except KeyError as error:
            raise ModelFileError(f"{path}: the model lacks {error}") from error


def _to_arrays(scale: Scale) -> tuple[dict, dict[str, np.ndarray]]:
    support = scale.support
    facts, arrays = density_to_arrays(scale.density)
    arrays |= {
        "order_weights": scale.order_weights,
        "support_counts": np.array([len(s) for s in support]),
        "support_coefficients": np.concatenate([s.coefficients for s in support]),
        "support_weights": np.concatenate([s.weights for s in support]),
    }
    tangents = [s.tangents for s in support if s.tangents is not None]
    if tangents:
        arrays["support_tangents"] = np.concatenate(tangents)
    if scale.mapped is not None:
        facts["mapped_blocks"], more = to_arrays(scale.mapped)
        arrays.update(more)
    return facts, arrays


def _from_arrays(facts: dict, arrays: dict[str, np.ndarray]) -> Scale:
    cuts = np.cumsum(arrays["support_counts"])[:-1]
    present = [n for n in ("coefficients", "weights", "tangents") if f"support_{n}" in arrays]
    parts = [np.split(arrays[f"support_{name}"], cuts) for name in present]
    mapped = None
    if "mapped_blocks" in facts:
        mapped = from_arrays(len(arrays["support_counts"]), facts["mapped_blocks"], arrays)
    return Scale(
        density_from_arrays(facts, arrays),
        arrays["order_weights"],
        [SupportPoints(*p) for p in zip(*parts, strict=True)],
        mapped,
    )


load = Model.load
