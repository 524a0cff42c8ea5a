"""Distinguish a run that has exploded from a fault of the program."""

import numpy as np
from ase import Atoms

from ..errors import DynamicsError, RelaxationError, StructureError, WKError


def is_finite(atoms: Atoms) -> bool:
    """Whether positions, momenta and cell are numbers."""
    return all(bool(np.isfinite(x).all()) for x in (atoms.positions, atoms.get_momenta(), atoms.cell.array))


def has_exploded(error: Exception, atoms: Atoms) -> bool:
    """Whether an error in a run means that the structure makes no sense any more.

    The package's own errors say so by their class. Other errors come from arithmetic with numbers that are not finite,
    in the integrators of ASE or in linear algebra. If positions, momenta and cell are finite, the program is at fault.
    """
    if isinstance(error, WKError):
        return isinstance(error, StructureError | DynamicsError | RelaxationError)
    return not isinstance(error, OSError) and not is_finite(atoms)
