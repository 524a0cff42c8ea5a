"""Vectors as values in compiled functions, and the products of small matrices made of them."""

import numpy as np
import pytest
from llvmlite import ir
from numba import njit

from wk_potential.compute.products import address, multiply, multiply_add
from wk_potential.compute.simd import (
    BYTES,
    CONTRACT,
    FAST,
    add,
    aligned,
    emit_add,
    emit_broadcast,
    emit_fma,
    emit_load,
    emit_store,
    fma,
    item,
    load,
    mul,
    padded,
    splat,
    store,
    total,
    vector_of,
    width,
)

KINDS = (np.float64, np.float32)


def lanes_of(kind):
    return width(np.dtype(kind))


def numbers(kind, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(kind)


@njit
def copy(source, at, target, to):
    store(target, to, load(source, at))


@njit
def spread(x, out):
    store(out, 0, splat(x))


@njit
def arithmetic(a, b, c, out):
    n = out.shape[1]
    x, y, z = load(a, 0), load(b, 0), load(c, 0)
    store(out, 0, add(x, y))
    store(out, n, mul(x, y))
    store(out, 2 * n, fma(x, y, z))


@njit
def sum_from(array, at):
    return total(load(array, at))


@njit
def element(array, at):
    return item(array, at)


@pytest.mark.parametrize("kind", KINDS)
def test_width(kind):
    assert lanes_of(kind) * np.dtype(kind).itemsize == BYTES == 64


@pytest.mark.parametrize("kind", KINDS)
def test_load_and_store(kind):
    """At any index of the flat array, aligned or not, with nothing written beside."""
    n = lanes_of(kind)
    source = numbers(kind, 3, 2 * n)
    for at, to in ((0, 0), (1, 3), (n - 1, 5), (2 * n + 3, 2 * n), (5 * n, n + 1)):
        target = numbers(kind, 4, n, seed=1)
        expected = target.copy()
        expected.ravel()[to : to + n] = source.ravel()[at : at + n]
        copy(source, at, target, to)
        assert np.array_equal(target, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_splat_and_item(kind):
    array = numbers(kind, 4, 5)
    for at, value in enumerate(array.ravel()):
        assert element(array, at) == value
    out = np.zeros(lanes_of(kind) + 1, kind)
    spread(array[1, 2], out)
    assert np.all(out[:-1] == array[1, 2])
    assert out[-1] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_arithmetic(kind):
    n = lanes_of(kind)
    a, b, c = numbers(kind, 3, n)
    out = np.zeros((3, n), kind)
    arithmetic(a, b, c, out)
    x, y, z = (v.astype(float) for v in (a, b, c))
    assert np.array_equal(out[0], a + b)
    assert np.array_equal(out[1], a * b)
    # whether the product is rounded before the sum is the processor's business
    error = np.abs(out[2] - (x * y + z))
    assert np.all(error <= np.finfo(kind).eps * (np.abs(x * y) + np.abs(out[2])))


@pytest.mark.parametrize("kind", KINDS)
def test_total(kind):
    n = lanes_of(kind)
    array = numbers(kind, 3, n)
    for at in (0, 1, 2 * n):
        part = array.ravel()[at : at + n].astype(float)
        assert abs(sum_from(array, at) - part.sum()) <= 4 * np.finfo(kind).eps * np.abs(part).sum()
    for i in range(n):
        assert sum_from(np.eye(n, dtype=kind)[i], 0) == 1


# --- products of matrices ---


@njit
def product(a, b, out, first, vectors, accumulate):
    """out[:, first:] (+)= a b, by `vectors` vectors of columns."""
    multiply(
        out, a.shape[0], vectors, a.shape[1], address(a, 0), a.strides[0], a.strides[1], address(b, 0), b.strides[0],
        address(out, first), out.strides[0], accumulate,
    )  # fmt: skip


def check_product(a, b, before, result):
    """The result is before + a b, to the rounding of each of its sums."""
    a, b, before = (x.astype(float) for x in (a, b, before))
    bound = (a.shape[1] + 1) * np.finfo(result.dtype).eps * (np.abs(before) + np.abs(a) @ np.abs(b))
    assert np.all(np.abs(result - (before + a @ b)) <= bound), (a.shape, b.shape)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_multiply(kind, transposed, accumulate):
    """All sizes of tiles and what is left of them; columns beside those that are asked for stay as they are."""
    lanes = lanes_of(kind)
    for m in range(1, 18):
        for vectors in range(1, 9):
            n, depth = vectors * lanes, m * vectors % 13
            a = numbers(kind, depth, m).T if transposed else numbers(kind, m, depth)
            b = numbers(kind, depth, n + 3, seed=1)
            out = numbers(kind, m, n + 5, seed=2)
            before, columns = out.copy(), slice(2, n + 2)
            product(a, b, out, 2, vectors, accumulate)
            check_product(a, b[:, :n], before[:, columns] * accumulate, out[:, columns])
            assert np.array_equal(np.delete(out, columns, axis=1), np.delete(before, columns, axis=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("m", "depth", "vectors"), [(1, 1, 1), (7, 3, 4), (16, 9, 5), (20, 84, 11)])
def test_multiply_add(m, depth, vectors, kind):
    n = vectors * lanes_of(kind)
    a, b, out = numbers(kind, depth, m), numbers(kind, depth, 2 * n, seed=1), numbers(kind, m, 2 * n, seed=2)
    before = out.copy()
    multiply_add(a.T, b[:, :n], out[:, n:])
    check_product(a.T, b[:, :n], before[:, n:], out[:, n:])
    assert np.array_equal(out[:, :n], before[:, :n])


@njit
def rounded(n, multiple):
    return padded(n, multiple)


@njit
def aligned_array(n, like):
    return aligned(n, like)


@pytest.mark.parametrize("function", [padded, rounded])
def test_padded(function):
    """In Python and in compiled code."""
    assert [function(n, 8) for n in (0, 1, 8, 9)] == [0, 8, 8, 16]
    assert [function(n, 6) for n in (0, 1, 6, 13)] == [0, 6, 6, 18]


@pytest.mark.parametrize("kind", KINDS)
def test_aligned(kind):
    for n in (0, 1, 7, 64, 1000):
        array = aligned_array(n, np.zeros(1, kind))
        assert array.shape == (n,)
        assert array.dtype == kind
        assert not array.any()
        assert n == 0 or array.ctypes.data % BYTES == 0


# --- instructions ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [(), CONTRACT, FAST])
def test_flags(kind, flags):
    """Each layer says how freely the compiler may handle its sums; loads need no alignment beyond that of a number."""
    element = {np.float64: ir.DoubleType(), np.float32: ir.FloatType()}[kind]
    vector, module = vector_of(element), ir.Module()
    pointer = element.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, pointer, element]), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    x, out, scalar = function.args
    a, b = emit_load(builder, x, vector), emit_broadcast(builder, scalar)
    emit_store(builder, emit_fma(builder, a, emit_add(builder, a, b, flags), b, flags), out)
    builder.ret_void()
    text = str(module)
    word = "".join(f" {flag}" for flag in flags)
    assert text.count(f"fadd{word} <{lanes_of(kind)} x {element}>") == text.count("fadd") == 2
    assert text.count(f"fmul{word} <{lanes_of(kind)} x {element}>") == text.count("fmul") == 1
    assert text.count(f"align {np.dtype(kind).itemsize}") == 2
