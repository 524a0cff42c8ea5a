"""The documentation is true: its code runs, its tables are complete, its pages build.

Code blocks are run in their order, those of a page in one folder with the files that its text speaks of. A comment
before a block changes that: see docs/developing/index.md.
"""

import re
import runpy
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import read, write
from click.testing import CliRunner

import wk_potential
from wk_potential import Model, TrainingOptions, train
from wk_potential.cli import main
from wk_potential.model.container import read_container

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
RUN = ("sh", "python")
SHOWN = ("text", "xml", "toml")  # not run; other languages would be a slip of the pen
BLOCK = re.compile(r"((?:^<!-- [^\n]* -->\n)*)^(`{3,})([^\n]*)\n(.*?)^\2$", re.M | re.S)
ETHANOL = ROOT / "wk_potential" / "demo" / "ethanol.xyz"
QUICK = {"lmax": 1, "order": 2, "cutoff": 4.0, "short_cutoff": 0.0, "saturation": 0.0, "element_mixing": 0.0}
PBE = 'from wk_potential import WKCalculator\n\ncalculator = WKCalculator("pbe.wkp", threads=1)\n'


class Block(NamedTuple):
    """A code block and what the comments before it say."""

    language: str
    text: str
    skip: str
    file: str
    added: dict[str, list[str]]  # options by command, "" for all


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page."""
    return [_block(*found) for found in re.findall(BLOCK, page.read_text(encoding="utf-8"))]


def _block(comments: str, _: str, language: str, text: str) -> Block:
    skip = file = ""
    added: dict[str, list[str]] = {}
    for kind, what in re.findall(r"^<!-- (\w+): (.*) -->$", comments, re.M):
        if kind == "skip":
            skip = what
        elif kind == "file":
            file = what
        elif what.startswith("add "):
            command, _, options = what[4:].rpartition(": ")
            added[command] = shlex.split(options)
        else:
            changes = re.findall(r"s/(.+?)/(.*?)/(?: |$)", what)
            assert changes, f"unknown comment: {what}"
            for old, new in changes:
                assert old in text, f"{old!r} is not in the block that it is to be replaced in"
                text = text.replace(old, new)
    return Block(language, text, skip, file, added)


def water_frames(n: int) -> list:
    """Water molecules with energies of springs, dipoles of point charges and polarisabilities of bonds."""
    frames = []
    for seed in range(n):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        bonds = atoms.positions[1:] - atoms.positions[0]
        lengths = np.linalg.norm(bonds, axis=1)
        atoms.info["energy"] = float(20 * np.sum((lengths - 0.97) ** 2) + 5 * (bonds[0] @ bonds[1] + 0.24) ** 2)
        atoms.info["mu"] = 0.35 * bonds.sum(axis=0)
        atoms.info["alpha"] = np.eye(3) + 0.5 * bonds.T @ bonds
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def small_model() -> Model:
    """A small model of ethanol, with everything that a model has."""
    frames = read(ETHANOL, ":40:2")
    return train(frames, TrainingOptions(**{**QUICK, "lmax": 2, "order": 3}), threads=1)


@pytest.fixture
def folder(tmp_path, monkeypatch, small_model):
    """A folder with the files that the pages speak of, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    frames = read(ETHANOL, ":40:2")
    frames[0].info["config_type"] = "strained"
    write("frames.xyz", frames[:8])
    write("test.xyz", frames[8:12])
    write("start.xyz", frames[12])
    named = [frame.copy() for frame in frames[:8]]
    for own, frame in zip(named, frames, strict=False):
        own.info["pbe_energy"], own.arrays["pbe_forces"] = frame.get_potential_energy(), frame.get_forces()
    write("named.xyz", named)
    write("water.xyz", water_frames(20))
    write("water_start.xyz", water_frames(1))
    write("silicon.cif", bulk("Si", a=5.4, cubic=True))
    for name in ("model", "pbe"):
        small_model.save(f"{name}.wkp")
    shutil.copy(ROOT / "models" / "Si.wkp", "Si.wkp")
    (tmp_path / "pbe.py").write_text(PBE)
    quick = "".join(f"{name} = {value}\n" for name, value in QUICK.items())
    (tmp_path / "options.toml").write_text(quick)
    return tmp_path


