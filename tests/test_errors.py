"""Every error raised on purpose is a `WKError`, and keeps the built-in class that callers may catch."""

import ast
import builtins
from pathlib import Path

import pytest

import wk_potential
from wk_potential import errors
from wk_potential.errors import WKError

PACKAGE = Path(wk_potential.__file__).parent
SIGNALS = {"_CallsUsedUp", "_Lost", "_TimeUp", "Interrupted", "Terminated"}  # caught within the package
INTERNAL = {  # raised where only a fault of ours can lead
    ("__init__.py", "AttributeError"),  # of a module, as Python wants it
    ("cli/encoding.py", "error"),  # handed on, as Python wants it
    ("compute/ranks.py", "error"),  # of whatever rank it is
    ("demo/make_ethanol.py", "RuntimeError"),  # a script of its own
    ("demo/make_ethanol.py", "SystemExit"),
    ("kernel/lanes.py", "TypeError"),
    ("model/header.py", "ValueError"),  # taken up by pydantic
    ("training/options.py", "ValueError"),
    ("training/full/likelihood.py", "LinAlgError"),  # a step too far, caught by the search
    ("training/mapping/recoupling.py", "ArithmeticError"),
}


def name_of(node):
    """Name of what a statement raises: of the class, or of the variable that holds the error."""
    if isinstance(node, ast.Call):
        return name_of(node.func)
    if isinstance(node, ast.IfExp):
        return name_of(node.body)
    return node.attr if isinstance(node, ast.Attribute) else node.id


def raised():
    """Names of what is raised anywhere in the package, as (file, name)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                yield path.relative_to(PACKAGE).as_posix(), name_of(node.exc)


def test_all_that_is_raised_on_purpose_is_ours():
    others = set()
    for file, name in raised():
        kind = getattr(errors, name, None)
        if name not in SIGNALS and not (isinstance(kind, type) and issubclass(kind, WKError)):
            others.add((file, name))
    assert others <= INTERNAL, others - INTERNAL


def is_error(name):
    kind = getattr(errors, name, getattr(builtins, name, None))
    return isinstance(kind, type) and issubclass(kind, BaseException)


def test_all_classes_of_errors_are_in_one_module():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and path.name != "errors.py" and node.name not in SIGNALS:
                assert not any(is_error(getattr(base, "id", "")) for base in node.bases), (path, node.name)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("OptionsError", ValueError),
        ("OptionTypeError", TypeError),
        ("StructureError", ValueError),
        ("UnknownElementError", ValueError),
        ("ModelFileError", ValueError),
        ("LammpsError", ValueError),
        ("NotEnoughMemoryError", MemoryError),
        ("FileError", OSError),
        ("MPIError", ImportError),
    ],
)
def test_built_in_classes_are_kept(name, base):
    kind = getattr(errors, name)
    assert issubclass(kind, WKError)
    assert issubclass(kind, base)


def test_a_file_error_is_that_of_the_operating_system():
    error = errors.FileError(28, "No space left on device", "m.wkp")
    assert (error.errno, error.strerror, error.filename) == (28, "No space left on device", "m.wkp")
