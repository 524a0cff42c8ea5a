"""The cache of compiled code: what its keys depend on, and what becomes of its files when things go wrong.

Edits are made to copies of the package, and what is compiled there is run in processes of its own.
"""

import ast
import os
import subprocess
import sys
import threading
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import wk_potential
from wk_potential.compute import jit
from wk_potential.compute.jit import MEMORY, Sources, is_ours, write_whole

PACKAGE = Path(wk_potential.__file__).parent
needs_owners = pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners here")


@pytest.fixture
def package(tmp_path) -> Path:
    """A copy of the package that may be edited."""
    return copytree(PACKAGE, tmp_path / "copy" / PACKAGE.name, ignore=ignore_patterns("__pycache__"))


def key(root: Path, file: str) -> str:
    """The key of a file as a process that starts now finds it."""
    return Sources(root, root.parent / MEMORY).digest(file)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def run(code: str, cache: Path, path: Path = PACKAGE.parent, **environment: str) -> list[str]:
    """What a program prints, in a process with a cache folder and a package of its own."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(path), **environment}
    cache.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=cache, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# --- what keys depend on ---


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("density/packed.py", '"""Fill `hood.radial`', '"""Spread `hood.radial`'),
        ("density/packed.py", '"""The density of an atom', '"""Density of an atom'),
        ("density/packed.py", "ROWS = 4  # components", "\n\nROWS = 4  # some components"),
        ("density/packed.py", "    zero = splat(0.0)\n", "    # a comment\n    zero = splat(0.0)\n"),
        ("density/saturation.py", '    """Multiply c by g of each lane, which is written to factor (lanes,)."""\n', ""),
        ("model/energy.py", '"""Energies and forces of many', '"""Forces and energies of many'),
        ("cli/bench.py", "BENCH_ATOMS = 500", "BENCH_ATOMS = 400"),
        ("training/options.py", "SHORT_CUTOFF_WIDTH = 2 / 3", "SHORT_CUTOFF_WIDTH = 1 / 3"),
    ],
)
def test_edits_without_effect(package, file, old, new):
    before = key(package, "model/energy.py")
    edit(package / file, old, new)
    assert key(package, "model/energy.py") == before


@pytest.mark.parametrize(
    ("old", "new"), [("ROWS = 4  # components", "ROWS = 8  # components"), ("(2 * l + 1) / (4 * np.pi)", "1.0")]
)
def test_edits_with_effect(package, old, new):
    """Of a constant and of a function: they change the keys of those that import them and of no others."""
    files = ("density/packed.py", "model/energy.py", "model/committee.py", "kernel/lanes.py", "compute/products.py")
    before = {file: key(package, file) for file in files}
    edit(package / "density/packed.py", old, new)
    changed = {file for file in files if key(package, file) != before[file]}
    assert changed == {"density/packed.py", "model/energy.py", "model/committee.py"}


def test_every_module_that_is_loaded_counts(package, tmp_path):
    """The keys of a file know all modules that Python loads for it, and none of the layers above."""
    code = "import sys, wk_potential.model.energy; print(*(m for m in sys.modules if m.startswith('wk_potential.')))"
    loaded = {Path(*name.split(".")[1:]) for name in run(code, tmp_path / "cache")}
    modules = {file.relative_to(package).with_suffix("") for file in package.rglob("*.py") if file.stem != "__init__"}
    before, changed = key(package, "model/energy.py"), set()
    for module in modules:
        file = package / module.with_suffix(".py")
        text = file.read_text()
        file.write_text(text + "\nmore = 1\n")
        if key(package, "model/energy.py") != before:
            changed.add(module)
        file.write_text(text)
    assert loaded & modules <= changed
    below = {"compute", "atoms", "density", "kernel", "forms", "model", "errors"}
    assert {module.parts[0] for module in changed} <= below
    assert key(package, "model/energy.py") == before


@pytest.mark.parametrize(
    ("file", "statement", "imported"),
    [
        ("a.py", "from . import b", "b.py"),
        ("a.py", "from .b import x, y", "b.py"),
        ("a.py", "from .b import *", "b.py"),
        ("a.py", "from .part import c", "part/c.py"),
        ("a.py", "from .part import x", "part/__init__.py"),
        ("a.py", "from .part.c import x as y", "part/c.py"),
        ("a.py", "from tree import b", "b.py"),
        ("a.py", "from tree.part.c import x", "part/c.py"),
        ("a.py", "import tree.b as b", "b.py"),
        ("a.py", "import numpy, tree.part.c", "part/c.py"),
        ("a.py", "def f():\n    from .b import x", "b.py"),
        ("part/d.py", "from . import c", "part/c.py"),
        ("part/d.py", "from ..b import x", "b.py"),
        ("part/d.py", "from .. import b", "b.py"),
        ("part/d.py", "from ..part.c import x", "part/c.py"),
    ],
)
def test_imports(tmp_path, file, statement, imported):
    """However an import is written, and through another module too."""
    root = tmp_path / "tree"
    (root / "part").mkdir(parents=True)
    others = ("b.py", "other.py", "part/c.py", "part/other.py", "part/__init__.py", "__init__.py")
    for name in others:
        (root / name).write_text("x = 1\n")
    (root / file).write_text(f"import os, numpy as np\nfrom json import loads\n{statement}\n")
    (root / "user.py").write_text(f"from .{file[:-3].replace('/', '.')} import f\n")
    before = [key(root, name) for name in (file, "user.py")]
    (root / imported).write_text("x = 2\n")
    assert all(key(root, name) != old for name, old in zip((file, "user.py"), before, strict=True))
    (root / imported).write_text("x = 1\n")
    (root / "other.py").write_text("x = 2\n")
    (root / "part/other.py").write_text("x = 2\n")
    assert [key(root, name) for name in (file, "user.py")] == before


def test_keys_are_of_when_they_were_asked_for(package):
    """A file that is replaced while a process runs does not name what the process compiles of the old one."""
    sources = Sources(package, package.parent / MEMORY)
    before = sources.digest("density/packed.py")
    edit(package / "density/packed.py", "ROWS = 4", "ROWS = 8")
    assert sources.digest("density/packed.py") == before != key(package, "density/packed.py")


# --- the memory of what source files say ---


def test_memory_saves_parsing(package, monkeypatch):
    before = key(package, "model/energy.py")
    monkeypatch.setattr(ast, "parse", None)
    assert key(package, "model/energy.py") == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[: len(text) // 2],
        lambda text: bytes(len(text)),
        lambda text: b"\xff\xfe" + text,
        lambda text: b"[1, 2]",
        lambda text: b'{"known": {}}',
        lambda text: text.replace(b"compute/simd.py", b"compute/none.py"),
        lambda text: text.replace(b"[]", b'["compute/simd.py"]'),
    ],
)
def test_damaged_memory(package, damage):
    """It is ignored and mended."""
    before, memory = key(package, "model/energy.py"), package.parent / MEMORY
    whole = memory.read_bytes()
    memory.write_bytes(damage(whole))
    assert memory.read_bytes() != whole
    assert key(package, "model/energy.py") == before
    assert memory.read_bytes() == whole


def test_no_place_for_memory(package, tmp_path):
    assert Sources(package, tmp_path / "nowhere" / MEMORY).digest("model/energy.py") == key(package, "model/energy.py")


# --- files are written whole ---


def test_files_are_complete_before_they_have_their_name(tmp_path, monkeypatch):
    path, seen, replace = tmp_path / "entry", [], os.replace

    def watched(source, target):
        seen.append((Path(source).read_bytes(), Path(target).read_bytes(), Path(source).parent))
        replace(source, target)

    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", watched)
    write_whole(path, b"new" * 10_000)
    assert seen == [(b"new" * 10_000, b"old", tmp_path)]
    assert path.read_bytes() == b"new" * 10_000


def test_write_that_fails(tmp_path, monkeypatch):
    """The old file stays, and nothing beside it."""

    def fail(source, target):
        raise OSError("disk full")

    path = tmp_path / "entry"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_at_once(tmp_path):
    path, contents = tmp_path / "entry", [bytes([n]) * 100_000 for n in range(8)]
    write_whole(path, contents[0])

    def write(content):
        for _ in range(20):
            write_whole(path, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


# --- compiled code ---

# compiles in a moment: two modules for the copy of the package, and a program that says what came of them
ONE = "FACTOR = 2.0\n"
TWO = """
from .jit import njit
from .one import FACTOR


