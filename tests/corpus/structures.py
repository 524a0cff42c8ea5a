"""Structures that no training can use. See `corpus.cases`."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from corpus.cases import NONSENSE, QUICK, TRAIN, case, frames, relabelled, save


@case
def two_atoms_at_one_place():
    images = frames()
    images[2].positions[3] = images[2].positions[1] + [0, 0, 0.01]
    images[2] = relabelled(images[2], **NONSENSE)
    save(images)
    return TRAIN, [r"data\.xyz, frame 2: atom 1 \(Cu\) and atom 3 \(Cu\) .* are 0\.01 Å apart", "unit of length"]


@case
def positions_in_bohr_cell_in_nanometres():
    images = frames()
    for k, atoms in enumerate(images):
        atoms.set_cell(0.01 * atoms.cell.array, scale_atoms=True)
        images[k] = relabelled(atoms, **NONSENSE)
    save(images)
    return TRAIN, [r"data\.xyz, frame 0", "cell|apart"]


@case
def position_not_a_number():
    images = frames()
    text = images[0].positions
    text[1, 0] = np.inf
    images[0] = relabelled(images[0], **NONSENSE)
    save(images)
    return TRAIN, [r"data\.xyz, frame 0, atom 1 \(Cu\): position is NaN or infinite"]


@case
def cell_without_volume():
    images = frames()
    images[1].cell[2] = images[1].cell[0]
    images[1] = relabelled(images[1], **NONSENSE)
    save(images)
    return TRAIN, [r"data\.xyz, frame 1: periodic, but the cell .* has no volume"]


@case
def cell_not_finite():
    save(frames())
    lines = Path("data.xyz").read_text().splitlines()
    lines[1] = 'Lattice="' + " ".join(["nan"] * 9) + '"' + lines[1][lines[1].index('" ') + 1 :]
    Path("data.xyz").write_text("\n".join(lines) + "\n")
    return TRAIN, [r"data\.xyz, frame 0: cell is NaN or infinite"]


@case
def periodic_without_cell():
    images = frames()
    images[0].cell[:] = 0
    images[0] = relabelled(images[0], **NONSENSE | {"stress": None})
    images[0].pbc = True
    save(images, "data.json")
    return ["train", "data.json", "-o", "m.wkp", *QUICK], [
        r"data\.json, frame 0: periodic, but the cell vector a is zero"
    ]


@case
def frame_without_atoms():
    save(frames())
    Path("data.xyz").write_text(Path("data.xyz").read_text() + "0\nProperties=species:S:1:pos:R:3 energy=1.0\n")
    return TRAIN, [r"data\.xyz, frame 5: no atoms|data\.xyz, frame 5: cannot be read"]


@case
def only_lonely_atoms():
    atoms = Atoms("Cu", cell=np.zeros((3, 3)))
    images = []
    for k in range(3):
        copy = atoms.copy()
        copy.positions += k
        copy.calc = SinglePointCalculator(copy, energy=-1.0, forces=np.zeros((1, 3)))
        images.append(copy)
    save(images)
    return TRAIN, ["no atom in the frames has a neighbour within the cutoff of 4 Å", "unit of length"]


@case
def warn_huge_cell():
    images = frames()
    atoms = molecule("H2O", cell=1e5 * np.eye(3))
    atoms.pbc = True
    atoms.numbers[:] = 29
    atoms.positions *= 2.5
    atoms.calc = EMT()
    save([*images, relabelled(atoms, stress=None), relabelled(atoms, stress=None)])
    return TRAIN, ["repeat"]


@case
def isolated_atoms_of_other_elements():
    save(frames())
    return [*TRAIN, "--isolated-atoms", "Au=-0.3"], ["isolated_atoms lacks Cu"]
