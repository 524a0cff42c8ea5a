"""The kernels of orders 1 and 2 of the sparse estimator as explicit functions of an environment.

These kernels are inner products of few functions: the coefficients c_0q, and the products (c_lq c_lq') coupled to a
scalar (the power spectrum of SOAP). The labels determine the weights of all of them. Support points, which would
describe the same space with more columns of a hundred times the price, are then left with the higher orders.

In the model the functions stand as support points too. A kernel with a small environment s is a power series in it:
k(c, s) + k(c, -s) is twice the kernel of order 2, and the difference twice that of order 1, but for terms that are
smaller by |s|^2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...density.expansion import Density
from ...forms.feature_products import add_scalar_derivatives
from ...forms.features import Block, all_blocks, degrees, features, multiplicities, restricted

SMALL = 1e-3  # norm of the environments that stand for explicit functions; those of frames have 1
SAMPLE = 1000  # environments of each element that tell how much the functions vary
LEAST = 1e-14  # of the largest eigenvalue of a quadratic function: what is below is rounding


@dataclass(frozen=True)
class LowOrders:
    """Functions phi of environments whose inner products are the kernels of orders 1 and 2, but for the smallest.

    Attributes:
        lmax: largest angular momentum.
        blocks: features with L = 0 of the environments of each element: 1, c_0q and products.
        order_weights: (order,) a_nu of the kernel.

    """

    lmax: int
    blocks: list[Block]
    order_weights: np.ndarray

    @property
    def counts(self) -> list[int]:
        """Number of functions of each element."""
        return [len(block) - 1 for block in self.blocks]  # the constant has no kernel

    @cached_property
    def _factors(self) -> list[np.ndarray]:
        """Factors (P + 1,) by which the features of each element become functions; 0 for the constant."""
        a = np.concatenate([[0.0], self.order_weights[:2]])
        return [np.sqrt(a[degrees(block)] * multiplicities(block)) for block in self.blocks]

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
        single = slice(1, block.n_single)
        out[rows, single] += directions[:, 0, : block.channels] * factors[single]
        for pairs in block.coupled:
            add_scalar_derivatives(pairs, c, directions, factors, rows, out)

    def points(
        self, z: int, coefficients: np.ndarray, support: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Environments (n, n_lm, Q) and weights (n,) of the kernel of all orders that stand for the functions.

        Together with the support points they make the energy sum_s w_s k_high(c, s) + sum_p beta_p phi_p(c), where
        k_high is the kernel of orders from 3 on.

        Args:
            z: the element.
            coefficients: (P,) beta of the functions.
            support: (M, n_lm, Q) support points.
            weights: (M,) w of these.

        """
        slope, squares = self._polynomial(z, coefficients, support.shape[2])
        slope = slope - self.order_weights[0] * weights @ support[:, 0]
        environments, factors = [], []
        for l, matrix in enumerate(squares):
            part = support[:, l**2 : (l + 1) ** 2]
            matrix = matrix - self.order_weights[1] / (2 * l + 1) * np.einsum("s,smq,smr->qr", weights, part, part)
            sizes, vectors = np.linalg.eigh(matrix)
            kept = np.abs(sizes) > LEAST * np.abs(sizes).max(initial=0.0)
            found = np.zeros((int(kept.sum()), *support.shape[1:]))
            found[:, l**2] = SMALL * vectors[:, kept].T
            for sign in (1.0, -1.0):
                environments.append(sign * found)
                factors.append(sizes[kept] * (2 * l + 1) / (2 * SMALL**2 * self.order_weights[1]))
        if size := float(np.linalg.norm(slope)):
            found = np.zeros((1, *support.shape[1:]))
            found[0, 0] = SMALL * slope / size
            for sign in (1.0, -1.0):
                environments.append(sign * found)
                factors.append(np.array([sign * size / (2 * SMALL * self.order_weights[0])]))
        return np.concatenate(environments), np.concatenate(factors)

    def _polynomial(self, z: int, coefficients: np.ndarray, n_channels: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Slope b (Q,) and symmetric A_l (Q, Q) of the energy b . c_0 + sum_lm c_lm . A_l c_lm of the functions."""
        block = self.blocks[z]
        scaled = np.concatenate([[0.0], coefficients]) * self._factors[z]
        slope, squares = np.zeros(n_channels), [np.zeros((n_channels,) * 2) for _ in range(self.lmax + 1)]
        slope[: block.channels] = scaled[1 : block.n_single]
        for l, _, pairs, columns in block.products:
            one = np.zeros((1, (self.lmax + 1) ** 2, n_channels))
            one[0, l**2, pairs[0]] = 1.0
            unit = features(Block(0, True, 0, ((l, l, pairs[:1]),)), one)[0, 0, 1]  # of c_l . c_l
            half = 0.5 * unit * scaled[columns]
            np.add.at(squares[l], (pairs[:, 0], pairs[:, 1]), half)
            np.add.at(squares[l], (pairs[:, 1], pairs[:, 0]), half)
        return slope, squares


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
        low = LowOrders(density.lmax, [block], order_weights)
        spread = np.concatenate([[np.inf], low.values(0, pool[:: len(pool) // SAMPLE + 1]).std(axis=0)])
        spread[: block.n_single] = np.inf
        blocks.append(restricted(block, np.argsort(np.argsort(-spread, kind="stable")) <= most_of_element))
    return LowOrders(density.lmax, blocks, order_weights)
