"""LAMMPS inputs as text: their commands, and the lines that stand for the model."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import LammpsError


class Line(NamedTuple):
    """A command of a LAMMPS input: the number of its first line, and its words."""

    number: int
    words: list[str]


def commands(text: str) -> Iterator[Line]:
    """Commands of a LAMMPS input, without comments, those that go on after `&` joined."""
    first, waiting = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        first = first if waiting else number
        line = re.sub(r"#.*", "", line).rstrip()
        if line.endswith("&"):
            waiting += line[:-1] + " "
            continue
        if words := (waiting + line).split():
            yield Line(first, words)
        waiting = ""


def read_script(path: str | os.PathLike[str]) -> str:
    """Read a LAMMPS input in any encoding that has ASCII in it, one character for each byte.

    LAMMPS takes bytes: written as Latin-1, the text is what it was, whatever the encoding of its comments.

    Raises:
        LammpsError: the file is not text.
        OSError: it cannot be read.

    """
    text = Path(path).read_text("latin-1").removeprefix("ï»¿")  # the mark that Windows puts before UTF-8
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise LammpsError(f"{path}, line {line}: holds a zero byte; save the file as plain text (UTF-8, not UTF-16)")
    return text


class Split(NamedTuple):
    """A LAMMPS input, divided at the lines of the model; each part has its lines where they are in the whole.

    Attributes:
        before: what comes before the model.
        style: the pair style in which `wk` stands for the model.
        elements: of the atom types 1, 2, ...
        heat_flux: whether it was asked for.
        after: what comes after, with an empty line for each of those before.

    """

    before: str
    style: str
    elements: list[str]
    heat_flux: bool
    after: str


_STYLE = re.compile(r"^[ \t]*pair_style[ \t]+((?:hybrid/overlay\b[^#\n]*[ \t])?wk\b[^#\n]*?)[ \t]*(#.*)?$", re.M)
_COEFF = re.compile(
    r"^[ \t]*pair_coeff[ \t]+\*[ \t]+\*(?:[ \t]+wk)?((?:[ \t]+(?:&[ \t]*\n[ \t]*)?[A-Z][a-z]?)+)[ \t]*(#.*)?$", re.M
)


def split_script(text: str) -> Split | None:
    """Divide a LAMMPS input at the lines `pair_style wk` and `pair_coeff * * ELEMENT ...`; None if there are none.

    Raises:
        LammpsError: only one of them is there, or they are not in this order.

    """
    text = text.replace("\r\n", "\n")
    style = _STYLE.search(text)
    if style is None:
        return None
    found = _COEFF.search(text, style.end())
    if found is None:
        raise LammpsError(
            "after 'pair_style wk' there must be a line 'pair_coeff * * Si O' (with hybrid/overlay: 'pair_coeff * * wk "
            "Si O'): the symbol of an element for each type, neither a variable nor NULL"
        )
    before, between, after = text[: style.start()], text[style.end() : found.start()], text[found.end() :]
    words = style[1].split()
    heat_flux = "heat_flux" in words
    rest = before.count("\n") * "\n" + between + found[0].count("\n") * "\n" + after
    name = " ".join(word for word in words if word != "heat_flux")
    return Split(before, name, found[1].replace("&", " ").split(), heat_flux, rest)
