"""Gram matrices of energies, forces and virials under Wigner kernels, one matrix per order."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from ..kernel.coupling import kernel_size, wigner_terms
from ..kernel.hessian import kernels_with_derivatives
from ..threads import run_threads
from .environments import FrameEnvironments


@dataclass(frozen=True)
class FlatEnvironments:
    """The environments of all frames in flat arrays.

    Attributes:
        frame_first: (F + 1,) first environment of each frame.
        centres: (n,) element indices.
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


def label_slots(frame):
    """Positions (1 + 3 N + 6,) of a frame's labels among those it has, -1 for those it lacks."""
    n = len(frame)
    has = np.zeros(7 + 3 * n, bool)
    has[0] = frame.energy is not None
    has[1 : 1 + 3 * n] = frame.forces is not None
    has[1 + 3 * n :] = frame.stress is not None
    return np.where(has, np.cumsum(has) - 1, -1)


def flatten(frames, environments: list[FrameEnvironments]) -> FlatEnvironments:
    """Join the environments of the frames."""
    slots = [label_slots(frame) for frame in frames]
    label_first = np.concatenate([[0], np.cumsum([s.max() + 1 for s in slots])])
    row_first = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(e.first) for e in environments]))])
    return FlatEnvironments(
        frame_first=np.concatenate([[0], np.cumsum([len(e.centres) for e in environments])]),
        centres=np.concatenate([e.centres for e in environments]),
        coefficients=np.concatenate([e.coefficients.reshape(len(e.centres), -1) for e in environments]),
        row_first=row_first,
        jacobian=np.concatenate([e.jacobian for e in environments]),
        label=np.concatenate([n + s[e.label] for n, s, e in zip(label_first[:-1], slots, environments, strict=True)]),
        energy_label=np.array([n if s[0] == 0 else -1 for n, s in zip(label_first[:-1], slots, strict=True)]),
        label_first=label_first,
    )


@njit(cache=True)
def _kernel_jacobian(lmax, jacobian, other, transpose, out):
    """Derivative (rows, n) of k1 by the rows of a Jacobian (rows, n_lm * Q), `other` (n_lm, Q) being fixed.

    With `transpose` the Jacobian belongs to the second environment of the pair.
    """
    rows, channels = jacobian.shape[0], other.shape[1]
    column = 0
    for l in range(lmax + 1):
        width = 2 * l + 1
        block = np.ascontiguousarray(jacobian[:, l * l * channels : (l + 1) ** 2 * channels])
        product = np.dot(block.reshape((rows * width, channels)), np.ascontiguousarray(other[l * l : (l + 1) ** 2].T))
        for d in range(rows):
            for m in range(width):
                for m2 in range(width):
                    target = m2 * width + m if transpose else m * width + m2
                    out[d, column + target] = product[d * width + m, m2]
        column += width * width


@njit(cache=True)
def _contract(lmax, channels, jacobian, grad, out):
    """out[d, m', q] = sum_m grad[l, m, m'] jacobian[d, m, q]."""
    column = 0
    out[:] = 0.0
    for l in range(lmax + 1):
        width = 2 * l + 1
        for d in range(jacobian.shape[0]):
            for m in range(width):
                source = (l * l + m) * channels
                for m2 in range(width):
                    g = grad[column + m * width + m2]
                    target = (l * l + m2) * channels
                    for q in range(channels):
                        out[d, target + q] += g * jacobian[d, source + q]
        column += width * width


