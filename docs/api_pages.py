"""Pages of the API, one for each public name, made from `wk_potential.__all__` when the documentation is built."""

import inspect
from pathlib import Path
from typing import get_args, get_origin

import wk_potential
from wk_potential.training.options import TrainingOptions

# The order in which the names are shown; a public name that is not here comes under "More".
TOPICS = {
    "Data": ("read_frames", "Frame", "store_results"),
    "Training": ("train", "TrainingOptions", "map_model", "evaluate"),
    "Models": ("Model", "load", "Prediction", "export_model"),
    "Simulation": ("WKCalculator", "MDSettings", "run_md", "read_log", "relax", "ExtrapolationGuard"),
    "Spectra": ("spectrum", "harmonic_spectrum", "predict_targets"),
    "Active learning": ("ActiveLearner",),
    "Checks": ("run_checks", "dimer_curves", "SymmetrisedCalculator"),
    "Errors": ("WKError",),
}
# Modules whose contents are described on one page
MODULES = {
    "wk_potential.errors": "Every exception and warning of the package.",
    "wk_potential.testing": "Checks of any ASE calculator.",
    "wk_potential.symmetry.probe": "How much a calculator depends on the orientation.",
    "wk_potential.symmetry.local": "Symmetric energies from functions of one environment.",
    "wk_potential.data": "Checks of training data; divide, choose and join frames.",
    "wk_potential.active.explore": "Active learning in rounds.",
    "wk_potential.analysis.spectra": "Infrared and Raman spectra.",
    "wk_potential.lammps": "LAMMPS.",
    "wk_potential.ipi_driver": "i-PI.",
}


def topics() -> dict[str, list[str]]:
    """Public names by topic, in the order of the pages."""
    names = [name for name in wk_potential.__all__ if not name.startswith("__")]
    found = {topic: [n for n in wanted if n in names] for topic, wanted in TOPICS.items()}
    found["More"] = [n for n in names if not any(n in own for own in found.values())]
    return {topic: own for topic, own in found.items() if own}


def _heading(text: str, mark: str) -> str:
    return f"{text}\n{mark * len(text)}\n\n"


def _page(name: str) -> str:
    """The page of one public name."""
    thing = getattr(wk_potential, name)
    text = _heading(name, "=") + ".. currentmodule:: wk_potential\n\n"
    if inspect.isclass(thing):
        members = "   :members: checked, from_toml\n" if name == "TrainingOptions" else "   :members:\n"
        return f"{text}.. autoclass:: {name}\n{members}"
    return f"{text}.. autofunction:: {name}\n" if callable(thing) else f"{text}.. autodata:: {name}\n"


def _write(path: Path, text: str) -> None:
    """Write a page unless it is there as it should be: what is unchanged is not built again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_api_pages(folder: Path) -> None:
    """Write the index of the API and its pages to a folder, and remove what is there of other names."""
    folder.mkdir(exist_ok=True)
    pages = {name: _page(name) for own in topics().values() for name in own}
    index = _heading("API reference", "=")
    index += "Everything here can be imported from ``wk_potential``. Units are eV, Å and eV/Å; stresses are in eV/Å³, "
    index += "in Voigt order (xx, yy, zz, yz, xz, xy), and tension is positive.\n\n.. currentmodule:: wk_potential\n\n"
    for topic, names in topics().items():
        index += _heading(topic, "-") + ".. autosummary::\n   :nosignatures:\n\n"
        index += "".join(f"   {name}\n" for name in names) + "\n"
    index += _heading("Modules", "-")
    for module, what in MODULES.items():
        pages[module] = _heading(module, "=") + f".. automodule:: {module}\n   :members:\n"
        pages[module] += "   :show-inheritance:\n" if module.endswith("errors") else ""
        index += f"* :doc:`{module}`: {what}\n"
    index += "\n.. toctree::\n   :hidden:\n\n" + "".join(f"   {name}\n" for name in pages)
    for name, text in {**pages, "index": index}.items():
        _write(folder / f"{name}.rst", text)
    for path in folder.glob("*.rst"):
        if path.stem not in {*pages, "index"}:
            path.unlink()


def _type(annotation) -> str:
    """A type as people say it."""
    if get_origin(annotation) is None:
        return getattr(annotation, "__name__", str(annotation))
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    if get_origin(annotation) in (dict, list):
        return str(annotation)
    return " or ".join(repr(kind) if isinstance(kind, str) else _type(kind) for kind in kinds)


def options_table() -> list[str]:
    """Lines of a table of the fields of `TrainingOptions`, in reStructuredText."""
    lines = [".. list-table:: Options", "   :header-rows: 1", ""]
    for row in [("option", "type", "default", "meaning"), *map(_row, TrainingOptions.model_fields.items())]:
        lines += [f"   {'* ' if k == 0 else '  '}- {cell}" for k, cell in enumerate(row)]
    return [*lines, ""]


def _row(item) -> tuple[str, str, str, str]:
    name, field = item
    default = "" if field.default is None else f"``{field.default!r}``"
    text = (field.description or "").replace("|", "\\|").replace("*", "\\*")
    return f"``{name}``", _type(field.annotation), default, text
