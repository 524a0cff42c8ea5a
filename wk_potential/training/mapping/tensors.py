"""Polynomials of the density that stand for tensor kernels with all their support points.

A target of orders 1 to 4 is T_M = sum over pairs of blocks i <= j and their features p, q of W_pq (x_p x'_q)_LM, the
features of both blocks coupled to a true tensor of angular momentum L. This is exact. A smaller form is sought in the
metric of the features of real environments and of their changes when atoms move: each block keeps the leading
directions of what it contributes to all its pairs, and products that contribute little are dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.linalg as sl

from ...forms.bilinear import BilinearForm
from ...forms.features import (
    Block,
    all_blocks,
    features,
    multiplicities,
    order_products,
    restricted,
)
from ...forms.quadratic import TruncatedForm
from ...kernel.coupling import real_cg
from ..limits import DEFAULT, Limits, TensorLimits
from .compression import used_channels
from .metric import CHUNK, chunks, largest_threshold, metric_of, moments
from .samples import Samples


@dataclass(frozen=True)
class TensorSupport:
    """Support environments of one central element.

    Attributes:
        coefficients: (n, n_lm, Q).
        weights: (n, 2L + 1).

    """

    coefficients: np.ndarray
    weights: np.ndarray


def parity(block: Block) -> int:
    """0 for a block of true tensors, 1 for pseudotensors."""
    return (block.L + sum(block.groups[0][:2])) % 2 if block.groups else 0


def exact_form(
    support: TensorSupport, momentum: int, order_weights: np.ndarray, counts: np.ndarray | None = None
) -> BilinearForm:
    """Return the polynomial that is the sum over support points.

    Args:
        support: support points.
        momentum: L.
        order_weights: (order,) a_nu, order at most 4.
        counts: (lmax + 1,) channels in use [those that are not zero in the support].

    """
    if counts is None:
        counts = used_channels(support.coefficients)
    blocks = all_blocks(len(counts) - 1, counts)
    pairs = [
        (i, j)
        for i, a in enumerate(blocks)
        for j, b in enumerate(blocks[i:], i)
        if abs(a.L - b.L) <= momentum <= a.L + b.L and (parity(a) + parity(b) + a.L + b.L + momentum) % 2 == 0
    ]
    cores = [np.zeros((len(blocks[i]), len(blocks[j]))) for i, j in pairs]
    n, width = len(support.weights), sum((2 * b.L + 1) * len(b) for b in blocks)
    for part in chunks(n, width, 4 * CHUNK):
        x = [features(b, support.coefficients[part]) for b in blocks]
        for (i, j), core in zip(pairs, cores, strict=True):
            cg = real_cg(blocks[i].L, blocks[j].L, momentum)
            mixed = np.einsum("abM,nM,nap->nbp", cg, support.weights[part], x[i], optimize=True)
            core += mixed.reshape(-1, len(blocks[i])).T @ x[j].reshape(-1, len(blocks[j]))
    for (i, j), core in zip(pairs, cores, strict=True):
        twice = np.outer(multiplicities(blocks[i]), multiplicities(blocks[j])) * (1 if i == j else 2)
        core *= twice * order_products(blocks[i], blocks[j], order_weights)
    factors = [TruncatedForm(b, np.eye(len(b)), np.ones(len(b))) for b in blocks]
    return BilinearForm(momentum, factors, [(i, j, c) for (i, j), c in zip(pairs, cores, strict=True) if np.any(c)])


class Compression:
    """An exact form prepared for being made small.

    Args:
        form: from `exact_form`.
        samples: environments of the element and their changes.
        value_weight: see `MappingLimits`.

    """

    def __init__(
        self, form: BilinearForm, samples: Samples, value_weight: float = DEFAULT.mapping.value_weight
    ) -> None:
        self.form = form
        found = [moments(f.block, samples, centred=False) for f in form.factors]
        self.metrics = [metric_of(values, changes, value_weight) for _, values, changes in found]
        roots = [np.linalg.cholesky(metric) for metric in self.metrics]
        self.cores = [(i, j, roots[i].T @ core @ roots[j]) for i, j, core in form.couplings]
        grams = [np.zeros(metric.shape) for metric in self.metrics]
        self.importance = [np.zeros(len(metric)) for metric in self.metrics]
        for (i, j, core), (_, _, plain) in zip(self.cores, form.couplings, strict=True):
            grams[i] += core @ core.T
            grams[j] += core.T @ core
            self.importance[i] += np.sum((plain @ roots[j]) ** 2, axis=1)
            self.importance[j] += np.sum((roots[i].T @ plain) ** 2, axis=0)
        solved = [sl.eigh(gram, driver="evd") for gram in grams]
        self.sizes = [np.sqrt(np.maximum(values, 0.0)) for values, _ in solved]
        self.vectors = [vectors for _, vectors in solved]
        self.bases = [sl.solve_triangular(root.T, v) for root, v in zip(roots, self.vectors, strict=True)]
        self.importance = [
            np.sqrt(metric.diagonal() * x) for metric, x in zip(self.metrics, self.importance, strict=True)
        ]
        self.largest = max(np.max(s, initial=0.0) for s in self.sizes)

    def at(self, threshold: float) -> BilinearForm:
        """Keep directions and products above `threshold` times the largest; those of large L have to be larger."""
        factors, kept = [], []
        for f, metric, sizes, basis, importance in zip(
            self.form.factors, self.metrics, self.sizes, self.bases, self.importance, strict=True
        ):
            least = threshold * self.largest * np.sqrt(2 * f.block.L + 1)
            chosen = np.flatnonzero(sizes > least)
            keep = importance > least
            keep[: f.block.n_single] = True
            solved = sl.cho_solve(sl.cho_factor(metric[np.ix_(keep, keep)]), metric[keep] @ basis[:, chosen])
            factors.append(TruncatedForm(restricted(f.block, keep), np.ascontiguousarray(solved.T), sizes[chosen]))
            kept.append(chosen)
        couplings = []
        for i, j, core in self.cores:
            small = self.vectors[i][:, kept[i]].T @ core @ self.vectors[j][:, kept[j]]
            if small.size:
                couplings.append((i, j, small))
        return BilinearForm(self.form.momentum, factors, couplings)


def compressed(
    supports: Sequence[TensorSupport],
    momentum: int,
    order_weights: np.ndarray,
    samples: Sequence[Samples],
    tolerance: float,
    limits: Limits = DEFAULT,
) -> list[BilinearForm]:
    """Forms of all elements, as small as the tolerance allows.

    Args:
        supports: of each central element.
        momentum: L.
        order_weights: (n_elements, order).
        samples: of each central element.
        tolerance: rms deviation of a component of an environment's value, and of its change when all atoms are
            displaced at random (`TensorLimits.compared_displacement`); 0 leaves the forms as they are.
        limits: constants of training.

    """
    exact = []
    for support, a, sample in zip(supports, order_weights, samples, strict=True):
        counts = used_channels(support.coefficients, sample.coefficients, sample.directions)
        exact.append(exact_form(support, momentum, a, counts))
    if tolerance == 0:
        return exact
    dense = [Compression(f, sample, limits.mapping.value_weight) for f, sample in zip(exact, samples, strict=True)]
    expected = [_responses(form, sample, limits.tensors) for form, sample in zip(exact, samples, strict=True)]
    largest, thresholds = max(d.largest for d in dense), limits.tensors.thresholds

    @cache
    def forms_at(k: int) -> list[BilinearForm]:
        return [d.at(thresholds[k] * largest / max(d.largest, 1e-300)) for d in dense]

    def deviation(k: int) -> float:
        pairs = zip(forms_at(k), samples, expected, strict=True)
        return max(np.sqrt(np.mean((_responses(f, s, limits.tensors) - e) ** 2)) for f, s, e in pairs)

    best = largest_threshold(deviation, len(thresholds), tolerance)
    return exact if best is None else forms_at(best)


def coarse(
    support: TensorSupport,
    momentum: int,
    order_weights: np.ndarray,
    samples: Samples,
    threshold: float,
    limits: Limits = DEFAULT,
) -> BilinearForm:
    """Form of one element with what is above a threshold times its largest part; arguments as those of `exact_form`."""
    counts = used_channels(support.coefficients, samples.coefficients, samples.directions)
    form = exact_form(support, momentum, order_weights, counts)
    found = Compression(form, samples, limits.mapping.value_weight)
    return found.at(threshold * found.largest)


def _responses(form: BilinearForm, samples: Samples, limits: TensorLimits) -> np.ndarray:
    """Values and changes that are compared."""
    n = limits.compared_environments
    c, d = samples.coefficients[:n], limits.compared_displacement * samples.directions[:n]
    return np.concatenate([form.values(c), form.derivatives(c, d)])
