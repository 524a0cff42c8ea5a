"""Environments of the training set with which others are compared, and how far from them is far."""

import numpy as np

from ...atoms.dataset import Dataset
from ...density.expansion import Density
from ...density.frames import Environments
from ...model.novelty import FAR, nearest_distances, power_spectra
from ..limits import DEFAULT, ErrorBarLimits


def choose_references(
    data: Dataset, density: Density, limits: ErrorBarLimits = DEFAULT.error_bars
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return spectra (M, D) of environments that cover the training set, their species (M,), limits (n_elements,).

    Each reference is the environment that is farthest from those chosen before. A limit is a multiple of the distance
    below which nearly all environments are from the references of other frames.

    Args:
        data: frames of the training set.
        density: coarse, of the references.
        limits: constants of this step.

    """
    environments, n = Environments(data, density), len(data.elements)
    found = [environments.by_element(k) for k in range(len(data))]
    spectra, species, far = [], [], np.full(n, FAR)
    for z in range(n):
        pool = power_spectra(np.concatenate([of_frame[z] for of_frame in found]))
        frames = np.repeat(np.arange(len(data)), [len(of_frame[z]) for of_frame in found])
        chosen = _covering(pool, limits.references)
        spectra.append(pool[chosen])
        species.append(np.full(len(chosen), z))
        distances = nearest_distances(pool, pool[chosen], frames, frames[chosen])
        known = distances[distances < FAR]
        if len(known):
            far[z] = min(limits.novel * float(np.quantile(known, limits.grade_quantile)), FAR)
    return np.concatenate(spectra), np.concatenate(species), far


def _covering(points: np.ndarray, n: int) -> np.ndarray:
    """Numbers of n points, or fewer, each farthest from those before; none is chosen twice."""
    if not len(points):
        return np.zeros(0, np.int64)
    squares = np.einsum("ij,ij->i", points, points)
    chosen = [0]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(n, len(points)):
        last = chosen[-1]
        nearest = np.minimum(nearest, squares + squares[last] - 2 * points @ points[last])
        nearest[last] = -np.inf
        best = int(nearest.argmax())
        if nearest[best] <= 1e-12 * squares[best]:
            break
        chosen.append(best)
    return np.array(chosen)
