"""The same polynomial with fewer components: quartic invariants rewritten by recoupling their four factors.

(a b)_L . (c d)_L is a sum of (a c)_L' . (b d)_L' and of the two other pairings, and there are more of these than the
invariants that four angular momenta have. So products of high L are written with those of low L, which have fewer
components: for lmax = 3 nothing beyond L = 2 is left. Terms of second and third order move likewise.
"""

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np

from ...forms.features import Block, all_blocks
from ...kernel.coupling import real_cg

_Pairing: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
_PAIRINGS: tuple[_Pairing, ...] = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))


def _couples(l: Sequence[int], pairing: _Pairing, big_l: int) -> bool:
    """Whether both pairs of angular momenta couple to L."""
    (i, j), (k, m) = pairing
    return max(abs(l[i] - l[j]), abs(l[k] - l[m])) <= big_l <= min(l[i] + l[j], l[k] + l[m])


def _invariant(l: Sequence[int], pairing: _Pairing, big_l: int, vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Values (n,) of (a b)_L . (c d)_L for vectors of angular momenta l."""
    (i, j), (k, m) = pairing
    first = np.einsum("abM,na,nb->nM", real_cg(l[i], l[j], big_l), vectors[i], vectors[j])
    second = np.einsum("abM,na,nb->nM", real_cg(l[k], l[m], big_l), vectors[k], vectors[m])
    return np.sum(first * second, axis=1)


@cache
def recoupling(l: tuple[int, int, int, int], big_l: int) -> list[tuple[int, int, float]]:
    """Coefficients of (a b)_L . (c d)_L in the cheapest invariants that span it, as (pairing, L', coefficient).

    Found by least squares on random vectors, which is exact: the invariants of given l are a space of at most
    2 min(l) + 1 dimensions. Pseudotensors are taken only where the tensors of the same L' do not suffice.
    """
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=(48, 2 * x + 1)) for x in l]
    target = _invariant(l, _PAIRINGS[0], big_l, vectors)
    candidates = []
    for k, pairing in enumerate(_PAIRINGS):
        for other in range(max(l) * 2 + 1):
            if _couples(l, pairing, other):
                odd = (l[pairing[0][0]] + l[pairing[0][1]] + other) % 2
                candidates.append((other, odd, k, _invariant(l, pairing, other, vectors)))
    for level in sorted({c[:2] for c in candidates}):
        usable = [c for c in candidates if c[:2] <= level]
        matrix = np.stack([c[3] for c in usable], axis=1)
        solution = np.linalg.lstsq(matrix, target, rcond=1e-10)[0]
        if np.linalg.norm(matrix @ solution - target) < 1e-9 * np.linalg.norm(target):
            return [(c[2], c[0], float(x)) for c, x in zip(usable, solution, strict=True) if abs(x) > 1e-12]
    raise ArithmeticError(f"no recoupling of {l} at L = {big_l}")


@cache
def _third_order(l: int, l1: int, l2: int) -> tuple[int, float]:
    """Which of a, b, c is to stand alone in a_l . (b c)_l, and the factor of the invariant so written."""
    momenta = (l, l1, l2)
    alone = int(np.argmin(momenta))
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=2 * x + 1) for x in momenta]

    def value(k: int) -> float:
        i, j = (x for x in range(3) if x != k)
        cg = real_cg(momenta[i], momenta[j], momenta[k])
        return np.einsum("abM,a,b,M", cg, vectors[i], vectors[j], vectors[k])

    return alone, float(value(0) / value(alone))


def _folded(t: np.ndarray, l1: int, l2: int, big_l: int, axis: int) -> tuple[int, int, np.ndarray]:
    """Bring the factors of (b c)_L, whose channels are two axes of t, into the order l1 <= l2 and q1 <= q2."""
    swapped = np.swapaxes(t, axis, axis + 1) * (-1) ** (l1 + l2 + big_l)
    if l1 != l2:
        return (l2, l1, swapped) if l1 > l2 else (l1, l2, t)
    both = t + swapped
    once = np.arange(t.shape[axis])
    np.moveaxis(both, (axis, axis + 1), (0, 1))[once, once] *= 0.5  # a view
    return l1, l2, both


class _Target:
    """Blocks with all products and the matrices that are built up of them."""

    def __init__(self, lmax: int, channels: np.ndarray) -> None:
        self.blocks = all_blocks(lmax, channels)
        self.matrices = [np.zeros((len(b), len(b))) for b in self.blocks]
        self.groups: dict[tuple[int, int, int], tuple[int, slice, np.ndarray]] = {}
        for n, block in enumerate(self.blocks):
            for l1, l2, pairs, columns in block.products:
                self.groups[block.L, l1, l2] = n, columns, pairs

    def _add(self, n: int, rows: slice, columns: slice, part: np.ndarray) -> None:
        self.matrices[n][rows, columns] += 0.5 * part
        self.matrices[n][columns, rows] += 0.5 * part.T

    def add_quartic(self, big_l: int, l: Sequence[int], t: np.ndarray) -> None:
        """Add sum t[a, b, c, d] (a b)_L . (c d)_L."""
        l1, l2, t = _folded(t, l[0], l[1], big_l, 0)
        l3, l4, t = _folded(t, l[2], l[3], big_l, 2)
        if (big_l, l1, l2) in self.groups and (big_l, l3, l4) in self.groups:
            n, rows, p = self.groups[big_l, l1, l2]
            _, columns, r = self.groups[big_l, l3, l4]
            self._add(n, rows, columns, t[p[:, :1], p[:, 1:], r[:, 0], r[:, 1]])

    def add_cubic(self, l: tuple[int, int, int], t: np.ndarray) -> None:
        """Add sum t[a, b, c] a_l . (b c)_l."""
        alone, factor = _third_order(*l)
        big_l, (la, lb) = l[alone], (x for k, x in enumerate(l) if k != alone)
        l1, l2, t = _folded(np.moveaxis(t, alone, 0) * factor, la, lb, big_l, 1)
        if (big_l, l1, l2) in self.groups:
            n, columns, p = self.groups[big_l, l1, l2]
            block = self.blocks[n]
            self._add(n, slice(int(block.constant), block.n_single), columns, t[:, p[:, 0], p[:, 1]])

    def add_quadratic(self, l: int, t: np.ndarray) -> None:
        """Add sum t[a, b] a_l . b_l as the constant times (a b)_0."""
        n, columns, p = self.groups[0, l, l]
        _, _, t = _folded(t / real_cg(l, l, 0)[0, 0, 0], l, l, 0, 0)
        self._add(n, slice(0, 1), columns, t[p[:, 0], p[:, 1]][None])


def _unfolded(part: np.ndarray, p: np.ndarray, l1: int, l2: int, n1: int, n2: int, big_l: int) -> np.ndarray:
    """Spread the rows of `part` (pairs, ...) over two axes of channels, symmetric where the factors have one l."""
    t = np.zeros((n1, n2, *part.shape[1:]))
    t[p[:, 0], p[:, 1]] = part
    return 0.5 * (t + np.swapaxes(t, 0, 1) * (-1) ** (l1 + l2 + big_l)) if l1 == l2 else t


def recoupled(
    blocks: Sequence[Block], matrices: Sequence[np.ndarray], channels: np.ndarray
) -> tuple[list[Block], list[np.ndarray]]:
    """Blocks and matrices W (P, P) of the same polynomial with the lowest L.

    Args:
        blocks: with all products of the channels.
        matrices: (P, P) symmetric, one for each block.
        channels: (lmax + 1,) number of channels of each l.

    """
    target = _Target(len(channels) - 1, channels)
    for block, w in zip(blocks, matrices, strict=True):
        big_l, single = block.L, slice(int(block.constant), block.n_single)
        if block.constant:
            target.matrices[0][0, single] += w[0, single]
            target.matrices[0][single, 0] += w[single, 0]
        if block.channels:
            target.add_quadratic(big_l, w[single, single])
        parts = list(block.products)
        for l1, l2, p, rows in parts:
            n1, n2 = channels[l1], channels[l2]
            half = _unfolded(w[rows], p, l1, l2, n1, n2, big_l)
            if block.channels:
                target.add_cubic((big_l, l1, l2), 2 * np.moveaxis(half[:, :, single], 2, 0))
            for l3, l4, r, columns in parts:
                right = np.moveaxis(half[:, :, columns], 2, 0)
                t = _unfolded(right, r, l3, l4, channels[l3], channels[l4], big_l)  # axes c, d, a, b
                t = t.transpose(2, 3, 0, 1)
                l = (l1, l2, l3, l4)
                for k, other, coefficient in recoupling(l, big_l):
                    order = [x for pair in _PAIRINGS[k] for x in pair]
                    target.add_quartic(other, [l[x] for x in order], coefficient * t.transpose(order))
    used = [k for k, w in enumerate(target.matrices) if np.any(w)]
    return [target.blocks[k] for k in used], [target.matrices[k] for k in used]
