"""Small dense matrix products whose sums stay in vector registers, in float64 and float32.

The products of this package are a few dozen rows or columns: a BLAS call packs its operands and picks its kernel for
longer than it multiplies, may not use the widest vectors there are, and its threads compete with ours.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import njit
from .simd import BYTES, broadcast, llvm_vector

WIDTH = 8  # numbers of float64 in one vector
# sums held at once: as many as the registers hold
ROWS, VECTORS = (8, 3) if llvm.get_host_cpu_features().get("avx512f") else (6, 1)


@njit
def padded(n):
    """Return n, rounded up to whole vectors of float64."""
    return -(-n // WIDTH) * WIDTH


_INT = ir.IntType(64)


def _int(k):
    return ir.Constant(_INT, k)


def _pointer(builder, address, offset, kind):
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def _emit_tile(builder, vector, rows, vectors, depth, a, a_row, a_step, b, b_step, out, out_row, accumulate):
    """out[r, v] (+)= sum_k a[r, k] b[k, v] for `rows` rows and `vectors` vectors of columns, both known here."""
    align = BYTES // vector.count

    def load(pointer):
        value = builder.load(pointer)
        value.align = align
        return value

    zero = ir.Constant(vector, [0.0] * vector.count)
    sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(rows)]
    for s in (s for row in sums for s in row):
        builder.store(zero, s)
    with cgutils.for_range(builder, depth) as loop:
        k = loop.index
        at_b, at_a = builder.mul(k, b_step), builder.mul(k, a_step)
        columns = [load(_pointer(builder, b, builder.add(at_b, _int(BYTES * v)), vector)) for v in range(vectors)]
        for r, row in enumerate(sums):
            at = builder.add(at_a, builder.mul(a_row, _int(r)))
            factor = broadcast(builder, builder.load(_pointer(builder, a, at, vector.element)))
            for s, column in zip(row, columns, strict=True):
                term = builder.fmul(factor, column, flags=["fast"])
                builder.store(builder.fadd(builder.load(s), term, flags=["fast"]), s)
    for r, row in enumerate(sums):
        at_row = builder.mul(out_row, _int(r))
        for v, s in enumerate(row):
            pointer = _pointer(builder, out, builder.add(at_row, _int(BYTES * v)), vector)
            with builder.if_then(accumulate):
                builder.store(builder.fadd(load(pointer), builder.load(s)), s)
            builder.store(builder.load(s), pointer).align = align


@intrinsic
def _tile(typingctx, like, rows, vectors, depth, a, a_row, a_step, b, b_step, out, out_row, accumulate):
    """One tile of a product, of 1 to ROWS rows and 1 to VECTORS vectors; addresses and strides in bytes."""
    vector = llvm_vector(like.dtype)

    def codegen(context, builder, signature, args):
        end = builder.append_basic_block("end")
        case = builder.add(builder.mul(args[1], _int(VECTORS + 1)), args[2])
        switch = builder.switch(case, end)
        for rows in range(1, ROWS + 1):
            for vectors in range(1, VECTORS + 1):
                block = builder.append_basic_block(f"tile_{rows}_{vectors}")
                switch.add_case(_int(rows * (VECTORS + 1) + vectors), block)
                builder.position_at_end(block)
                _emit_tile(builder, vector, rows, vectors, *args[3:])
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(like, *10 * (types.intp,), types.boolean), codegen


@njit
def multiply(like, m, vectors, depth, a, a_row, a_step, b, b_step, out, out_row, accumulate):
    """out = a b, or out += a b; all by addresses and strides in bytes.

    Args:
        like: an array of the element type.
        m, vectors, depth: rows of a and out, vectors of columns of b and out, columns of a and rows of b.
        a, a_row, a_step: address of a, bytes from row to row and from column to column.
        b, b_step: address of b and bytes from row to row, the columns being contiguous.
        out, out_row: the same of out.
        accumulate: whether to add to out.

    """
    done = 0
    n_tiles = (vectors + VECTORS - 1) // VECTORS
    for tile in range(n_tiles):
        n = (vectors - done) // (n_tiles - tile)
        column = BYTES * done
        for row in range(0, m, ROWS):
            _tile(
                like, min(ROWS, m - row), n, depth, a + row * a_row, a_row, a_step, b + column, b_step,
                out + row * out_row + column, out_row, accumulate,
            )  # fmt: skip
        done += n


@njit
def address(array, index):
    """Address of array.flat[index]."""
    return types.intp(array.ctypes.data) + index * array.itemsize


@njit
def multiply_add(a, b, out):
    """out += a b, the columns of `b` (k, n) and `out` (m, n) contiguous and n a multiple of the vector's width."""
    multiply(
        out, a.shape[0], out.shape[1] * out.itemsize // BYTES, a.shape[1], address(a, 0), a.strides[0], a.strides[1],
        address(b, 0), b.strides[0], address(out, 0), out.strides[0], True,
    )  # fmt: skip
