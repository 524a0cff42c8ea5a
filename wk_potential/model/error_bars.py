"""Error bars of a model: a committee of small mapped forms, calibrated on frames that were left out of the training.

The features of a coarse mapped form are the last layer of the model; the training labels leave their weights uncertain,
and the members of the committee are draws from what they leave (`training.error_bars.rigidity`). One factor for each
kind of label scales the spread of the members to the errors found on left-out frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..atoms.structure import Structure
from ..density.expansion import Density
from ..density.packed import PackedDensity, pack
from ..density.radial import RadialTable
from ..forms.quadratic import TruncatedForm, from_arrays, pack_forms, to_arrays
from .bonds import count_close, count_unusual
from .committee import Deviations, evaluate_committee
from .container import prefixed, within
from .energy import Layer, Potential
from .novelty import count_novel, n_components
from .summary import Summarised

_ARRAYS = (
    "members", "probes", "centres", "largest", "calibration", "closest", "nearest", "farthest", "references",
    "reference_species", "novel",
)  # fmt: skip
CLOSE_GRADE = 10.0  # least grade of an atom with neighbours closer or farther than in any training environment


class Spread(NamedTuple):
    """Standard deviations of a prediction.

    Attributes:
        energy: eV.
        energies: (n,) eV, of the atoms' energies, if errors of different atoms are independent.
        forces: (N, 3) eV/Angstrom.
        virial: (3, 3) eV.
        grade: (n,) extrapolation grade: above 1 where an environment is less certain than 99.9 % of those of the
            training set are without their own frame, `CLOSE_GRADE` at least where neighbours are closer or farther than
            ever there, or the environment as a whole is far from all of them.

    """

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    grade: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Uncertainty(Summarised):
    """Committee of a model.

    Attributes:
        lmax: largest angular momentum of the density that its features are made of.
        channels: of the density, the leading ones, that they are made of.
        forms: by length scale and element, the quadratic forms whose squares are the features.
        members: (R, K) weights of the features of all forms, one after the other, for each member.
        probes: (R, K') like `members`, for a fit in which the energies of the training environments are the labels.
        centres: (n_elements, K') mean energies of the probes on training environments.
        largest: (n_elements,) eV, standard deviation of the probes at which the grade is 1.
        calibration: (5,) factors of the standard deviations of energy, forces, stress, energies, and what the probes
            add to that of the energy, atoms being independent.
        closest: (n_elements, n_elements) Angstrom; a neighbour below this distance is clearly closer than any in the
            training set. For elements that are never neighbours there, it is the cutoff.
        nearest, farthest: (n_elements, K) bounds of the distances of the K nearest neighbours, in units of the sum of
            the covalent radii (`wk_potential.model.bonds`); K is 0 in older models.
        references: (M, D) spectra of environments of the training set (`wk_potential.model.novelty`) by the density of
            the first length scale, with as many channels as the forms have; M is 0 in older models.
        reference_species: (M,) elements of their centres.
        novel: (n_elements,) distance from the nearest reference beyond which an environment is like none of them.

    """

    lmax: int
    channels: int
    forms: list[list[list[TruncatedForm]]]
    members: np.ndarray
    probes: np.ndarray
    centres: np.ndarray
    largest: np.ndarray
    calibration: np.ndarray
    closest: np.ndarray
    nearest: np.ndarray
    farthest: np.ndarray
    references: np.ndarray
    reference_species: np.ndarray
    novel: np.ndarray

    def potential(self, densities: Sequence[Density], elements: np.ndarray) -> "CommitteePotential":
        """Arrays as the compiled functions take them.

        Args:
            densities: of the model's length scales.
            elements: (n_elements,) atomic numbers.

        """
        layers, members, columns = [], [], np.concatenate([self.members, self.probes], axis=1)
        weights = feature_slices(self.forms)
        for density, forms, rows in zip(densities, self.forms, weights, strict=True):
            packed = pack(coarse(density, self.lmax, self.channels))
            layers.append(Layer(packed, packed.projection.astype(float), [pack_forms(f) for f in forms]))
            members.append([np.ascontiguousarray(columns[r]) for r in rows])
        compared = pack(coarse(densities[0], self._reference_lmax(densities[0]), self.channels))
        return CommitteePotential(self, elements, Potential(layers), members, compared)

    def _reference_lmax(self, density: Density) -> int:
        """Largest angular momentum of the spectra of the references."""
        channels = min(self.channels, density.projection.shape[3])
        return self.references.shape[1] // n_components(0, channels) - 1 if len(self.references) else 0

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return description and arrays, for a file."""
        facts: dict[str, Any] = {"lmax": self.lmax, "channels": self.channels, "blocks": []}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        for n, forms in enumerate(self.forms):
            blocks, more = to_arrays(forms)
            facts["blocks"].append(blocks)
            arrays |= prefixed(f"forms{n}_", more)
        return facts, arrays

    @classmethod
    def from_arrays(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Uncertainty":
        """Inverse of `to_arrays`."""
        forms = []
        for n, blocks in enumerate(facts["blocks"]):
            forms.append(from_arrays(len(arrays["largest"]), blocks, within(f"forms{n}_", arrays)))
        n = len(arrays["largest"])
        older: dict[str, np.ndarray] = {"closest": np.zeros((n, n)), "references": np.zeros((0, 0))}
        older |= dict.fromkeys(("nearest", "farthest"), np.zeros((n, 0)))
        older |= {"reference_species": np.zeros(0, np.int64), "novel": np.zeros(n)}
        arrays = {**older, **arrays}
        return cls(int(facts["lmax"]), int(facts["channels"]), forms, *(arrays[name] for name in _ARRAYS))


def coarse(density: Density, lmax: int, channels: int) -> Density:
    """Return the density with the lowest angular momenta and the leading channels only."""
    lmax, radial = min(lmax, density.lmax), density.radial
    parts = (np.ascontiguousarray(x[:, : lmax + 1]) for x in (radial.values, radial.slopes))
    projection = np.ascontiguousarray(density.projection[:, : lmax + 1, :, :channels])
    return Density(lmax, RadialTable(radial.cutoff, *parts), projection, density.saturation)


def feature_slices(forms: Sequence[Sequence[Sequence[TruncatedForm]]]) -> list[list[slice]]:
    """Where the features of each length scale and element are among all features."""
    out: list[list[slice]] = []
    first = 0
    for of_scale in forms:
        out.append([])
        for of_element in of_scale:
            n = sum(len(f.values) for f in of_element)
            out[-1].append(slice(first, first + n))
            first += n
    return out


@dataclass(frozen=True, eq=False, repr=False)
class CommitteePotential(Summarised):
    """A committee as the compiled functions take it; see `Uncertainty.potential`."""

    uncertainty: Uncertainty
    elements: np.ndarray
    potential: Potential
    members: list[list[np.ndarray]]
    compared: PackedDensity  # by which environments are compared

    def deviations(self, structure: Structure, threads: int = 1) -> Deviations:
        """Deviations of the members; the deviations of parts of a structure add up."""
        found = evaluate_committee(self.potential, self.members, structure, threads)
        own, reach = self.uncertainty, max(density.cutoff for density in self.potential.densities)
        unusual = count_unusual(structure, self.elements, own.nearest, own.farthest, reach)
        unusual += count_novel(structure, self.compared, own.references, own.reference_species, own.novel, threads)
        return found._replace(unusual=count_close(structure, own.closest) + unusual)

    def spread(self, deviations: Deviations, species: np.ndarray) -> Spread:
        """Calibrated standard deviations.

        Args:
            deviations: of the whole structure.
            species: (n,) of the centres.

        """
        u = self.uncertainty
        energy, forces, stress, energies, atoms = u.calibration
        n = u.members.shape[1]
        local = _rms(deviations.energies[:, n:] - u.centres[species])
        grade = local / u.largest[species]
        return Spread(
            float(np.hypot(energy * _rms(deviations.energies[:, :n].sum(axis=0)), atoms * np.linalg.norm(local))),
            energies * local,
            forces * _rms(deviations.forces),
            stress * _rms(deviations.virial),
            np.where(deviations.unusual > 0, np.maximum(grade, CLOSE_GRADE), grade),
        )


def _rms(values: np.ndarray) -> np.ndarray:
    """Root mean square over the members, the last axis."""
    return np.sqrt(np.mean(values**2, axis=-1))