@njit
def f(x):
    return FACTOR * x
"""
PROGRAM = """
from wk_potential.compute.two import f
print(f(3.0), sum(f.stats.cache_hits.values()), sum(f.stats.cache_misses.values()))
"""
COMPILED, FOUND = ["6.0", "0", "1"], ["6.0", "1", "0"]


@pytest.fixture
def tiny(package) -> Path:
    """Folder that has a copy of the package with a function that compiles in a moment."""
    (package / "compute/one.py").write_text(ONE)
    (package / "compute/two.py").write_text(TWO)
    return package.parent


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "wk_potential").glob("*.nbc"))


@pytest.mark.train
def test_machine_code_follows_the_source(tiny, tmp_path):
    """Found again while the code is the same, made anew after an edit of another module, found again when undone."""
    cache, one = tmp_path / "cache", tiny / "wk_potential/compute/one.py"
    assert run(PROGRAM, cache, tiny) == COMPILED
    assert run(PROGRAM, cache, tiny) == FOUND
    one.write_text('"""A docstring."""\n\n# and a comment\n' + ONE)
    assert run(PROGRAM, cache, tiny) == FOUND
    one.write_text(ONE.replace("2.0", "5.0"))
    assert run(PROGRAM, cache, tiny) == ["15.0", "0", "1"]
    one.write_text(ONE)
    assert run(PROGRAM, cache, tiny) == FOUND
    assert len(entries(cache)) == 2


@pytest.mark.train
def test_damaged_entries(tiny, tmp_path):
    """They are compiled again and mended, a single wrong bit included."""
    cache = tmp_path / "cache"
    assert run(PROGRAM, cache, tiny) == COMPILED
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (b"", whole[:-1], bytes(len(whole)), bytes(flipped)):
        entry.write_bytes(damaged)
        assert run(PROGRAM, cache, tiny) == COMPILED
        assert entries(cache) == [entry]
    assert run(PROGRAM, cache, tiny) == FOUND


@pytest.mark.train
def test_processes_at_once(tiny, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    found: list = []
    runs = [threading.Thread(target=lambda: found.append(run(PROGRAM, cache, tiny))) for _ in range(4)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    assert len(found) == 4
    assert all(result in (COMPILED, FOUND) for result in found)
    assert run(PROGRAM, cache, tiny) == FOUND
    assert sorted(p.suffix for p in (cache / "wk_potential").iterdir()) == [".json", ".nbc"]


@needs_owners
def test_folder_that_others_can_write_to(tiny, tmp_path):
    """It is not used: whoever can write there could have us run any code."""
    cache = tmp_path / "cache"
    folder = cache / "wk_potential"
    folder.mkdir(parents=True)
    for mode in (0o777, 0o770, 0o702):
        folder.chmod(mode)
        assert not is_ours(folder)
    assert run(PROGRAM, cache, tiny) == COMPILED
    assert not list(folder.iterdir())
    folder.chmod(0o755)
    assert is_ours(folder)
    assert run(PROGRAM, cache, tiny) == COMPILED


@needs_owners
def test_folder_of_someone_else(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    assert is_ours(folder)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert not is_ours(folder)


def test_no_folder(tiny, tmp_path):
    """A file is in its place: nothing is kept, and all works."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "wk_potential").write_text("")
    assert not is_ours(cache / "wk_potential")
    assert run(PROGRAM, cache, tiny) == COMPILED


