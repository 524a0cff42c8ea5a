"""Files as they should not be, one function each: it writes what it needs and says what comes of it.

A case returns the arguments of `wk-potential` and what its message has to say, as regular expressions that all must be
found. The exit code is 1, unless the case begins with `warn`: then the command works, and the message is a warning.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

QUICK = ["--cutoff", "4", "--cutoff-width", "2", "--lmax", "1", "--order", "2", "--density-width", "0.5"]
QUICK += ["--short-cutoff", "0", "--channel-tolerance", "0.01", "--no-map", "--threads", "1"]
TRAIN = ["train", "data.xyz", "-o", "m.wkp", *QUICK]
CASES: dict[str, Callable[[], tuple[list[str], list[str]]]] = {}


def case(function):
    CASES[function.__name__] = function
    return function


def frames(n=5, seed=0) -> list[Atoms]:
    """Strained and rattled cells of copper, labelled by effective-medium theory."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
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


# --- files ---


@case
def no_such_file():
    return TRAIN, [r"data\.xyz: file not found"]


@case
def a_folder():
    Path("data.xyz").mkdir()
    return TRAIN, [r"data\.xyz: not a file"]


@case
def empty_file():
    Path("data.xyz").touch()
    return TRAIN, [r"data\.xyz: the file is empty"]


@case
def blank_lines():
    Path("data.xyz").write_text("\n\n\n")
    return TRAIN, [r"data\.xyz"]


@case
def binary_garbage():
    Path("data.xyz").write_bytes(np.random.default_rng(0).bytes(5000))
    return TRAIN, [r"data\.xyz: cannot be read"]


@case
def wrong_extension():
    np.savez("archive.npz", x=np.zeros(3))
    Path("archive.npz").rename("data.xyz")
    return TRAIN, [r"data\.xyz: cannot be read", "named as its format"]


@case
def unknown_extension():
    save(frames())
    Path("data.xyz").rename("data.what")
    return ["train", "data.what", "-o", "m.wkp", *QUICK], [r"data\.what: cannot be read"]


@case
def cut_off_frame():
    save(frames())
    text = Path("data.xyz").read_text().splitlines(keepends=True)
    Path("data.xyz").write_text("".join(text[:-2]))
    return TRAIN, [r"data\.xyz, frame 4: cannot be read", "whole"]


@case
def wrong_number_of_atoms():
    save(frames())
    Path("data.xyz").write_text(Path("data.xyz").read_text().replace("4\n", "3\n", 1))
    return TRAIN, [r"data\.xyz"]


@case
def letters_for_numbers():
    save(frames())
    lines = Path("data.xyz").read_text().splitlines()
    lines[9] = "Cu 0.0 zero 0.0 0 0 0"
    Path("data.xyz").write_text("\n".join(lines) + "\n")
    return TRAIN, [r"data\.xyz, frame 1"]


@case
def unknown_element_symbol():
    save(frames())
    Path("data.xyz").write_text(Path("data.xyz").read_text().replace("Cu ", "Xx ", 3))
    return TRAIN, [r"data\.xyz"]


@case
def element_of_number_zero():
    images = frames()
    images[2].numbers[1] = 0
    save(images)
    return TRAIN, [r"data\.xyz, frame 2, atom 1", "no atomic number"]


def rmd17(**changes) -> list[str]:
    rng = np.random.default_rng(0)
    arrays = {
        "nuclear_charges": np.array([1, 8]),
        "coords": np.array([[0, 0, 0], [0, 0, 1.0]]) + rng.normal(0, 0.1, (4, 2, 3)),
        "energies": rng.normal(size=4),
        "forces": rng.normal(size=(4, 2, 3)),
    }
    arrays |= changes
    np.savez("data.npz", **{name: array for name, array in arrays.items() if array is not None})
    return ["train", "data.npz", "-o", "m.wkp", "--energy-unit", "kcal/mol", *QUICK]


@case
def truncated_archive():
    arguments = rmd17()
    Path("data.npz").write_bytes(Path("data.npz").read_bytes()[:-300])
    return arguments, [r"data\.npz: cannot be read", "whole"]


@case
def archive_without_positions():
    return rmd17(coords=None), [r"data\.npz: expected .*coords", r"but found .*energies \(4,\)"]


@case
def archive_of_unequal_lengths():
    return rmd17(energies=np.zeros(3)), [r"data\.npz: expected", r"energies \(3,\)"]


@case
def archive_of_objects():
    return rmd17(energies=np.array([1.0, None, "x", 2.0], object)), [r"data\.npz: cannot be read"]


@case
def warn_archive_without_unit():
    arguments = rmd17()
    return [a for a in arguments if a not in ("--energy-unit", "kcal/mol")], [r"data\.npz: read as eV, but rMD17"]


# --- labels ---


