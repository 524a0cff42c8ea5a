"""From frames to a model."""

from collections.abc import Callable, Sequence

from ..model import Model
from .data import Frame
from .options import TrainingOptions


def train(frames: Sequence[Frame], options: TrainingOptions | None = None, threads: int | None = None,
          log: Callable[[str], None] | None = None, progress: Callable[[str, float], None] | None = None) -> Model:
    raise NotImplementedError
