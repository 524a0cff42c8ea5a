"""The mapped kernel: energies as quadratic forms in the equivariants of orders 0 to 2, for some atoms side by side.

Block (L, sigma) of a central element has features x_M = (1, c_LM, (c c)_LM): a constant (L = 0), the density
coefficients, and chosen products of two coupled to L with parity sigma. The energy of an environment is
E = sum over blocks, r, M of lambda_r (u_r . x_M)^2. `training.mapping` derives the factors from support points.

Up to one vector of atoms are side by side in the lanes of a register. Arrays of coefficients have a whole vector for
each (l, m, q). Rows of features are packed: with n atoms, component M of an atom is in column M n + atom, so that
matrix products waste no lanes where there are few atoms.
"""

from typing import Any, NamedTuple

import numpy as np

from ..compute.jit import njit
from ..compute.products import address, multiply
from ..compute.simd import add, fma, item, load, mul, padded, splat, store, width

PAIRS = 4  # products formed together, to have independent sums; groups are padded to multiples of it


class PackedBlock(NamedTuple):
    """Layout of one block, integers; of all blocks, arrays of them.

    Attributes:
        L: angular momentum.
        constant: 1 if the constant is a feature.
        channels: number of channels among the features.
        first_group, n_groups: its groups of products.
        n_features, n_factors: their numbers.
        first_factor, first_eigenvalue: where those of the block begin among all.

    """

    L: Any
    constant: Any
    channels: Any
    first_group: Any
    n_groups: Any
    n_features: Any
    n_factors: Any
    first_factor: Any
    first_eigenvalue: Any


class PackedForm(NamedTuple):
    """Quadratic forms of one central element.

    Attributes:
        blocks: (n_blocks, 9) the fields of `PackedBlock`, which `packed_block` and `all_packed_blocks` name.
        groups: (n_groups, 4) l1, l2, first pair, number of pairs.
        starts: (n_groups, 3, n) first coupling term of each component M of the product, m1 and m2 of its factors.
        terms: (n_terms, 2) components of the other two: (m1, m2), (M, m2), (M, m1).
        couplings: (n_terms,) their coefficients.
        pairs: (n_pairs, 2) channels q1, q2 of each product, times 2 l1 + 1 and 2 l2 + 1.
        factors: (n,) u_r of all blocks, rows of the block's features.
        eigenvalues: (n,) lambda_r.

    """

    blocks: np.ndarray
    groups: np.ndarray
    starts: np.ndarray
    terms: np.ndarray
    couplings: np.ndarray
    pairs: np.ndarray
    factors: np.ndarray
    eigenvalues: np.ndarray


@njit
def packed_block(forms, k):
    """Layout of block k."""
    b = forms.blocks[k]
    return PackedBlock(b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8])


def all_packed_blocks(forms: PackedForm) -> PackedBlock:
    """Layout of all blocks: arrays (n_blocks,)."""
    return PackedBlock(*forms.blocks.T)


@njit
def row_layout(L, n_atoms, lanes):
    """Layout of a row of features or factors of a block, whose column M n_atoms + atom is component M of an atom.

    Returns:
        stride: numbers from row to row: whole vectors, since every component is written as one, the last one too.
        n_vectors: how many vectors the columns fill.

    """
    return padded(2 * L * n_atoms + lanes, lanes), padded((2 * L + 1) * n_atoms, lanes) // lanes


@njit
def _couple(forms, run, x, at_x, step_x, y, at_y, step_y):
    """Sums over terms of w x[component a] y[component b] for PAIRS products that have the same angular momenta.

    `run` is the place in `starts` of the component that is wanted.
    """
    zero = splat(x.dtype.type(0))
    s0, s1, s2, s3 = zero, zero, zero, zero
    for t in range(item(forms.starts, run), item(forms.starts, run + 1)):
        w = splat(item(forms.couplings, t))
        a, b = item(forms.terms, 2 * t) * step_x, item(forms.terms, 2 * t + 1) * step_y
        s0 = fma(mul(w, load(x, at_x[0] + a)), load(y, at_y[0] + b), s0)
        s1 = fma(mul(w, load(x, at_x[1] + a)), load(y, at_y[1] + b), s1)
        s2 = fma(mul(w, load(x, at_x[2] + a)), load(y, at_y[2] + b), s2)
        s3 = fma(mul(w, load(x, at_x[3] + a)), load(y, at_y[3] + b), s3)
    return s0, s1, s2, s3


@njit
def _places(forms, p, side, base, lanes):
    """Where the coefficients of one factor of the products p, p + 1, ... begin."""
    q = 2 * p + side
    return (
        base + item(forms.pairs, q) * lanes, base + item(forms.pairs, q + 2) * lanes,
        base + item(forms.pairs, q + 4) * lanes, base + item(forms.pairs, q + 6) * lanes,
    )  # fmt: skip


@njit
def _increase(out, at, offset, values):
    """Add PAIRS vectors to out, one after the other since they may have one target."""
    store(out, at[0] + offset, add(load(out, at[0] + offset), values[0]))
    store(out, at[1] + offset, add(load(out, at[1] + offset), values[1]))
    store(out, at[2] + offset, add(load(out, at[2] + offset), values[2]))
    store(out, at[3] + offset, add(load(out, at[3] + offset), values[3]))