@case
def no_labels():
    save([atoms.copy() for atoms in [Atoms(a.symbols, a.positions, cell=a.cell, pbc=True) for a in frames()]])
    return TRAIN, [r"data\.xyz: no energy, forces or stress", "--energy-key"]


@case
def labels_by_another_name():
    images = []
    for atoms in frames():
        copy = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        copy.info["my_energy"] = atoms.get_potential_energy()
        images.append(copy)
    save(images)
    return TRAIN, ["no energy, forces or stress", "keys found: .*my_energy"]


@case
def a_key_that_is_nowhere():
    save(frames())
    return [*TRAIN, "--forces-key", "REF_forces"], ["--forces-key 'REF_forces' is in no frame", "keys found"]


@case
def energy_not_a_number():
    images = frames()
    images[3] = relabelled(images[3], energy=np.nan)
    save(images)
    return TRAIN, [r"data\.xyz, frame 3: energy .* is NaN or infinite"]


@case
def force_not_a_number():
    images = frames()
    forces = images[1].get_forces()
    forces[2, 1] = np.nan
    images[1] = relabelled(images[1], forces=forces)
    save(images)
    return TRAIN, [r"data\.xyz, frame 1, atom 2 \(Cu\): forces .* is NaN or infinite"]


@case
def infinite_stress():
    images = frames()
    images[0] = relabelled(images[0], stress=np.full(6, np.inf))
    save(images)
    return TRAIN, [r"data\.xyz, frame 0: stress .* is NaN or infinite"]


@case
def energy_that_is_text():
    images = frames()
    for atoms in images:
        atoms.calc.results["energy"] = 0.0
        atoms.info["REF_energy"] = "converged"
    save(images)
    return [*TRAIN, "--energy-key", "REF_energy"], [r"data\.xyz, frame 0: 'REF_energy' is no energy", "--energy-key"]


@case
def unknown_unit():
    save(frames())
    return [*TRAIN, "--energy-unit", "erg"], ["--energy-unit 'erg'", "kcal/mol"]


@case
def a_slice_beyond_the_file():
    save(frames())
    return [*TRAIN, "--frames", "100:"], ["--frames '100:' selects nothing", "5 frames"]


@case
def a_slice_that_is_none():
    save(frames())
    return [*TRAIN, "--frames", "first"], ["--frames 'first'", ":50"]


def in_units(factor, forces=None):
    images = []
    for seed in range(4):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        energy = factor * (-2079.0 + atoms.get_potential_energy())  # of all electrons
        images.append(relabelled(atoms, energy=energy, forces=(forces or factor) * atoms.get_forces()))
    save(images)
    return TRAIN


@case
def warn_kcal_per_mol():
    return in_units(23.06), ["energies are .* look like kcal/mol", "--energy-unit"]


@case
def warn_hartree():
    return in_units(1 / 27.2114), ["energies are .* look like Hartree", "--energy-unit"]


@case
def warn_hartree_converted_twice():
    return in_units(27.2114), ["look like eV that was converted from Hartree"]


@case
def warn_forces_in_another_unit():
    return in_units(1.0, forces=100.0), ["forces are .* eV/Å .* smaller unit", "--energy-unit"]


@case
def warn_two_energies_that_differ():
    images = frames()
    for atoms in images:
        atoms.info["REF_energy"] = atoms.get_potential_energy() + 1.0
    save(images)
    return TRAIN, ["'REF_energy' and 'energy' differ", r"in 5 frames", "--energy-key"]


@case
def warn_duplicates():
    images = frames()
    save([*images, images[1], images[2]])
    return TRAIN, ["2 frames repeat an earlier one", r"data\.xyz, frame 1 and data\.xyz, frame 5"]


@case
def warn_forces_zeroed_by_constraints():
    images = []
    for atoms in frames():
        atoms.set_constraint(FixAtoms([0]))
        images.append(relabelled(atoms, forces=atoms.get_forces(apply_constraint=True)))
        images[-1].set_constraint()
    save(images)
    return TRAIN, [r"forces of 1 atom are exactly zero in data\.xyz, frame 0", "5 such frames", "constraints"]


@case
def warn_stress_of_the_wrong_sign():
    # no doubt arises before energies and forces say what the stress should be
    save([relabelled(atoms, stress=-atoms.get_stress()) for atoms in frames(16)])
    finer = ["--lmax", "3", "--order", "4", "--density-width", "0.3"]
    return [*TRAIN, *finer], ["stresses .* opposite sign", "tension is positive", "--no-use-stress"]


@case
def warn_stress_in_gigapascal():
    save([relabelled(atoms, stress=160.2177 * atoms.get_stress()) for atoms in frames(8)])
    return TRAIN, [r"stresses are .* eV/Å\^3 .* look like GPa or kbar"]


# --- structures ---


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


# --- options ---


