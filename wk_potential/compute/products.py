"""Small dense matrix products whose sums stay in vector registers, in float64 and float32.

The products of this package are a few dozen rows or columns: a BLAS call packs its operands and picks its kernel for
longer than it multiplies, may not use the widest vectors there are, and its threads compete with ours.
"""

import numba
from numba import types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from .jit import njit
from .simd import (
    BYTES,
    FAST,
    emit_add,
    emit_broadcast,
    emit_fma,
    emit_load,
    emit_pointer,
    emit_store,
    emit_sum,
    integer,
    llvm_vector,
)


def _compiles_for(feature: str) -> bool:
    """Whether functions are compiled for processors with a feature: of the host, or as NUMBA_CPU_FEATURES says."""
    asked = getattr(numba.config, "CPU_FEATURES", None)
    return f"+{feature}" in (get_host_cpu_features() if asked is None else asked).split(",")


# Sums held at once, rows by vectors: as many as the registers hold. Machine code made with other numbers has another
# name in the cache, since the features that decide here are part of numba's key of each compiled signature.
ROWS, VECTORS = (8, 3) if _compiles_for("avx512f") else (6, 1)


def _emit_tile(builder, vector, rows, vectors, depth, a, a_row, a_step, b, b_step, out, out_row, accumulate):
    """out[r, v] (+)= sum_k a[r, k] b[k, v] for `rows` rows and `vectors` vectors of columns, both known here."""
    sums = [[emit_sum(builder, vector) for _ in range(vectors)] for _ in range(rows)]
    with cgutils.for_range(builder, depth) as loop:
        at_b, at_a = builder.mul(loop.index, b_step), builder.mul(loop.index, a_step)
        places = [builder.add(at_b, integer(BYTES * v)) for v in range(vectors)]
        columns = [emit_load(builder, emit_pointer(builder, b, at, vector), vector) for at in places]
        for r, row in enumerate(sums):
            at = builder.add(at_a, builder.mul(a_row, integer(r)))
            factor = emit_broadcast(builder, builder.load(emit_pointer(builder, a, at, vector.element)))
            for s, column in zip(row, columns, strict=True):
                builder.store(emit_fma(builder, factor, column, builder.load(s), FAST), s)
    for r, row in enumerate(sums):
        at_row = builder.mul(out_row, integer(r))
        for v, s in enumerate(row):
            pointer = emit_pointer(builder, out, builder.add(at_row, integer(BYTES * v)), vector)
            with builder.if_then(accumulate):
                builder.store(emit_add(builder, emit_load(builder, pointer, vector), builder.load(s), ()), s)
            emit_store(builder, builder.load(s), pointer)


@intrinsic
def _tile(typingctx, like, rows, vectors, depth, a, a_row, a_step, b, b_step, out, out_row, accumulate):
    """One tile of a product, of 1 to ROWS rows and 1 to VECTORS vectors; addresses and strides in bytes."""
    vector = llvm_vector(like.dtype)

    def codegen(context, builder, signature, args):
        end = builder.append_basic_block("end")
        case = builder.add(builder.mul(args[1], integer(VECTORS + 1)), args[2])
        switch = builder.switch(case, end)
        for rows in range(1, ROWS + 1):
            for vectors in range(1, VECTORS + 1):
                block = builder.append_basic_block(f"tile_{rows}_{vectors}")
                switch.add_case(integer(rows * (VECTORS + 1) + vectors), block)
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
