"""Mapped tensor kernels: vectors and tensors of environments as bilinear forms in the equivariants of orders 0 to 2.

T_M = sum over couplings and r, s of core[r, s] (y_r y'_s)_LM, where y_M = u . x_M are factors of a block of features,
those of `forms.quadratic_kernel`. `training.mapping.tensors` derives factors and cores from support points.
"""

from typing import Any, NamedTuple

import numpy as np

from ..compute.jit import njit
from ..compute.products import address, multiply
from ..compute.simd import WIDTH, fma, item, load, splat, store
from .quadratic_kernel import (
    PackedForm,
    all_packed_blocks,
    features_adjoint,
    fill_features,
    forms_cost,
    packed_block,
    row_layout,
)

LANES = WIDTH  # atoms side by side, in float64


class PackedCoupling(NamedTuple):
    """Layout of one coupling, integers.

    Attributes:
        left, right: the two blocks.
        first_core, first_term: where its core and its terms begin; the terms end where those of the next one begin.

    """

    left: Any
    right: Any
    first_core: Any
    first_term: Any


class PackedBilinearForm(NamedTuple):
    """Polynomials of one central element.

    Attributes:
        forms: features and factors of the blocks; its eigenvalues only count the factors.
        places: (n_blocks,) where the factors of each block begin in the work space.
        couplings: (n + 1, 4) the fields of `PackedCoupling`, which `packed_coupling` names; the last is where all end.
        cores: (n,) those of all couplings, row by row.
        terms: (n_terms, 3) components m1, m2, M.
        coefficients: (n_terms,) of the terms.

    """

    forms: PackedForm
    places: np.ndarray
    couplings: np.ndarray
    cores: np.ndarray
    terms: np.ndarray
    coefficients: np.ndarray


@njit
def packed_coupling(tensor, k):
    """Layout of coupling k."""
    row = tensor.couplings[k]
    return PackedCoupling(row[0], row[1], row[2], row[3])


@njit
def _products(out, matrix, place, rows, columns, transposed, x, y, width, n_vectors, accumulate):
    """y (+)= matrix x, the matrix (rows, columns) or its transpose, by places in flat arrays."""
    size = out.itemsize
    a = address(matrix, place)
    if transposed:
        multiply(out, columns, n_vectors, rows, a, size, columns * size, x, width, y, width, accumulate)
    else:
        multiply(out, rows, n_vectors, columns, a, columns * size, size, x, width, y, width, accumulate)


@njit
def _dimensions(tensor, block, n_atoms):
    """Number of factors, stride of a row and vectors in a row of a block."""
    b = packed_block(tensor.forms, block)
    stride, n_vectors = row_layout(b.L, n_atoms, LANES)
    return b.n_factors, stride, n_vectors


@njit
def _contract(tensor, coupling, n_atoms, y, z):
    """Write the core of a coupling times the factors of its second block to z.

    Returns:
        Number of factors of the first block and its place and stride in y, the same of the second block.

    """
    pair = packed_coupling(tensor, coupling)
    n_left, left, _ = _dimensions(tensor, pair.left, n_atoms)
    n_right, right, n_vectors = _dimensions(tensor, pair.right, n_atoms)
    at_i, at_j = tensor.places[pair.left], tensor.places[pair.right]
    source, target, width = address(y, at_j), address(z, 0), right * y.itemsize
    _products(y, tensor.cores, pair.first_core, n_left, n_right, False, source, target, width, n_vectors, False)
    return n_left, at_i, left, n_right, at_j, right


@njit
def _fill_factors(tensor, n_channels, c, n_atoms, x, y):
    """Write the factors of all blocks to y."""
    forms = tensor.forms
    for k in range(forms.blocks.shape[0]):
        block = packed_block(forms, k)
        n_factors, stride, n_vectors = _dimensions(tensor, k, n_atoms)
        fill_features(forms, block, n_channels, c, LANES, n_atoms, stride, x)
        target = address(y, tensor.places[k])
        width = stride * c.itemsize
        _products(
            c, forms.factors, block.first_factor, n_factors, block.n_features, False, address(x, 0), target, width,
            n_vectors, False,
        )  # fmt: skip


@njit
def tensor_values(tensor, n_channels, c, n_atoms, x, y, z, out):
    """Values of up to LANES atoms.

    Args:
        tensor: of the central element.
        n_channels: number Q of channels.
        c: flat (l, Q, 2l + 1, LANES) coefficients, float64.
        n_atoms: how many lanes are in use; the others must be finite.
        x, y, z: work space, see `tensor_work_sizes`; y keeps the factors.
        out: (2L + 1, LANES) output, valid for the atoms in use.

    """
    out[:] = 0.0
    _fill_factors(tensor, n_channels, c, n_atoms, x, y)
    for k in range(tensor.couplings.shape[0] - 1):
        n_left, at_i, left, _, _, right = _contract(tensor, k, n_atoms, y, z)
        for t in range(packed_coupling(tensor, k).first_term, packed_coupling(tensor, k + 1).first_term):
            m1, m2, m = tensor.terms[t]
            total = splat(0.0)
            for r in range(n_left):
                total = fma(load(y, at_i + r * left + m1 * n_atoms), load(z, r * right + m2 * n_atoms), total)
            store(out, m * LANES, fma(splat(tensor.coefficients[t]), total, load(out, m * LANES)))


