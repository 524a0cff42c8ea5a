"""Bilinear forms of vectors and tensors: what they are, their layout for compiled functions and for a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kernel.coupling import real_cg
from .bilinear_kernel import PackedBilinearForm, PackedCoupling, factor_room
from .features import feature_derivatives, features
from .quadratic import TruncatedForm, from_arrays, pack_forms, to_arrays
from .quadratic_kernel import all_packed_blocks


@dataclass(frozen=True)
class BilinearForm:
    """Polynomial of one central element, T_M = sum over couplings and r, s of core[r, s] (y_r y'_s)_LM.

    Attributes:
        momentum: L.
        factors: y = vectors x of each block, x its features; `values` are their sizes.
        couplings: (block, block, core (R, R')).

    """

    momentum: int
    factors: list[TruncatedForm]
    couplings: list[tuple[int, int, np.ndarray]]

    def values(self, coefficients: np.ndarray) -> np.ndarray:
        """Values (n, 2L + 1) for environments (n, n_lm, Q)."""
        y = [features(f.block, coefficients) @ f.vectors.T for f in self.factors]
        return self._coupled(y, y)

    @property
    def cost(self) -> float:
        """Multiply-adds of the products with the factors and cores."""
        factors = sum((2 * f.block.L + 1) * f.vectors.size for f in self.factors)
        return factors + sum((2 * self.factors[j].block.L + 1) * core.size for _, j, core in self.couplings)

    def _coupled(self, left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> np.ndarray:
        out = np.zeros((len(left[0]), 2 * self.momentum + 1))
        for i, j, core in self.couplings:
            cg = real_cg(self.factors[i].block.L, self.factors[j].block.L, self.momentum)
            products = left[i] @ np.swapaxes(right[j] @ core.T, 1, 2)
            out += np.tensordot(products, cg, 2)
        return out

    def derivatives(self, coefficients: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Derivatives (n, 2L + 1) along directions (n, n_lm, Q)."""
        y = [features(f.block, coefficients) @ f.vectors.T for f in self.factors]
        dy = [feature_derivatives(f.block, coefficients, directions) @ f.vectors.T for f in self.factors]
        return self._coupled(dy, y) + self._coupled(y, dy)


def pack_tensor(form: BilinearForm) -> PackedBilinearForm:
    """Layout of a form as the compiled functions take it."""
    used = [k for k, f in enumerate(form.factors) if len(f.values)]
    forms = pack_forms([form.factors[k] for k in used])
    blocks = all_packed_blocks(forms)
    sizes = blocks.n_factors * factor_room(blocks.L)
    couplings, terms, weights, cores = [], [np.zeros((0, 3), np.int64)], [np.zeros(0)], [np.zeros(0)]
    n_core = n_terms = 0
    for i, j, core in form.couplings:
        cg = real_cg(form.factors[i].block.L, form.factors[j].block.L, form.momentum)
        couplings.append(PackedCoupling(used.index(i), used.index(j), n_core, n_terms))
        terms.append(np.argwhere(cg))
        weights.append(cg[cg != 0])
        cores.append(core.ravel())
        n_core, n_terms = n_core + core.size, n_terms + len(terms[-1])
    couplings.append(PackedCoupling(0, 0, n_core, n_terms))
    places = np.cumsum(sizes) - sizes
    return PackedBilinearForm(
        forms, places, np.array(couplings), np.concatenate(cores), np.concatenate(terms), np.concatenate(weights)
    )


def tensor_to_arrays(forms: Sequence[BilinearForm]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return description and arrays of the forms of all elements, for a file."""
    blocks, arrays = to_arrays([form.factors for form in forms])
    couplings = [[z, i, j, *core.shape] for z, form in enumerate(forms) for i, j, core in form.couplings]
    cores = [core.ravel() for form in forms for _, _, core in form.couplings]
    arrays["cores"] = np.concatenate([*cores, np.zeros(0)])
    return {"blocks": blocks, "couplings": couplings}, arrays


def tensor_from_arrays(
    momentum: int, n_elements: int, description: dict[str, Any], arrays: dict[str, np.ndarray]
) -> list[BilinearForm]:
    """Inverse of `tensor_to_arrays`."""
    factors, cores = from_arrays(n_elements, description["blocks"], arrays), arrays["cores"]
    out = [BilinearForm(momentum, f, []) for f in factors]
    for element, i, j, rows, columns in description["couplings"]:
        out[element].couplings.append((i, j, cores[: rows * columns].reshape(rows, columns)))
        cores = cores[rows * columns :]
    return out
