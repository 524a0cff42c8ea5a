"""Vectors of one hardware register as values in compiled functions.

A vector has 64 bytes: 8 numbers of float64, 16 of float32. LLVM lowers it to whatever the processor has: one AVX-512
register, two of AVX2, four of NEON. Loops written with vectors keep their sums in registers, which the compiler does
not do for plain loops.

The functions `emit_...` write LLVM instructions. They are the only ones of the package that do so for vectors: the
intrinsics `load`, `store`, `fma`, ... below are made of them, and so are those of `compute.products` and
`kernel.lanes`, whose loops have to be unrolled when the code is written.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_jitable, register_model

BYTES = 64  # of a vector, and of a cache line
WIDTH = BYTES // 8  # numbers of float64 in a vector

# What the compiler may do with the arithmetic it is given: change the order of sums, or only merge products with sums.
FAST = ("fast",)
CONTRACT = ("contract",)


@register_jitable
def width(like: np.ndarray | np.dtype[Any]) -> int:
    """Return how many numbers of the type of an array, or of a NumPy dtype, make a vector."""
    return BYTES // like.itemsize


@register_jitable
def padded(n, multiple):
    """Return n, rounded up to a multiple."""
    return -(-n // multiple) * multiple


@register_jitable
def aligned(n, like):
    """Zeros (n,) of the type of `like` that begin at a cache line, so that no vector of them straddles two."""
    buffer = np.zeros(n + width(like), like.dtype)
    first = -buffer.ctypes.data % BYTES // like.itemsize
    return buffer[first : first + n]


# --- writing LLVM instructions ---


def integer(value: int) -> ir.Constant:
    """Constant of 64 bits."""
    return ir.Constant(ir.IntType(64), value)


def vector_of(element: ir.Type) -> ir.VectorType:
    """LLVM type of a vector of an LLVM type, double or float."""
    return ir.VectorType(element, BYTES // (8 if isinstance(element, ir.DoubleType) else 4))


def emit_data(context, builder, kind, array):
    """Pointer to the numbers of an array of numba type `kind`."""
    return context.make_array(kind)(context, builder, array).data


def emit_pointer(builder, address, offset, kind):
    """Pointer to an LLVM type, `offset` bytes behind an integer address."""
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def emit_load(builder, pointer, vector):
    """Vector of an LLVM type from a pointer to its first element or to itself; it need not be aligned."""
    value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    value.align = BYTES // vector.count
    return value


def emit_store(builder, value, pointer):
    """Write a vector to a pointer to its first element or to itself, which need not be aligned."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = BYTES // value.type.count


def emit_broadcast(builder, scalar):
    """Vector whose elements are all `scalar`, a double or float."""
    vector, lane = vector_of(scalar.type), ir.IntType(32)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(lane, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(lane, vector.count), [0] * vector.count))


def emit_add(builder, a, b, flags):
    """a + b; `flags` are those of LLVM, `FAST`, `CONTRACT` or none."""
    return builder.fadd(a, b, flags=flags)


def emit_mul(builder, a, b, flags):
    """a * b; `flags` as in `emit_add`."""
    return builder.fmul(a, b, flags=flags)


def emit_fma(builder, a, b, c, flags):
    """a * b + c, the product rounded before the sum or not as the processor likes; `flags` as in `emit_add`."""
    return emit_add(builder, emit_mul(builder, a, b, flags), c, flags)


def emit_sum(builder, vector):
    """Variable for a sum that stays in a register over a loop, of an LLVM vector type, now zero."""
    variable = cgutils.alloca_once(builder, vector)
    builder.store(ir.Constant(vector, [0.0] * vector.count), variable)
    return variable


# --- vectors as values ---


class Vector(types.Type):
    """Numba type of a vector of 64 bytes."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, llvm_vector(fe_type.dtype))


def llvm_vector(dtype: types.Type) -> ir.VectorType:
    """LLVM type of a vector of numba type float64 or float32."""
    return vector_of(ir.DoubleType() if dtype == types.float64 else ir.FloatType())


def _element(context, builder, signature, args):
    """Pointer to array.flat[index], the array and the index being the first two arguments of an intrinsic."""
    return builder.gep(emit_data(context, builder, signature.args[0], args[0]), [args[1]])


@intrinsic
def load(typingctx, array, index):
    """Vector of the numbers from array.flat[index] on (C order, not checked)."""

    def codegen(context, builder, signature, args):
        return emit_load(builder, _element(context, builder, signature, args), llvm_vector(array.dtype))

    return Vector(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write a vector to array.flat[index] and beyond (C order, not checked)."""

    def codegen(context, builder, signature, args):
        emit_store(builder, args[2], _element(context, builder, signature, args))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def item(typingctx, array, index):
    """array.flat[index] (C order, not checked; unlike array[index] no test whether the index is negative)."""

    def codegen(context, builder, signature, args):
        return builder.load(_element(context, builder, signature, args))

    return array.dtype(array, types.intp), codegen


@intrinsic
def splat(typingctx, scalar):
    """Vector whose elements are all the scalar, a float64 or float32."""
    return Vector(scalar)(scalar), lambda context, builder, signature, args: emit_broadcast(builder, args[0])


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c."""
    return a(a, b, c), lambda context, builder, signature, args: emit_fma(builder, *args, FAST)


@intrinsic
def mul(typingctx, a, b):
    """a * b."""
    return a(a, b), lambda context, builder, signature, args: emit_mul(builder, *args, FAST)


@intrinsic
def add(typingctx, a, b):
    """a + b."""
    return a(a, b), lambda context, builder, signature, args: emit_add(builder, *args, FAST)


@intrinsic
def total(typingctx, a):
    """Sum of the elements of a vector."""

    def codegen(context, builder, signature, args):
        value, lane = args[0], ir.IntType(32)
        n = value.type.count
        while n > 1:
            n //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            halves = [
                builder.shuffle_vector(value, undefined, ir.Constant(ir.VectorType(lane, n), list(part)))
                for part in (range(n), range(n, 2 * n))
            ]
            value = emit_add(builder, *halves, FAST)
        return builder.extract_element(value, ir.Constant(lane, 0))

    return a.dtype(a), codegen
