"""The density of a model: its channels (element, radial function) reduced to those that the training set uses."""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from ..atoms.dataset import Dataset
from ..compute.ranks import Communicator
from ..compute.threads import run_threads
from ..density.expansion import Density, full_density
from ..density.frames import FrameEnvironments, frame_environments
from ..density.radial import RadialTable, radial_table
from .baseline import element_weights
from .limits import DEFAULT, DensityLimits
from .options import DensityShape, TrainingOptions

N_GROUPS = 8  # of frames, over which ranks and threads share the work
MOST_THREADS = 4  # a Jacobian with all channels may have hundreds of megabytes


def model_density(
    data: Dataset,
    options: TrainingOptions,
    shape: DensityShape | None = None,
    comm: Communicator | None = None,
    limits: DensityLimits = DEFAULT.density,
    threads: int = 1,
) -> Density:
    """Density with the leading principal components of the channels, by central element and l.

    Coefficients are scaled such that the environments of each element have an rms norm of 1 (less if all neighbours
    are far away). Components smaller than `channel_tolerance` (rms, with the change when atoms move by
    `DensityLimits.stray`) are dropped: the kernel of those that are kept is still positive semi-definite.

    Args:
        data: the training set.
        options: of the training.
        shape: of the density [`options.long`].
        comm: ranks that share the work [one].
        limits: constants of this step.
        threads: how many; each holds the Jacobian of a frame.

    """
    elements = data.elements
    radial = radial_table(*(shape or options.long), options.lmax, options.radial_tolerance)
    full = full_density(options.lmax, radial, len(elements))
    by_channel = np.repeat(element_weights(elements, options.element_weights), radial.values.shape[2])
    by_l = (2.0 * np.arange(options.lmax + 1) + 1) ** options.angular_weight
    channels = by_l[:, None, None] * by_channel[:, None] * _mixed(options.element_mixing or 0.0, len(elements), radial)
    full = full._replace(projection=np.broadcast_to(channels, full.projection.shape).copy())
    chosen = np.random.default_rng(options.seed).permutation(len(data))[: limits.frames]
    few, threads = data.subset(chosen), min(threads, MOST_THREADS)
    moving = np.split(few.drawn_environments(limits.environments, options.seed), np.cumsum(few.n_atoms)[:-1])
    covariance, extended = _covariances(few, full, moving, limits.stray, comm or Communicator(), threads)
    n_elements, n_l, n_full, _ = covariance.shape
    kept = []
    squares = np.trace(covariance.sum(axis=1), axis1=1, axis2=2)
    scales = 1.0 / np.sqrt(
        np.maximum(squares, limits.least_norm**2 * squares.max()) if squares.any() else np.ones(n_elements)
    )
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


def _covariances(
    data: Dataset, density: Density, moving: Sequence[np.ndarray], stray: float, comm: Communicator, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean c c^T (n_elements, lmax + 1, n, n) over environments, alone and with atoms that stray.

    `moving` says of each frame which environments (N,) are looked at with atoms that stray.
    """
    n_elements, n_l, n = len(data.elements), density.lmax + 1, density.projection.shape[3]
    # summed in groups of frames, so that the sums are the same to the last bit on any number of ranks and threads
    sums = np.zeros((N_GROUPS, 2, n_elements, n_l, n, n))
    counts = np.zeros((N_GROUPS, 2, n_elements))

    def add_group(group: int) -> None:
        for k in range(group, len(data), N_GROUPS):
            found = frame_environments(data[k], density, data.elements, chosen=moving[k])
            for i, chosen in enumerate(moving[k]):
                _add_environment(found, i, sums[group, 0], counts[group, 0])
                if chosen:
                    _add_changes(found, i, stray, sums[group, 1], counts[group, 1])

    # threads of small products wait for each other, far longer beside any other load
    with threadpool_limits(1, user_api="blas"):
        run_threads(add_group, range(comm.rank, N_GROUPS, comm.size), threads)
    count = np.maximum(comm.total(counts).sum(axis=0), 1)[..., None, None, None]
    plain, moved = comm.total(sums).sum(axis=0) / count
    return plain, plain + moved


def _add_environment(found: FrameEnvironments, i: int, out: np.ndarray, count: np.ndarray) -> None:
    """Add c c^T of environment i, by l, to `out` (n_elements, lmax + 1, n, n) at its element, and count it."""
    z, c = found.centres[i], found.coefficients[i]
    count[z] += 1
    for l, total in enumerate(out[z]):
        own = c[l * l : (l + 1) ** 2]
        total += own.T @ own


def _add_changes(found: FrameEnvironments, i: int, stray: float, out: np.ndarray, count: np.ndarray) -> None:
    """Add what straying atoms add to c c^T; arguments as in `_add_environment`."""
    z, shape = found.centres[i], found.coefficients[i].shape
    count[z] += 1
    span = slice(found.first[i], found.first[i + 1])
    rows = found.jacobian[span].reshape(-1, *shape)[found.label[span] <= 3 * len(found.centres)]
    for l, total in enumerate(out[z]):
        changes = rows[:, l * l : (l + 1) ** 2].reshape(-1, shape[1])
        total += stray**2 * (changes.T @ changes)
