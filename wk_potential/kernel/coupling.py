"""Coupling coefficients of real spherical harmonics and the term lists of the Wigner iteration.

A kernel of order nu is a set of blocks k^{L,sigma}_{MM'} with L = 0..lmax and parity sigma = +1 (true
tensor) or -1 (pseudotensor), stored flat: sigma = +1 first, then L, then M, then M'. The nu = 1 kernel
has sigma = +1 only.
"""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise, product
from math import factorial, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import OptionsError
from .lanes import BITS, MOST


class Terms(NamedTuple):
    """A bilinear map out[o] += w * x[a] * y[b], sorted by o.

    Attributes:
        start: (n_out + 1,) first term of each output.
        a, b: (n_terms,) indices of the two factors.
        w: (n_terms,) coefficients.

    """

    start: np.ndarray
    a: np.ndarray
    b: np.ndarray
    w: np.ndarray


def block_offsets(lmax: int) -> np.ndarray:
    """Offsets (lmax + 2,) of the (2l + 1)^2 blocks l = 0..lmax in a flat kernel of one parity."""
    return np.concatenate([[0], np.cumsum((2 * np.arange(lmax + 1) + 1) ** 2)])


def kernel_size(lmax: int) -> int:
    """Return the number of components of the nu = 1 kernel: the sum of (2l + 1)^2."""
    return int(block_offsets(lmax)[-1])


def _complex_cg(l1: int, m1: int, l2: int, m2: int, l3: int, m3: int) -> float:
    """Clebsch-Gordan coefficient <l1 m1 l2 m2 | l3 m3> by Racah's formula."""
    if m3 != m1 + m2 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    f = factorial
    prefactor = sqrt((2 * l3 + 1) * f(l3 + l1 - l2) * f(l3 - l1 + l2) * f(l1 + l2 - l3) / f(l1 + l2 + l3 + 1)) * sqrt(
        f(l3 + m3) * f(l3 - m3) * f(l1 - m1) * f(l1 + m1) * f(l2 - m2) * f(l2 + m2)
    )
    total = 0.0
    for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
        total += (-1) ** k / (
            f(k) * f(l1 + l2 - l3 - k) * f(l1 - m1 - k) * f(l2 + m2 - k) * f(l3 - l2 + m1 + k) * f(l3 - l1 - m2 + k)
        )
    return prefactor * total


def _real_from_complex(l: int) -> np.ndarray:
    """Unitary U with Y_real = U Y_complex, rows m = -l..l (sin |m|, 1, cos m), Condon-Shortley phase."""
    u = np.zeros((2 * l + 1, 2 * l + 1), complex)
    u[l, l] = 1.0
    for m in range(1, l + 1):
        u[l + m, l + m] = (-1) ** m / sqrt(2)
        u[l + m, l - m] = 1 / sqrt(2)
        u[l - m, l - m] = 1j / sqrt(2)
        u[l - m, l + m] = -1j * (-1) ** m / sqrt(2)
    return u


@cache
def real_cg(l1: int, l2: int, l3: int) -> np.ndarray:
    """Coupling coefficients (2 l1 + 1, 2 l2 + 1, 2 l3 + 1) of real harmonics.

    For l1 + l2 + l3 odd the transformed coefficients are imaginary; their common factor i is dropped,
    which leaves products of two of them, as the Wigner iteration needs, unchanged up to the sign that
    makes the kernel positive.
    """
    cg = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            cg[l1 + m1, l2 + m2, l3 + m1 + m2] = _complex_cg(l1, m1, l2, m2, l3, m1 + m2)
    u1, u2, u3 = (_real_from_complex(l) for l in (l1, l2, l3))
    real = np.einsum("am,bn,cp,mnp->abc", u1.conj(), u2.conj(), u3, cg.astype(complex), optimize=True)
    out = np.ascontiguousarray(real.real if (l1 + l2 + l3) % 2 == 0 else real.imag)
    out[np.abs(out) < 1e-14] = 0.0
    return out


