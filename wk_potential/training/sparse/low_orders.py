"""The kernels of orders 1 and 2 of the sparse estimator as explicit functions of an environment.

These kernels are inner products of few functions: the coefficients c_0q, and the products (c_lq c_lq') coupled to a
scalar (the power spectrum of SOAP). The labels determine the weights of all of them. Support points, which would
describe the same space with more columns of about ten times the price, are then left with the higher orders.

In the model the functions stand as support points too: the kernel with r s is a polynomial in r, whose terms are the
orders, so that a finite difference of kernels with some r picks one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...density.expansion import Density
from ...forms.feature_products import add_scalar_derivatives
from ...forms.features import Block, all_blocks, degrees, features, multiplicities, restricted
from ...kernel.coupling import real_cg

SAMPLE = 1000  # environments of each element that tell how much the functions vary
RADIUS = 0.5  # step of the finite difference; environments of frames have a norm of about 1
TINY = 1e-6  # norm of environments without scalar coefficients: they have no kernel of order 1, and order 2 is all
LEAST = 1e-14  # of the largest eigenvalue of a quadratic function: what is below is rounding


@dataclass(frozen=True)
class LowOrders:
    """Functions phi of environments whose inner products are the kernels of orders 1 and 2, but for the smallest.

    Attributes:
        lmax: largest angular momentum.
        blocks: features with L = 0 of the environments of each element: 1, c_0q and products.

    """

    lmax: int
    blocks: list[Block]

    @property
    def counts(self) -> list[int]:
        """Number of functions of each element."""
        return [len(block) - 1 for block in self.blocks]  # the constant has no kernel

    @cached_property
    def _factors(self) -> list[np.ndarray]:
        """Factors (P + 1,) by which the features of each element become functions."""
        return [np.sqrt(multiplicities(block)) for block in self.blocks]

    def scale(self, order_weights: np.ndarray) -> np.ndarray:
        """Factors (n,) by which the functions of all elements count in a kernel with order weights (order,)."""
        return np.concatenate([np.sqrt(order_weights[degrees(block)[1:] - 1]) for block in self.blocks])

    def values(self, z: int, c: np.ndarray) -> np.ndarray:
        """Functions (n, P) of environments c (n, n_lm, Q) of an element."""
        return (features(self.blocks[z], c)[:, 0] * self._factors[z])[:, 1:]

    def add_derivatives(self, z: int, c: np.ndarray, directions: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        """Add derivatives of the functions of an environment to some rows of an array.

        Args:
            z: the element.
            c: (n_lm, Q) the environment.
            directions: (n, n_lm, Q) of the derivatives.
            rows: (n,) to which they are added, each once at most.
            out: (N, P + 1), of which the first column is for the constant.

        """
        block, factors = self.blocks[z], self._factors[z]
        out[rows, 1 : block.n_single] += directions[:, 0, : block.channels]
        for pairs in block.coupled:
            add_scalar_derivatives(pairs, c, directions, factors, rows, out)

    def points(
        self, z: int, coefficients: np.ndarray, support: np.ndarray, weights: np.ndarray, order_weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Environments (n, n_lm, Q) and weights (n,) of the kernel of all orders that stand for the functions.

        Together with the support points they make the energy sum_s w_s k_high(c, s) + sum_p beta_p phi_p(c), where
        k_high is the kernel of orders from 3 on.

        Args:
            z: the element.
            coefficients: (P,) beta of the functions.
            support: (M, n_lm, Q) support points.
            weights: (M,) w of these.
            order_weights: (order,) a_nu of the kernel.

        """
        slope, squares = self._polynomial(z, coefficients, support.shape[2])
        slope = slope - order_weights[0] * weights @ support[:, 0]
        size = float(np.linalg.norm(slope))
        found = [_finite_difference(1, np.array([size]), slope[None] / (size or 1.0), support.shape[1:], order_weights)]
        for l, matrix in enumerate(squares):
            own = support[:, l**2 : (l + 1) ** 2]
            matrix = matrix - order_weights[1] / (2 * l + 1) * np.einsum("s,smq,smr->qr", weights, own, own)
            sizes, vectors = np.linalg.eigh(matrix)
            kept = np.abs(sizes) > LEAST * np.abs(sizes).max(initial=0.0)
            sizes, vectors = sizes[kept], vectors[:, kept].T
            if l == 0:
                found.append(_finite_difference(2, sizes, vectors, support.shape[1:], order_weights))
                continue
            point = np.zeros((len(sizes), *support.shape[1:]))
            point[:, l**2] = TINY * vectors
            weight = sizes * (2 * l + 1) / (2 * order_weights[1] * TINY**2)
            found += [(point, weight), (-point, weight)]
        environments, factors = zip(*found, strict=True)
        return np.concatenate(environments), np.concatenate(factors)

    def _polynomial(self, z: int, coefficients: np.ndarray, n_channels: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Slope b (Q,) and symmetric A_l (Q, Q) of the energy b . c_0 + sum_lm c_lm . A_l c_lm of the functions."""
        block = self.blocks[z]
        scaled = np.concatenate([[0.0], coefficients]) * self._factors[z]
        slope, squares = np.zeros(n_channels), [np.zeros((n_channels,) * 2) for _ in range(self.lmax + 1)]
        slope[: block.channels] = scaled[1 : block.n_single]
        for l, _, (q1, q2), columns in ((l, l2, pairs.T, columns) for l, l2, pairs, columns in block.products):
            half = 0.5 * real_cg(l, l, 0)[0, 0, 0] * scaled[columns]
            np.add.at(squares[l], (q1, q2), half)
            np.add.at(squares[l], (q2, q1), half)
        return slope, squares


def _finite_difference(
    degree: int, sizes: np.ndarray, vectors: np.ndarray, shape: tuple[int, ...], order_weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Environments (m, n_lm, Q) and weights (m,) whose kernels add up to sum_n size_n (vector_n . c_0)^degree.

    Kernels with r s and -r s have even terms r^2, r^4, ... and odd terms r, r^3, ...: as many r as there are such terms
    leave the wanted one alone.

    Args:
        degree: 1 or 2.
        sizes: (n,) of the functions.
        vectors: (n, Q) of the scalar coefficients.
        shape: (n_lm, Q).
        order_weights: (order,) a_nu of the kernel.

    """
    radii = RADIUS * np.arange(1, (len(order_weights) + 1) // 2 + 1)
    powers = degree + 2 * np.arange(len(radii))
    wanted = np.where(powers == degree, 0.5 / order_weights[degree - 1], 0.0)
    stencil = np.linalg.solve(radii[None] ** powers[:, None], wanted)
    point = np.zeros((len(sizes), *shape))
    point[:, 0] = vectors
    signed = [(sign * r, sign**degree * w) for r, w in zip(radii, stencil, strict=True) for sign in (1.0, -1.0)]
    return np.concatenate([r * point for r, _ in signed]), np.concatenate([w * sizes for _, w in signed])


def high_orders(order_weights: np.ndarray) -> np.ndarray:
    """Order weights (..., order) of kernels beside explicit functions: those of orders 1 and 2 are zero."""
    return np.where(np.arange(order_weights.shape[-1]) < 2, 0.0, order_weights)


def count_low_orders(density: Density, order: int, most: int) -> int:
    """Number of functions that `choose_low_orders` chooses, `most` at most."""
    channels = np.count_nonzero(density.projection.any(axis=2), axis=2)  # of each element and l
    every = channels[:, 0] + (channels * (channels + 1) // 2).sum(axis=1)
    return int(np.minimum(every, most // len(every)).sum()) if order > 2 else 0


def choose_low_orders(
    pools: Sequence[np.ndarray], density: Density, order_weights: np.ndarray, most: int
) -> LowOrders | None:
    """Return the functions of orders 1 and 2 that vary most, the same number for each element, `most` of all.

    None if there is no room, or no higher order for the support points.

    Args:
        pools: environments (n, n_lm, Q) of each element.
        density: that describes them.
        order_weights: (order,) a_nu of the kernel.
        most: number of functions.

    """
    most_of_element = most // len(pools)
    if len(order_weights) < 3 or not most_of_element or not (order_weights[:2] > 0).all():
        return None
    blocks = []
    for z, pool in enumerate(pools):
        channels = np.count_nonzero(density.projection[z].any(axis=1), axis=1)
        block = all_blocks(density.lmax, channels)[0]
        values = LowOrders(density.lmax, [block]).values(0, pool[:: len(pool) // SAMPLE + 1])
        spread = np.concatenate([[np.inf], values.std(axis=0)])
        spread[: block.n_single] = np.inf
        blocks.append(restricted(block, np.argsort(np.argsort(-spread, kind="stable")) <= most_of_element))
    return LowOrders(density.lmax, blocks)
