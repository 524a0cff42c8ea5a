"""Support points of a model."""

from dataclasses import dataclass

import numpy as np

from .summary import Summarised


@dataclass(frozen=True, eq=False, repr=False)
class SupportPoints(Summarised):
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
