"""Gram matrices of energies, forces and virials under Wigner kernels, one matrix per central element and order.

Orders 1 and 2 are linear in invariants of one environment, so that they are products of two matrices. The others are
summed over pairs of environments (`gram_pairs.py`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...compute.jit import njit
from ...compute.ranks import Communicator
from ...compute.threads import run_threads
from ...density.frames import Environments
from ...kernel.coupling import kernel_size
from ...kernel.hessian import hessian_terms
from .frame_gram import FramePool, add_gram, parts_of
from .gram_pairs import add_pairs
from .inverse import mirror
from .shared_rows import SharedRows

ENERGY_COST = 5  # of all orders beside that of the first, where there are no derivatives


class FlatEnvironments(NamedTuple):
    """The environments of all frames in flat arrays.

    Attributes:
        frame_first: (F + 1,) first environment of each frame.
        centres: (n,) species.
        coefficients: (n, n_lm * Q).
        row_first: (n + 1,) first row of each environment.
        jacobian: (R, n_lm * Q).
        label: (R,) label of each row, counted over all frames.
        energy_label: (F,) label of each frame's energy, -1 if it has none.
        label_first: (F + 1,) first label of each frame.

    """

    frame_first: np.ndarray
    centres: np.ndarray
    coefficients: np.ndarray
    row_first: np.ndarray
    jacobian: np.ndarray
    label: np.ndarray
    energy_label: np.ndarray
    label_first: np.ndarray

    @property
    def n_labels(self) -> int:
        """The number of labels."""
        return int(self.label_first[-1])

    @property
    def energy_of_environment(self) -> np.ndarray:
        """Label (n,) of the energy of each environment's frame, -1 if it has none."""
        return np.repeat(self.energy_label, np.diff(self.frame_first))


def flatten(environments: Environments, progress: Callable[[float], None] | None = None) -> FlatEnvironments:
    """Join the environments of all frames; `progress` is called with the fraction done."""
    data, found = environments.data, []
    for k in range(len(data)):
        found.append(environments.of_frame(k))
        if progress:
            progress((k + 1) / len(data))
    label_first, slots = data.label_first, [data.slots(k) for k in range(len(data))]
    row_first = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(e.first) for e in found]))])
    return FlatEnvironments(
        frame_first=np.concatenate([[0], np.cumsum(data.n_atoms)]),
        centres=np.concatenate([e.centres for e in found]),
        coefficients=np.concatenate([e.coefficients.reshape(len(e.centres), -1) for e in found]),
        row_first=row_first,
        jacobian=np.concatenate([e.jacobian for e in found]),
        label=np.concatenate([n + s[e.label] for n, s, e in zip(label_first[:-1], slots, found, strict=True)]),
        energy_label=np.array([n if s[0] == 0 else -1 for n, s in zip(label_first[:-1], slots, strict=True)]),
        label_first=label_first,
    )


def some_frames(flat: FlatEnvironments, frames: np.ndarray) -> FlatEnvironments:
    """Return the environments of some of the frames, given in order."""
    if len(frames) == len(flat.energy_label):
        return flat
    own = np.concatenate([np.arange(flat.frame_first[f], flat.frame_first[f + 1]) for f in frames])
    rows = np.concatenate([np.arange(flat.row_first[i], flat.row_first[i + 1]) for i in own])
    label_first = np.concatenate([[0], np.cumsum(np.diff(flat.label_first)[frames])])
    moved = np.zeros(flat.n_labels, np.int64)
    for f, first in zip(frames, label_first[:-1], strict=True):
        moved[flat.label_first[f] : flat.label_first[f + 1]] = np.arange(first, first + np.diff(flat.label_first)[f])
    energy = flat.energy_label[frames]
    return FlatEnvironments(
        frame_first=np.concatenate([[0], np.cumsum(np.diff(flat.frame_first)[frames])]),
        centres=flat.centres[own],
        coefficients=flat.coefficients[own],
        row_first=np.concatenate([[0], np.cumsum(np.diff(flat.row_first)[own])]),
        jacobian=flat.jacobian[rows],
        label=moved[flat.label[rows]],
        energy_label=np.where(energy >= 0, moved[energy], -1),
        label_first=label_first,
    )


@njit(nogil=True)
def _add_tangents(flat, own, vector, out):
    for i in range(len(own)):
        for row in range(flat.row_first[own[i]], flat.row_first[own[i] + 1]):
            x = vector[flat.label[row]]
            for k in range(out.shape[1]):
                out[i, k] += x * flat.jacobian[row, k]


