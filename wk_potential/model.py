"""A trained model: what it is made of, how it is saved, what it predicts for arrays of atoms."""

import warnings
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .density.expansion import Density
from .density.packed import pack
from .density.radial import RadialTable
from .kernel.coupling import wigner_terms
from .kernel.direct import make_support
from .mapping.packing import Factors, from_arrays, pack_forms, to_arrays
from .modelfile import ModelFileError, read_container, write_container
from .neighbours import Neighbours
from .potential import Direct, Potential, Structure, evaluate

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
class Model:
    """A Wigner-kernel potential.

    Attributes:
        elements: (n,) sorted atomic numbers.
        density: the expansion of environments.
        order_weights: (order,) factors a_nu of the kernel.
        support: support points of each element.
        baseline: (n,) energy per atom of each element, eV.
        compositions: (k, n) orthonormal basis of the compositions that determine the baseline.
        mapped: quadratic forms of each element that stand for the support points, or None; see `map`.
        info: hyperparameters and training summary, as written to the header of the file.

    """

    elements: np.ndarray
    density: Density
    order_weights: np.ndarray
    support: list[SupportPoints]
    baseline: np.ndarray
    compositions: np.ndarray
    mapped: list[list[Factors]] | None = None
    info: dict = field(default_factory=dict)

    @property
    def cutoff(self) -> float:
        """Cutoff radius in Angstrom."""
        return self.density.radial.cutoff

    @cached_property
    def direct(self) -> Potential:
        """The model as its kernel with all support points."""
        terms = wigner_terms(self.density.lmax, len(self.order_weights))
        support = [make_support(s.coefficients, s.weights, s.tangents) for s in self.support]
        density = pack(self.density)
        return Potential(density, density.projection, [Direct(terms, self.order_weights, s) for s in support])

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
        if self.mapped is None or direct:
            if precision == "float32":
                raise ValueError("float32 is for models in mapped form: map the model first")
            return self.direct
        if precision not in self._mapped_potentials:
            density = self.direct.density
            if precision == "float32":
                self._warn_of_rounding()
            forms = [pack_forms(factors, np.dtype(precision)) for factors in self.mapped]
            projection = density.projection.astype(precision)
            self._mapped_potentials[precision] = Potential(density, projection, forms)
        return self._mapped_potentials[precision]

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

    def map(self, frames, tolerance: float = 1e-4, threads: int | None = None) -> "Model":
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

    def predict(
        self, numbers, positions, cell, neighbours: Neighbours, threads: int = 1, potential: Potential | None = None
    ) -> Prediction:
        """Energies, forces and virial of one structure, or of those atoms in it that have neighbours listed.

        Args:
            numbers: (N,) atomic numbers.
            positions, cell: (N, 3) and (3, 3), Angstrom.
            neighbours: list that holds all pairs within the cutoff of the first n atoms, the centres: usually all.
            threads: how many.
            potential: one of `potential`, which is the default.

        Raises:
            UnknownElementError: an element is not in the model.
            ClashError: two atoms are on one site.

        """
        index = self.element_indices(numbers)
        structure = Structure(np.ascontiguousarray(positions, float), np.array(cell, float), index, neighbours)
        energies, forces, virial = evaluate(potential or self.potential(), structure, threads)
        return Prediction(energies + self.baseline[index[: len(energies)]], forces, virial)

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
        arrays = {
            "elements": self.elements,
            "radial_values": self.density.radial.values,
            "radial_slopes": self.density.radial.slopes,
            "projection": self.density.projection,
            "order_weights": self.order_weights,
            "baseline": self.baseline,
            "compositions": self.compositions,
            "support_counts": np.array([len(s) for s in self.support]),
            "support_coefficients": np.concatenate([s.coefficients for s in self.support]),
            "support_weights": np.concatenate([s.weights for s in self.support]),
        }
        if self.support[0].tangents is not None:
            arrays["support_tangents"] = np.concatenate([s.tangents for s in self.support])  # type: ignore[misc]
        header = {"lmax": self.density.lmax, "cutoff": self.cutoff, **self.info}
        if self.mapped is not None:
            header["mapped_blocks"], more = to_arrays(self.mapped)
            arrays.update(more)
        write_container(path, header, arrays)

    @classmethod
    def load(cls, path) -> "Model":
        """Read a model file.

        Raises:
            ModelFileError: the file is not a model, of a newer format, truncated or altered.

        """
        header, arrays = read_container(path)
        try:
            lmax, cutoff = int(header.pop("lmax")), float(header.pop("cutoff"))
            radial = RadialTable(cutoff, arrays["radial_values"], arrays["radial_slopes"])
            cuts = np.cumsum(arrays["support_counts"])[:-1]
            present = [n for n in ("coefficients", "weights", "tangents") if f"support_{n}" in arrays]
            blocks, mapped = header.pop("mapped_blocks", None), None
            if blocks is not None:
                mapped = from_arrays(len(arrays["elements"]), blocks, arrays)
            parts = [np.split(arrays[f"support_{name}"], cuts) for name in present]
            return cls(
                arrays["elements"],
                Density(lmax, radial, arrays["projection"]),
                arrays["order_weights"],
                [SupportPoints(*p) for p in zip(*parts, strict=True)],
                arrays["baseline"],
                arrays["compositions"],
                mapped,
                header,
            )
        except KeyError as error:
            raise ModelFileError(f"{path}: the model lacks {error}") from error


load = Model.load
