"""Files of QM9 as published: one molecule in each, 16 properties in the second line, Hartree and Angstrom.

R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, Sci. Data 1, 140022 (2014).
"""

from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from ..errors import DataError
from .frame import Frame, _Raw

QM9_NAMES: dict[str, tuple[str, ...]] = {"energy": ("u0",), "forces": (), "stress": ()}
PROPERTIES = (
    "A", "B", "C", "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv",
)  # fmt: skip


def is_qm9(path: Path) -> bool:
    """Whether a file is one of QM9: its second line has the tag of the set and as many words."""
    with path.open("rb") as file:
        lines = file.read(1000).splitlines()
    words = lines[1].split() if len(lines) > 1 else []
    return len(words) == 2 + len(PROPERTIES) and words[0] == b"gdb"


def from_qm9(path: Path) -> _Raw:
    """Read a file of QM9; energies are left in Hartree.

    Raises:
        DataError: the file is not whole, or holds more than one molecule.

    """
    lines = path.read_text().replace("*^", "e").splitlines()
    n_atoms, words, after = int(lines[0]), lines[1].split(), ("frequencies", "SMILES", "InChI")
    if len(lines) != 2 + n_atoms + len(after):
        text = f"{path}: {len(lines)} lines, but a file of QM9 has {n_atoms} atoms, two lines before them and three "
        raise DataError(f"{text}after them ({', '.join(after)}); give the files one by one, each of them whole")
    rows = [line.split() for line in lines[2 : 2 + n_atoms]]
    numbers = np.array([atomic_numbers[row[0]] for row in rows], np.int64)
    positions = np.array([row[1:4] for row in rows], float)
    frame = Frame(numbers, positions, np.zeros((3, 3)), np.zeros(3, bool), source=str(path))
    return _Raw(frame, dict(zip(PROPERTIES, map(float, words[2:]), strict=True)), QM9_NAMES)
