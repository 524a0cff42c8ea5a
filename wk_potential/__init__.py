"""Wigner-kernel interatomic potentials: trained on a handful of DFT frames, run in ASE.

    from wk_potential import WKCalculator, train

    model = train("frames.xyz", log=print)
    model.save("model.wkp")
    atoms.calc = WKCalculator("model.wkp", uncertainty=True)

Every name here is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .active.learner import ActiveLearner
    from .analysis.dimers import dimer_curves
    from .analysis.evaluation import evaluate
    from .analysis.spectra import harmonic_spectrum, predict_targets, spectrum
    from .atoms.frame import Frame
    from .atoms.reading import read_frames
    from .atoms.trajectories import store_results, write_frames
    from .calculator import WKCalculator
    from .data.merge import merge_frames
    from .data.outliers import find_outliers
    from .data.select import select_frames
    from .data.split import split_frames
    from .data.summary import summarise
    from .errors import WKError
    from .model.model import Model, load
    from .model.prediction import Prediction
    from .simulation.dynamics import read_log, run_md
    from .simulation.extrapolation import ExtrapolationGuard
    from .simulation.integrators import MDSettings
    from .simulation.relaxation import relax
    from .testing import run_checks
    from .training.mapping.mapping import map_model
    from .training.options import TrainingOptions
    from .training.train import train

__version__ = "0.1.0"

_MODULES = {
    "ActiveLearner": "active.learner",
    "ExtrapolationGuard": "simulation.extrapolation",
    "Frame": "atoms.frame",
    "MDSettings": "simulation.integrators",
    "Model": "model.model",
    "Prediction": "model.prediction",
    "TrainingOptions": "training.options",
    "WKCalculator": "calculator",
    "WKError": "errors",
    "dimer_curves": "analysis.dimers",
    "evaluate": "analysis.evaluation",
    "find_outliers": "data.outliers",
    "harmonic_spectrum": "analysis.spectra",
    "load": "model.model",
    "map_model": "training.mapping.mapping",
    "merge_frames": "data.merge",
    "predict_targets": "analysis.spectra",
    "read_frames": "atoms.reading",
    "read_log": "simulation.dynamics",
    "relax": "simulation.relaxation",
    "run_checks": "testing",
    "run_md": "simulation.dynamics",
    "select_frames": "data.select",
    "spectrum": "analysis.spectra",
    "split_frames": "data.split",
    "store_results": "atoms.trajectories",
    "summarise": "data.summary",
    "train": "training.train",
    "write_frames": "atoms.trajectories",
}
__all__ = [
    "ActiveLearner",
    "ExtrapolationGuard",
    "Frame",
    "MDSettings",
    "Model",
    "Prediction",
    "TrainingOptions",
    "WKCalculator",
    "WKError",
    "__version__",
    "dimer_curves",
    "evaluate",
    "find_outliers",
    "harmonic_spectrum",
    "load",
    "map_model",
    "merge_frames",
    "predict_targets",
    "read_frames",
    "read_log",
    "relax",
    "run_checks",
    "run_md",
    "select_frames",
    "spectrum",
    "split_frames",
    "store_results",
    "summarise",
    "train",
    "write_frames",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'wk_potential' has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