def commands(block: Block) -> list[list[str]]:
    """Arguments of each command of a shell block."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "wk-potential", f"{line!r} cannot be run in a test: a comment must say why it is skipped"
            found.append([*words[1:], *block.added.get("", []), *block.added.get(words[1], [])])
    return found


def run_block(block: Block, names: dict) -> list[str]:
    """Run a block and return what its commands have printed."""
    if block.file:
        Path(block.file).write_text(block.text)
        return []
    if block.language == "python":
        exec(compile(block.text, "code block", "exec"), names)
        return []
    printed = []
    for arguments in commands(block):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"wk-potential {shlex.join(arguments)}:\n{result.output}"
        printed.append(result.output)
    return printed


def with_code() -> list:
    """Pages with code that can be run, those that train marked."""
    found = []
    for page in PAGES:
        texts = [b.text for b in blocks(page) if b.language in RUN and not b.skip]
        trains = any(re.search(r"wk-potential (train|active) |\btrain\(", text) for text in texts)
        if texts:
            name = str(page.relative_to(ROOT))
            found.append(pytest.param(page, id=name, marks=[pytest.mark.train] if trains else []))
    return found


@pytest.mark.parametrize("page", with_code())
def test_code_runs(page, folder):
    if page.stem == "active-learning":
        (folder / "model.wkp").unlink()
    names: dict = {"__name__": "code"}
    for block in blocks(page):
        if not block.skip and (block.file or block.language in RUN):
            run_block(block, names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_languages_are_known(page):
    for block in blocks(page):
        assert block.language in (*RUN, *SHOWN) or block.language.startswith("{"), block


@pytest.mark.train
def test_guide_explains_what_training_prints(folder):
    """Every line that training says begins with words that the guide explains."""
    guide = (DOCS / "guides" / "training.md").read_text(encoding="utf-8")
    lines: list[str] = []
    for options in ({}, {"estimator": "sparse", "support_points": 20, "saturation": None, "element_mixing": None}):
        train("frames.xyz", TrainingOptions(**{**QUICK, **options}), log=lines.append)
    for line in lines:
        first = re.split(r"[:(0-9]", line.strip())[0].split(" to ")[0].strip()
        assert first.split(" Å")[0] in guide, f"the guide does not explain {line!r}"


@pytest.mark.train
def test_every_array_of_a_model_file_is_documented(folder):
    page = (DOCS / "model-file.md").read_text(encoding="utf-8")
    described = re.findall(r"^\| `([a-z_{}nL0-9]+)` \|", page, re.M)
    names = {"n": r"\d+", "L": r"\d+", "name": "(dipole|polarizability)"}
    patterns = [re.compile(re.sub(r"{(\w+)}", lambda m: names[m[1]], name)) for name in described]
    options = TrainingOptions(**{**QUICK, "lmax": 2}, dipole_key="mu", polarizability_key="alpha")
    train("water.xyz", options).save("tensors.wkp")
    for path in ("model.wkp", "tensors.wkp"):
        header, arrays = read_container(path)
        for name in (*arrays, *header):
            assert any(pattern.fullmatch(name) for pattern in patterns), name


def test_model_named_in_pages_has_the_format_that_they_say():
    page = (DOCS / "model-file.md").read_text(encoding="utf-8")
    first = (ROOT / "models" / "Si.wkp").read_bytes()[:40].decode()
    assert first.split(" header")[0] in page


def test_links_lead_somewhere():
    """Files that the README and the pages link to are there."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http", "mailto")) and "/api/" not in f"/{target}":
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_and_evidence_agree():
    """Decimal numbers of the README are in the pages of the evidence as well."""
    evidence = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "evidence").glob("*.md"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    measured = readme.partition("## Which potential")[2].partition("## Documentation")[0]
    rounded = {"0.03", "0.04", "0.02", "0.2", "4.0"}  # of areas; options of examples
    for number in set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", measured)) - rounded:
        assert number in evidence, number


def test_figure_shows_the_numbers_of_the_tables():
    shown = runpy.run_path(str(DOCS / "figures" / "overview.py"))
    accuracy = (DOCS / "evidence" / "accuracy.md").read_text(encoding="utf-8")
    for name, forces in shown["FORCES"].items():
        row = re.search(rf"^\| {name} \|(.*)$", accuracy, re.M)
        assert row is not None, name
        cells = [cell.strip(" *").split(", ")[-1] for cell in row[1].split("|")[1:6]]
        assert [float(cell) for cell in cells] == list(forces), name
    performance = (DOCS / "evidence" / "performance.md").read_text(encoding="utf-8")
    peers = performance.partition("## Beside other potentials")[2].partition("## Size")[0]
    times = [round(float(number)) for number in re.findall(r"\| (\d[\d.]*) \|", peers)]
    assert set(shown["SPEED"].values()) <= set(times)


@pytest.mark.skipif(find_spec("sphinx") is None or find_spec("myst_parser") is None, reason="needs the extra 'docs'")
def test_pages_build_without_warnings(tmp_path):
    pytest.importorskip("furo")
    import subprocess
    import sys

    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", DOCS, tmp_path / "html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in wk_potential.__all__:
        if name != "__version__":
            assert (tmp_path / "html" / "api" / f"{name}.html").is_file()


def test_model_repr_is_short(folder):
    assert len(repr(Model.load("model.wkp"))) < 200
