"""A trained model: what it is made of, how it is saved, what it predicts for arrays of atoms."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..atoms.neighbours import Neighbours
from ..atoms.structure import Structure
from ..errors import CompositionWarning, ModelFileError, PrecisionWarning, UncertaintyError, UnknownElementError
from .container import read_container, within, write_container
from .energy import Potential, evaluate
from .error_bars import CommitteePotential, Uncertainty
from .repulsion import Repulsion
from .scale import Scale, scale_from_arrays, scale_to_arrays
from .tensors import TensorProperty, targets_from_arrays, targets_to_arrays

if TYPE_CHECKING:
    from ..atoms.frame import Frame

LARGE_DEVIATION = 1e-3  # eV/Angstrom by which float32 may change forces without a warning


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
    tensors: dict[str, TensorProperty] = field(default_factory=dict)
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
        return Potential([scale.direct for scale in self.scales], self.repulsion)

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
    def committee(self) -> CommitteePotential:
        """The committee of the error bars.

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

    def species_of(self, numbers) -> np.ndarray:
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
                self.species_of(frame.numbers)
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
        return Prediction(energies + self.baseline[structure.species[: len(energies)]], forces, virial)

    def structure(self, numbers, positions, cell, neighbours: Neighbours) -> Structure:
        """Arrays as `predict` and the targets in `tensors` take them.

        Args:
            numbers: (N,) atomic numbers.
            positions, cell: (N, 3) and (3, 3), Angstrom.
            neighbours: list that holds all pairs within the cutoff of the first n atoms, the centres: usually all.

        Raises:
            UnknownElementError: an element is not in the model.

        """
        index = self.species_of(numbers)
        return Structure(np.ascontiguousarray(positions, float), np.array(cell, float), index, neighbours)

    def check_composition(self, numbers) -> None:
        """Warn with `CompositionWarning` if the training set leaves the baseline of a composition open."""
        counts = np.bincount(self.species_of(numbers), minlength=len(self.elements)).astype(float)
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
            facts, more = scale_to_arrays(scale)
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
            scales = [scale_from_arrays(facts, within(f"scale{n}_", arrays)) for n, facts in every]
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


load = Model.load
