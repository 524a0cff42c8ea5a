"""Sums of products on rows of lanes, kept in vector registers.

The kernel between one environment and a block of support points is computed at once: every quantity is an array
(n, lanes) whose rows are support points side by side, `lanes_of(dtype)` of them. A plain loop over the lanes makes
the compiler write each partial sum back to memory; these intrinsics keep the sums in registers. They are made of the
vectors of `compute.simd`. The element type is that of the arrays.
"""

import numpy as np
import numpy.typing as npt
from numba.core import cgutils, types
from numba.extending import intrinsic

from ..compute.jit import njit
from ..compute.simd import (
    CONTRACT,
    aligned,
    emit_add,
    emit_broadcast,
    emit_data,
    emit_load,
    emit_mul,
    emit_store,
    emit_sum,
    integer,
    vector_of,
    width,
)

VECTORS = 2  # in a row: each weight that is loaded and spread serves two multiply-adds

MOST = 3  # terms in a group, whose indices are packed in one word: fewer loads, of which the speed is made
BITS = 16  # of each index


def lanes_of(dtype: npt.DTypeLike) -> int:
    """Support points in a block: 16 of float64, 32 of float32."""
    return VECTORS * width(np.dtype(dtype))


@njit
def aligned_zeros(rows, like):
    """Zeros (rows, lanes) of the type of `like`, aligned so that no vector straddles two cache lines."""
    lanes = VECTORS * width(like)
    return aligned(rows * lanes, like).reshape((rows, lanes))


class _Emitter:
    """Writes the instructions of one intrinsic; vectors come in lists of VECTORS, the row of an array.

    The sums keep their order (`CONTRACT`).

    Args:
        context, builder, signature, args: as numba gives them.
        element: number of the argument (an array) whose element type the sums have.

    """

    def __init__(self, context, builder, signature, args, element):
        self.context, self.builder, self.types, self.args = context, builder, signature.args, args
        self.dtype = self.types[element].dtype
        self.vector = vector_of(context.get_data_type(self.dtype))

    def rows(self, k):
        """Data of the arrays (n, lanes) in argument k, a tuple of them or one."""
        kind, value = self.types[k], self.args[k]
        several = isinstance(kind, types.BaseTuple)
        kinds = list(kind) if several else [kind]
        if any(array.dtype != self.dtype for array in kinds):
            raise TypeError("terms and support points must be of one floating point type")
        values = cgutils.unpack_tuple(self.builder, value) if several else [value]
        return [emit_data(self.context, self.builder, *array) for array in zip(kinds, values, strict=True)]

    def _element(self, k, i):
        """Element i of the array in argument k."""
        data = emit_data(self.context, self.builder, self.types[k], self.args[k])
        return self.builder.load(self.builder.gep(data, [i]))

    def index(self, k, i):
        """Element i of the integer array in argument k."""
        return self.context.cast(self.builder, self._element(k, i), self.types[k].dtype, types.int64)

    def spread(self, k, i=None):
        """The number that is argument k, or element i of the array that it is, in all lanes."""
        kind, value = self.types[k], self.args[k]
        if i is not None:
            value, kind = self._element(k, i), kind.dtype
        return [emit_broadcast(self.builder, self.context.cast(self.builder, value, kind, self.dtype))] * VECTORS

    def _pointers(self, data, row):
        """Pointers to the vectors of a row."""
        lanes = VECTORS * self.vector.count
        first = self.builder.gep(data, [self.builder.mul(row, integer(lanes))])
        return [self.builder.gep(first, [integer(lane)]) for lane in range(0, lanes, self.vector.count)]

    def load(self, data, row):
        """Return a row of an array."""
        return [emit_load(self.builder, pointer, self.vector) for pointer in self._pointers(data, row)]

    def store(self, data, row, values):
        """Write a row of an array."""
        for value, pointer in zip(values, self._pointers(data, row), strict=True):
            emit_store(self.builder, value, pointer)

    def add_to(self, data, row, *summands):
        """Add each of `summands` to a row of an array."""
        self.store(data, row, self.add(self.load(data, row), *summands))

    def add(self, total, *summands):
        """Return total + summands."""
        for rows in summands:
            total = [emit_add(self.builder, a, b, CONTRACT) for a, b in zip(rows, total, strict=True)]
        return total

    def product(self, x, y):
        """x * y, which the compiler merges with an addition."""
        return [emit_mul(self.builder, a, b, CONTRACT) for a, b in zip(x, y, strict=True)]

    def sum(self, *ranges):
        """Sum of rows in registers; each of `ranges` is (first, last, rows) and adds rows(i), i = first..last - 1."""
        total = [emit_sum(self.builder, self.vector) for _ in range(VECTORS)]
        for first, last, rows in ranges:
            with cgutils.for_range_slice(self.builder, first, last, integer(1), inc=True) as (i, _):
                values = self.add([self.builder.load(v) for v in total], *rows(i))
                for value, variable in zip(values, total, strict=True):
                    self.builder.store(value, variable)
        return [self.builder.load(v) for v in total]

    def sum_groups(self, o, arrays, rows):
        """Sum over the groups of row o of what rows(b, [sum_t w[t] x[a[t]] for x in arrays]) returns.

        The fields of `Groups` are the first arguments. A group's sum is written out for each size, without a loop.
        """
        builder, (start, first, indices, w) = self.builder, range(4)

        def groups_of_size(size):
            segment = builder.add(builder.mul(o, integer(MOST)), integer(size - 1))
            group, term = self.index(start, segment), self.index(first, segment)

            def of_group(g):
                packed = self.index(indices, g)
                shifted = [builder.lshr(packed, integer(k * BITS)) for k in range(size + 1)]
                b, *a = (builder.and_(x, integer(2**BITS - 1)) for x in shifted)
                t = builder.add(term, builder.mul(builder.sub(g, group), integer(size)))
                weights = [self.spread(w, builder.add(t, integer(j))) for j in range(size)]
                products = [
                    [self.product(weight, self.load(x, row)) for weight, row in zip(weights, a, strict=True)]
                    for x in arrays
                ]
                return rows(b, [self.add(*summands) for summands in products])

            return group, self.index(start, builder.add(segment, integer(1))), of_group

        return self.sum(*(groups_of_size(size) for size in range(1, MOST + 1)))


