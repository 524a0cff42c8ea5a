"""Predictions of a model for structures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..atoms.kinds import VOIGT
from ..atoms.structure import Structure, StructureLike, name_of
from ..compute.threads import run_threads
from ..errors import BaselineError, ClashError, StructureError
from .environments import as_arrays
from .summary import Summarised

if TYPE_CHECKING:
    from .model import Model


class Evaluation(NamedTuple):
    """Energies and forces of the centres of one structure, or of a part of it.

    Attributes:
        energies: (n,) eV of the centres, each with its element's baseline; their sum is the energy.
        forces: (N, 3) eV/Angstrom on all atoms.
        virial: (3, 3) eV, derivative of the energy by strain: volume times stress.
        virials: (N, 3, 3) eV, the share of each atom in it (`wk_potential.model.energy.evaluate`), or without rows.

    """

    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    virials: np.ndarray


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Prediction(Summarised):
    """Prediction of a model for one structure; None stands for properties that it does not predict.

    Attributes:
        energy: eV.
        energies: (N,) eV, contribution of each atom, with its element's baseline; None if the model adds to a
            potential.
        forces: (N, 3) eV/Angstrom.
        stress: (6,) eV/Angstrom^3, Voigt xx yy zz yz xz xy, tension positive; only for structures that are periodic in
            three directions.
        dipole: (3,) e Angstrom, from the centre of mass.
        polarizability: (3, 3) Angstrom^3.
        energy_std, energies_std, forces_std, stress_std, dipole_std, polarizability_std: standard deviations in the
            units and shapes of what they belong to.
        extrapolation_grade: (N,) above 1 where an environment is less certain than 99.9 % of the training environments,
            each predicted by a fit without its frame.

    """

    energy: float | None = None
    energies: np.ndarray | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    dipole: np.ndarray | None = None
    polarizability: np.ndarray | None = None
    energy_std: float | None = None
    energies_std: np.ndarray | None = None
    forces_std: np.ndarray | None = None
    stress_std: np.ndarray | None = None
    dipole_std: np.ndarray | None = None
    polarizability_std: np.ndarray | None = None
    extrapolation_grade: np.ndarray | None = None


def predict_structures(
    model: "Model",
    structures: Sequence[StructureLike],
    threads: int,
    with_bars: bool,
    progress: Callable[[str, float], None] | None,
) -> list[Prediction]:
    """Predict structures, side by side where there are at least as many as threads.

    Args:
        model: the model.
        structures: ASE `Atoms`, frames or the like.
        threads: how many.
        with_bars: compute the error bars that the model has.
        progress: called with the name of the stage and the fraction done.

    Raises:
        StructureError: positions or cell make no sense, or two atoms are less than 0.1 Angstrom
            apart; the message names the structure.

    """
    done, lock, side_by_side = 0, Lock(), len(structures) >= threads

    def work(k: int) -> Prediction:
        nonlocal done
        atoms, own_threads = structures[k], 1 if side_by_side else threads
        try:
            arrays = as_arrays(atoms, model.elements, model.cutoff)
            own = _predict(model, arrays, bool(np.all(atoms.pbc)), own_threads, with_bars)
            result = _with_baseline(model, atoms, own)
        except ClashError as error:
            raise StructureError(f"{name_of(atoms, k)}: {error}") from error
        except BaselineError as error:
            raise BaselineError(f"{name_of(atoms, k)}: {error}") from error
        with lock:
            done += 1
            if progress is not None:
                progress("predicting", done / len(structures))
        return result

    return run_threads(work, range(len(structures)), threads if side_by_side else 1)


def _with_baseline(model: "Model", atoms: StructureLike, prediction: Prediction) -> Prediction:
    """Return the sum of a prediction and of the potential to which the model adds, which has no parts of atoms."""
    if model.baseline_potential is None or prediction.energy is None:
        return prediction
    below = model.baseline_potential.evaluate(atoms)
    stress = None if prediction.stress is None or below.stress is None else prediction.stress + below.stress
    return replace(
        prediction, energy=prediction.energy + below.energy, energies=None, forces=prediction.forces + below.forces,
        stress=stress,
    )  # fmt: skip


def _predict(model: "Model", structure: Structure, periodic: bool, threads: int, with_bars: bool) -> Prediction:
    found: dict[str, Any] = {}
    for name, tensor in model.tensors.items():
        found[name] = tensor.predict(structure, threads).sum(axis=0)
        if with_bars and tensor.has_error_bars:
            found[f"{name}_std"] = tensor.deviation(structure, threads)
    if not model.scales:
        return Prediction(**found)
    energies, forces, virial, _ = model.evaluate(structure, threads)
    found |= {"energy": float(energies.sum()), "energies": energies, "forces": forces}
    volume = abs(np.linalg.det(structure.cell))
    if periodic:
        found["stress"] = (virial / volume)[VOIGT]
    if with_bars and model.uncertainty is not None:
        spread = model.committee.spread(model.committee.deviations(structure, threads), structure.species)
        found |= {"energy_std": spread.energy, "energies_std": spread.energies, "forces_std": spread.forces}
        found["extrapolation_grade"] = spread.grade
        if periodic:
            found["stress_std"] = (spread.virial / volume)[VOIGT]
    return Prediction(**found)
