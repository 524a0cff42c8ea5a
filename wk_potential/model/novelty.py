"""How far an environment is from the nearest one of the training set: what a change of shape or of elements moves.

Distances of neighbours (`wk_potential.model.bonds`) see each neighbour alone. Here whole environments are compared, by
the power spectrum p of a coarse density over the square root of its norm, which grows like the density and does not
depend on the orientation.
"""

from itertools import pairwise

import numpy as np

from ..atoms.structure import Structure
from ..compute.threads import run_threads
from ..density.expansion import Density, expand

BATCH = 2000  # environments whose distances from all references are formed at once
FAR = 1e9  # limit where there is nothing to compare with


def n_components(lmax: int, channels: int) -> int:
    """Number of components of a power spectrum."""
    return (lmax + 1) * channels * (channels + 1) // 2


def power_spectra(coefficients: np.ndarray) -> np.ndarray:
    """Power spectra (n, D) of environments (n, n_lm, Q), over the square roots of their norms.

    Their components are sum_m c_qlm c_q'lm / sqrt(2l + 1) for q <= q', those with q < q' times sqrt(2) (Bartok, Kondor,
    Csanyi, Phys. Rev. B 87, 184115 (2013)).
    """
    n_lm, width = coefficients.shape[1:]
    first, second = np.triu_indices(width)
    weights = np.where(first == second, 1.0, np.sqrt(2))
    parts = []
    for l in range(round(np.sqrt(n_lm))):
        own = coefficients[:, l * l : (l + 1) ** 2]
        parts.append((own.transpose(0, 2, 1) @ own)[:, first, second] * (weights / np.sqrt(2 * l + 1)))
    out = np.concatenate(parts, axis=1)
    norms = np.linalg.norm(out, axis=1, keepdims=True)
    return out / np.sqrt(np.where(norms > 0, norms, 1.0))


def nearest_distances(
    spectra: np.ndarray, references: np.ndarray, frames: np.ndarray | None = None, own: np.ndarray | None = None
) -> np.ndarray:
    """Distances (n,) of spectra from the nearest of some references, `FAR` where there is none.

    Args:
        spectra: (n, D).
        references: (M, D).
        frames, own: (n,) and (M,) numbers of frames: references of the own frame do not count.

    """
    out = np.full(len(spectra), FAR)
    squares = np.einsum("ij,ij->i", references, references)
    for first in range(0, len(spectra), BATCH) if len(references) else ():
        part = slice(first, first + BATCH)
        x = spectra[part]
        found = np.einsum("ij,ij->i", x, x)[:, None] + squares - 2 * x @ references.T
        if frames is not None and own is not None:
            found[frames[part, None] == own] = FAR**2
        out[part] = np.sqrt(np.maximum(found.min(axis=1), 0))
    return out


def count_novel(
    structure: Structure,
    density: Density,
    references: np.ndarray,
    species: np.ndarray,
    limits: np.ndarray,
    threads: int = 1,
) -> np.ndarray:
    """1 for each centre (n,) that is farther from all references than the limit of its element, else 0.

    Args:
        structure: with neighbours that hold all pairs within the cutoff of the density.
        density: coarse, as that of the references.
        references: (M, D) spectra of environments of the training set.
        species: (M,) of their centres.
        limits: (n_elements,).
        threads: how many.

    """
    first = structure.neighbours.first
    out, centres = np.zeros(len(first) - 1), structure.species[: len(first) - 1]
    if not len(references):
        return out
    vectors = structure.neighbours.vectors(structure.positions, structure.cell)
    around = structure.species[structure.neighbours.neighbour]
    edges = np.linspace(0, len(out), threads + 1).astype(int)
    parts = run_threads(
        lambda span: expand(density, centres[slice(*span)], first[span[0] : span[1] + 1], vectors, around),
        [span for span in pairwise(edges) if span[1] > span[0]],
        threads,
    )
    spectra = power_spectra(np.concatenate(parts)) if parts else np.zeros((0, references.shape[1]))
    for z, limit in enumerate(limits):
        own = np.flatnonzero(centres == z)
        out[own] = nearest_distances(spectra[own], references[species == z]) > limit
    return out
