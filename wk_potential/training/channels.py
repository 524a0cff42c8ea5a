"""The density of a model: its channels (element, radial function) reduced to those that the training set uses."""

from collections.abc import Sequence

import numpy as np

from ..atoms.frame import Frame
from ..compute.ranks import Communicator
from ..density.expansion import Density, full_density
from ..density.frames import frame_environments
from ..density.radial import RadialTable, radial_table
from .baseline import element_weights
from .options import DensityShape, TrainingOptions

RATTLE = 0.05  # Angstrom: how far an atom may stray from the training frames; also keeps channels that forces need
MAX_FRAMES = 200
N_GROUPS = 8
LEAST_NORM = 0.1  # of the largest rms norm of an element: atoms that hardly have neighbours are not blown up


def model_density(
    frames: Sequence[Frame],
    elements,
    options: TrainingOptions,
    shape: DensityShape | None = None,
    comm: Communicator | None = None,
) -> Density:
    """Density with the leading principal components of the channels, by central element and l.

    Its shape is `options.long` unless given.

    Coefficients are scaled so that an environment of each element has rms norm 1 (less if its neighbours are all far
    away), and components of a size below
    `channel_tolerance` (rms, including the change when atoms move by RATTLE) are dropped: the kernel of the kept
    ones is still a kernel.
    """
    radial = radial_table(*(shape or options.long), options.lmax, options.radial_tolerance)
    full = full_density(options.lmax, radial, len(elements))
    by_channel = np.repeat(element_weights(elements, options.element_weights), radial.values.shape[2])
    by_l = (2.0 * np.arange(options.lmax + 1) + 1) ** options.angular_weight
    channels = by_l[:, None, None] * by_channel[:, None] * _mixed(options.element_mixing or 0.0, len(elements), radial)
    full = full._replace(projection=np.ascontiguousarray(np.broadcast_to(channels, full.projection.shape)))
    chosen = np.random.default_rng(options.seed).permutation(len(frames))[:MAX_FRAMES]
    covariance, extended = _covariances([frames[k] for k in chosen], full, elements, comm or Communicator())
    n_elements, n_l, n_full, _ = covariance.shape
    kept = []
    squares = np.trace(covariance.sum(axis=1), axis1=1, axis2=2)
    scales = 1.0 / np.sqrt(np.maximum(squares, LEAST_NORM**2 * squares.max()) if squares.any() else np.ones(n_elements))
    for z, scale in enumerate(scales):
        for l in range(n_l):
            values, vectors = np.linalg.eigh(extended[z, l])
            size = scale * np.sqrt(np.maximum(values, 0.0))
            keep = np.flatnonzero(size > max(options.channel_tolerance, 1e-9))[::-1]
            kept.append(channels[l] @ vectors[:, keep] * scale)
    n_kept = max(1, *(k.shape[1] for k in kept))
    projection = np.zeros((n_elements, n_l, n_full, n_kept))
    for flat, k in zip(projection.reshape(-1, n_full, n_kept), kept, strict=True):
        flat[:, : k.shape[1]] = k
    return Density(options.lmax, radial, projection, options.saturation or 0.0)


def _mixed(mixing: float, n_elements: int, radial: RadialTable) -> np.ndarray:
    """Root of the kernel between channels (a, n): 1 for the same element, `mixing` for others, 0 for other n."""
    kernel = (1 - mixing) * np.eye(n_elements) + mixing
    return np.kron(np.linalg.cholesky(kernel), np.eye(radial.values.shape[2]))


def _covariances(frames, density: Density, elements, comm: Communicator):
    """Mean c c^T (n_elements, lmax + 1, n, n) over environments, alone and with the effect of rattling."""
    n_l, n = density.lmax + 1, density.projection.shape[3]
    # summed in groups of frames, so that the sums are the same to the last bit on any number of ranks
    sums = np.zeros((N_GROUPS, 2, len(elements), n_l, n, n))
    counts = np.zeros((N_GROUPS, len(elements)))
    for group in range(comm.rank, N_GROUPS, comm.size):
        _add_frames(frames[group::N_GROUPS], density, elements, sums[group, 0], sums[group, 1], counts[group])
    plain, moved = comm.total(sums).sum(axis=0)
    count = np.maximum(comm.total(counts).sum(axis=0), 1)[:, None, None, None]
    return plain / count, (plain + moved) / count


def _add_frames(frames, density: Density, elements, plain, moved, count):
    """Add c c^T of environments, what rattling adds to it, and the number of environments."""
    n_l, n = density.lmax + 1, density.projection.shape[3]
    for frame in frames:
        environments = frame_environments(frame, density, elements)
        for i, z in enumerate(environments.centres):
            count[z] += 1
            rows = environments.jacobian[environments.first[i] : environments.first[i + 1]].reshape(-1, n_l**2, n)
            rows = rows[environments.label[environments.first[i] : environments.first[i + 1]] <= 3 * len(frame)]
            for l in range(n_l):
                c = environments.coefficients[i, l * l : (l + 1) ** 2]
                plain[z, l] += c.T @ c
                j = rows[:, l * l : (l + 1) ** 2].reshape(-1, n)
                moved[z, l] += RATTLE**2 * (j.T @ j)
