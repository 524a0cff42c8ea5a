"""What the package shows to the outside: names, versions, commands of the README, sizes of its parts."""

import ast
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import wk_potential
from wk_potential.cli import main
from wk_potential.demo import DATA

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = Path(wk_potential.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LONGEST_FUNCTION, LONGEST_MODULE = 60, 400  # lines


def in_a_child(code):
    """Run Python code in a process of its own and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_reading_frames_does_not_load_the_compiler():
    code = "import sys, wk_potential; print('numpy' in sys.modules, 'ase' in sys.modules); "
    code += f"wk_potential.read_frames({str(DATA)!r}); print('numba' in sys.modules)"
    assert in_a_child(code) == ["False", "False", "False"]


@pytest.mark.parametrize("name", [name for name in wk_potential.__all__ if not name.startswith("_")])
def test_public_names_are_there_and_explained(name):
    value = getattr(wk_potential, name)
    assert inspect.getdoc(value)
    assert name in dir(wk_potential)


def test_only_the_export_imports_pytorch():
    libraries = re.compile(r"^\s*(import|from) (torch|metatomic|metatensor)\b", re.M)
    assert {path.parent.name for path in MODULES if libraries.search(path.read_text("utf-8"))} == {"export"}


def test_names_that_do_not_exist():
    with pytest.raises(AttributeError, match="nothing"):
        _ = wk_potential.nothing


def test_every_error_is_a_wkerror():
    from wk_potential import errors

    found = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    assert len(found) > 20
    for value in found:
        assert issubclass(value, (errors.WKError, UserWarning)), value


def test_one_version():
    assert importlib.metadata.version("wk-potential") == wk_potential.__version__
    assert f"\nversion: {wk_potential.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {wk_potential.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_oldest_versions_are_the_lower_bounds():
    text = (ROOT / "requirements" / "oldest.txt").read_text()
    oldest = {name: Version(version) for name, version in re.findall(r"^([\w-]+)==([\d.]+)$", text, re.MULTILINE)}
    extras = PROJECT["optional-dependencies"]
    bounds = [Requirement(line) for line in (*PROJECT["dependencies"], *extras["test"])]
    for requirement in bounds:
        if requirement.name != "wk-potential":
            (lowest,) = [s.version for s in requirement.specifier if s.operator == ">="]
            assert oldest[requirement.name] == Version(lowest), requirement.name


def commands_of(path):
    """Command and arguments of each line of a text that calls the program."""
    found = re.findall(r"(?:^|[\s`/])wk-potential ([a-z]+)([^\n`]*)", path.read_text(), re.MULTILINE)
    return [(name, arguments.partition("#")[0]) for name, arguments in found]


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "models" / "README.md"], ids=lambda path: path.parent.name)
def test_commands_of_the_readme_exist(path):
    found = commands_of(path)
    assert found
    for name, arguments in found:
        command = main.get_command(None, name)
        assert command is not None, name
        options = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        flags = set(re.findall(r"(?<!\S)--?[a-z][\w-]*", arguments))
        assert flags <= options | {"--help"}, name


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "models" / "README.md", ROOT / "CONTRIBUTING.md"])
def test_files_that_the_texts_point_to_exist(path):
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def lines_of(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if docstring else 0)


def test_modules_and_functions_are_short():
    long = []
    for path in MODULES:
        text = path.read_text()
        if len(text.splitlines()) > LONGEST_MODULE:
            long.append(path)
        functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
        long += [(path, function.name) for function in functions if lines_of(function) > LONGEST_FUNCTION]
    assert not long


def test_no_folder_of_one_machine_is_named():
    assert not [path for path in MODULES if re.search(r"/(work|root|home|Users)/", path.read_text())]
