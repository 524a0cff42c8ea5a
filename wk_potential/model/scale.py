"""One length scale of a model: a density and a kernel with its support points."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..density.expansion import Density, density_from_arrays, density_to_arrays
from ..density.packed import PackedDensity, pack
from ..forms.quadratic import TruncatedForm, from_arrays, pack_forms, to_arrays
from ..kernel.coupling import wigner_terms
from ..kernel.direct import make_support
from .energy import Direct, Layer
from .summary import Summarised
from .support import SupportPoints


@dataclass(frozen=True, eq=False, repr=False)
class Scale(Summarised):
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
    mapped: list[list[TruncatedForm]] | None = None

    @property
    def order(self) -> int:
        """Correlation order nu."""
        return self.order_weights.shape[1]

    @cached_property
    def _packed(self) -> PackedDensity:
        """The density as the compiled functions take it."""
        return pack(self.density)

    @cached_property
    def direct(self) -> Layer:
        """The kernel with all support points."""
        terms = wigner_terms(self.density.lmax, self.order)
        support = [make_support(s.coefficients, s.weights, s.tangents) for s in self.support]
        energies = [Direct(terms, a, s) for a, s in zip(self.order_weights, support, strict=True)]
        return Layer(self._packed, self._packed.projection, energies)

    def with_forms(self, mapped: list[list[TruncatedForm]], precision: str = "float64") -> Layer:
        """Quadratic forms instead of the support points."""
        density, kind = self._packed, np.dtype(precision)
        return Layer(density, density.projection.astype(kind), [pack_forms(factors, kind) for factors in mapped])


def scale_to_arrays(scale: Scale) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return description and arrays of a scale, for a file."""
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


def scale_from_arrays(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Scale:
    """Inverse of `scale_to_arrays`."""
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
