"""What LAMMPS would compute wrongly with the model, and how it is noticed.

To LAMMPS the model is a fix (`fix external`), since it has no pair style for it. So everything in LAMMPS that asks the
pair style for energies would get zero, and what changes forces before the model's are added would have no effect. The
tables here name those commands; the guide lists them for users.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from ..atoms.structure import Structure
from ..errors import LammpsError
from ..model.bonds import count_close
from .lammps_script import commands, read_script

# names in LAMMPS: of the fix that the model is, of what the atoms contribute to the heat flux, of its compute
FIX, SHARES, FLUX = "wk_potential", "wk_shares", "wk_flux"
_PAIR = "asks the pair style for energies or forces, in which the model's are not"
UNDIVIDED = "the model adds to a baseline potential, which cannot be divided among the atoms"
_FIXES = (
    "gcmc", "widom", "sgcmc", "atom/swap", "mol/swap", "neighbor/swap", "bond/swap", "charge/regulation", "hmc",
    "numdiff", "numdiff/virial",
)  # fmt: skip
_COMPUTES = (
    "born/matrix", "fep", "fep/ta", "ti", "hma", "pair", "pair/local", "group/group", "force/tally", "heat/flux/tally",
    "heat/flux/virial/tally", "pe/tally", "pe/mol/tally", "stress/tally", "stress/mop", "stress/mop/profile",
    "stress/cartesian", "stress/cylinder", "stress/spherical", "pressure/cylinder",
)  # fmt: skip
REFUSED = {
    "fix": dict.fromkeys(_FIXES, _PAIR),
    "compute": {
        **dict.fromkeys(_COMPUTES, _PAIR),
        "centroid/stress/atom": "has nine components for each atom, of which LAMMPS takes six from a fix",
        "heat/flux": (
            "lacks the antisymmetric part of the atoms' virials, which many-body potentials need; write `pair_style wk "
            f"heat_flux` and take c_{FLUX}[1], c_{FLUX}[2] and c_{FLUX}[3]"
        ),
    },
    "run_style": {"respa": "never calls the fix that the model is"},
    **{command: {"": _PAIR} for command in ("pair_write", "hyper", "prd", "tad")},
}
# fixes that act on the forces as they are at that moment: the model's must be there
CHANGE_FORCES = (
    "setforce", "aveforce", "freeze", "lineforce", "planeforce", "enforce2d", "store/force", "shake", "rattle", "pafi",
    "plumed", "poems", "grem", "ti/spring", "flow/gauss", "filter/corotate", "smd",
)  # fmt: skip
# computes that sum contributions which can be named, from this word on: without `fix` they leave the model out
WITH_PARTS = {"pe": 4, "pe/atom": 4, "pressure": 5, "stress/atom": 5}
OF_ATOMS = ("pe/atom", "stress/atom")  # of them, what is divided among the atoms
EVERY = 50  # steps after which the neighbour list is checked in any case
INSIDE = 1 - 1e-6  # of the cutoff: pairs at the cutoff itself may or may not be in the list


def refuse_commands(text: str, source: str, whole: bool = False, depth: int = 0) -> None:
    """Refuse commands that would go wrong without a word, in a LAMMPS input and the files that it includes.

    Args:
        text: of the input.
        source: its name, for the message.
        whole: whether the model adds to a baseline potential, which has no energies and stresses of atoms.
        depth: how many files include each other.

    Raises:
        LammpsError: the line and why.

    """
    for number, words in commands(text):
        if words[0] in ("include", "jump") and len(words) > 1 and depth < 10 and Path(words[1]).is_file():
            refuse_commands(read_script(words[1]), words[1], whole, depth + 1)
        elif why := _refusal(words, whole):
            raise LammpsError(f"{source}, line {number}: {' '.join(words[:4])}: {why}")


def _refusal(words: list[str], whole: bool) -> str | None:
    """Why a command is refused; `whole` as in `refuse_commands`."""
    command = words[0]
    at = {"fix": 3, "compute": 3, "run_style": 1}.get(command)
    style = "" if at is None else plain(words[at]) if len(words) > at else ""
    if why := REFUSED.get(command, {}).get(style):
        return why
    if command != "compute" or style not in WITH_PARTS:
        return None
    parts = [word for word in words[WITH_PARTS[style] :] if word.isalpha()]
    if parts and not {"virial", "fix"} & set(parts):
        if whole and style in OF_ATOMS:
            return None  # of kinetic energies and the like
        return f"leaves out the model, which is a fix to LAMMPS; add `fix` to `{' '.join(parts)}`"
    return UNDIVIDED if whole and style in OF_ATOMS else None


def plain(style: str) -> str:
    """Name of a style without the suffix of an accelerated version."""
    return re.sub(r"/(omp|kk|gpu|intel|opt)$", "", style)


def refuse_styles(styles: str, whole: bool = False) -> None:
    """Refuse fixes and computes that are there, whatever way they came.

    Args:
        styles: what the command `info fixes computes` has printed.
        whole: as in `refuse_commands`.

    Raises:
        LammpsError: one of them goes wrong with the model.

    """
    model = False
    for kind, name, style in re.findall(r"^(Fix|Compute)\[ *\d+\]: +(\S+), +style = (\S+),", styles, re.M):
        model |= name == FIX
        what = f"{kind.lower()} {name}, {plain(style)}"
        why = REFUSED[kind.lower()].get(plain(style))
        if why := why or (UNDIVIDED if whole and plain(style) in OF_ATOMS else None):
            raise LammpsError(f"{what}: {why}")
        if kind == "Fix" and plain(style) in CHANGE_FORCES and not model:
            raise LammpsError(
                f"{what}: acts before the forces of the model are there; put it behind the lines of the model"
            )


def guard(lmp: Any, whole: bool = False) -> None:
    """Make the methods of a `lammps` object that take commands look at them first; `whole` as in `refuse_commands`."""
    if hasattr(lmp, "wk_guarded"):
        return
    lmp.wk_guarded = True

    def wrap(method: Callable[[Any], Any], text_of: Callable[[Any], str], name: str) -> Callable[[Any], Any]:
        @functools.wraps(method)
        def guarded(argument: Any) -> Any:
            refuse_commands(text_of(argument), str(argument) if name == "file" else f"lmp.{name}", whole)
            return method(argument)

        return guarded

    texts: dict[str, Callable[[Any], str]] = {
        "command": str, "commands_list": "\n".join, "commands_string": str, "file": read_script,
    }  # fmt: skip
    for name, text_of in texts.items():
        setattr(lmp, name, wrap(getattr(lmp, name), text_of, name))


class NeighbourCheck:
    """Compares LAMMPS' neighbour lists with the positions: no pair within the cutoff may be missing.

    Args:
        cutoff: of the model, Angstrom.
        n_elements: of the model.

    """

    def __init__(self, cutoff: float, n_elements: int) -> None:
        self._cutoff, self._within = cutoff, np.full((n_elements, n_elements), cutoff)
        self._n_pairs, self._calls = -1, 0

    def __call__(self, structure: Structure, tags: np.ndarray, moved: bool) -> None:
        """Check the own atoms of this rank, if the list may have changed.

        Args:
            structure: own and ghost atoms, with the list.
            tags: (N,) of the atoms.
            moved: whether atoms have come or gone.

        Raises:
            LammpsError: pairs are missing.

        """
        first = structure.neighbours.first
        n_pairs, self._calls = int(first[-1]), self._calls + 1
        if not moved and n_pairs == self._n_pairs and self._calls % EVERY:
            return
        self._n_pairs = n_pairs
        positions, n_own = structure.positions, len(first) - 1
        if not n_own:
            return
        radius = INSIDE * self._cutoff
        wanted = cKDTree(positions).query_ball_point(positions[:n_own], radius, return_length=True) - 1
        listed = count_close(structure, self._within)
        if np.any(missing := listed < wanted):
            atom = int(np.argmax(missing))
            raise LammpsError(
                f"the neighbour list of LAMMPS holds {listed[atom]:.0f} of {wanted[atom]} neighbours within "
                f"{self._cutoff:g} Å of the atom with id {tags[atom]}. Three things do that: `special_bonds` with "
                "zeros after the lines of the model (it needs all neighbours: `special_bonds lj/coul 1 1 1`), "
                "`neigh_modify exclude` or a fix that excludes atoms, and a list that is not made in time "
                "(`neigh_modify every`)"
            )
