"""Kernels of orders from 3 on between the labels of pairs of frames, summed over pairs of environments.

Pairs that share the second environment and the frame of the first are summed at once: d/dx d/dy k = sum_s W_s(x) .
dc_s/dy, where W_s(x) is the derivative by x of the gradient in c_s, summed over the environments of the frame that x
belongs to. Rows of labels x lie along the vector registers.
"""

import numpy as np

from ...compute.jit import njit
from ...compute.products import multiply_add
from ...compute.simd import WIDTH, padded
from ...kernel.hessian import hessian_workspace, higher_kernels


@njit
def _transposed_jacobians(flat, frame, n_columns):
    """Jacobians (width, columns) of a frame's environments, end to end, and where each begins (n + 1,).

    The columns are the labels of the frame if the environment has at least half of them, else those that it has.
    """
    first, last = flat.frame_first[frame], flat.frame_first[frame + 1]
    width = flat.jacobian.shape[1]
    start = np.zeros(last - first + 1, np.int64)
    for i in range(first, last):
        rows = flat.row_first[i + 1] - flat.row_first[i]
        start[i - first + 1] = start[i - first] + width * padded(n_columns if 2 * rows >= n_columns else rows, WIDTH)
    out = np.zeros(start[-1])
    for i in range(first, last):
        dense = 2 * (flat.row_first[i + 1] - flat.row_first[i]) >= n_columns
        jacobian = out[start[i - first] : start[i - first + 1]].reshape((width, -1))
        for d in range(flat.row_first[i], flat.row_first[i + 1]):
            column = flat.label[d] - flat.label_first[frame] if dense else d - flat.row_first[i]
            for k in range(width):
                jacobian[k, column] = flat.jacobian[d, k]
    return out, start


@njit
def _fill_k1(lmax, ci, cs, k1):
    """k1[l m m'] = sum_q ci[l m, q] cs[l m', q]."""
    column = 0
    for l in range(lmax + 1):
        for m in range(l * l, (l + 1) ** 2):
            for m2 in range(l * l, (l + 1) ** 2):
                total = 0.0
                for q in range(ci.shape[1]):
                    total += ci[m, q] * cs[m2, q]
                k1[column] = total
                column += 1


@njit
def _fill_k1_jacobian(lmax, channels, jacobian, cs, out):
    """Derivatives out (n, columns) of k1, given the Jacobian (n_lm * Q, columns) of the first environment."""
    out[:] = 0.0
    column = 0
    for l in range(lmax + 1):
        width = 2 * l + 1
        for m in range(l * l, (l + 1) ** 2):
            multiply_add(
                cs[l * l : (l + 1) ** 2], jacobian[m * channels : (m + 1) * channels], out[column : column + width]
            )
            column += width


@njit
def _add_cross(lmax, ci, jacobian, grad, curved, out):
    """Add to out (n_lm * Q, columns) the derivative of the gradient in cs.

    Args:
        lmax: of the kernel.
        ci: (n_lm, Q) of the first environment.
        jacobian: (n_lm * Q, columns) its derivatives.
        grad: (n,) of the kernel by k1.
        curved: (n, columns) derivatives of `grad`.
        out: output.

    """
    channels, columns = ci.shape[1], out.shape[1]
    column = 0
    for l in range(lmax + 1):
        width = 2 * l + 1
        block = grad[column : column + width**2].reshape((width, width))
        own = slice(l * l * channels, (l + 1) ** 2 * channels)
        shape = (width, channels * columns)
        multiply_add(block.T, jacobian[own].reshape(shape), out[own].reshape(shape))
        for m in range(width):
            rows = slice((l * l + m) * channels, (l * l + m + 1) * channels)
            multiply_add(ci[l * l : (l + 1) ** 2].T, curved[column + m : column + width**2 : width], out[rows])
        column += width**2


@njit
def _add_energy_gradient(lmax, ci, grad, out):
    """Add the gradient in cs to out (n_lm * Q,)."""
    channels = ci.shape[1]
    column = 0
    for l in range(lmax + 1):
        for m in range(l * l, (l + 1) ** 2):
            for m2 in range(l * l, (l + 1) ** 2):
                for q in range(channels):
                    out[m2 * channels + q] += grad[column] * ci[m, q]
                column += 1


@njit
def _mix(mixture, values, grads, hessians, mixed, slope, curvature):
    """Fill the sums (kinds, ...) over orders of mixture (kinds, orders) times kernels, gradients and Hessians."""
    mixed[:], slope[:], curvature[:] = 0.0, 0.0, 0.0
    for k in range(mixture.shape[0]):
        for nu in range(mixture.shape[1]):
            w = mixture[k, nu]
            if w != 0.0:
                mixed[k] += w * values[nu]
                slope[k] += w * grads[nu]
                curvature[k] += w * hessians[nu]


@njit
def _add_columns(part, label, out):
    """Add the columns of part (n, columns) to those of out that label (columns,) says."""
    for x in range(out.shape[0]):
        for d in range(len(label)):
            out[x, label[d]] += part[x, d]


