"""How well a model predicts labelled frames: predictions, mean absolute and root-mean-square errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np

from ..atoms.frame import Frame
from ..atoms.kinds import TENSORS
from ..atoms.neighbours import find_neighbours
from ..atoms.structure import VOIGT
from ..compute.threads import run_threads, thread_count
from ..model.model import Model

KINDS = ("energy", "energy_per_atom", "forces", "stress", *TENSORS)
_COUNTS = {"energy": "n_energies", "forces": "n_forces", "stress": "n_stresses"}
_COUNTS |= {"dipole": "n_dipoles", "polarizability": "n_polarizabilities"}


@dataclass(frozen=True)
class FramePrediction:
    """What a model says of one frame.

    Attributes:
        energy: eV.
        forces: (N, 3) eV/Angstrom.
        stress: (6,) eV/Angstrom^3, Voigt xx yy zz yz xz xy, or None for frames that are not periodic in three
            directions.
        dipole: (3,) e Angstrom, from the centre of mass.
        polarizability: (3, 3) Angstrom^3.
        energy_std, forces_std, stress_std, dipole_std, polarizability_std: standard deviations in the same units and
            shapes, None without error bars.

    All are None where the model has no such target.

    """

    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    dipole: np.ndarray | None = None
    polarizability: np.ndarray | None = None
    energy_std: float | None = None
    forces_std: np.ndarray | None = None
    stress_std: np.ndarray | None = None
    dipole_std: np.ndarray | None = None
    polarizability_std: np.ndarray | None = None


def predict_frame(model: Model, frame: Frame, threads: int = 1) -> FramePrediction:
    """Predict one frame, with error bars if the model has them.

    Raises:
        UnknownElementError: an element is not in the model; the message names the frame.

    """
    model.check_elements([frame])
    neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, model.cutoff)
    structure = model.structure(frame.numbers, frame.positions, frame.cell, neighbours)
    tensors = {name: target.predict(structure, threads).sum(axis=0) for name, target in model.tensors.items()}
    for name, target in model.tensors.items():
        if target.has_error_bars:
            tensors[f"{name}_std"] = target.deviation(structure, threads)
    if not model.scales:
        return FramePrediction(None, None, None, **tensors)
    prediction = model.predict(structure, threads)
    stress = None
    if frame.pbc.all():
        stress = (prediction.virial / frame.volume)[VOIGT]
    found = FramePrediction(float(prediction.energies.sum()), prediction.forces, stress, **tensors)
    if model.uncertainty is None:
        return found
    spread = model.committee.spread(model.committee.deviations(structure, threads), structure.species)
    stress_std = None if stress is None else (spread.virial / frame.volume)[VOIGT]
    return replace(found, energy_std=spread.energy, forces_std=spread.forces, stress_std=stress_std)


def predict_frames(
    model: Model,
    frames: Sequence[Frame],
    threads: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> list[FramePrediction]:
    """Predict frames, several at a time where there are threads for it.

    A `CompositionWarning` says where total energies have no meaning.

    Args:
        model: the model.
        frames: structures; labels are not looked at.
        threads: as in `thread_count`.
        progress: called with the name of the stage and the fraction done.

    Raises:
        UnknownElementError: an element is not in the model; the message names the frame.

    """
    model.check_elements(frames)
    for numbers in {tuple(np.sort(frame.numbers)) for frame in frames if model.scales}:
        model.check_composition(np.array(numbers))
    count, done, lock = thread_count(threads), 0, Lock()
    side_by_side = len(frames) >= count

    def predict(frame: Frame) -> FramePrediction:
        nonlocal done
        result = predict_frame(model, frame, 1 if side_by_side else count)
        with lock:
            done += 1
            if progress is not None:
                progress("predicting", done / len(frames))
        return result

    return run_threads(predict, frames, count if side_by_side else 1)


def _differences(frame: Frame, prediction: FramePrediction) -> dict[str, np.ndarray]:
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


def _mean_errors(differences: Sequence[dict[str, np.ndarray]], kinds=KINDS) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for kind in kinds:
        parts = [d[kind] for d in differences if kind in d]
        values = np.concatenate(parts) if parts else None
        table[f"{kind}_mae"] = None if values is None else float(np.abs(values).mean())
        table[f"{kind}_rmse"] = None if values is None else float(np.sqrt(np.mean(values**2)))
    return table


def errors(frames: Sequence[Frame], predictions: Sequence[FramePrediction]) -> dict[str, Any]:
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
