"""Distinguish a run that has exploded from a fault of the program."""

import numpy as np
from ase import Atoms

from ..errors import DynamicsError, RelaxationError, StructureError, WKError


def is_finite(atoms: Atoms) -> bool:
    """Whether positions, momenta and cell are numbers."""
    return all(bool(np.isfinite(x).all()) for x in (atoms.positions, atoms.get_momenta(), atoms.cell.array))


def has_exploded(error: Exception, atoms: Atoms) -> bool:
    """Whether an error in a run means that the structure makes no sense any more.

    The package's own errors say so by their class, and so do errors of arithmetic and linear algebra: the integrators
    of ASE have variables of their own, such as the velocity of the cell, that explode first. Any other error is due to
    numbers that are not finite, or else the program is at fault.
    """
    if isinstance(error, WKError):
        return isinstance(error, StructureError | DynamicsError | RelaxationError)
    if isinstance(error, ArithmeticError | np.linalg.LinAlgError):
        return True
    return not isinstance(error, OSError) and not is_finite(atoms)
