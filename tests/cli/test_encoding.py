"""Output in encodings that lack letters of ours: it is written in others, and commands work all the same."""

import io
import re

import pytest

from wk_potential.cli.encoding import replace_what_cannot_be_written, writable

ENCODINGS = ["ascii", "gbk", "cp1251", "latin-1", "utf-8"]


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("eV/Å³ cm⁻¹ Å⁴", "ascii", "eV/A^3 cm^-1 A^4"),
        ("eV/Å³ cm⁻¹", "latin-1", "eV/Å³ cm^-¹"),
        ("eV/Å³ cm⁻¹", "utf-8", "eV/Å³ cm⁻¹"),
        ("größe.xyz", "cp1251", "gr\\xf6\\xdfe.xyz"),
        ("\udcff.xyz", "utf-8", "\\udcff.xyz"),  # a file name that is not UTF-8
        ("Größe", "gbk", "Gr\\xf6\\xdfe"),
    ],
)
def test_what_an_encoding_lacks_is_written_in_other_letters(text, encoding, expected):
    assert writable(text, encoding) == expected
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    replace_what_cannot_be_written(stream)
    stream.write(text)
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding) == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["info", "evaluate", "relax", "map"])
def test_commands_in_any_encoding(run, model, data, structure, encoding, name):
    arguments = {
        "info": ["info", model],
        "evaluate": ["evaluate", model, data],
        "relax": ["relax", model, structure, "-o", "r.xyz", "--cell"],
        "map": ["map", "--help"],
    }
    text = run(*arguments[name], charset=encoding).stdout
    letters = "[ÅA]" if encoding in ("latin-1", "utf-8") else "A"
    assert re.search(rf"eV/{letters}(ngstrom)?\b", text)
    assert "\\x" not in text
    assert "?" not in text


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_columns_stay_in_line(run, model, data, encoding):
    lines = run("evaluate", model, data, charset=encoding).stdout.splitlines()
    head = next(n for n, line in enumerate(lines) if "RMSE" in line)
    rows = lines[head + 2 : head + 2 + 4]
    assert rows[2].strip("| ").startswith("forces")
    assert {len(line.rstrip("| ")) for line in rows} == {len(lines[head].rstrip("| "))}


def test_errors_in_ascii(run, error_line):
    assert error_line(run("info", "größe.wkp", code=1, charset="ascii")).startswith("Error: gr\\xf6\\xdfe.wkp: ")
