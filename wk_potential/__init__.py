"""Wigner-kernel interatomic potentials: trained on a handful of DFT frames, run in ASE.

`WKCalculator(model)` is an ASE calculator, `train(frames)` makes a model, `load(path)` reads one. Everything heavy
is imported when first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "WKCalculator": "calculator",
    "Model": "model.model",
    "load": "model.model",
    "Frame": "atoms.frame",
    "read_frames": "atoms.reading",
    "TrainingOptions": "training.options",
    "train": "training.train",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'wk_potential' has no attribute {name!r}")
    return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
