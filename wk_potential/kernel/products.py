"""Small dense matrix products whose sums stay in vector registers.

The products of derivative learning are a few dozen rows and columns: a BLAS call packs its operands and picks its
kernel for longer than it multiplies, and may not use the widest vectors there are.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

WIDTH = 8  # doubles in one vector: one AVX-512 register, two AVX2, four NEON
# sums held at once: as many as the registers hold
ROWS, VECTORS = (7, 4) if llvm.get_host_cpu_features().get("avx512f") else (6, 1)


@njit(cache=True)
def padded(n):
    """Return n, rounded up to whole vectors."""
    return -(-n // WIDTH) * WIDTH


_INT, _DOUBLE = ir.IntType(64), ir.DoubleType()
_VEC = ir.VectorType(_DOUBLE, WIDTH)


def _int(k):
    return ir.Constant(_INT, k)


def _pointer(builder, address, offset, kind):
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def _load(builder, pointer):
    value = builder.load(pointer)
    value.align = 8
    return value


def _splat(builder, scalar):
    undefined = ir.Constant(_VEC, ir.Undefined)
    lane0 = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(lane0, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))


def _emit_tile(builder, rows, vectors, depth, a, a_row, a_step, b, b_step, out, out_row):
    """out[r, v] += sum_k a[r, k] b[k, v] for `rows` rows and `vectors` vectors of columns, both known here."""
    zero = ir.Constant(_VEC, [0.0] * WIDTH)
    sums = [[cgutils.alloca_once(builder, _VEC) for _ in range(vectors)] for _ in range(rows)]
    for s in (s for row in sums for s in row):
        builder.store(zero, s)
    with cgutils.for_range(builder, depth) as loop:
        k = loop.index
        at_b, at_a = builder.mul(k, b_step), builder.mul(k, a_step)
        columns = [
            _load(builder, _pointer(builder, b, builder.add(at_b, _int(8 * WIDTH * v)), _VEC)) for v in range(vectors)
        ]
        for r, row in enumerate(sums):
            at = builder.add(at_a, builder.mul(a_row, _int(r)))
            factor = _splat(builder, builder.load(_pointer(builder, a, at, _DOUBLE)))
            for s, column in zip(row, columns, strict=True):
                term = builder.fmul(factor, column, flags=["fast"])
                builder.store(builder.fadd(builder.load(s), term, flags=["fast"]), s)
    for r, row in enumerate(sums):
        at_row = builder.mul(out_row, _int(r))
        for v, s in enumerate(row):
            pointer = _pointer(builder, out, builder.add(at_row, _int(8 * WIDTH * v)), _VEC)
            total = builder.fadd(_load(builder, pointer), builder.load(s))
            builder.store(total, pointer).align = 8


@intrinsic
def _tile(typingctx, rows, vectors, depth, a, a_row, a_step, b, b_step, out, out_row):
    """One tile of a product, of 1 to ROWS rows and 1 to VECTORS vectors; addresses and strides in bytes."""

    def codegen(context, builder, signature, args):
        end = builder.append_basic_block("end")
        case = builder.add(builder.mul(args[0], _int(VECTORS + 1)), args[1])
        switch = builder.switch(case, end)
        for rows in range(1, ROWS + 1):
            for vectors in range(1, VECTORS + 1):
                block = builder.append_basic_block(f"tile_{rows}_{vectors}")
                switch.add_case(_int(rows * (VECTORS + 1) + vectors), block)
                builder.position_at_end(block)
                _emit_tile(builder, rows, vectors, *args[2:])
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(*10 * (types.intp,)), codegen


@njit(cache=True)
def _multiply_add(m, n, depth, a, a_row, a_step, b, b_step, out, out_row):
    for column in range(0, n, WIDTH * VECTORS):
        vectors = min(VECTORS, (n - column) // WIDTH)
        for row in range(0, m, ROWS):
            _tile(
                min(ROWS, m - row), vectors, depth, a + row * a_row, a_row, a_step, b + 8 * column, b_step,
                out + row * out_row + 8 * column, out_row,
            )  # fmt: skip


@njit(cache=True)
def multiply_add(a, b, out):
    """out += a b, the columns of `b` (k, n) and `out` (m, n) contiguous and n a multiple of WIDTH."""
    _multiply_add(
        a.shape[0], out.shape[1], a.shape[1], types.intp(a.ctypes.data), a.strides[0], a.strides[1],
        types.intp(b.ctypes.data), b.strides[0], types.intp(out.ctypes.data), out.strides[0],
    )  # fmt: skip
