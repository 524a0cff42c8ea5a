"""Sums of products on rows of LANES numbers, kept in vector registers.

The kernel between one environment and LANES support points is computed at once: every quantity is an array
(n, LANES) whose rows are support points side by side. A plain loop over the lanes makes the compiler write
each partial sum back to memory; these intrinsics emit vector instructions with the sum in a register, which is
five times faster. LLVM lowers the vectors to whatever the processor has.
"""

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

WIDTH = 8  # doubles in one vector: one AVX-512 register, two AVX2, four NEON
VECTORS = 2  # independent sums, to hide the latency of the multiply-add
LANES = WIDTH * VECTORS

_INT = ir.IntType(64)
_VEC = ir.VectorType(ir.DoubleType(), WIDTH)


def _int(k):
    return ir.Constant(_INT, k)


def _row(builder, data, row):
    """Pointers to the vectors of one row of a (n, LANES) array."""
    base = builder.gep(data, [builder.mul(row, _int(LANES))])
    return [builder.bitcast(builder.gep(base, [_int(v * WIDTH)]), _VEC.as_pointer()) for v in range(VECTORS)]


def _load(builder, pointer):
    value = builder.load(pointer)
    value.align = 8
    return value


def _splat(builder, scalar):
    undefined = ir.Constant(_VEC, ir.Undefined)
    lane0 = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(lane0, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))


def _accumulate(builder, first, last, target, term):
    """Add to row `target` the sum over t of term(t), a list of VECTORS vectors."""
    sums = [cgutils.alloca_once_value(builder, ir.Constant(_VEC, [0.0] * WIDTH)) for _ in range(VECTORS)]
    for s in sums:
        builder.store(ir.Constant(_VEC, [0.0] * WIDTH), s)
    with cgutils.for_range_slice(builder, first, last, _int(1), inc=True) as (t, _):
        for s, value in zip(sums, term(t), strict=True):
            builder.store(builder.fadd(builder.load(s), value, flags=["fast"]), s)
    for s, pointer in zip(sums, target, strict=True):
        total = builder.fadd(_load(builder, pointer), builder.load(s))
        builder.store(total, pointer).align = 8


def _data(context, builder, signature, args, k):
    return context.make_array(signature.args[k])(context, builder, args[k]).data


@intrinsic
def _bilinear_row(typingctx, first, last, a, b, w, x, y, out, o):
    """out[o] += sum_t w[t] x[a[t]] y[b[t]], t = first..last-1."""

    def codegen(context, builder, signature, args):
        pa, pb, pw, px, py, po = (_data(context, builder, signature, args, k) for k in range(2, 8))

        def term(t):
            row_x = builder.sext(builder.load(builder.gep(pa, [t])), _INT)
            row_y = builder.sext(builder.load(builder.gep(pb, [t])), _INT)
            weight = _splat(builder, builder.load(builder.gep(pw, [t])))
            for vx, vy in zip(_row(builder, px, row_x), _row(builder, py, row_y), strict=True):
                wx = builder.fmul(weight, _load(builder, vx), flags=["fast"])
                yield builder.fmul(wx, _load(builder, vy), flags=["fast"])

        _accumulate(builder, args[0], args[1], _row(builder, po, args[8]), term)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, a, b, w, x, y, out, types.intp), codegen


@intrinsic
def _bilinear_pair_row(typingctx, first, last, a, b, w, x, y, x2, y2, out, o):
    """out[o] += sum_t w[t] (x[a[t]] y[b[t]] + x2[a[t]] y2[b[t]]), t = first..last-1."""

    def codegen(context, builder, signature, args):
        pa, pb, pw, px, py, px2, py2, po = (_data(context, builder, signature, args, k) for k in range(2, 10))

        def term(t):
            row_x = builder.sext(builder.load(builder.gep(pa, [t])), _INT)
            row_y = builder.sext(builder.load(builder.gep(pb, [t])), _INT)
            weight = _splat(builder, builder.load(builder.gep(pw, [t])))
            rows = zip(
                _row(builder, px, row_x), _row(builder, py, row_y),
                _row(builder, px2, row_x), _row(builder, py2, row_y),
                strict=True,
            )  # fmt: skip
            for pointers in rows:
                vx, vy, vx2, vy2 = (_load(builder, p) for p in pointers)
                second = builder.fmul(vx2, vy2, flags=["fast"])
                both = builder.fadd(builder.fmul(vx, vy, flags=["fast"]), second, flags=["fast"])
                yield builder.fmul(weight, both, flags=["fast"])

        _accumulate(builder, args[0], args[1], _row(builder, po, args[10]), term)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, a, b, w, x, y, x2, y2, out, types.intp), codegen


@intrinsic
def weighted_rows(typingctx, n, w, x, first_x, out, o):
    """out[o] += sum_t w[t] x[first_x + t], t = 0..n-1; w is (n,), x and out have rows of LANES."""

    def codegen(context, builder, signature, args):
        pw, px, po = (_data(context, builder, signature, args, k) for k in (1, 2, 4))

        def term(t):
            weight = _splat(builder, builder.load(builder.gep(pw, [t])))
            for vx in _row(builder, px, builder.add(args[3], t)):
                yield builder.fmul(weight, _load(builder, vx), flags=["fast"])

        _accumulate(builder, _int(0), args[0], _row(builder, po, args[5]), term)
        return context.get_dummy_value()

    return types.void(types.intp, w, x, types.intp, out, types.intp), codegen


@intrinsic
def row_products(typingctx, n, x, first_x, y, first_y, step_y, out, o):
    """out[o] += sum_t x[first_x + t] y[first_y + t step_y], t = 0..n-1, rows of LANES."""

    def codegen(context, builder, signature, args):
        px, py, po = (_data(context, builder, signature, args, k) for k in (1, 3, 6))

        def term(t):
            row_x = _row(builder, px, builder.add(args[2], t))
            row_y = _row(builder, py, builder.add(args[4], builder.mul(t, args[5])))
            for vx, vy in zip(row_x, row_y, strict=True):
                yield builder.fmul(_load(builder, vx), _load(builder, vy), flags=["fast"])

        _accumulate(builder, _int(0), args[0], _row(builder, po, args[7]), term)
        return context.get_dummy_value()

    signature = types.void(types.intp, x, types.intp, y, types.intp, types.intp, out, types.intp)
    return signature, codegen


@njit(cache=True)
def bilinear_pair(terms, x, y, x2, y2, out):
    """out[o] += sum over terms w (x[a] y[b] + x2[a] y2[b]), all arrays with rows of LANES (C order)."""
    for o in range(terms.start.shape[0] - 1):
        _bilinear_pair_row(terms.start[o], terms.start[o + 1], terms.a, terms.b, terms.w, x, y, x2, y2, out, o)


@njit(cache=True)
def bilinear(terms, x, y, out):
    """out[o] += sum over terms w x[a] y[b], all arrays with rows of LANES (C order)."""
    for o in range(terms.start.shape[0] - 1):
        _bilinear_row(terms.start[o], terms.start[o + 1], terms.a, terms.b, terms.w, x, y, out, o)