def config(text: str):
    save(frames())
    Path("options.toml").write_text(text)
    return ["train", "data.xyz", "-o", "m.wkp", "--config", "options.toml"]


@case
def option_misspelt():
    return config("cutof = 5.0\n"), [r"options\.toml: unknown option 'cutof'; did you mean 'cutoff'"]


@case
def option_of_another_type():
    return config("cutoff = 'far'\n"), [r"options\.toml: cutoff: .*number.* 'far'"]


@case
def option_out_of_bounds():
    return config("lmax = 40\n"), [r"options\.toml: lmax: .*less than or equal to 6"]


@case
def options_that_are_no_toml():
    return config("cutoff: 5.0\n"), [r"options\.toml: cannot be read as TOML", "line 1"]


@case
def options_that_contradict():
    return config("order = 3\norder_weights = [1.0, 1.0]\n"), ["order_weights has 2 numbers, but the order is 3"]


@case
def output_in_no_folder():
    save(frames())
    return ["train", "data.xyz", "-o", "none/m.wkp"], ["the folder none does not exist"]


# --- models and structures ---


@case
def model_that_is_data():
    save(frames())
    return ["evaluate", "data.xyz", "data.xyz"], [r"data\.xyz: not a wk_potential model file"]


@case
def model_truncated():
    save(frames())
    Path("cut.wkp").write_bytes(Path("cu.wkp").read_bytes()[:-1000])
    return ["evaluate", "cut.wkp", "data.xyz"], [r"cut\.wkp: truncated", "copy the file again"]


@case
def model_altered():
    save(frames())
    content = bytearray(Path("cu.wkp").read_bytes())
    content[len(content) // 2] ^= 4
    Path("bad.wkp").write_bytes(content)
    return ["info", "bad.wkp"], [r"bad\.wkp: altered", "checksum"]


@case
def model_of_a_newer_version():
    content = Path("cu.wkp").read_bytes()
    first, _, rest = content.partition(b"\n")
    words = first.split()
    words[2] = b"format=99"
    Path("new.wkp").write_bytes(b" ".join(words) + b"\n" + rest)
    return ["info", "new.wkp"], [r"new\.wkp: model format 99 is newer", "upgrade wk_potential"]


@case
def model_with_a_damaged_first_line():
    Path("bad.wkp").write_bytes(Path("cu.wkp").read_bytes().replace(b"header=", b"hoader=", 1))
    return ["info", "bad.wkp"], [r"bad\.wkp: the first line .* damaged"]


@case
def model_not_there():
    structure()
    return ["md", "none.wkp", "cu.xyz", "-o", "md.traj"], [r"none\.wkp: cannot be read"]


@case
def element_unseen_in_evaluation():
    images = frames()
    images[2].numbers[3] = 47
    save([*images[:2], relabelled(images[2], **NONSENSE)])
    return ["evaluate", "cu.wkp", "data.xyz"], [r"data\.xyz, frame 2: atom 3 is Ag", "trained on Cu only"]


@case
def element_unseen_in_dynamics():
    write("ag.xyz", bulk("Ag", cubic=True))
    return ["md", "cu.wkp", "ag.xyz", "-o", "md.traj"], ["atom 0 is Ag", "trained on Cu only"]


@case
def dynamics_of_atoms_on_one_site():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[2] = atoms.positions[1]
    write("cu.xyz", atoms)
    return ["md", "cu.wkp", "cu.xyz", "-o", "md.traj"], ["atoms 1 and 2|atoms 2 and 1", "one site"]


@case
def relaxation_in_a_cell_without_volume():
    Path("cu.xyz").write_text('1\nLattice="3 0 0 3 0 0 0 0 3" Properties=species:S:1:pos:R:3 pbc="T T T"\nCu 0 0 0\n')
    return ["relax", "cu.wkp", "cu.xyz", "-o", "r.xyz"], ["cell"]


@case
def dynamics_of_positions_not_finite():
    Path("cu.xyz").write_text('2\nProperties=species:S:1:pos:R:3 pbc="F F F"\nCu 0 0 0\nCu nan 0 0\n')
    return ["md", "cu.wkp", "cu.xyz", "-o", "md.traj"], [r"cu\.xyz: the position of atom 1 is not finite"]


@case
def structure_cut_off():
    structure()
    Path("cu.xyz").write_text("".join(Path("cu.xyz").read_text().splitlines(keepends=True)[:-1]))
    return ["relax", "cu.wkp", "cu.xyz", "-o", "r.xyz"], [r"cu\.xyz: cannot be read as a structure"]


@case
def output_of_no_format():
    structure()
    return ["relax", "cu.wkp", "cu.xyz", "-o", "r.what"], [r"r\.what: no format"]


@case
def dynamics_with_a_negative_time_step():
    structure()
    return ["md", "cu.wkp", "cu.xyz", "-o", "md.traj", "--timestep", "-1"], ["timestep must be positive"]
