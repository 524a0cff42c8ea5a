"""Kinds of labels: their names, numbers, components and units."""

from enum import IntEnum


class LabelKind(IntEnum):
    """Number of a kind of label in arrays over labels; virials stand for stresses there."""

    ENERGY = 0
    FORCES = 1
    STRESS = 2


KINDS = ("energy", "forces", "stress")  # in the order of `LabelKind`
TENSORS = {"dipole": (1,), "polarizability": (0, 2)}  # angular momenta L of each
TENSOR_UNITS = {"dipole": "e*Angstrom", "polarizability": "Angstrom^3"}
# order of the components of a stress: rows and columns of xx yy zz yz xz xy, and both of each
VOIGT = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
VOIGT_PAIRS = tuple(zip(*VOIGT, strict=True))
MIN_DISTANCE = 0.1  # Angstrom; nothing that makes sense has atoms closer than this, or a thinner cell
WEIGHTS_FROM, WEIGHTS_TO = 1e-6, 1e6  # of frames in training
GPA = 160.2176634  # GPa in an eV/Angstrom^3