def weights_and_tangents(flat: FlatEnvironments, own: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the one weight (n,) and the one tangent (n, n_lm * Q) that labels times a vector (N,) give environments.

    Args:
        flat: environments of all frames.
        own: (n,) which of them.
        vector: (N,) dual coefficients.

    """
    energy, tangents = flat.energy_of_environment[own], np.zeros((len(own), flat.coefficients.shape[1]))
    _add_tangents(flat, own, vector, tangents)
    return np.where(energy >= 0, vector[energy], 0.0), tangents


@njit(nogil=True)
def _invariants(flat, element, l, channels):
    """Invariants of l of an element's environments as the labels measure them.

    Returns:
        out: (N, Q (Q + 1) / 2), derivatives by the labels of sum_m c[l m, q] c[l m, q'], q <= q', times sqrt(2) if
            q < q'.

    """
    out = np.zeros((flat.label_first[-1], channels * (channels + 1) // 2))
    for f in range(len(flat.energy_label)):
        for i in range(flat.frame_first[f], flat.frame_first[f + 1]):
            if flat.centres[i] != element:
                continue
            c = flat.coefficients[i].reshape((-1, channels))[l * l : (l + 1) ** 2]
            if flat.energy_label[f] >= 0:
                _add_invariants(c, 0.5 * c, out[flat.energy_label[f]])
            for d in range(flat.row_first[i], flat.row_first[i + 1]):
                rows = flat.jacobian[d].reshape((-1, channels))[l * l : (l + 1) ** 2]
                _add_invariants(c, rows, out[flat.label[d]])
    return out


@njit
def _add_invariants(c, d, out):
    """Add the change of the invariants of c (2l + 1, Q) along d."""
    channels = c.shape[1]
    for m in range(c.shape[0]):
        column = 0
        for q in range(channels):
            x, y = c[m, q], d[m, q]
            out[column] += 2 * x * y
            x, y = np.sqrt(2.0) * x, np.sqrt(2.0) * y
            for k in range(1, channels - q):
                out[column + k] += x * d[m, q + k] + y * c[m, q + k]
            column += channels - q


def _low_orders(
    flat: FlatEnvironments,
    lmax: int,
    order: int,
    targets: np.ndarray,
    factors: np.ndarray,
    out: np.ndarray,
    rows: SharedRows,
    threads: int,
) -> None:
    """Add the upper triangles of orders 1 and 2 to out[targets[element]], times factors[element], both (n, order)."""
    channels = flat.coefficients.shape[1] // (lmax + 1) ** 2
    energy = flat.energy_of_environment

    def add_products(matrix: np.ndarray, features: np.ndarray, factor: float) -> None:
        def work(block: slice) -> None:
            matrix[block, block.start :] += (factor * features[block]) @ features[block.start :].T

        run_threads(work, rows.own_rows(), threads)

    for element in np.unique(flat.centres):
        scalars = np.zeros((flat.n_labels, channels))
        own = np.flatnonzero(flat.centres == element)
        np.add.at(scalars, energy[own][energy[own] >= 0], flat.coefficients[own][energy[own] >= 0, :channels])
        derivatives = np.repeat(flat.centres == element, np.diff(flat.row_first))
        np.add.at(scalars, flat.label[derivatives], flat.jacobian[derivatives, :channels])
        add_products(out[targets[element, 0]], scalars, factors[element, 0])
        if order > 1:

            def invariants(l: int, element: int = element) -> np.ndarray:
                return _invariants(flat, element, l, channels)

            ls = range(lmax + 1)
            for l, part in zip(ls, run_threads(invariants, ls, threads), strict=True):
                add_products(out[targets[element, 1]], part, factors[element, 1] / (2 * l + 1))


def _assemble(
    flat: FlatEnvironments,
    lmax: int,
    order: int,
    targets: np.ndarray,
    factors: np.ndarray,
    mixtures: np.ndarray,
    out: np.ndarray,
    rows: SharedRows,
    threads: int,
    progress: Callable[[float], None] | None,
) -> None:
    _low_orders(flat, lmax, order, targets, factors, out, rows, threads)
    n_frames = len(flat.energy_label)
    pairs = np.array([(a, b) for a in rows.own_frames() for b in range(a, n_frames)]).reshape(-1, 2)
    channels = flat.coefficients.shape[1] // (lmax + 1) ** 2
    higher = np.ascontiguousarray(targets[:, 2:][:, : mixtures.shape[1]])

    def work(batch: np.ndarray) -> None:
        add_pairs(hessian_terms(lmax), lmax, channels, batch, flat, higher, mixtures, out)
        if progress:
            progress(len(batch) / len(pairs))

    if order > 2 and len(pairs):  # a rank may have none
        run_threads(work, np.array_split(pairs, max(1, len(pairs) // 16)), threads)


def _add_energies(
    flat: FlatEnvironments,
    lmax: int,
    sets: Sequence[np.ndarray] | np.ndarray,
    outs: Sequence[np.ndarray] | np.ndarray,
    rows: SharedRows,
    threads: int,
    progress: Callable[[float], None] | None,
) -> None:
    """Add the upper triangles of kernels where no label is a derivative: of each element those of its sets, to its out.

    Args:
        flat: environments without Jacobian.
        lmax: of the kernel.
        sets: for each element (n, order) order weights.
        outs: for each element (n, N, N).
        rows: that are filled.
        threads, progress: as in `force_gram`.

    """
    frames = [slice(flat.frame_first[f], flat.frame_first[f + 1]) for f in np.flatnonzero(flat.energy_label >= 0)]
    coefficients = flat.coefficients.reshape(len(flat.coefficients), (lmax + 1) ** 2, -1)
    labels = flat.energy_label[rows.own_frames()]  # there are no others
    pools = [FramePool([coefficients[own][flat.centres[own] == z] for own in frames]) for z in range(len(outs))]
    for pool, weights, out, report in zip(pools, sets, outs, parts_of(progress, pools), strict=True):
        add_gram(pool, lmax, 0, weights, out, labels[labels >= 0], threads, report)


def label_rows(flat: FlatEnvironments, comm: Communicator | None = None) -> SharedRows:
    """Rows of the labels, shared among ranks."""
    return SharedRows(np.diff(flat.label_first), np.diff(flat.frame_first), comm)


def force_gram(
    flat: FlatEnvironments,
    lmax: int,
    order: int,
    n_elements: int,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
    comm: Communicator | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Gram matrices (n_elements, order, N, N) of all labels, for each central element and order of the kernel.

    Args:
        flat: the environments.
        lmax, order: of the kernel.
        n_elements: of the model.
        threads: how many.
        progress: called with the fraction done, or None.
        comm: that fill them together [one]; the first has them then, the others zeros where they did nothing.
        out: zeros to be filled, or None for new ones.

    """
    rows = label_rows(flat, comm)
    if out is None:
        out = np.zeros((n_elements, order, flat.n_labels, flat.n_labels))  # pages come when written to
    targets = np.arange(n_elements * order).reshape(n_elements, order)
    higher = max(order - 2, 0)
    mixtures = np.broadcast_to(np.eye(higher), (n_elements, higher, higher)).copy()
    matrices = out.reshape(-1, *out.shape[2:])
    if len(flat.jacobian):
        _assemble(flat, lmax, order, targets, np.ones(targets.shape), mixtures, matrices, rows, threads, progress)
    else:
        _add_energies(flat, lmax, [np.eye(order)] * n_elements, out, rows, threads, progress)
    rows.collect(matrices)
    for matrix in matrices if rows.comm.rank == 0 else ():
        mirror(matrix)
    return out


def add_covariance(
    flat: FlatEnvironments,
    lmax: int,
    order_weights: npt.ArrayLike,
    out: np.ndarray,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
    rows: SharedRows | None = None,
) -> None:
    """Add the kernel of all labels with given order weights to the upper triangle of out (N, N).

    Args:
        flat: the environments.
        lmax: of the kernel.
        order_weights: (n_elements, order).
        out: output.
        threads: how many.
        progress: called with the fraction done, or None.
        rows: the rank adds to its own only [all].

    """
    weights, rows = np.asarray(order_weights, float), rows or label_rows(flat)
    if not len(flat.jacobian):
        _add_energies(flat, lmax, weights[:, None], [out[None]] * len(weights), rows, threads, progress)
        return
    targets = np.zeros(weights.shape, np.int64)
    mixtures = np.ascontiguousarray(weights[:, None, 2:])
    _assemble(flat, lmax, weights.shape[1], targets, weights, mixtures, out[None], rows, threads, progress)


def gram_cost(flat: FlatEnvironments, lmax: int, order: int, summed: bool = False) -> float:
    """Multiply-adds of `force_gram`, or of `add_covariance`, which sums over orders, for predicting the time."""
    n, rows = kernel_size(lmax), np.diff(flat.row_first)
    width, n_labels, higher = flat.coefficients.shape[1], flat.n_labels, max(order - 2, 0)
    higher = min(higher, 1) if summed else higher
    channels = width // (lmax + 1) ** 2
    total = 0.5 * higher * n_labels * rows.sum() * width
    for element in np.unique(flat.centres):
        r = rows[flat.centres == element]
        if not r.any():
            total += 0.5 * len(r) ** 2 * ENERGY_COST * n * channels
            continue
        per_pair = 2 * n**3 * max(order - 3, 0) + higher * n * (n + 2 * channels) * r.mean()
        total += 0.5 * (len(r) ** 2 * per_pair + n_labels**2 * (lmax + 1) * channels**2 / 2)
    return total