@njit(cache=True)
def _pair_block(terms, lmax, ci, cs, ji, js, li, ls, ei, es, values, grads, hessians, out):
    """Add the contribution of one pair of environments to out (order, labels, labels)."""
    channels = ci.shape[1]
    n = grads.shape[1]
    k1 = np.zeros(n)
    column = 0
    for l in range(lmax + 1):
        for m in range(l * l, (l + 1) ** 2):
            for m2 in range(l * l, (l + 1) ** 2):
                k1[column] = np.sum(ci[m] * cs[m2])
                column += 1
    kernels_with_derivatives(terms, k1, values, grads, hessians)
    xi, xs = np.zeros((ji.shape[0], n)), np.zeros((js.shape[0], n))
    _kernel_jacobian(lmax, ji, cs, False, xi)
    _kernel_jacobian(lmax, js, ci, True, xs)
    contracted = np.zeros(ji.shape)
    for nu in range(values.shape[0]):
        block = out[nu]
        if ei >= 0 and es >= 0:
            block[ei, es] += values[nu]
        if ei >= 0:
            row = np.dot(xs, grads[nu])
            for d in range(len(ls)):
                block[ei, ls[d]] += row[d]
        if es >= 0:
            row = np.dot(xi, grads[nu])
            for d in range(len(li)):
                block[li[d], es] += row[d]
        if len(li) and len(ls):
            _contract(lmax, channels, ji, grads[nu], contracted)
            second = np.dot(contracted, js.T)
            if nu > 0:
                second += np.dot(np.dot(xi, hessians[nu]), xs.T)
            for d in range(len(li)):
                for e in range(len(ls)):
                    block[li[d], ls[e]] += second[d, e]


@njit(cache=True, nogil=True)
def _gram_of_pairs(
    terms, lmax, n_channels, pairs, frame_first, centres, coefficients, row_first, jacobian, label, energy_label, out
):
    """Fill the blocks of out (order, N, N) that belong to the given pairs of frames (n, 2)."""
    order = out.shape[0]
    n = terms.norm.shape[0] // 2
    n_lm = (lmax + 1) ** 2
    for p in range(len(pairs)):
        values, grads, hessians = np.zeros(order), np.zeros((order, n)), np.zeros((order, n, n))
        fi, fs = pairs[p]
        for i in range(frame_first[fi], frame_first[fi + 1]):
            rows_i = slice(row_first[i], row_first[i + 1])
            for s in range(frame_first[fs], frame_first[fs + 1]):
                if centres[s] == centres[i]:
                    rows_s = slice(row_first[s], row_first[s + 1])
                    _pair_block(
                        terms,
                        lmax,
                        coefficients[i].reshape((n_lm, n_channels)),
                        coefficients[s].reshape((n_lm, n_channels)),
                        jacobian[rows_i],
                        jacobian[rows_s],
                        label[rows_i],
                        label[rows_s],
                        energy_label[fi],
                        energy_label[fs],
                        values,
                        grads,
                        hessians,
                        out,
                    )


def gram_matrices(flat: FlatEnvironments, lmax: int, order: int, threads: int = 1, progress=None):
    """Gram matrices (order, N, N) of all labels, one for each order of the kernel.

    Args:
        flat: the environments.
        lmax, order: of the kernel.
        threads: how many.
        progress: called with the fraction done, or None.

    """
    terms = wigner_terms(lmax, order)
    out = np.zeros((order, flat.n_labels, flat.n_labels))
    n_frames = len(flat.energy_label)
    pairs = np.array([(a, b) for a in range(n_frames) for b in range(a, n_frames)])
    n_channels = flat.coefficients.shape[1] // (lmax + 1) ** 2

    def work(batch):
        _gram_of_pairs(
            terms, lmax, n_channels, batch, flat.frame_first, flat.centres, flat.coefficients, flat.row_first,
            flat.jacobian, flat.label, flat.energy_label, out,
        )  # fmt: skip
        if progress:
            progress(len(batch) / len(pairs))

    run_threads(work, np.array_split(pairs, max(1, len(pairs) // 16)), threads)
    for matrix in out:
        upper = np.triu(matrix)
        matrix[:] = upper + np.triu(matrix, 1).T
    return out


def gram_cost(flat: FlatEnvironments, lmax: int, order: int) -> float:
    """Multiply-adds of `gram_matrices`, for predicting its time."""
    n = kernel_size(lmax)
    rows = np.diff(flat.row_first)
    same = 0.0
    for element in np.unique(flat.centres):
        r = rows[flat.centres == element].astype(float)
        n_env, width = len(r), flat.coefficients.shape[1]
        per_pair = (2 * n) * n * n * (order > 3) + (order * (n + width) / n_env * r.sum() ** 2 / n_env)
        per_pair += order * n * n * r.mean() + 2 * order * r.mean() * n * width / (lmax + 1) ** 2
        same += 0.5 * n_env**2 * per_pair
    return same
