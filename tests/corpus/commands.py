"""Options, models and structures given to the commands that do not fit. See `corpus.cases`."""

import hashlib
import json
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
def options_nested_deeply():
    return config("order_weights = " + 5000 * "[" + 5000 * "]"), [
        r"options\.toml: cannot be read as TOML",
        "too deeply",
    ]


@case
def options_nested():
    return config("element_weights = " + 100 * "{ a = " + "1" + 100 * "}"), [
        r"options\.toml: element_weights\.a: .*number"
    ]


@case
def options_with_thousands_of_digits():
    return config("seed = " + 5000 * "9"), [r"options\.toml: cannot be read as TOML", "thousands of digits"]


@case
def options_with_an_integer_beyond_64_bits():
    return config("seed = 99999999999999999999\n"), [
        r"options\.toml: seed: .*less than or equal to 9223372036854775807"
    ]


@case
def options_with_many_hexadecimal_digits():
    return config("support_points = 0x" + 5000 * "f"), [r"options\.toml: support_points: .*less than"]


@case
def options_not_finite():
    return config("energy_noise = inf\n"), [r"options\.toml: energy_noise: .*finite number"]


@case
def options_in_latin_1():
    arguments = config("")
    Path("options.toml").write_bytes("cutoff = 4.0\nenergy_key = 'Größe'\n".encode("latin-1"))
    return arguments, [r"options\.toml: cannot be read as TOML \(line 2 is not UTF-8 text\)"]


@case
def options_that_are_a_folder():
    arguments = config("")
    Path("options.toml").unlink()
    Path("options.toml").mkdir()
    return arguments, [r"options\.toml: cannot be read \(Is a directory\)"]


@case
def options_wrong_in_many_places():
    wrong = ", ".join(f"A{n} = 'x'" for n in range(1000))
    return config(f"element_weights = {{ {wrong} }}\n"), [r"element_weights\.A0: .*; and 995 more"]


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


def rewritten(header: bytes) -> list[str]:
    """A model file with another header, and a checksum that fits."""
    line, _, rest = Path("cu.wkp").read_bytes().partition(b"\n")
    data = rest[int(line.split()[3].removeprefix(b"header=")) :]
    identity = b"wk_potential model format=3 header=%d total=%d" % (len(header), len(header) + len(data))
    digest = hashlib.sha256(identity + header + data).hexdigest().encode()
    Path("bad.wkp").write_bytes(identity + b" sha256=" + digest + b"\n" + header + data)
    return ["info", "bad.wkp"]


def with_header(change) -> list[str]:
    """A model file whose header was changed by a function."""
    line, _, rest = Path("cu.wkp").read_bytes().partition(b"\n")
    header = json.loads(rest[: int(line.split()[3].removeprefix(b"header="))])
    change(header)
    return rewritten(json.dumps(header).encode())


@case
def model_header_no_json():
    return rewritten(b"{ cutoff: 4 }"), [r"bad\.wkp: the header of this model file is damaged"]


@case
def model_header_not_utf_8():
    return rewritten(b"\xff\xfe\xfd"), [r"bad\.wkp: the header of this model file is damaged"]


@case
def model_header_a_list():
    return rewritten(b'["arrays", "scales"]'), [r"bad\.wkp: the header of this model file is damaged"]


@case
def model_header_nested_deeply():
    return rewritten(100_000 * b"["), [r"bad\.wkp: the header of this model file is damaged"]


@case
def model_header_without_arrays():
    return with_header(lambda header: header.pop("arrays")), [r"bad\.wkp: the header of this model file is damaged"]


@case
def model_header_that_lacks_an_array():
    return with_header(lambda header: header["arrays"].pop("baseline")), [
        r"bad\.wkp: .* describes the array 'compositions' wrongly"
    ]


@case
def model_header_with_an_array_beyond_the_file():
    change = lambda header: header["arrays"]["elements"].update(offset=10**9)  # noqa: E731
    return with_header(change), [r"bad\.wkp: .* describes the array 'elements' wrongly"]


@case
def model_header_with_an_array_of_objects():
    change = lambda header: header["arrays"]["elements"].update(dtype="|O")  # noqa: E731
    return with_header(change), [r"bad\.wkp: .* describes the array 'elements' wrongly"]


@case
def model_header_with_parts_that_do_not_fit():
    change = lambda header: header["scales"][0].update(lmax=[3])  # noqa: E731
    return with_header(change), [r"bad\.wkp: the header is wrong in scales\.0\.lmax: .*valid integer"]


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
    return ["md", "cu.wkp", "cu.xyz", "-o", "md.traj"], ["atoms 1 and 2|atoms 2 and 1", "less than 0.1 Angstrom apart"]


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


@case
def dynamics_with_a_negative_seed():
    structure()
    return ["md", "cu.wkp", "cu.xyz", "-o", "md.traj", "--seed", "-1"], ["the seed must not be negative"]


@case
def dynamics_with_an_interval_beyond_all_bounds():
    structure()
    return ["md", "cu.wkp", "cu.xyz", "-o", "md.traj", "--interval", 30 * "9"], ["interval must be a positive number"]


@case
def dynamics_at_a_temperature_that_is_no_number():
    structure()
    return ["md", "cu.wkp", "cu.xyz", "-o", "md.traj", "--temperature", "nan"], ["temperature of nan K"]


@case
def relaxation_to_no_force():
    structure()
    return ["relax", "cu.wkp", "cu.xyz", "-o", "r.xyz", "--fmax", "0"], ["fmax must be positive"]


@case
def check_with_a_time_step_that_is_no_number():
    structure()
    return ["check", "cu.wkp", "cu.xyz", "--timestep", "nan"], ["timestep must be a positive number"]


@case
def mapping_to_a_tolerance_that_is_no_number():
    save(frames())
    return ["map", "cu.wkp", "data.xyz", "-o", "m.wkp", "--tolerance", "inf"], ["the tolerance must be a number"]


@case
def picture_of_no_format():
    save(frames())
    return ["evaluate", "cu.wkp", "data.xyz", "--plot", "p.what"], [r"p\.what: no format of pictures"]


@case
def picture_of_a_run_of_no_format():
    structure()
    return ["md", "cu.wkp", "cu.xyz", "-o", "md.traj", "--plot", "energy"], ["energy: no format of pictures"]


# --- what the user has programmed ---


def reference(text: str):
    structure()
    Path("reference.py").write_text(text)
    return ["active", "cu.xyz", "--reference", "reference.py", "-o", "m.wkp"]


@case
def reference_with_an_error_in_its_syntax():
    return reference("calculator = = 1\n"), [r"--reference reference\.py: cannot be loaded \(SyntaxError: .*line 1"]


@case
def reference_that_raises_an_error():
    return reference("calculator = 1 / 0\n"), [r"--reference reference\.py: cannot be loaded \(ZeroDivisionError: "]


@case
def reference_that_ends_the_program():
    return reference("import sys\nsys.exit('no licence')\n"), [
        r"reference\.py: cannot be loaded \(SystemExit: no licence"
    ]


@case
def reference_that_is_no_calculator():
    return reference("calculator = 3\n"), [r"reference\.py: calculator is no ASE calculator"]
