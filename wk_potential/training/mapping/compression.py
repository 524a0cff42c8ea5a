"""Quadratic forms of a central element from its support points, and smaller ones that are nearly the same.

E = sum over blocks and M of x_M^T W x_M is exact. A smaller form is made in the metric D of the features of real
environments and of their changes when atoms move: products that contribute little are dropped, their contribution is
projected on the others, and in the eigendecomposition of D^(1/2) W D^(1/2) small eigenvalues are dropped.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg as sl

from ...compute.threads import run_threads
from ...errors import MappingError
from ...forms.features import (
    Block,
    all_blocks,
    feature_derivatives,
    features,
    form_of_half,
    restricted,
)
from ...forms.quadratic import TruncatedForm
from ...model.support import SupportPoints
from ..limits import DEFAULT, MappingLimits
from .metric import chunks, metric_of, moments, n_samples, value_factor
from .recoupling import recoupled
from .samples import Samples


@dataclass(frozen=True)
class ExactForm:
    """Quadratic form of a block about the mean of its features, z = x - mean without the constant feature.

    E = constant + 2 linear . z + sum_r values[r] (basis[:, r] . z)^2. Only invariants have a mean, and only their block
    has a constant and a linear term; without them a small energy would be a difference of large squares.

    Attributes:
        block: the features.
        mean: (P,) over the samples.
        metric: (P, P).
        basis: (P, R) columns.
        values: (R,).
        linear: (P,).
        constant: eV.
        importance: (P,) size of what is lost without a feature.

    """

    block: Block
    mean: np.ndarray
    metric: np.ndarray
    basis: np.ndarray
    values: np.ndarray
    linear: np.ndarray
    constant: float
    importance: np.ndarray


def channel_counts(support: SupportPoints, *others: np.ndarray) -> np.ndarray:
    """Channels (lmax + 1,) in use of each l; those of padding are zero in all coefficients (n, n_lm, Q)."""
    tangents = [] if support.tangents is None else [support.tangents]
    return used_channels(support.coefficients, *tangents, *others)


def used_channels(*arrays: np.ndarray) -> np.ndarray:
    """Channels (lmax + 1,) in use of each l in any of the arrays (n, n_lm, Q)."""
    used = np.any([np.any(x != 0.0, axis=0) for x in arrays], axis=0)
    lmax = int(np.sqrt(len(used))) - 1
    channels = [np.flatnonzero(used[l * l : (l + 1) ** 2].any(axis=0)) for l in range(lmax + 1)]
    return np.array([c[-1] + 1 if len(c) else 0 for c in channels])


def dense_form(block: Block, support: SupportPoints, order_weights: np.ndarray) -> np.ndarray:
    """W (P, P), exactly."""
    half = np.zeros((len(block), len(block)))
    for part in chunks(len(support), (2 * block.L + 1) * len(block)):
        x = features(block, support.coefficients[part])
        right = 0.5 * support.weights[part, None, None] * x
        if support.tangents is not None:
            right += feature_derivatives(block, support.coefficients[part], support.tangents[part])
        half += x.reshape(-1, len(block)).T @ right.reshape(-1, len(block))
    return form_of_half(block, half, order_weights)


def _screened(
    block: Block, w: np.ndarray, samples: Samples, most: int, value_weight: float
) -> tuple[Block, np.ndarray]:
    """Keep as many products as allowed: those that would matter most if all were independent.

    Args:
        block: the features.
        w: (P, P) matrix of the form.
        samples: of the central element.
        most: number of features.
        value_weight: see `MappingLimits`.

    """
    if len(block) <= most:
        return block, w
    width, n = len(block), n_samples(block, samples)
    mean, values, changes = np.zeros((3, width))
    for k in chunks(n, (2 * block.L + 1) * width):
        x = features(block, samples.coefficients[k])
        mean += x[:, 0].sum(axis=0) / n if block.L == 0 else 0.0
        values += np.einsum("imp,imp->p", x, x) / n
        dx = feature_derivatives(block, samples.coefficients[k], samples.directions[k])
        changes += np.einsum("imp,imp->p", dx, dx) / n
    values = np.maximum(values - mean**2, 0.0)
    factor = value_factor(values.sum(), changes.sum(), value_weight)
    sizes = changes + factor * values
    importance = sizes * (np.einsum("pq,pq,q->p", w, w, sizes) + factor * (w @ mean) ** 2)
    importance[: block.n_single] = np.inf
    keep = np.zeros(width, bool)
    keep[np.argsort(-importance, kind="stable")[:most]] = True
    return restricted(block, keep), w[np.ix_(keep, keep)]


def _all_matrices(
    support: SupportPoints,
    order_weights: np.ndarray,
    counts: np.ndarray,
    threads: int = 1,
    most: int = DEFAULT.mapping.most_features,
) -> tuple[list[Block], list[np.ndarray]]:
    blocks = all_blocks(len(counts) - 1, counts)
    largest = max(map(len, blocks))
    if largest > most:
        raise MappingError(
            f"{largest} features in a block, where {most} are the limit: a larger channel_tolerance or a smaller lmax "
            "makes them fewer"
        )
    matrices = run_threads(lambda block: dense_form(block, support, order_weights), blocks, threads)
    return recoupled(blocks, matrices, counts)


@dataclass(frozen=True)
class DenseForms:
    """What smaller forms of one element are made of: matrices of all blocks, without products that hardly matter.

    Attributes:
        blocks: the features.
        matrices: (P, P) of each block.
        samples: environments and their changes, in whose metric forms are made smaller.
        limits: of the mapping.

    """

    blocks: list[Block]
    matrices: list[np.ndarray]
    samples: Samples
    limits: MappingLimits = DEFAULT.mapping

    @classmethod
    def of(
        cls,
        support: SupportPoints,
        order_weights: np.ndarray,
        samples: Samples,
        threads: int = 1,
        limits: MappingLimits = DEFAULT.mapping,
    ) -> "DenseForms":
        """Matrices of one element.

        Args:
            support: support points of the element.
            order_weights: (order,) a_nu, order at most 4.
            samples: environments of the element.
            threads: how many.
            limits: of the mapping.

        Raises:
            MappingError: a block has more features than the limit.

        """
        counts = channel_counts(support, samples.coefficients, samples.directions)
        pairs = zip(*_all_matrices(support, order_weights, counts, threads, limits.most_features), strict=True)
        kept = [_screened(b, matrix, samples, limits.features[-1], limits.value_weight) for b, matrix in pairs]
        return cls([block for block, _ in kept], [matrix for _, matrix in kept], samples, limits)

    def forms(self, threads: int = 1, most: int | None = None) -> list[ExactForm]:
        """Forms of all blocks with so many features at most [the fewest of the limits]."""
        most, weight = most or self.limits.features[0], self.limits.value_weight

        def make(n: int) -> ExactForm:
            block, matrix = _screened(self.blocks[n], self.matrices[n], self.samples, most, weight)
            return _diagonalised(block, matrix, self.samples, weight)

        return run_threads(make, range(len(self.blocks)), threads)


def _diagonalised(block: Block, full: np.ndarray, samples: Samples, value_weight: float) -> ExactForm:
    mean, values, changes = moments(block, samples)
    factor, metric = (
        value_factor(np.trace(values), np.trace(changes), value_weight),
        metric_of(values, changes, value_weight),
    )
    w, linear, constant = full, np.zeros(len(metric)), 0.0
    if block.constant:
        w = full[1:, 1:]
        linear = full[0, 1:] + w @ mean
        constant = float(full[0, 0] + (full[0, 1:] + linear) @ mean)
    root = np.linalg.cholesky(metric)
    product = w @ root
    found, vectors = sl.eigh(root.T @ product, driver="evd")
    basis = sl.solve_triangular(root.T, vectors)
    squares = np.einsum("pq,pq->p", product, product) + factor * linear**2
    return ExactForm(block, mean, metric, basis, found, linear, constant, np.sqrt(metric.diagonal() * squares))


def compress(forms: list[ExactForm], threshold: float) -> list[TruncatedForm]:
    """Keep products and eigenvalues above `threshold` times the largest eigenvalue of all blocks.

    Those of large L cost more, 2 L + 1 components each, and have to be larger by the root of that.
    """
    largest = max((np.max(np.abs(f.values), initial=0.0) for f in forms), default=0.0)
    out = []
    for form in forms:
        price = threshold * np.sqrt(2 * form.block.L + 1)
        keep = form.importance > price * largest
        keep[: form.block.channels] = True
        # a square of no products at all is zero
        chosen = (np.abs(form.values) > price * largest) & bool(form.block.constant or keep.any())
        rows = np.column_stack([form.basis[:, chosen], form.linear])
        kept = sl.cho_solve(sl.cho_factor(form.metric[np.ix_(keep, keep)]), form.metric[keep] @ rows).T
        vectors, values = kept[:-1], form.values[chosen]
        block = restricted(form.block, np.concatenate([np.ones(form.block.n_single - form.block.channels, bool), keep]))
        if form.block.constant:
            vectors, values = _with_constant(form, keep, vectors, values, kept[-1])
        out.append(TruncatedForm(block, np.ascontiguousarray(vectors), values))
    return out


def _with_constant(
    form: ExactForm, keep: np.ndarray, vectors: np.ndarray, values: np.ndarray, linear: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add the column of the constant feature, and the rows that make the linear and the constant term."""
    mean = form.mean[keep]
    size = np.sqrt(np.sqrt(np.sum((linear @ form.metric[np.ix_(keep, keep)]) * linear)) + 1e-300)
    # 2 l = ((s + 2 l / s)^2 - (s - 2 l / s)^2) / 4 with s^2 about as large as l
    plus, minus = (np.concatenate([[size - sign * (linear @ mean) / size], sign * linear / size]) for sign in (2, -2))
    squares = np.column_stack([-vectors @ mean, vectors])
    one = np.eye(1, len(mean) + 1)
    return np.vstack([squares, plus, minus, one]), np.concatenate([values, [0.25, -0.25, form.constant]])


def rounded(factors: list[TruncatedForm]) -> list[TruncatedForm]:
    """Vectors rounded to float32, which take half the space in a file."""
    return [replace(f, vectors=f.vectors.astype(np.float32).astype(float)) for f in factors]


def exact(
    support: SupportPoints, order_weights: np.ndarray, limits: MappingLimits = DEFAULT.mapping
) -> list[TruncatedForm]:
    """Eigendecompositions with nothing dropped."""
    counts, out = channel_counts(support), []
    for block, w in zip(*_all_matrices(support, order_weights, counts, most=limits.most_features), strict=True):
        values, vectors = np.linalg.eigh(w)
        out.append(TruncatedForm(block, vectors.T, values))
    return out
