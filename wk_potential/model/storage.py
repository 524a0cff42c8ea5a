"""Model files: from the parts of a model to arrays and a header, and back."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..baselines.potential import BaselinePotential
from ..errors import ModelFileError, OptionsError
from .below import OtherModels
from .container import prefixed, within, write_container
from .error_bars import Uncertainty
from .repulsion import Repulsion
from .scale import scale_from_arrays, scale_to_arrays
from .schema import read_model_file
from .tensors import targets_from_arrays, targets_to_arrays

if TYPE_CHECKING:
    from .model import Model


def write_model(model: "Model", path: Path) -> None:
    """Write a model file, atomically."""
    arrays = {"elements": model.elements, "baseline": model.baseline, "compositions": model.compositions}
    scales = []
    for n, scale in enumerate(model.scales):
        facts, more = scale_to_arrays(scale)
        scales.append(facts)
        arrays |= prefixed(f"scale{n}_", more)
    if model.repulsion is not None:
        arrays |= prefixed("repulsion_", model.repulsion._asdict())
    header = {"cutoff": model.cutoff, "scales": scales, **model.info}
    if model.baseline_potential is not None:
        header["baseline"] = {**header.get("baseline", {}), **model.baseline_potential.facts()}
    if model.tensors:
        header["tensors"], more = targets_to_arrays(model.tensors)
        arrays.update(more)
    if model.uncertainty is not None:
        header["uncertainty"], more = model.uncertainty.to_arrays()
        arrays |= prefixed("uncertainty_", more)
    write_container(path, header, arrays)


def read_parts(
    path: Path, above: tuple[Path, ...], read: "Callable[[Path, tuple[Path, ...]], Model]"
) -> dict[str, Any]:
    """Return the attributes of the model in a file.

    Args:
        path: of the file.
        above: files of the models whose baseline it is.
        read: reads the files of models that are baselines.

    Raises:
        ModelFileError: the file is not a model, of a newer format, truncated, altered or damaged.

    """
    header, arrays = read_model_file(path)
    del header["cutoff"]  # a copy for people who read the header
    every = enumerate(header.pop("scales"))
    parts: dict[str, Any] = {name: arrays[name] for name in ("elements", "baseline", "compositions")}
    parts["scales"] = [scale_from_arrays(facts, within(f"scale{n}_", arrays)) for n, facts in every]
    parts["tensors"] = targets_from_arrays(header.pop("tensors", {}), arrays)
    if facts := header.pop("uncertainty", None):
        parts["uncertainty"] = Uncertainty.from_arrays(facts, within("uncertainty_", arrays))
    if "repulsion_outer" in arrays:
        parts["repulsion"] = Repulsion(**within("repulsion_", arrays))
    if (facts := header.get("baseline", {})).get("methods"):
        try:
            loader = OtherModels(read, path.parent, (*above, path.resolve()))
            parts["baseline_potential"] = BaselinePotential.from_facts(facts, loader)
        except OptionsError as error:
            raise ModelFileError(f"{path}: {error}") from None
    return parts | {"info": header}
