"""Time of a model on a structure, part by part, beside the floor that the processor sets."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from ..atoms.frame import Frame
from ..atoms.neighbours import VerletList, find_neighbours
from ..atoms.structure import Structure
from ..compute.jit import njit
from ..compute.simd import add, fma, splat, total, width
from ..model.energy import PARTS, evaluate
from ..model.model import Model

STEP = 0.01  # Angstrom by which atoms move between evaluations
LEAST_ATOMS = 200  # of a periodic structure: with fewer, what a step costs beside its atoms counts too


@njit
def _chains(n, factor):
    """Twelve sums of n dependent multiply-adds of whole vectors, which never leave the registers."""
    f = splat(factor)
    a, b, c, d, e, g = f, f, f, f, f, f
    h, i, j, k, m, o = f, f, f, f, f, f
    for _ in range(n):
        a, b, c, d, e, g = fma(f, a, f), fma(f, b, f), fma(f, c, f), fma(f, d, f), fma(f, e, f), fma(f, g, f)
        h, i, j, k, m, o = fma(f, h, f), fma(f, i, f), fma(f, j, f), fma(f, k, f), fma(f, m, f), fma(f, o, f)
    first, second = add(add(a, b), add(c, d)), add(add(e, g), add(h, i))
    return total(add(add(first, second), add(add(j, k), add(m, o))))


def structure_to_time(frames: Sequence[Frame]) -> Atoms:
    """Return the largest of some structures, repeated until it has enough atoms if it is periodic."""
    atoms = max(frames, key=len).to_atoms()
    while atoms.pbc.any() and len(atoms) < LEAST_ATOMS:
        lengths = np.where(atoms.pbc, atoms.cell.lengths(), np.inf)
        atoms = atoms * tuple(1 + (np.arange(3) == np.argmin(lengths)))
    return atoms


def cpu_median(function: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of a call, after one that does not count."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times))


def peak_rate(dtype: str | type[np.floating[Any]] = np.float64) -> float:
    """Multiply-adds per second of one core with all operands in registers."""
    kind, n = np.dtype(dtype), 200_000
    return 12 * n * width(kind) / cpu_median(lambda: _chains(n, kind.type(0.5)), 9)


@dataclass(frozen=True)
class Speed:
    """Cost of one evaluation of energy, forces and stress.

    Attributes:
        form: "direct" or "mapped".
        precision: of the kernel's arithmetic.
        threads: how many.
        microseconds: CPU time per atom of each of `PARTS`.
        wall: microseconds per atom of the whole.
        list_build: CPU microseconds per atom of rebuilding the neighbour list.
        floor: microseconds per atom that the multiply-adds of the kernel take at the peak rate.

    """

    form: str
    precision: str
    threads: int
    microseconds: dict[str, float]
    wall: float
    list_build: float
    floor: float

    @property
    def total(self) -> float:
        """CPU microseconds per atom and step, the neighbour list being kept."""
        return sum(self.microseconds.values())


def measure(
    model: Model,
    atoms: Atoms,
    threads: int = 1,
    precision: str = "float64",
    direct: bool = False,
    skin: float = 0.5,
    seconds: float = 1.0,
) -> Speed:
    """Time a model on a structure, the atoms moving a little from step to step.

    Args:
        model: the model.
        atoms: the structure.
        threads: how many.
        precision, direct: as in `Model.potential`.
        skin: Angstrom, of the neighbour list.
        seconds: how long each of the parts may take, roughly.

    """
    potential = model.potential(precision, direct)
    elements, cell = model.species_of(atoms.numbers), atoms.cell.array
    verlet = VerletList(model.cutoff, skin, threads)
    rng = np.random.default_rng(0)

    def structure() -> Structure:
        positions = atoms.positions + rng.uniform(-STEP, STEP, atoms.positions.shape)
        return Structure(positions, cell, elements, verlet.update(atoms.positions, cell, atoms.pbc))

    evaluate(potential, structure(), threads)
    start = time.perf_counter()
    evaluate(potential, structure(), threads)
    repeats = int(np.clip(seconds / max(time.perf_counter() - start, 1e-6), 3, 500))
    n = len(atoms)

    def until(stages: int) -> float:
        return 1e6 / n * cpu_median(lambda: evaluate(potential, structure(), threads, stages), repeats)

    times = [until(k) for k in range(1, len(PARTS) + 1)]
    parts = {name: max(t - before, 0.0) for name, t, before in zip(PARTS, times, [0.0, *times], strict=False)}
    walls = []
    for _ in range(repeats):
        start = time.perf_counter()
        evaluate(potential, structure(), threads)
        walls.append(time.perf_counter() - start)
    build = cpu_median(
        lambda: find_neighbours(atoms.positions, cell, atoms.pbc, model.cutoff + skin, threads), min(repeats, 9)
    )
    work = float(np.mean(potential.costs[elements]))
    mapped = model.is_mapped and not direct
    return Speed(
        "mapped" if mapped else "direct", precision, threads, parts, 1e6 * float(np.median(walls)) / n,
        1e6 * build / n, 1e6 * work / peak_rate(precision),
    )  # fmt: skip


def cpu_time(atoms: Atoms, model: Model, precision: str = "float64") -> float:
    """CPU microseconds per atom and step of a model on a structure, measured for a fraction of a second."""
    return measure(model, atoms, precision=precision, seconds=0.2).total