@njit
def _add_environment(lmax, channels, ci, cs, ji, label, energy, mixed, slope, curvature, scratch, slopes, cross):
    """Add what one environment adds to the kernels of its frame's labels with another environment.

    Args:
        lmax, channels: of the density.
        ci, cs: (n_lm, Q) coefficients of the environment and of the other.
        ji: (n_lm * Q, columns) Jacobian of the environment.
        label: (R,) labels of its rows within the frame.
        energy: label of the frame's energy, -1 if it has none.
        mixed, slope, curvature: (kinds, ...) kernels of the two and their derivatives by k1.
        scratch: work space.
        slopes: (kinds, columns of the frame) output, derivatives of the kernels by the labels.
        cross: (kinds, n_lm * Q, columns of the frame) output, those of the gradients in cs.

    """
    kinds, n, columns = slope.shape[0], slope.shape[1], ji.shape[1]
    if energy >= 0:
        for k in range(kinds):
            slopes[k, energy] += mixed[k]
            _add_energy_gradient(lmax, ci, slope[k], cross[k, :, energy])
    xi = scratch[: n * columns].reshape((n, columns))
    curved = scratch[n * columns : (kinds + 1) * n * columns].reshape((kinds, n, columns))
    _fill_k1_jacobian(lmax, channels, ji, cs, xi)
    curved[:] = 0.0
    multiply_add(curvature.reshape((kinds * n, n)), xi, curved.reshape((kinds * n, columns)))
    if columns == cross.shape[2]:
        slopes += np.dot(slope, xi)
        for k in range(kinds):
            _add_cross(lmax, ci, ji, slope[k], curved[k], cross[k])
    else:
        _add_columns(np.dot(slope, xi), label, slopes)
        part = np.empty((cross.shape[1], columns))
        for k in range(kinds):
            part[:] = 0.0
            _add_cross(lmax, ci, ji, slope[k], curved[k], part)
            _add_columns(part, label, cross[k])


@njit
def _add_block(cross, js, label, place, rows, matrix):
    """Add cross^T js to the rows of a matrix, at columns label (R,); place (R,) says which of js they are."""
    block = np.zeros((cross.shape[1], js.shape[1]))
    multiply_add(cross.T, js, block)
    for d in range(rows.stop - rows.start):
        for e in range(len(label)):
            matrix[rows.start + d, label[e]] += block[d, place[e]]


@njit(nogil=True)
def add_pairs(terms, lmax, channels, pairs, flat, targets, mixtures, out):
    """Fill the blocks of out (n, N, N) that belong to the given pairs of frames (n, 2), orders from 3 on.

    Matrix targets[z, k] gets the sum over orders of mixtures[z, k, order] times those of central element z.
    """
    orders, kinds, n, width = mixtures.shape[2], targets.shape[1], terms.norm.shape[0], (lmax + 1) ** 2 * channels
    values, grads, hessians = np.zeros(orders), np.zeros((orders, n)), np.zeros((orders, n, n))
    mixed, slope, curvature = np.zeros(kinds), np.zeros((kinds, n)), np.zeros((kinds, n, n))
    work = hessian_workspace(n, orders)
    k1 = np.zeros(n)
    for f, g in pairs:
        base, n_labels = flat.label_first[f], flat.label_first[f + 1] - flat.label_first[f]
        jf, start_f = _transposed_jacobians(flat, f, n_labels)
        jg, start_g = _transposed_jacobians(flat, g, flat.label_first[g + 1] - flat.label_first[g])
        cross = np.zeros((kinds, width, padded(n_labels, WIDTH)))
        slopes = np.zeros((kinds, padded(n_labels, WIDTH)))
        scratch = np.empty((kinds + 1) * n * padded(n_labels, WIDTH))
        for s in range(flat.frame_first[g], flat.frame_first[g + 1]):
            cs = flat.coefficients[s].reshape((-1, channels))
            element = flat.centres[s]
            cross[:] = 0.0
            slopes[:] = 0.0
            for i in range(flat.frame_first[f], flat.frame_first[f + 1]):
                if flat.centres[i] != flat.centres[s]:
                    continue
                ci = flat.coefficients[i].reshape((-1, channels))
                _fill_k1(lmax, ci, cs, k1)
                higher_kernels(terms, k1, values, grads, hessians, work)
                _mix(mixtures[element], values, grads, hessians, mixed, slope, curvature)
                first = i - flat.frame_first[f]
                ji = jf[start_f[first] : start_f[first + 1]].reshape((width, -1))
                label = flat.label[flat.row_first[i] : flat.row_first[i + 1]] - base
                energy = max(flat.energy_label[f] - base, -1)
                _add_environment(
                    lmax, channels, ci, cs, ji, label, energy, mixed, slope, curvature, scratch, slopes, cross
                )  # fmt: skip
            if flat.energy_label[g] >= 0:
                for k in range(kinds):
                    matrix = out[targets[element, k]]
                    matrix[base : base + n_labels, flat.energy_label[g]] += slopes[k, :n_labels]
            first = s - flat.frame_first[g]
            js = jg[start_g[first] : start_g[first + 1]].reshape((width, -1))
            label = flat.label[flat.row_first[s] : flat.row_first[s + 1]]
            dense = 2 * len(label) >= flat.label_first[g + 1] - flat.label_first[g]
            place = label - flat.label_first[g] if dense else np.arange(len(label))
            for k in range(kinds):
                _add_block(cross[k], js, label, place, slice(base, base + n_labels), out[targets[element, k]])