@cache
def product_terms(lmax: int, first: int, second: int, momentum: int | None = None) -> Terms:
    """Term list of P[k^(first) k^(second)], truncated at lmax, both parities kept.

    k^{L,s s'}_{MM'} = sum_{l1 l2} C^{LM}_{l1 m1 l2 m2} C^{LM'}_{l1 m1' l2 m2'} k^{l1,s}_{m1 m1'} k^{l2,s2}_{m2 m2'},
    s' = s2 (-1)^{l1 + l2 + L} (Bigi, Pozdnyakov, Ceriotti, arXiv:2303.04124). Where both factors are the same kernel
    (a, b) is merged with (b, a) and a <= b.

    Args:
        lmax: largest angular momentum of the factors.
        first, second: their orders; those of order 1 have one parity.
        momentum: L of the only block that is wanted, that of true tensors; otherwise all blocks are.

    """
    size, offset = kernel_size(lmax), block_offsets(lmax)
    merged: dict[tuple[int, int, int], float] = {}
    for p1, p2 in product((0, 1) if first > 1 else (0,), (0, 1) if second > 1 else (0,)):
        for l1, l2 in product(range(lmax + 1), repeat=2):
            for l3 in range(abs(l1 - l2), min(lmax if momentum is None else momentum, l1 + l2) + 1):
                out_parity = p1 ^ p2 ^ ((l1 + l2 + l3) % 2)
                if momentum is not None and (l3 != momentum or out_parity):
                    continue
                cg = real_cg(l1, l2, l3)
                m1, m2, m3 = np.nonzero(cg)
                value = cg[m1, m2, m3]
                start = out_parity * size + offset[l3] if momentum is None else 0
                # every pair of non-zero coefficients (m1 m2 m3), (m1' m2' m3') is one term
                o = start + (m3[:, None] * (2 * l3 + 1) + m3)
                a = p1 * size + offset[l1] + (m1[:, None] * (2 * l1 + 1) + m1)
                b = p2 * size + offset[l2] + (m2[:, None] * (2 * l2 + 1) + m2)
                if first == second:
                    a, b = np.minimum(a, b), np.maximum(a, b)
                w = value[:, None] * value
                for key, wi in zip(zip(o.flat, a.flat, b.flat, strict=True), w.flat, strict=True):
                    merged[key] = merged.get(key, 0.0) + wi
    kept = [(o, a, b, w) for (o, a, b), w in merged.items() if abs(w) > 1e-13]
    return _sorted_terms(kept, 2 * size if momentum is None else (2 * momentum + 1) ** 2)


def iteration_terms(lmax: int, nu: int) -> Terms:
    """Term list of k^(nu) = P[k^(nu-1) k^(1)], nu >= 2."""
    return product_terms(lmax, nu - 1, 1)


def _sorted_terms(items: Iterable[tuple[int, int, int, float]], n_out: int) -> Terms:
    rows = sorted((int(o), int(a), int(b), float(w)) for o, a, b, w in items)
    o = np.array([r[0] for r in rows], np.int64)
    start = np.searchsorted(o, np.arange(n_out + 1)).astype(np.int32)
    a, b = (np.array([r[k] for r in rows], np.int32) for k in (1, 2))
    return Terms(start, a, b, np.array([r[3] for r in rows]))


class Groups(NamedTuple):
    """The same map, terms that share o and b in groups: out[o] += (sum_t w[t] x[a[t]]) y[b].

    Groups of an output are sorted by their size, 1 to `MOST`, and the terms by group.

    Attributes:
        start: (n_out * MOST + 1,) first group of each output and size.
        first: (n_out, MOST) first term of each output and size.
        indices: (n_groups,) b and the a[t] in one integer, b in the lowest of its `BITS` bits.
        w: (n_terms,) coefficients.

    """

    start: np.ndarray
    first: np.ndarray
    indices: np.ndarray
    w: np.ndarray


