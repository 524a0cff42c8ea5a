"""A trained model: its parts, its file, its predictions."""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from ..atoms.neighbours import Neighbours
from ..atoms.structure import Structure, StructureLike, as_structures, name_of
from ..baselines.potential import BaselinePotential
from ..compute.threads import thread_count
from ..errors import (
    CompositionWarning,
    OptionsError,
    PrecisionWarning,
    UncertaintyError,
    UnknownElementError,
)
from .below import OtherModels
from .elements import is_determined, species_of
from .energy import Potential, evaluate
from .environments import EnvironmentPool, expand_structures
from .error_bars import CommitteePotential, Uncertainty
from .prediction import Evaluation, Prediction, predict_structures
from .repulsion import Repulsion
from .scale import Scale
from .similarity import KernelPart, kernel_matrix, nystroem_features
from .storage import read_parts, write_model
from .tensors import TensorProperty

NO_ERROR_BARS = "the model has no error bars: train it again, with --uncertainty (the default)"
LARGE_DEVIATION = 1e-3  # eV/Angstrom by which float32 may change forces without a warning


@dataclass(frozen=True, eq=False, repr=False)
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
        baseline_potential: the potential to which the model adds, or None; `predict` and `WKCalculator` give the sum.

    """

    elements: np.ndarray
    scales: list[Scale]
    baseline: np.ndarray
    compositions: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, TensorProperty] = field(default_factory=dict)
    uncertainty: Uncertainty | None = None
    repulsion: Repulsion | None = None
    baseline_potential: BaselinePotential | None = None

    def __repr__(self) -> str:
        parts = [" ".join(chemical_symbols[z] for z in self.elements), f"cutoff {self.cutoff:g} Å"]
        if self.scales:
            counts = sum(map(int, self.support_counts))
            parts.append(f"{counts} support points of order {self.scales[0].order}" + ", mapped" * self.is_mapped)
        parts += self.tensors
        if self.baseline_potential is not None:
            parts.append(f"adds to {self.baseline_potential}")
        if self.error_bars:
            parts.append("error bars")
        training = self.info.get("training", {})
        if "frames" in training:
            parts.append(f"trained on {training['frames']} frames")
        return f"<Model: {'; '.join(parts)}>"

    @property
    def cutoff(self) -> float:
        """Cutoff radius in Angstrom."""
        own = [scale.density.radial.cutoff for scale in self.scales]
        return max([*own, *(target.cutoff for target in self.tensors.values())])

    @property
    def is_mapped(self) -> bool:
        """Whether there is a mapped form; see `wk_potential.map_model`."""
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
            OptionsError: float32 is asked for the direct kernel, or the precision is unknown.

        """
        if precision not in ("float64", "float32"):
            raise OptionsError(f"precision must be 'float64' or 'float32', not {precision!r}")
        if direct or not self.is_mapped:
            if precision == "float32":
                raise OptionsError("float32 is for models in mapped form: map the model first")
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
            raise UncertaintyError(NO_ERROR_BARS)
        return self.uncertainty.potential([scale.density for scale in self.scales], self.elements)

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
            message = f"rounding to float32 changes forces of this model by up to {deviation:.1e} eV/Angstrom"
            warnings.warn(message, PrecisionWarning, stacklevel=3)

    def species_of(self, numbers: npt.ArrayLike) -> np.ndarray:
        """Return the place (N,) of each atom's element in `elements`.

        Raises:
            UnknownElementError: an element is not in the model.

        """
        return species_of(numbers, self.elements)

    def check_elements(self, structures: Sequence[StructureLike]) -> None:
        """Refuse structures with elements that the model does not know.

        Raises:
            UnknownElementError: there is one; the message names the structure.

        """
        for k, structure in enumerate(structures):
            try:
                self.species_of(structure.numbers)
            except UnknownElementError as error:
                raise UnknownElementError(f"{name_of(structure, k)}: {error}") from None

    def evaluate(
        self, structure: Structure, threads: int = 1, potential: Potential | None = None, atomic: bool = False
    ) -> Evaluation:
        """Energies, forces and virial of arrays of atoms, or of those atoms in it that have neighbours listed.

        They are without those of `baseline_potential`, which is not a sum over atoms.

        Args:
            structure: from `structure`.
            threads: how many.
            potential: one of `potential`, which is the default.
            atomic: compute the shares of the atoms in the virial, too.

        Raises:
            ClashError: two atoms are less than 0.1 Angstrom apart.

        """
        energies, *rest = evaluate(potential or self.potential(), structure, threads, atomic=atomic)
        return Evaluation(energies + self.baseline[structure.species[: len(energies)]], *rest)

    @overload
    def predict(
        self, atoms: StructureLike, threads: int | None = ..., uncertainty: bool | None = ...,
        progress: Callable[[str, float], None] | None = ...,
    ) -> Prediction: ...  # fmt: skip

    @overload
    def predict(
        self, atoms: Sequence[StructureLike], threads: int | None = ..., uncertainty: bool | None = ...,
        progress: Callable[[str, float], None] | None = ...,
    ) -> list[Prediction]: ...  # fmt: skip

    def predict(
        self,
        atoms: StructureLike | Sequence[StructureLike],
        threads: int | None = None,
        uncertainty: bool | None = None,
        progress: Callable[[str, float], None] | None = None,
    ) -> Prediction | list[Prediction]:
        """Predict one structure, or many: several at a time where there are threads for it.

        A `CompositionWarning` says where total energies have no meaning.

        Args:
            atoms: ASE `Atoms`, a `Frame`, or a sequence of them; calculators and labels are ignored.
            threads: without it OMP_NUM_THREADS if set, else the cores available.
            uncertainty: compute error bars too [if the model has them]; they cost about as much as the prediction.
            progress: called with the name of the stage and the fraction done.

        Returns:
            A `Prediction`, or a list of them in the order of the structures.

        Raises:
            UnknownElementError: an element is not in the model; the message names the structure.
            StructureError: positions or cell make no sense, or two atoms are less than 0.1 Angstrom apart.
            UncertaintyError: error bars are asked for and the model has none.

        """
        if uncertainty and not self.error_bars:
            raise UncertaintyError(NO_ERROR_BARS)
        with_bars = bool(self.error_bars) and uncertainty is not False
        several, structures = as_structures(atoms)
        self.check_elements(structures)
        for numbers in {tuple(np.sort(s.numbers)) for s in structures if self.scales}:
            self.check_composition(np.array(numbers))
        found = predict_structures(self, structures, thread_count(threads), with_bars, progress)
        return found if several else found[0]

    def kernel(
        self,
        a: StructureLike | Sequence[StructureLike],
        b: StructureLike | Sequence[StructureLike] | None = None,
        per_atom: bool = False,
        normalise: bool = True,
        threads: int | None = None,
    ) -> np.ndarray:
        """Kernel matrix of the model between structures, or between their atoms.

        The kernel of two atoms is the sum over length scales and orders of a_nu k^(nu), as in the energy, and 0 for
        atoms of different elements. The kernel of two structures is its sum over all pairs of their atoms. This is the
        covariance of their energies without the baseline. Without `b` the matrix is symmetric and positive
        semi-definite: use it for kernel PCA, clustering and the selection of structures. If a model predicts tensors
        alone, the kernel is that of the smallest L of its first tensor.

        Args:
            a: ASE `Atoms`, a `Frame`, or a sequence of them.
            b: the columns, likewise [the same as `a`].
            per_atom: between all atoms, one structure after the other, instead of between structures.
            normalise: divide by the square root of both self-kernels, so that 1 means identical. An atom without
                neighbours has kernel 0 with everything.
            threads: without it OMP_NUM_THREADS if set, else the cores available.

        Returns:
            (n_a, n_b) matrix.

        Raises:
            UnknownElementError: an element is not in the model.
            StructureError: positions or cell make no sense, or two atoms are less than 0.1 Angstrom apart.

        """
        pools = [self._environments(x, threads) for x in (a, b) if x is not None]
        return kernel_matrix(self._kernel_parts, pools[0], pools[-1], per_atom, normalise, thread_count(threads))

    def descriptors(
        self, atoms: StructureLike | Sequence[StructureLike], size: int = 64, threads: int | None = None
    ) -> np.ndarray:
        """Descriptors of the atoms: rows whose inner products approximate the kernel of the model.

        They are Nystroem features: kernels with some support points of each element, chosen by pivoted Cholesky
        decomposition, and orthonormalised. Rows of atoms of different elements are orthogonal.

        Args:
            atoms: ASE `Atoms`, a `Frame`, or a sequence of them.
            size: largest number of features of each element.
            threads: without it OMP_NUM_THREADS if set, else the cores available.

        Returns:
            (N, D) rows of all atoms, one structure after the other; D is `size` times the number of elements at most.

        Raises:
            UnknownElementError: an element is not in the model.
            StructureError: positions or cell make no sense, or two atoms are less than 0.1 Angstrom apart.
            OptionsError: the model has no energies, so it has no support points; or the size is not positive.

        """
        if not self.scales or size < 1:
            raise OptionsError(
                f"the size must be positive, not {size}" if self.scales else
                "the model has no energies, so it has no support points to describe atoms by"
            )  # fmt: skip
        support = [[scale.support[z].coefficients for scale in self.scales] for z in range(len(self.elements))]
        pool, count = self._environments(atoms, threads), thread_count(threads)
        return nystroem_features(self._kernel_parts, support, pool, size, count)

    def _environments(self, atoms: StructureLike | Sequence[StructureLike], threads: int | None) -> EnvironmentPool:
        _, structures = as_structures(atoms)
        self.check_elements(structures)
        densities = [part.density for part in self._kernel_parts]
        return expand_structures(structures, self.elements, densities, thread_count(threads))

    @property
    def _kernel_parts(self) -> list[KernelPart]:
        if self.scales:
            return [KernelPart(scale.density, scale.order_weights) for scale in self.scales]
        name, tensor = next(iter(self.tensors.items()))
        facts = self.info["training"]["tensors"][name]["ranks"][str(tensor.parts[0].momentum)]
        weights = np.array(facts["order_weights"])
        return [KernelPart(density, w) for density, w in zip(tensor.densities, weights, strict=True)]

    def structure(
        self, numbers: npt.ArrayLike, positions: npt.ArrayLike, cell: npt.ArrayLike, neighbours: Neighbours
    ) -> Structure:
        """Arrays as `evaluate` and the properties in `tensors` take them.

        Args:
            numbers: (N,) atomic numbers.
            positions, cell: (N, 3) and (3, 3), Angstrom.
            neighbours: list that holds all pairs within the cutoff of the first n atoms, the centres: usually all.

        Raises:
            UnknownElementError: an element is not in the model.

        """
        species = self.species_of(numbers)
        return Structure(np.ascontiguousarray(positions, float), np.array(cell, float), species, neighbours)

    def check_composition(self, numbers: npt.ArrayLike) -> None:
        """Give a `CompositionWarning` if the training set does not determine the baseline of a composition."""
        if not is_determined(self.species_of(numbers), self.compositions):
            warnings.warn(
                "the training frames do not determine the energy baseline of this composition: forces and energy "
                "differences at fixed composition are meaningful, total energies are not. Train with isolated-atom "
                "energies to lift this",
                CompositionWarning,
                stacklevel=2,
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model file, atomically."""
        write_model(self, Path(path).expanduser())

    @property
    def fingerprint(self) -> str:
        """First digits of the hash of the training data, which tell models apart; empty for models made by hand."""
        return str(self.info.get("training", {}).get("data_hash", ""))[:16]

    def with_baseline(self, baseline: Any) -> "Model":
        """Return the model with the calculator, or text, of the potential to which it adds, if its file has none.

        Raises:
            OptionsError: the model was trained without a baseline, or this is no baseline.

        """
        if self.baseline_potential is None:
            raise OptionsError("the model was trained without a baseline: leave the option baseline out")
        terms = baseline_of(baseline).terms
        return replace(self, baseline_potential=BaselinePotential(terms, self.baseline_potential.check))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Model":
        """Read a model file.

        Raises:
            ModelFileError: the file is not a model, of a newer format, truncated, altered or damaged.

        """
        return _load(Path(path).expanduser(), ())


def _load(path: Path, above: tuple[Path, ...]) -> Model:
    """Read a model file, which is the baseline of the models above it."""
    return Model(**read_parts(path, above, _load))


def baseline_of(given: Any) -> BaselinePotential:
    """Return the baseline of a calculator or a text, see `TrainingOptions.baseline`; raises an `OptionsError`."""
    return BaselinePotential.of(given, OtherModels(_load))


load = Model.load