@njit
def tensor_features(tensor, n_channels, c, n_atoms, x, y, z, out):
    """Add the terms of the values, those of each coupling and each factor of its first block, of up to LANES atoms.

    Args:
        tensor, n_channels, c, n_atoms, x, y, z: as in `tensor_values`.
        out: (n, 2L + 1) sums over atoms and over s of core[r, s] (y_r y'_s)_LM, coupling after coupling, added to.

    """
    _fill_factors(tensor, n_channels, c, n_atoms, x, y)
    first = 0
    for k in range(tensor.couplings.shape[0] - 1):
        n_left, at_i, left, _, _, right = _contract(tensor, k, n_atoms, y, z)
        for t in range(packed_coupling(tensor, k).first_term, packed_coupling(tensor, k + 1).first_term):
            m1, m2, m = tensor.terms[t]
            for r in range(n_left):
                one, two = at_i + r * left + m1 * n_atoms, r * right + m2 * n_atoms
                total = 0.0
                for a in range(n_atoms):
                    total += item(y, one + a) * item(z, two + a)
                out[first + r, m] += tensor.coefficients[t] * total
        first += n_left


@njit
def tensor_gradient(tensor, component, n_channels, c, x, y, z, gy, gz, grad):
    """Gradient of one component of the values of LANES atoms with respect to their coefficients.

    Args:
        tensor, n_channels, c, x, z: as in `tensor_values`.
        component: L + M.
        y: factors as `tensor_values` left them for LANES atoms.
        gy, gz: work space like y and z.
        grad: flat, as c, output.

    """
    forms = tensor.forms
    gy[:] = 0.0
    grad[:] = 0.0
    for k in range(tensor.couplings.shape[0] - 1):
        n_left, at_i, left, n_right, at_j, right = _contract(tensor, k, LANES, y, z)
        gz[: n_left * right] = 0.0
        for t in range(packed_coupling(tensor, k).first_term, packed_coupling(tensor, k + 1).first_term):
            m1, m2, m = tensor.terms[t]
            if m != component:
                continue
            w = splat(tensor.coefficients[t])
            for r in range(n_left):
                at1, at2 = at_i + r * left + m1 * LANES, r * right + m2 * LANES
                store(gy, at1, fma(w, load(z, at2), load(gy, at1)))
                store(gz, at2, fma(w, load(y, at1), load(gz, at2)))
        core, width = packed_coupling(tensor, k).first_core, right * c.itemsize
        source, target = address(gz, 0), address(gy, at_j)
        _products(c, tensor.cores, core, n_left, n_right, True, source, target, width, right // LANES, True)
    for k in range(forms.blocks.shape[0]):
        block = packed_block(forms, k)
        n_factors, stride, n_vectors = _dimensions(tensor, k, LANES)
        _products(
            c, forms.factors, block.first_factor, n_factors, block.n_features, True, address(gy, tensor.places[k]),
            address(x, 0), stride * c.itemsize, n_vectors, False,
        )  # fmt: skip
        features_adjoint(forms, block, n_channels, c, LANES, LANES, stride, x, grad)


def factor_room(L: np.ndarray) -> np.ndarray:
    """Numbers that one feature or factor of LANES atoms may take in the work space."""
    return (2 * L + 2) * LANES


def tensor_cost(tensor: PackedBilinearForm) -> float:
    """Multiply-adds per atom: features and factors as in the mapped kernel, and the cores, there and back."""
    blocks = all_packed_blocks(tensor.forms)
    i, j, _, _ = tensor.couplings[:-1].T
    cores = np.sum(blocks.n_factors[i] * blocks.n_factors[j] * (2 * blocks.L[j] + 1))
    return forms_cost(tensor.forms) + 2.0 * float(cores)


def feature_count(tensor: PackedBilinearForm) -> int:
    """Rows of the output of `tensor_features`."""
    return int(np.sum(all_packed_blocks(tensor.forms).n_factors[tensor.couplings[:-1, 0]]))


def tensor_work_sizes(tensor: PackedBilinearForm) -> np.ndarray:
    """Lengths of the arrays x, y and z of `tensor_values`."""
    blocks = all_packed_blocks(tensor.forms)
    width = factor_room(blocks.L)
    i, j, _, _ = tensor.couplings[:-1].T
    rows = np.max(blocks.n_factors[i] * width[j], initial=0)
    features = np.max(blocks.n_features * width, initial=0)
    return np.array([features, np.sum(blocks.n_factors * width), rows]) + LANES
