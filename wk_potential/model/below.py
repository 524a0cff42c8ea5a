"""Models as the baselines of other models."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..atoms.structure import StructureLike
from ..baselines.potential import BaselineResult
from ..errors import BaselineError, ModelFileError, UnknownElementError

if TYPE_CHECKING:
    from .model import Model


@dataclass
class OtherModels:
    """Evaluates model files: those beside the model that adds to them, or at their path.

    Attributes:
        read: reads a file that is the baseline of others.
        folder: of the model that adds to them.
        above: files of the models whose baseline they are, the nearest last.

    """

    read: "Callable[[Path, tuple[Path, ...]], Model]"
    folder: Path = Path()
    above: tuple[Path, ...] = ()
    _models: "dict[Path, Model]" = field(default_factory=dict, repr=False)

    def __call__(self, path: Path, structure: StructureLike, threads: int) -> BaselineResult:
        """Energy, forces and stress of a structure by the model of a file.

        Raises:
            ModelFileError: there is no such file, it is no model, or its own baseline.
            BaselineError: the model has no energies, or does not know an element.

        """
        if path not in self._models:
            self._models[path] = self._read(path)
        try:
            prediction = self._models[path].predict(structure, threads, uncertainty=False)
        except UnknownElementError as error:
            raise BaselineError(f"the baseline {path.name}: {error}") from error
        if prediction.energy is None or prediction.forces is None:
            raise BaselineError(f"the baseline {path.name} has no energies")
        return BaselineResult(prediction.energy, prediction.forces, prediction.stress)

    def _read(self, path: Path) -> "Model":
        found = next((p for p in (self.folder / path.name, self.folder / path, path) if p.is_file()), path)
        if found.resolve() in self.above:
            raise ModelFileError(f"{found}: is its own baseline")
        try:
            return self.read(found, self.above)
        except ModelFileError as error:
            if not self.above:
                raise
            raise ModelFileError(
                f"{self.above[-1].name} adds to the model {path.name}, which is looked for beside it: {error}"
            ) from error
