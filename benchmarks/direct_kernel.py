"""Cost of the direct kernel, energy and forces, for each (environment, support point) pair, beside its floor.

The floor counts the multiply-adds that the term lists and the contractions over channels need and divides them by
the rate that a large matrix product reaches on the same core in the same run.
"""

import time

import numpy as np
from ase.build import bulk
from common import parser, show
from threadpoolctl import threadpool_limits

from wk_potential.density.expansion import full_density
from wk_potential.density.radial import radial_table
from wk_potential.kernel.coupling import kernel_size, wigner_terms
from wk_potential.kernel.direct import Support, make_support
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


def peak_rate() -> float:
    """Multiply-adds per second of a large matrix product on one core."""
    a = np.random.default_rng(0).normal(size=(1200, 1200))
    with threadpool_limits(1):
        return 1200**3 / cpu_median(lambda: a @ a, 9)


def measure(order: int, lmax: int, channels: int, n_support: int, tangents: bool, repeats: int) -> tuple[float, float]:
    """Microseconds per pair measured, and multiply-adds per pair."""
    rng = np.random.default_rng(0)
    density = full_density(lmax, radial_table(5.0, 3.0, 0.3, 3.0, lmax, 1e-5), 1)
    density = density._replace(projection=np.ascontiguousarray(density.projection[..., :channels]))
    channels = density.projection.shape[3]
    shape = (n_support, (lmax + 1) ** 2, channels)
    directions = rng.normal(size=shape) if tangents else None
    support = make_support(rng.normal(size=shape), rng.normal(size=n_support), directions)
    terms = wigner_terms(lmax, order)
    potential = Potential(density, terms, np.ones(order), Support(*support), np.array([0, len(support.weights)]))
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=0)
    neighbours = find_neighbours(atoms.positions, atoms.cell[:], atoms.pbc, 5.0)
    vectors = neighbours.vectors(atoms.positions, atoms.cell[:])
    index = np.zeros(len(atoms), np.int64)
    seconds = cpu_median(lambda: evaluate(potential, index, neighbours, vectors), repeats)
    forward = len(terms.square.w) + len(terms.cube.w)
    backward = len(terms.square_grad.w) + len(terms.cube_grad1.w) + len(terms.cube_grad2.w)
    contraction = 2 * kernel_size(lmax) * channels  # to k1 and back
    # a term is a product and a multiply-add, so two operations; a tangent repeats everything (1 + 2) times
    operations = (2 * (forward + backward)) * (3 if tangents else 1) + contraction * (2 if tangents else 1)
    return 1e6 * seconds / (len(atoms) * n_support), operations


def main():
    p = parser(__doc__)
    p.add_argument("--support", type=int, default=512, help="number of support points")
    p.add_argument("--repeats", type=int, default=9, help="calls, of which the median counts")
    args = p.parse_args()
    rate = peak_rate()
    rows = []
    for order, lmax, tangents in ((4, 3, False), (4, 3, True), (3, 3, False), (2, 3, False), (4, 2, False)):
        micro, operations = measure(order, lmax, 10, args.support, tangents, args.repeats)
        floor = 1e6 * operations / rate
        rows.append([order, lmax, "yes" if tangents else "no", operations, micro, floor, micro / floor])
    columns = ["order", "lmax", "tangents", "operations", "us per pair", "floor us", "ratio"]
    title = f"direct kernel, energy + forces, one core, {1e-9 * rate:.0f} Gmadd/s in a matrix product"
    show(title, columns, rows, args.out / "direct_kernel.json")


if __name__ == "__main__":
    main()
