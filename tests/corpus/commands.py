"""Options, models and structures given to the commands that do not fit. See `corpus.cases`."""

from pathlib import Path

from ase.build import bulk
from ase.io import write

from corpus.cases import NONSENSE, case, frames, relabelled, save, structure


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