@intrinsic
def _bilinear_row(typingctx, start, first, indices, w, xs, ys, out, o):
    """out[o] = sum_g sum_k (sum_{t in g} w[t] xs[k][a[t]]) ys[k][b[g]]."""

    def codegen(context, builder, signature, args):
        e = _Emitter(context, builder, signature, args, 6)
        rows_y, (target,) = e.rows(5), e.rows(6)

        def rows(b, inner):
            return [e.product(s, e.load(y, b)) for s, y in zip(inner, rows_y, strict=True)]

        e.store(target, args[7], e.sum_groups(args[7], e.rows(4), rows))
        return context.get_dummy_value()

    return types.void(start, first, indices, w, xs, ys, out, types.intp), codegen


@intrinsic
def _adjoint_row(typingctx, start, first, indices, w, factor, gs, xs, ys, out_x, out_y, o):
    """out_x[o] += sum_g sum_k S_k ys[k][b[g]], out_y[b[g]] += sum_k S_k xs[k][o].

    S_k is factor sum_{t in g} w[t] gs[k][a[t]].
    """

    def codegen(context, builder, signature, args):
        e, o = _Emitter(context, builder, signature, args, 8), args[10]
        rows_y, (target_x,), (target_y,) = e.rows(7), e.rows(8), e.rows(9)
        scale = e.spread(4)
        own = [e.product(scale, e.load(x, o)) for x in e.rows(6)]

        def rows(b, inner):
            e.add_to(target_y, b, *(e.product(s, x) for s, x in zip(inner, own, strict=True)))
            return [e.product(s, e.load(y, b)) for s, y in zip(inner, rows_y, strict=True)]

        e.add_to(target_x, o, e.product(scale, e.sum_groups(o, e.rows(5), rows)))
        return context.get_dummy_value()

    return types.void(start, first, indices, w, types.float64, gs, xs, ys, out_x, out_y, types.intp), codegen


@intrinsic
def weighted_rows(typingctx, factor, n, w, x, first_x, out, o):
    """out[o] = factor sum_t w[t] x[first_x + t], t = 0..n-1; w is (n,), x and out have rows of lanes."""

    def codegen(context, builder, signature, args):
        e = _Emitter(context, builder, signature, args, 5)
        (rows,), (target,) = e.rows(3), e.rows(5)

        def terms(t):
            return [e.product(e.spread(2, t), e.load(rows, builder.add(args[4], t)))]

        e.store(target, args[6], e.product(e.spread(0), e.sum((integer(0), args[1], terms))))
        return context.get_dummy_value()

    return types.void(types.float64, types.intp, w, x, types.intp, out, types.intp), codegen


@intrinsic
def row_products(typingctx, factor, n, x, first_x, y, first_y, step_y, out, o):
    """out[o] += factor sum_t x[first_x + t] y[first_y + t step_y], t = 0..n-1, rows of lanes."""

    def codegen(context, builder, signature, args):
        e = _Emitter(context, builder, signature, args, 7)
        (rows_x,), (rows_y,), (target,) = e.rows(2), e.rows(4), e.rows(7)

        def terms(t):
            row_y = builder.add(args[5], builder.mul(t, args[6]))
            return [e.product(e.load(rows_x, builder.add(args[3], t)), e.load(rows_y, row_y))]

        e.add_to(target, args[8], e.product(e.spread(0), e.sum((integer(0), args[1], terms))))
        return context.get_dummy_value()

    whole = types.intp
    return types.void(types.float64, whole, x, whole, y, whole, whole, out, whole), codegen


@intrinsic
def _add_row(typingctx, factor, x, out, o):
    """out[o] += factor x[o]."""

    def codegen(context, builder, signature, args):
        e = _Emitter(context, builder, signature, args, 2)
        (rows,), (target,) = e.rows(1), e.rows(2)
        e.add_to(target, args[3], e.product(e.spread(0), e.load(rows, args[3])))
        return context.get_dummy_value()

    return types.void(types.float64, x, out, types.intp), codegen


@njit
def add_rows(factor, x, out):
    """out[o] += factor * x[o] over the rows of out."""
    for o in range(out.shape[0]):
        _add_row(factor, x, out, o)


@njit
def bilinear(groups, xs, ys, out):
    """out[o] = sum over terms and k of w xs[k][a] ys[k][b]; xs, ys are tuples of arrays with rows of lanes."""
    for o in range(groups.first.shape[0]):
        _bilinear_row(groups.start, groups.first, groups.indices, groups.w, xs, ys, out, o)


@njit
def bilinear_adjoint(groups, factor, gs, xs, ys, out_x, out_y):
    """Add the gradients of factor * sum_k <gs[k], B(xs[k], ys[k])>, B the map whose adjoint list is `groups`.

    To out_x is added that in x, which has xs[k] for x, to out_y that in y. The two may be one array.
    """
    for o in range(groups.first.shape[0]):
        _adjoint_row(groups.start, groups.first, groups.indices, groups.w, factor, gs, xs, ys, out_x, out_y, o)
