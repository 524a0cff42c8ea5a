"""The features of the mapped kernel: equivariants of orders 0 to 2 of an environment, by blocks (L, parity).

Kernels of orders 1 to 4 are quadratic in them: with c the density coefficients and b = (c c) their products coupled to
(L, sigma), k1 = c_0 . c'_0, k2 = <c, c'>, k3 = <b, b'> restricted to <c, c'>, k4 = <b, b'> squared; `order_factors`
says which pairs of features make which order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..kernel.coupling import real_cg


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


def _products(block: Block, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """(n, 2 L + 1, n_products): sum of CG c_{l1 q1} d_{l2 q2}."""
    parts = []
    for l1, l2, pairs in block.groups:
        cg = real_cg(l1, l2, block.L)
        part = np.zeros((len(c), 2 * block.L + 1, len(pairs)))
        for a, b, m in np.argwhere(cg):
            part[:, m] += cg[a, b, m] * c[:, l1 * l1 + a, pairs[:, 0]] * d[:, l2 * l2 + b, pairs[:, 1]]
        parts.append(part)
    return np.concatenate(parts, axis=2) if parts else np.zeros((len(c), 2 * block.L + 1, 0))


def features(block: Block, c: np.ndarray) -> np.ndarray:
    """Features (n, 2 L + 1, P) of environments c (n, n_lm, Q)."""
    big_l = block.L
    constant = np.ones((len(c), 2 * big_l + 1, int(block.constant)))
    single = c[:, big_l**2 : (big_l + 1) ** 2, : block.channels]
    return np.concatenate([constant, single, _products(block, c, c)], axis=2)


def feature_derivatives(block: Block, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Derivatives (n, 2 L + 1, P) of the features of environments c along directions d, both (n, n_lm, Q)."""
    big_l = block.L
    constant = np.zeros((len(c), 2 * big_l + 1, int(block.constant)))
    single = d[:, big_l**2 : (big_l + 1) ** 2, : block.channels]
    return np.concatenate([constant, single, _products(block, c, d) + _products(block, d, c)], axis=2)


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
    return table[np.ix_(_degrees(left), _degrees(right))]


def _degrees(block: Block) -> np.ndarray:
    degree = np.full(len(block), 2)
    degree[: block.n_single] = 1
    degree[: int(block.constant)] = 0
    return degree


def order_factors(block: Block, order_weights: np.ndarray) -> np.ndarray:
    """Factors (P, P) of the products of two features of a block in the invariant kernel."""
    return order_products(block, block, order_weights) / (2 * block.L + 1)