@needs_owners
def test_next_folder(tmp_path, monkeypatch):
    """If others can write to the user's cache folder, one in the temporary folder serves."""
    (tmp_path / "home/wk_potential").mkdir(parents=True)
    (tmp_path / "home/wk_potential").chmod(0o777)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert jit.cache_folder.__wrapped__() == tmp_path / f"wk_potential-{os.getuid()}"


@pytest.mark.train
def test_processor(tmp_path):
    """Code for another processor is another entry; the sums that it holds in registers are chosen for that one."""
    code = """
import numpy as np
from wk_potential.compute.products import ROWS, VECTORS, multiply_add
a, b, out = np.ones((2, 3)), np.ones((3, 8)), np.zeros((2, 8))
multiply_add(a, b, out)
print(ROWS, VECTORS, out.sum(), sum(multiply_add.stats.cache_hits.values()))
"""
    cache = tmp_path / "cache"
    here = run(code, cache)
    assert here[2:] == ["48.0", "0"]
    assert run(code, cache, NUMBA_CPU_NAME="generic") == ["6", "1", "48.0", "0"]
    assert run(code, cache, NUMBA_CPU_NAME="generic") == ["6", "1", "48.0", "1"]
    assert run(code, cache) == [*here[:3], "1"]
    names = {path.name.rsplit(".", 2)[0] for path in entries(cache) if "multiply_add" in path.name}
    assert len(names) == 1  # the features alone tell them apart
    assert len([path for path in entries(cache) if "multiply_add" in path.name]) == 2
