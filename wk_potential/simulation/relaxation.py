"""Relaxation of positions and cells."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units

from ..errors import RelaxationError
from .explosion import has_exploded

OPTIMISERS = ("LBFGS", "BFGS", "FIRE")


@dataclass(frozen=True)
class RelaxSummary:
    """Summary of a relaxation.

    Attributes:
        converged: whether the forces (and the cell's gradient) are below the limit.
        steps: number of steps.
        energy: eV, at the end.
        gained: eV, energy at the start minus energy at the end.
        fmax: eV/Angstrom, the largest force on an atom at the end.
        pressure: GPa at the end, None unless the cell is periodic in three directions.

    """

    converged: bool
    steps: int
    energy: float
    gained: float
    fmax: float
    pressure: float | None


def _largest(forces: np.ndarray) -> float:
    """The longest of vectors (N, 3)."""
    return float(np.sqrt((forces**2).sum(axis=1).max()))


def _check(optimiser: str, fmax: float, no_cell: bool, pressure: float) -> None:
    """Refuse arguments that make no sense."""
    if optimiser not in OPTIMISERS:
        raise RelaxationError(f"unknown optimiser {optimiser!r}: choose one of {', '.join(OPTIMISERS)}")
    if not (0 < fmax < np.inf and np.isfinite(pressure)):
        raise RelaxationError(f"fmax must be positive and the pressure a number, not {fmax} and {pressure}")
    if no_cell:
        raise RelaxationError("relaxing the cell needs one that is periodic in three directions")


def relax(
    atoms: Atoms,
    optimiser: str = "LBFGS",
    fmax: float = 0.01,
    steps: int = 1000,
    cell: bool = False,
    pressure: float = 0.0,
    progress: Callable[[str, float], None] | None = None,
) -> RelaxSummary:
    """Relax positions, with `cell` also the cell, in place.

    Args:
        atoms: the structure, with a calculator.
        optimiser: LBFGS, BFGS or FIRE.
        fmax: eV/Angstrom; the search ends when no force is larger. With `cell` it is also the limit of the gradient
            of the cell, eV per unit strain and atom.
        steps: largest number of steps.
        cell: relax the cell too.
        pressure: GPa, with `cell`.
        progress: called with the name of the stage and the fraction done, by the logarithm of the force.

    Raises:
        RelaxationError: an argument makes no sense, the cell cannot be relaxed, or forces are not finite.
        UnknownElementError: an element is not in the model.

    """
    import ase.optimize
    from ase.filters import FrechetCellFilter
    from threadpoolctl import threadpool_limits

    periodic = atoms.pbc.all() and atoms.cell.rank == 3
    _check(optimiser, fmax, cell and not periodic, pressure)
    start = atoms.get_potential_energy()
    target = FrechetCellFilter(atoms, scalar_pressure=pressure * units.GPa) if cell else atoms
    search = getattr(ase.optimize, optimiser)(target, logfile=None)
    first = _largest(target.get_forces())

    def watch() -> None:
        force = _largest(target.get_forces())
        if not np.isfinite(force):
            raise RelaxationError("the forces are not finite any more")
        if progress is not None:
            done = np.log(first / max(force, 1e-12)) / np.log(first / fmax) if first > fmax else 1.0
            progress(f"relaxing: largest force {force:.4f} eV/Å", float(np.clip(done, 0, 1)))

    search.attach(watch)
    try:
        # ASE's cell filter solves systems of nine equations, which are slow on several BLAS threads
        with search, threadpool_limits(1, "blas"):
            converged = bool(search.run(fmax=fmax, steps=steps))
    except Exception as error:
        if not has_exploded(error, atoms):
            raise
        raise RelaxationError(f"the relaxation stopped at step {search.nsteps}: {error}") from error
    energy = atoms.get_potential_energy()
    left = -float(atoms.get_stress()[:3].mean()) / units.GPa if periodic else None
    return RelaxSummary(converged, search.nsteps, energy, start - energy, _largest(atoms.get_forces()), left)
