"""Files as they should not be, one function each: it writes what it needs and says what comes of it.

A case returns the arguments of `wk-potential` and what its message has to say, as regular expressions that all must be
found. The exit code is 1, unless the case begins with `warn`: then the command works, and the message is a warning.
"""

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

QUICK = ["--cutoff", "4", "--cutoff-width", "2", "--lmax", "1", "--order", "2", "--density-width", "0.5"]
QUICK += ["--short-cutoff", "0", "--channel-tolerance", "0.01", "--no-map", "--threads", "1"]
TRAIN = ["train", "data.xyz", "-o", "m.wkp", *QUICK]
CASES: dict[str, Callable[[], tuple[list[str], list[str]]]] = {}


def case(function):
    CASES[function.__name__] = function
    return function


def frames(n=5, seed=0, strain=0.02) -> list[Atoms]:
    """Strained and rattled cells of copper, labelled by effective-medium theory."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, strain, (3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        images.append(relabelled(atoms))
    return images


def relabelled(atoms, **changes) -> Atoms:
    """A copy with the labels of its calculator, some of them changed (None: left out)."""
    ask = {"energy": atoms.get_potential_energy, "forces": lambda: atoms.get_forces(apply_constraint=False)}
    if atoms.pbc.all():
        ask["stress"] = lambda: atoms.get_stress(apply_constraint=False)
    labels = changes | {name: get() for name, get in ask.items() if name not in changes}
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **{k: v for k, v in labels.items() if v is not None})
    return copy


NONSENSE = {"energy": 1.0, "forces": np.zeros((4, 3)), "stress": np.zeros(6)}


def save(images, name="data.xyz") -> None:
    write(name, images)


def structure() -> None:
    """A model's favourite: copper out of balance."""
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    write("cu.xyz", atoms)
