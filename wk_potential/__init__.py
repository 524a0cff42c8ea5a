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
    from .atoms.trajectories import store_results
    from .calculator import WKCalculator
    from .errors import WKError
    from .export.exporting import export_model
    from .model.model import Model, load
    from .model.prediction import Prediction
    from .simulation.dynamics import read_log, run_md
    from .simulation.extrapolation import ExtrapolationGuard
    from .simulation.integrators import MDSettings
    from .simulation.relaxation import relax
    from .symmetry.average import SymmetrisedCalculator
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
    "SymmetrisedCalculator": "symmetry.average",
    "TrainingOptions": "training.options",
    "WKCalculator": "calculator",
    "WKError": "errors",
    "dimer_curves": "analysis.dimers",
    "evaluate": "analysis.evaluation",
    "export_model": "export.exporting",
    "harmonic_spectrum": "analysis.spectra",
    "load": "model.model",
    "map_model": "training.mapping.mapping",
    "predict_targets": "analysis.spectra",
    "read_frames": "atoms.reading",
    "read_log": "simulation.dynamics",
    "relax": "simulation.relaxation",
    "run_checks": "testing",
    "run_md": "simulation.dynamics",
    "spectrum": "analysis.spectra",
    "store_results": "atoms.trajectories",
    "train": "training.train",
}
__all__ = [
    "ActiveLearner",
    "ExtrapolationGuard",
    "Frame",
    "MDSettings",
    "Model",
    "Prediction",
    "SymmetrisedCalculator",
    "TrainingOptions",
    "WKCalculator",
    "WKError",
    "__version__",
    "dimer_curves",
    "evaluate",
    "export_model",
    "harmonic_spectrum",
    "load",
    "map_model",
    "predict_targets",
    "read_frames",
    "read_log",
    "relax",
    "run_checks",
    "run_md",
    "spectrum",
    "store_results",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'wk_potential' has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
