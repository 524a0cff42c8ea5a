"""Cost of the direct kernel, energy and forces, for each (environment, support point) pair, beside its floor.

The floor counts the multiply-adds that the term lists and the contractions over channels need and divides them by
the rate at which the same core makes them in the same run, all operands in registers.
"""

import time

import numpy as np
from ase.build import bulk
from common import parser, show
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from wk_potential.density.expansion import full_density
from wk_potential.density.radial import radial_table
from wk_potential.kernel.coupling import kernel_size, wigner_terms
from wk_potential.kernel.direct import Support, make_support
from wk_potential.kernel.lanes import BYTES
from wk_potential.neighbours import find_neighbours
from wk_potential.potential import Potential, evaluate


def cpu_median(function, repeats: int) -> float:
    """Median CPU seconds of a call."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times))


CHAINS = 12  # of dependent multiply-adds: more than latency times throughput, fewer than registers


@intrinsic
def chains(typingctx, n, factor):
    """Sum of the lanes' first numbers after n rounds of x = factor x + factor in CHAINS vectors."""

    def codegen(context, builder, signature, args):
        scalar = context.get_data_type(signature.args[1])
        width = BYTES * 8 // signature.args[1].bitwidth
        vector, integer = ir.VectorType(scalar, width), ir.IntType(32)
        f = builder.insert_element(ir.Constant(vector, ir.Undefined), args[1], integer(0))
        f = builder.shuffle_vector(f, f, ir.Constant(ir.VectorType(integer, width), [0] * width))
        variables = [cgutils.alloca_once(builder, vector) for _ in range(CHAINS)]
        for k, variable in enumerate(variables):
            builder.store(ir.Constant(vector, [float(k)] * width), variable)
        with cgutils.for_range(builder, args[0]):
            for variable in variables:
                product = builder.fmul(builder.load(variable), f, flags=["contract"])
                builder.store(builder.fadd(product, f, flags=["contract"]), variable)
        total = ir.Constant(scalar, 0.0)
        for variable in variables:
            total = builder.fadd(total, builder.extract_element(builder.load(variable), integer(0)))
        return total

    return factor(types.intp, factor), codegen


@njit
def run_chains(n, factor):
    return chains(n, factor)


def peak_rate(dtype) -> float:
    """Multiply-adds per second of one core, operands in registers."""
    n, per_round = 2_000_000, CHAINS * BYTES // np.dtype(dtype).itemsize
    return n * per_round / cpu_median(lambda: run_chains(n, dtype(0.5)), 9)


def operations_of(terms, lmax: int, channels: int, tangents: bool) -> int:
    """Multiply-adds per pair: one for each term, one (adjoint: two) for each group of terms, and the contractions."""
    forward = sum(len(g.w) + len(g.indices) for g in (terms.square_groups, terms.cube_groups))
    backward = sum(len(g.w) + 2 * len(g.indices) for g in (terms.square_adjoint, terms.cube_adjoint))
    contractions = 2 * kernel_size(lmax) * channels  # to k1 and back
    # the derivative of a product is two products
    return (forward + backward) * (3 if tangents else 1) + contractions * (2 if tangents else 1)


def measure(
    order: int, lmax: int, channels: int, n_support: int, tangents: bool, dtype, repeats: int
) -> tuple[float, float]:
    """Microseconds per pair measured, and multiply-adds per pair."""
    rng = np.random.default_rng(0)
    density = full_density(lmax, radial_table(5.0, 3.0, 0.3, 3.0, lmax, 1e-5), 1)
    density = density._replace(projection=np.ascontiguousarray(density.projection[..., :channels]))
    channels = density.projection.shape[3]
    shape = (n_support, (lmax + 1) ** 2, channels)
    directions = rng.normal(size=shape) if tangents else None
    support = make_support(rng.normal(size=shape), rng.normal(size=n_support), directions, dtype)
    terms = wigner_terms(lmax, order, dtype)
    potential = Potential(density, terms, np.ones(order), Support(*support), np.array([0, len(support.weights)]))
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=0)
    neighbours = find_neighbours(atoms.positions, atoms.cell[:], atoms.pbc, 5.0)
    vectors = neighbours.vectors(atoms.positions, atoms.cell[:])
    index = np.zeros(len(atoms), np.int64)
    seconds = cpu_median(lambda: evaluate(potential, index, neighbours, vectors), repeats)
    return 1e6 * seconds / (len(atoms) * n_support), operations_of(terms, lmax, channels, tangents)


def main():
    p = parser(__doc__)
    p.add_argument("--support", type=int, default=512, help="number of support points")
    p.add_argument("--repeats", type=int, default=9, help="calls, of which the median counts")
    args = p.parse_args()
    rows = []
    rates = {dtype: peak_rate(dtype) for dtype in (np.float64, np.float32)}
    for dtype, rate in rates.items():
        for order, lmax, tangents in ((4, 3, False), (4, 3, True), (3, 3, False), (2, 3, False), (4, 2, False)):
            micro, operations = measure(order, lmax, 10, args.support, tangents, dtype, args.repeats)
            floor = 1e6 * operations / rate
            name = np.dtype(dtype).name
            rows.append([name, order, lmax, "yes" if tangents else "no", operations, micro, floor, micro / floor])
    columns = ["type", "order", "lmax", "tangents", "operations", "us per pair", "floor us", "ratio"]
    peaks = ", ".join(f"{1e-9 * rate:.0f} Gmadd/s in {np.dtype(dtype).name}" for dtype, rate in rates.items())
    title = f"direct kernel, energy + forces, one core; peak {peaks}"
    show(title, columns, rows, args.out / "direct_kernel.json")


if __name__ == "__main__":
    main()
