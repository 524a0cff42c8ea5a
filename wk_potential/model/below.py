"""Models as the baselines of other models."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..atoms.structure import StructureLike
from ..baselines.potential import BaselineResult, LoadModel
from ..errors import ModelFileError, OptionsError

if TYPE_CHECKING:
    from .model import Model

Read = Callable[[Path, tuple[Path, ...]], "Model"]


def other_models(read: Read, folder: Path, above: tuple[Path, ...] = ()) -> LoadModel:
    """Return what evaluates model files: at their path, or of the same name in a folder.

    Args:
        read: reads a file that is the baseline of others.
        folder: where to look for files that are not at their path.
        above: files of the models whose baseline it is.

    """

    @cache
    def load(path: Path) -> Callable[[StructureLike, int], BaselineResult]:
        found = next((p for p in (path, folder / path, folder / path.name) if p.is_file()), path)
        if found.resolve() in above:
            raise ModelFileError(f"{found}: is its own baseline")
        model = read(found, above)

        def evaluate(structure: StructureLike, threads: int) -> BaselineResult:
            prediction = model.predict(structure, threads, uncertainty=False)
            if prediction.energy is None or prediction.forces is None:
                raise OptionsError(f"{found}: has no energies, so it is no baseline")
            return BaselineResult(prediction.energy, prediction.forces, prediction.stress)

        return evaluate

    return load
