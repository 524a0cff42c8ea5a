"""Vectors of one hardware register as values in compiled functions.

`load`, `store`, `splat`, `fma`, ... work on vectors of 64 bytes: 8 numbers of float64, 16 of float32, the type taken
from the array or scalar. LLVM lowers them to whatever the processor has: one AVX-512 register, two of AVX2, four
of NEON. Loops written with them keep their sums in registers, which the compiler does not do for plain loops.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

BYTES = 64


class Vector(types.Type):
    """Numba type of a vector of 64 bytes."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, llvm_vector(fe_type.dtype))


def llvm_vector(dtype):
    """LLVM type of a vector of numba type `dtype`."""
    return ir.VectorType(ir.DoubleType(), 8) if dtype == types.float64 else ir.VectorType(ir.FloatType(), 16)


def width(dtype) -> int:
    """Return how many numbers of a NumPy dtype make a vector."""
    return BYTES // dtype.itemsize


def _address(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def load(typingctx, array, index):
    """Vector of the numbers from array.flat[index] on (C order, not checked)."""

    def codegen(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], args[0], args[1])
        vector = llvm_vector(signature.return_type.dtype)
        value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        value.align = array.dtype.bitwidth // 8
        return value

    return Vector(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write a vector to array.flat[index] and beyond (C order, not checked)."""

    def codegen(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, args[2].type.as_pointer())
        builder.store(args[2], pointer).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def item(typingctx, array, index):
    """array.flat[index] (C order, not checked; unlike array[index] no test whether the index is negative)."""

    def codegen(context, builder, signature, args):
        return builder.load(_address(context, builder, signature.args[0], args[0], args[1]))

    return array.dtype(array, types.intp), codegen


def broadcast(builder, scalar):
    """Emit a vector whose elements are all `scalar`."""
    width = 8 if isinstance(scalar.type, ir.DoubleType) else 16
    undefined = ir.Constant(ir.VectorType(scalar.type, width), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width))


@intrinsic
def splat(typingctx, scalar):
    """Vector whose elements are all the scalar, a float64 or float32."""
    return Vector(scalar)(scalar), lambda context, builder, signature, args: broadcast(builder, args[0])


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c."""

    def codegen(context, builder, signature, args):
        product = builder.fmul(args[0], args[1], flags=["fast"])
        return builder.fadd(product, args[2], flags=["fast"])

    return a(a, b, c), codegen


@intrinsic
def mul(typingctx, a, b):
    """a * b."""
    return a(a, b), lambda context, builder, signature, args: builder.fmul(args[0], args[1], flags=["fast"])


@intrinsic
def add(typingctx, a, b):
    """a + b."""
    return a(a, b), lambda context, builder, signature, args: builder.fadd(args[0], args[1], flags=["fast"])


@intrinsic
def total(typingctx, a):
    """Sum of the elements of a vector."""

    def codegen(context, builder, signature, args):
        value = args[0]
        n = value.type.count
        while n > 1:
            n //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            halves = [
                builder.shuffle_vector(value, undefined, ir.Constant(ir.VectorType(ir.IntType(32), n), list(part)))
                for part in (range(n), range(n, 2 * n))
            ]
            value = builder.fadd(*halves, flags=["fast"])
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return a.dtype(a), codegen
