"""How far an environment is from the nearest one of the training set: what a change of shape or of elements moves.

Distances of neighbours (`wk_potential.model.bonds`) see each neighbour alone. Here whole environments are compared, by
the power spectrum p of a coarse density over the square root of its norm, which grows like the density and does not
depend on the orientation.
"""

import numpy as np

from ..atoms.structure import Structure
from ..compute.jit import njit
from ..compute.simd import WIDTH, item
from ..compute.threads import run_threads
from ..density.packed import PackedDensity
from ..density.saturation import saturate
from .energy import expand_lanes, project, work_space

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


@njit(nogil=True)
def _fill_coefficients(density, projection, element, atoms, structure, clash, out):
    """Fill out (N, n_lm, Q) for atoms of one element, one vector of atoms at a time."""
    n_channels = projection.shape[2]
    hood, flat, full, c, _, factor, _, _ = work_space(density, projection, structure, (0, 0), WIDTH)
    for start in range(0, atoms.shape[0], WIDTH):
        batch = atoms[start : start + WIDTH]
        expand_lanes(density, batch, structure, hood, full, WIDTH, clash)
        project(projection, element, flat, full, c, WIDTH, False)
        saturate(density.saturation, c, WIDTH, factor)
        for l in range(density.lmax + 1):
            for q in range(n_channels):
                for m in range(2 * l + 1):
                    for a in range(batch.shape[0]):
                        at = l * l * n_channels + q * (2 * l + 1) + m
                        out[batch[a], l * l + m, q] = item(c, at * WIDTH + a)


def _coefficients(structure: Structure, density: PackedDensity, threads: int) -> np.ndarray:
    """Coefficients (n, n_lm, Q) of the centres, as `density.expansion.expand` makes them, but vectors of atoms."""
    projection, n = density.projection.astype(float), len(structure.neighbours.first) - 1
    out = np.zeros((n, (density.lmax + 1) ** 2, projection.shape[2]))
    species = structure.species[:n]

    def work(atoms: np.ndarray) -> None:
        for z in range(len(projection)):
            own = atoms[species[atoms] == z]
            if len(own):
                _fill_coefficients(density, projection, z, own, structure, np.full(2, -1), out)

    run_threads(work, np.array_split(np.arange(n), threads), threads)
    return out


def count_novel(
    structure: Structure,
    density: PackedDensity,
    references: np.ndarray,
    species: np.ndarray,
    limits: np.ndarray,
    threads: int = 1,
) -> np.ndarray:
    """1 for each centre (n,) that is farther from all references than the limit of its element, else 0.

    Args:
        structure: with neighbours that hold all pairs within the cutoff of the density.
        density: coarse, as that of the references, as the compiled functions take it.
        references: (M, D) spectra of environments of the training set.
        species: (M,) of their centres.
        limits: (n_elements,).
        threads: how many.

    """
    first = structure.neighbours.first
    out, centres = np.zeros(len(first) - 1), structure.species[: len(first) - 1]
    if not len(references) or not len(out):
        return out
    spectra = power_spectra(_coefficients(structure, density, threads))
    for z, limit in enumerate(limits):
        own = np.flatnonzero(centres == z)
        out[own] = nearest_distances(spectra[own], references[species == z]) > limit
    return out
