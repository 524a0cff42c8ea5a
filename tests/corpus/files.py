"""Training files that cannot be read. See `corpus.cases`."""

from pathlib import Path

import numpy as np

from corpus.cases import QUICK, TRAIN, case, frames, save


@case
def no_such_file():
    return TRAIN, [r"data\.xyz: file not found"]


@case
def a_folder():
    Path("data.xyz").mkdir()
    return TRAIN, [r"data\.xyz: no training data in this folder"]


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
    return TRAIN, [r"data\.xyz: cannot be read", "ending of its format"]


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
    return TRAIN, [r"data\.xyz, frame 4: cannot be read", "complete"]


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
    return arguments, [r"data\.npz: cannot be read", "complete"]


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
    return [a for a in arguments if a not in ("--energy-unit", "kcal/mol")], [
        r"data\.npz: read as eV, but the file does not say so"
    ]
