"""The features of the mapped kernel: equivariants of orders 0 to 2 of an environment, by blocks (L, parity).

Kernels of orders 1 to 4 are quadratic in them: with c the density coefficients and b = (c c) their products coupled to
(L, sigma), k1 = c_0 . c'_0, k2 = <c, c'>, k3 = <b, b'> restricted to <c, c'>, k4 = <b, b'> squared; `order_factors`
says which pairs of features make which order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .feature_products import CoupledPairs, add_product_gradients, add_products, coupled_pairs


@dataclass(frozen=True)
class Block:
    """Features of one (L, parity): a constant if L = 0, the coefficients c_L, products of two coefficients.

    Attributes:
        L: angular momentum.
        constant: whether the number 1 is the first feature.
        channels: how many channels of c_L are features: none in blocks of pseudotensors.
        groups: l1, l2 and channels (n, 2) of the products.

    """

    L: int
    constant: bool
    channels: int
    groups: tuple[tuple[int, int, np.ndarray], ...]

    @property
    def n_single(self) -> int:
        """Number of features that are no products."""
        return self.constant + self.channels

    @property
    def products(self) -> Iterator[tuple[int, int, np.ndarray, slice]]:
        """Groups l1, l2, pairs (n, 2) of products, each with its columns among the features."""
        first = self.n_single
        for l1, l2, pairs in self.groups:
            yield l1, l2, pairs, slice(first, first + len(pairs))
            first += len(pairs)

    @cached_property
    def coupled(self) -> list[CoupledPairs]:
        """Groups of products, for compiled loops."""
        return [coupled_pairs(l1, l2, self.L, pairs, columns.start) for l1, l2, pairs, columns in self.products]

    def __len__(self) -> int:
        return self.n_single + sum(len(pairs) for _, _, pairs in self.groups)


def all_blocks(lmax: int, channels: Sequence[int] | np.ndarray) -> list[Block]:
    """Blocks with all products, those that vanish or repeat others left out.

    Args:
        lmax: largest angular momentum.
        channels: (lmax + 1,) number of channels of each l.

    """
    out = []
    for parity in (0, 1):
        for big_l in range(lmax + 1):
            groups = []
            for l1 in range(lmax + 1):
                for l2 in range(l1, lmax + 1):
                    if not abs(l1 - l2) <= big_l <= l1 + l2 or (l1 + l2 + big_l) % 2 != parity:
                        continue
                    pairs = np.argwhere(np.ones((channels[l1], channels[l2]), bool))
                    if l1 == l2:  # symmetric in the two for L even, antisymmetric for L odd
                        pairs = pairs[pairs[:, 0] <= pairs[:, 1] - big_l % 2]
                    if len(pairs):
                        groups.append((l1, l2, pairs))
            if groups or (parity == 0 and (big_l == 0 or channels[big_l] > 0)):
                out.append(Block(big_l, parity == 0 == big_l, 0 if parity else channels[big_l], tuple(groups)))
    return out


def restricted(block: Block, keep: np.ndarray) -> Block:
    """Return the block with those of its products for which `keep` (len(block),) is true; all others stay."""
    groups = []
    for l1, l2, pairs, columns in block.products:
        kept = pairs[keep[columns]]
        if len(kept):
            groups.append((l1, l2, kept))
    return Block(block.L, block.constant, block.channels, tuple(groups))


def fill_features(block: Block, c: np.ndarray, out: np.ndarray) -> None:
    """Fill out (n, 2 L + 1, P) with the features of environments c (n, n_lm, Q)."""
    out[:] = 0.0
    out[:, :, : int(block.constant)] = 1.0
    out[:, :, int(block.constant) : block.n_single] = c[:, block.L**2 : (block.L + 1) ** 2, : block.channels]
    for pairs in block.coupled:
        add_products(pairs, c, c, out)


def fill_derivatives(block: Block, c: np.ndarray, d: np.ndarray, out: np.ndarray) -> None:
    """Fill out (n, 2 L + 1, P) with what `feature_derivatives` returns."""
    out[:] = 0.0
    out[:, :, int(block.constant) : block.n_single] = d[:, block.L**2 : (block.L + 1) ** 2, : block.channels]
    for pairs in block.coupled:
        add_products(pairs, c, d, out)
        add_products(pairs, d, c, out)


def features(block: Block, c: np.ndarray) -> np.ndarray:
    """Features (n, 2 L + 1, P) of environments c (n, n_lm, Q)."""
    out = np.empty((len(c), 2 * block.L + 1, len(block)))
    fill_features(block, c, out)
    return out


def feature_derivatives(block: Block, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Derivatives (n, 2 L + 1, P) of the features of environments c along directions d, both (n, n_lm, Q)."""
    out = np.empty((len(c), 2 * block.L + 1, len(block)))
    fill_derivatives(block, c, d, out)
    return out


def add_feature_gradients(block: Block, c: np.ndarray, slopes: np.ndarray, out: np.ndarray) -> None:
    """Add to out (n, n_lm, Q) the gradients in environments c of their features times slopes (n, 2 L + 1, P)."""
    out[:, block.L**2 : (block.L + 1) ** 2, : block.channels] += slopes[:, :, int(block.constant) : block.n_single]
    for pairs in block.coupled:
        add_product_gradients(pairs, c, slopes, out)


def multiplicities(block: Block) -> np.ndarray:
    """How often each feature occurs in the kernel: 2 for products of unequal factors."""
    parts = [np.ones(block.n_single)]
    for l1, l2, pairs in block.groups:
        parts.append(np.where((l1 == l2) & (pairs[:, 0] == pairs[:, 1]), 1.0, 2.0))
    return np.concatenate(parts)


def order_products(left: Block, right: Block, order_weights: np.ndarray) -> np.ndarray:
    """Factors (P, P') of the products of features of two blocks in sum_nu a_nu k^(nu), nu <= 4."""
    a = np.concatenate([order_weights, np.zeros(4 - len(order_weights))])
    # by the degrees 0, 1, 2 of the two features: orders 1, 3 are split between the two triangles
    table = np.array([[0.0, a[0] / 2, 0.0], [a[0] / 2, a[1], a[2] / 2], [0.0, a[2] / 2, a[3]]])
    return table[np.ix_(degrees(left), degrees(right))]


def degrees(block: Block) -> np.ndarray:
    """Degree (P,) of each feature in the density coefficients: 0, 1 or 2."""
    degree = np.full(len(block), 2)
    degree[: block.n_single] = 1
    degree[: int(block.constant)] = 0
    return degree


def order_factors(block: Block, order_weights: np.ndarray) -> np.ndarray:
    """Factors (P, P) of the products of two features of a block in the invariant kernel."""
    return order_products(block, block, order_weights) / (2 * block.L + 1)


def form_of_half(block: Block, half: np.ndarray, order_weights: np.ndarray) -> np.ndarray:
    """W (P, P) of a kernel, E = sum_M x_M^T W x_M, from a sum (P, P) of the products of features x_M and x'_M.

    The sum is over support points: 1/2 w x x^T for a weight w, x dx^T for a derivative dx.
    """
    twice = multiplicities(block)
    scaled = half * order_factors(block, order_weights) * np.outer(twice, twice)
    return scaled + scaled.T
