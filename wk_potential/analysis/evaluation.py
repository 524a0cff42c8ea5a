"""How well a model predicts labelled frames: predictions, mean absolute and root-mean-square errors."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..atoms.frame import Frame
from ..atoms.kinds import TENSORS, LabelKind
from ..atoms.reading import FrameSource, frames_of
from ..model.model import Model
from ..model.prediction import Prediction
from .reliability import reliability

_EXPECTED = re.compile("(?:leave_one_out|cross_validation)_(energy|forces|virial)(_per_atom|_per_sqrt_atom)?_rmse")
KINDS = ("energy", "energy_per_atom", "forces", "stress", *TENSORS)
_COUNTS = {"energy": "n_energies", "forces": "n_forces", "stress": "n_stresses"}
_COUNTS |= {"dipole": "n_dipoles", "polarizability": "n_polarizabilities"}


def evaluate(
    model: Model,
    data: FrameSource | Sequence[Frame],
    threads: int | None = None,
    progress: Callable[[str, float], None] | None = None,
    **reading: Any,
) -> dict[str, Any]:
    """Compare a model with labelled structures.

    Args:
        model: the model.
        data: what `read_frames` takes: a file, files, `Atoms` with labels, or frames.
        threads: without it OMP_NUM_THREADS if set, else the cores available.
        progress: called with the name of the stage and the fraction done.
        reading: keywords of `read_frames`, such as energy_unit.

    Returns:
        The table of `errors`, and with error bars `uncertainty`, the table of `reliability`.

    Raises:
        DataError: the data cannot be read.
        UnknownElementError: an element is not in the model; the message names the frame.

    """
    frames = frames_of(data, **reading)
    predictions = model.predict(frames, threads, progress=progress)
    table = errors(frames, predictions)
    if model.error_bars:
        table["uncertainty"] = reliability(frames, predictions)
    return table


def _differences(frame: Frame, prediction: Prediction) -> dict[str, np.ndarray]:
    """Predicted less labelled, flat, of each kind of label that the frame has."""
    found = {}
    if frame.energy is not None and prediction.energy is not None:
        found["energy"] = np.array([prediction.energy - frame.energy])
        found["energy_per_atom"] = found["energy"] / len(frame)
    if frame.forces is not None and prediction.forces is not None:
        found["forces"] = (prediction.forces - frame.forces).ravel()
    if frame.stress is not None and prediction.stress is not None:
        found["stress"] = prediction.stress - frame.stress
    for kind in TENSORS:
        label, value = getattr(frame, kind), getattr(prediction, kind)
        if label is not None and value is not None:
            found[kind] = (value - label).ravel()
    return found


def _mean_errors(differences: Sequence[dict[str, np.ndarray]], kinds: Sequence[str] = KINDS) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for kind in kinds:
        parts = [d[kind] for d in differences if kind in d]
        values = np.concatenate(parts) if parts else None
        table[f"{kind}_mae"] = None if values is None else float(np.abs(values).mean())
        table[f"{kind}_rmse"] = None if values is None else float(np.sqrt(np.mean(values**2)))
    return table


def errors(frames: Sequence[Frame], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Errors of predictions as a table that JSON can hold.

    Args:
        frames: labelled structures.
        predictions: of the same frames.

    Returns:
        `energy_mae`, `energy_rmse` (eV), `energy_per_atom_mae`, `energy_per_atom_rmse` (eV), `forces_mae`,
        `forces_rmse` (eV/Angstrom, over components), `stress_mae`, `stress_rmse` (eV/Angstrom^3, over the six
        components), `dipole_mae`, `dipole_rmse` (e Angstrom), `polarizability_mae`, `polarizability_rmse` (Angstrom^3,
        over the nine components), None where there is no label; `n_frames`, `n_atoms`, the number of labels
        `n_energies`, `n_forces`, `n_stresses`, `n_dipoles`, `n_polarizabilities`; the same by symbol in
        `forces_by_element` and in `by_config_type`.

    """
    from ase.data import chemical_symbols

    differences = [_differences(f, p) for f, p in zip(frames, predictions, strict=True)]
    table = _mean_errors(differences)
    table |= {"n_frames": len(frames), "n_atoms": sum(len(frame) for frame in frames)}
    for kind, name in _COUNTS.items():
        table[name] = sum(d[kind].size for d in differences if kind in d)
    by_element: dict[str, Any] = {}
    for z in sorted({int(z) for frame in frames for z in frame.numbers}):
        own = [
            {"forces": d["forces"].reshape(-1, 3)[frame.numbers == z].ravel()}
            for frame, d in zip(frames, differences, strict=True)
            if "forces" in d and z in frame.numbers
        ]
        if own:
            counts = {"n_atoms": sum(d["forces"].size for d in own) // 3}
            by_element[chemical_symbols[z]] = counts | _mean_errors(own, ["forces"])
    by_type: dict[str, Any] = {}
    for name in sorted({frame.config_type for frame in frames}):
        own = [d for frame, d in zip(frames, differences, strict=True) if frame.config_type == name]
        by_type[name] = {"n_frames": len(own)} | _mean_errors(own)
    return table | {"forces_by_element": by_element, "by_config_type": by_type}


def expected_forces_error(model: Model) -> float:
    """Rms error of forces (eV/Angstrom) at frames that were left out in training, 0 if the model does not tell."""
    return expected_errors(model, 1.0).get(LabelKind.FORCES, 0.0)


def expected_errors(model: Model, n_atoms: float) -> dict[LabelKind, float]:
    """Rms errors at frames that were left out in training, of those kinds of label of which the model tells.

    Args:
        model: any.
        n_atoms: in a frame, on which errors per atom depend.

    Returns:
        Errors of energies (eV per atom), forces (eV/Angstrom) and virials (eV per atom).

    """
    found = {}
    for name, error in model.info.get("training", {}).get("errors", {}).items():
        label = _EXPECTED.fullmatch(name)
        if label:
            kind = LabelKind.STRESS if label[1] == "virial" else LabelKind[label[1].upper()]
            found[kind] = error / np.sqrt(n_atoms) if label[2] == "_per_sqrt_atom" else error
    return found