@njit
def fill_features(forms, block, n_channels, c, lanes, n_atoms, stride, x):
    """Write the features of a block to x, rows of `stride`."""
    L, row = block.L, 0
    if block.constant:
        store(x, 0, splat(c.dtype.type(1)))
        row = stride
    for q in range(block.channels):
        at = (L * L * n_channels + q * (2 * L + 1)) * lanes
        for m in range(2 * L + 1):
            store(x, row + m * n_atoms, load(c, at + m * lanes))
        row += stride
    for g in range(block.first_group, block.first_group + block.n_groups):
        l1, l2, first, n = forms.groups[g]
        run = 3 * g * forms.starts.shape[2]
        base1, base2 = l1 * l1 * n_channels * lanes, l2 * l2 * n_channels * lanes
        for p in range(first, first + n, PAIRS):
            at1, at2 = _places(forms, p, 0, base1, lanes), _places(forms, p, 1, base2, lanes)
            for m in range(2 * L + 1):
                values = _couple(forms, run + m, c, at1, lanes, c, at2, lanes)
                at = row + m * n_atoms
                store(x, at, values[0])
                store(x, at + stride, values[1])
                store(x, at + 2 * stride, values[2])
                store(x, at + 3 * stride, values[3])
            row += PAIRS * stride


@njit
def features_adjoint(forms, block, n_channels, c, lanes, n_atoms, stride, x, grad):
    """Add to grad the derivative with respect to c, x being that with respect to the features."""
    L = block.L
    row = stride if block.constant else 0
    for q in range(block.channels):
        at = (L * L * n_channels + q * (2 * L + 1)) * lanes
        for m in range(2 * L + 1):
            store(grad, at + m * lanes, add(load(grad, at + m * lanes), load(x, row + m * n_atoms)))
        row += stride
    for g in range(block.first_group, block.first_group + block.n_groups):
        l1, l2, first, n = forms.groups[g]
        run1 = (3 * g + 1) * forms.starts.shape[2]
        run2 = run1 + forms.starts.shape[2]
        base1, base2 = l1 * l1 * n_channels * lanes, l2 * l2 * n_channels * lanes
        for p in range(first, first + n, PAIRS):
            at1, at2 = _places(forms, p, 0, base1, lanes), _places(forms, p, 1, base2, lanes)
            rows = (row, row + stride, row + 2 * stride, row + 3 * stride)
            for m in range(2 * l1 + 1):
                _increase(grad, at1, m * lanes, _couple(forms, run1 + m, x, rows, n_atoms, c, at2, lanes))
            for m in range(2 * l2 + 1):
                _increase(grad, at2, m * lanes, _couple(forms, run2 + m, x, rows, n_atoms, c, at1, lanes))
            row += PAIRS * stride


@njit
def _squares(eigenvalues, n_m, n_atoms, n_vectors, lanes, stride, y, energies):
    """Add lambda_r y_r^2 to energies (lanes,) and replace y by the derivative."""
    zero = y.dtype.type(0)
    energy = splat(zero)
    for r in range(eigenvalues.shape[0]):
        row, scale = r * stride, splat(eigenvalues[r])
        for m in range(n_m):
            value = load(y, row + m * n_atoms)
            energy = fma(mul(scale, value), value, energy)
        scale = add(scale, scale)
        for v in range(0, n_vectors * lanes, lanes):
            store(y, row + v, mul(scale, load(y, row + v)))
    buffer = np.zeros(lanes, y.dtype)
    store(buffer, 0, energy)
    for i in range(n_atoms):
        energies[i] += buffer[i]


@njit
def forms_energy(forms, n_channels, c, n_atoms, x, y, energies, grad):
    """Energies of up to one vector of atoms and their gradients.

    Args:
        forms: of the central element.
        n_channels: number Q of channels.
        c: flat (l, Q, 2l + 1, lanes) coefficients, float64 or float32.
        n_atoms: how many lanes are in use; the others must be finite.
        x, y: work space for features and factors, see `work_sizes`.
        energies: (lanes,) float64 output, valid for the atoms in use.
        grad: flat, as c, output.

    """
    lanes, size = width(c), c.itemsize
    energies[:] = 0.0
    grad[:] = 0
    for k in range(forms.blocks.shape[0]):
        block = packed_block(forms, k)
        n_features, n_factors = block.n_features, block.n_factors
        stride, n_vectors = row_layout(block.L, n_atoms, lanes)
        fill_features(forms, block, n_channels, c, lanes, n_atoms, stride, x)
        u, features, factors = address(forms.factors, block.first_factor), address(x, 0), address(y, 0)
        row, step = n_features * size, stride * size
        multiply(c, n_factors, n_vectors, n_features, u, row, size, features, step, factors, step, False)
        values = forms.eigenvalues[block.first_eigenvalue : block.first_eigenvalue + n_factors]
        _squares(values, 2 * block.L + 1, n_atoms, n_vectors, lanes, stride, y, energies)
        multiply(c, n_features, n_vectors, n_factors, u, size, row, factors, step, features, step, False)
        features_adjoint(forms, block, n_channels, c, lanes, n_atoms, stride, x, grad)


def work_sizes(forms: PackedForm) -> np.ndarray:
    """Lengths of the arrays x and y of `forms_energy`."""
    blocks = all_packed_blocks(forms)
    row = (2 * blocks.L + 1) * width(forms.factors)
    return np.array([np.max(n * row, initial=0) for n in (blocks.n_features, blocks.n_factors)])


def forms_cost(forms: PackedForm) -> float:
    """Multiply-adds per atom: products with the factors, there and back, and the couplings of features."""
    blocks = all_packed_blocks(forms)
    total = float(np.sum(2 * blocks.n_features * blocks.n_factors * (2 * blocks.L + 1)))
    for (_, _, _, n_pairs), start in zip(forms.groups, forms.starts, strict=True):
        total += 2.0 * n_pairs * (start.max() - start[0, 0])
    return total
