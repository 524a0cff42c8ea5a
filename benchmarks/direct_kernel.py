"""Cost of the direct kernel, energy and forces, for each (environment, support point) pair, beside its floor.

The floor counts the multiply-adds that the term lists and the contractions over channels need and divides them by
the rate at which the same core makes them in the same run, all operands in registers.
"""

import numpy as np
from ase.build import bulk
from common import parser, show

from wk_potential.analysis.timing import cpu_median, peak_rate
from wk_potential.atoms.neighbours import find_neighbours
from wk_potential.atoms.structure import Structure
from wk_potential.density.expansion import full_density
from wk_potential.density.packed import pack
from wk_potential.density.radial import radial_table
from wk_potential.kernel.coupling import wigner_terms
from wk_potential.kernel.direct import make_support
from wk_potential.model.energy import Direct, Layer, Potential, direct_cost, evaluate


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
    direct = Direct(wigner_terms(lmax, order, dtype), np.ones(order), support)
    packed = pack(density)
    potential = Potential([Layer(packed, packed.projection, [direct])])
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=0)
    neighbours = find_neighbours(atoms.positions, atoms.cell[:], atoms.pbc, 5.0)
    structure = Structure(atoms.positions, atoms.cell[:], np.zeros(len(atoms), np.int64), neighbours)
    seconds = cpu_median(lambda: evaluate(potential, structure), repeats)
    return 1e6 * seconds / (len(atoms) * n_support), direct_cost(direct, channels) / support.weights.size


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
            rows.append(
                [name, order, lmax, "yes" if tangents else "no", round(operations), micro, floor, micro / floor]
            )
    columns = ["type", "order", "lmax", "tangents", "operations", "us per pair", "floor us", "ratio"]
    peaks = ", ".join(f"{1e-9 * rate:.0f} Gmadd/s in {np.dtype(dtype).name}" for dtype, rate in rates.items())
    title = f"direct kernel, energy + forces, one core; peak {peaks}"
    show(title, columns, rows, args.out / "direct_kernel.json")


if __name__ == "__main__":
    main()