def _grouped(n_out: int, o: np.ndarray, b: np.ndarray, a: np.ndarray, w: np.ndarray, dtype: npt.DTypeLike) -> Groups:
    """Groups from the terms' indices."""
    order = np.lexsort((a, b, o))
    o, b, a, w = (x[order] for x in (o, b, a, w))

    def places_and_counts(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Place of each term among those of equal key, and the number of these."""
        _, first, inverse, count = np.unique(key, True, True, True)
        return np.arange(len(key)) - first[inverse], count[inverse]

    pair = o.astype(np.int64) * (max(b, default=0) + 1) + b
    group = pair * (len(pair) + 1) + places_and_counts(pair)[0] // MOST
    place, size = places_and_counts(group)
    order = np.lexsort((group, size, o))
    o, b, a, w, place, size = (x[order] for x in (o, b, a, w, place, size))
    segment = o * MOST + size - 1
    leader = place == 0
    indices = b[leader].astype(np.int64)
    np.add.at(indices, np.cumsum(leader) - 1, a.astype(np.int64) << (BITS * (place + 1)))
    start = np.searchsorted(segment[leader], np.arange(n_out * MOST + 1))
    first = np.searchsorted(segment, np.arange(n_out * MOST)).reshape(n_out, MOST)
    return Groups(start, first, indices, w.astype(dtype))


def _outputs(terms: Terms) -> np.ndarray:
    """Output (n_terms,) of each term."""
    return np.repeat(np.arange(len(terms.start) - 1), np.diff(terms.start))


def _scaled(terms: Terms, norm: np.ndarray) -> Terms:
    """The same map between kernels whose components are multiplied by norm^(1/2)."""
    return terms._replace(w=terms.w * np.sqrt(norm[_outputs(terms)] / (norm[terms.a] * norm[terms.b])))


def forward_groups(terms: Terms, symmetric: bool, dtype: npt.DTypeLike) -> Groups:
    """Groups of a term list; where both factors are one array (`symmetric`), they are swapped for fewer groups."""
    a, b = terms.a.copy(), terms.b.copy()
    for first, last in pairwise(terms.start if symmetric else []):
        x, y = a[first:last], b[first:last]  # views
        left = np.ones(len(x), bool)
        while left.any():
            # the index that most of the terms left have becomes their common factor
            common = np.bincount(np.concatenate([x[left], y[left & (x != y)]])).argmax()
            swapped = left & (x == common)
            x[swapped], y[swapped] = y[swapped], common
            left &= y != common
    return _grouped(len(terms.start) - 1, _outputs(terms), b, a, terms.w, dtype)


def adjoint_groups(terms: Terms, n_a: int, dtype: npt.DTypeLike) -> Groups:
    """Groups (a, b) of a term list, the sum being over the outputs, for the gradients in both factors."""
    return _grouped(n_a, terms.a, terms.b, _outputs(terms), terms.w, dtype)


class WignerTerms(NamedTuple):
    """All that the Wigner iteration needs up to order 2 (orders 1 to 4) or 3 (orders 5 and 6).

    Attributes:
        norm: (2 n,) factors 1/(2L + 1) of the components, both parities, n = kernel_size(lmax).
        square_groups: k2 from (k1, k1), its two factors being equal, of kernels that are multiplied by norm^(1/2);
            empty below order 3.
        cube_groups: k3 from (k2, k1), likewise; empty below order 5.
        square_adjoint, cube_adjoint: their adjoints, the gradients in both factors; empty below order 4 and 5.

    """

    norm: np.ndarray
    square_groups: Groups
    cube_groups: Groups
    square_adjoint: Groups
    cube_adjoint: Groups


@cache
def wigner_terms(lmax: int, order: int, dtype: npt.DTypeLike = np.float64) -> WignerTerms:
    """Term lists for kernels of orders 1 to `order` (at most 6) with angular momenta to `lmax` (at most 6).

    The iteration of blocks of support points is done in `dtype`, which is to be that of the blocks.
    """
    if not 0 <= lmax <= 6 or not 1 <= order <= 6:
        raise OptionsError(f"lmax must be 0 to 6 and order 1 to 6, not lmax = {lmax}, order = {order}")
    n = kernel_size(lmax)
    norm = np.tile(np.repeat(1.0 / (2 * np.arange(lmax + 1) + 1), (2 * np.arange(lmax + 1) + 1) ** 2), 2)
    empty = _sorted_terms([], 0)
    square = iteration_terms(lmax, 2) if order > 2 else empty
    cube = iteration_terms(lmax, 3) if order > 4 else empty
    scaled_square, scaled_cube = _scaled(square, norm), _scaled(cube, norm)
    return WignerTerms(
        norm=norm.astype(dtype),
        square_groups=forward_groups(scaled_square, True, dtype),
        cube_groups=forward_groups(scaled_cube, False, dtype),
        square_adjoint=adjoint_groups(scaled_square if order > 3 else empty, n, dtype),
        cube_adjoint=adjoint_groups(scaled_cube, 2 * n, dtype),
    )
