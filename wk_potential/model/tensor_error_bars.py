"""Error bars of vectors and tensors: a committee of coarse forms whose weights are drawn from their posterior."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..atoms.structure import Structure
from ..density.expansion import Density
from ..density.packed import pack
from ..forms.bilinear import BilinearForm, pack_tensor, tensor_from_arrays, tensor_to_arrays
from .container import prefixed, within
from .error_bars import coarse
from .summary import Summarised
from .tensor_evaluation import TensorLayer, tensor_terms_of


@dataclass(frozen=True, eq=False, repr=False)
class TensorSpread(Summarised):
    """Error bars of a part of angular momentum L (`wk_potential.training.error_bars.tensors`).

    Attributes:
        momentum: L.
        lmax: largest angular momentum of the density that the forms are of.
        channels: of the density, the leading ones.
        forms: by length scale and element, whose sum over terms is about the value.
        members: (R, K) deviations of the weights of these terms from 1, calibrated.

    """

    momentum: int
    lmax: int
    channels: int
    forms: list[list[BilinearForm]]
    members: np.ndarray

    def layers(self, densities: Sequence[Density]) -> list[TensorLayer]:
        """Forms as the compiled functions take them, of a target's densities."""
        return tensor_layers([coarse(d, self.lmax, self.channels) for d in densities], self.momentum, self.forms)

    def deviations(self, layers: Sequence[TensorLayer], structure: Structure, threads: int = 1) -> np.ndarray:
        """Deviations (K, 2L + 1) of the members from the value of the sum over all centres."""
        return self.members.T @ tensor_terms_of(layers, structure, threads)

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return description and arrays, for a file."""
        facts: dict[str, Any] = {"lmax": self.lmax, "channels": self.channels, "forms": []}
        arrays = {"members": self.members}
        for n, forms in enumerate(self.forms):
            description, more = tensor_to_arrays(forms)
            facts["forms"].append(description)
            arrays |= prefixed(f"scale{n}_", more)
        return facts, arrays

    @classmethod
    def from_arrays(
        cls, momentum: int, n_elements: int, facts: dict[str, Any], arrays: dict[str, np.ndarray]
    ) -> "TensorSpread":
        """Inverse of `to_arrays`."""
        forms = [
            tensor_from_arrays(momentum, n_elements, description, within(f"scale{n}_", arrays))
            for n, description in enumerate(facts["forms"])
        ]
        return cls(momentum, facts["lmax"], facts["channels"], forms, arrays["members"])


def tensor_layers(
    densities: Sequence[Density], momentum: int, forms: Sequence[Sequence[BilinearForm]]
) -> list[TensorLayer]:
    """Layers of forms by length scale and element."""
    scales = zip(densities, forms, strict=True)
    return [TensorLayer(pack(d), momentum, [pack_tensor(f) for f in of_scale]) for d, of_scale in scales]
