"""How many support points the sparse estimator takes, and what they cost: predicted memory and time."""

import math
from bisect import bisect_left

import numpy as np

from ...atoms.dataset import Dataset
from ...atoms.kinds import LabelKind
from ...kernel.coupling import wigner_terms
from ...model.energy import pair_cost
from ..task import Task, available_memory, kept_gigabytes
from .design import largest_batch
from .low_orders import count_low_orders
from .regression import FEW


def count_rows(task: Task) -> float:
    """Mean number of rows of the Jacobian of an environment that has one, from some of the frames."""
    with_gradients = np.flatnonzero(task.data.counts_by_kind[:, [LabelKind.FORCES, LabelKind.STRESS]].any(axis=1))
    few = with_gradients[:: -(-len(with_gradients) // task.limits.sparse.counted_frames) or 1]
    return sum(map(task.environments[0].count_rows, few)) / max(int(task.data.n_atoms[few].sum()), 1)


def choose_n_support(task: Task, rows: float) -> int:
    """Number of support points: that of the options, or the largest that the time and the memory allow."""
    options, limits, data = task.options, task.limits.sparse, task.data
    if options.minutes is None and options.support_points is not None:
        return min(options.support_points, count_candidates(task, options.support_points))
    n_candidates, free = count_candidates(task, data.n_environments + 1), available_memory()  # with copies
    least, columns, seconds = limits.least_support, math.inf, 60 * (options.minutes or 0)
    if options.minutes is None:
        least, columns = limits.default_support
        seconds = limits.default_seconds / (task.threads * task.comm.size)
    most = int(min(columns, n_candidates))

    def too_costly(n: int) -> bool:
        needed, predicted = predicted_cost(task, n, rows)
        too_many = n + _count_explicit(task, n) > columns
        return too_many or predicted > seconds or (free is not None and needed > limits.memory * free)

    least = min(least, most)
    n = task.comm.share(least + bisect_left(range(least + 1, most + 1), True, key=too_costly), 0)
    if options.minutes is not None:
        task.log(f"{options.minutes:g} minutes allow {n} support points, as predicted")
    return n


def predicted_cost(task: Task, n_support: int, rows: float) -> tuple[float, float]:
    """Gigabytes and seconds of kernels with gradients, normal equations and solutions, of the search and the fit."""
    density, data, limits, speeds = task.densities[0], task.data, task.limits.sparse, task.limits.speeds
    n_atoms, n_elements, labels, ranks = data.n_environments, len(task.elements), data.n_labels, task.comm.size
    with_gradients = int(data.n_atoms[data.counts_by_kind[:, [LabelKind.FORCES, LabelKind.STRESS]].any(axis=1)].sum())
    width = (density.lmax + 1) ** 2 * density.projection.shape[3]
    few = min(limits.search_support, n_support) if task.options.order_weights is None else 0
    n_sets, share = len(limits.falls), min(1.0, limits.search_labels / labels, limits.search_environments / n_atoms)
    of_kinds, (_, tested) = data.counts_by_kind.sum(axis=0), count_folds(task, data)
    n_explicit = _count_explicit(task, n_support)
    columns, wide = n_support + n_explicit, few + _count_explicit(task, few)
    many = of_kinds > FEW * columns
    held = np.count_nonzero(many) * (1 + -(-tested // ranks)) + 3
    batch = 2 * (largest_batch(data, task.threads) + int(of_kinds[~many].sum()))
    pool = min(count_candidates(task, n_support), limits.candidates * n_elements)
    gigabytes = kept_gigabytes(data, width, task.limits.kept_bytes, 1 + rows) + 8e-9 * (
        held * columns**2 + batch * columns + pool * (n_support / n_elements / ranks + width)
    )
    points = (n_support + share * n_sets * few) / n_elements
    alone = (n_support + share * few) / n_elements  # kernels of all sets at once
    pairs = (n_atoms - with_gradients) * alone + pool * n_support / n_elements / 3
    projections = with_gradients * rows * width * points
    derivatives = with_gradients * rows * (n_explicit + share * (wide - few)) / n_elements
    evaluations = n_sets * (limits.grid.size + limits.noise_evaluations)
    solutions = (tested * limits.final_evaluations * columns**3 + limits.folds * evaluations * wide**3) / 3
    products = labels * (columns**2 + share * n_sets * wide**2) + solutions
    pair = pair_cost(wigner_terms(density.lmax, task.options.order), density.projection.shape[3])
    seconds = pair * (with_gradients * points / speeds.gradient_pairs + pairs / speeds.energy_pairs)
    seconds += projections / speeds.kernel_products + products / speeds.normal_products
    seconds += derivatives * speeds.explicit_derivative
    return gigabytes, seconds / (task.threads * ranks)


def count_folds(task: Task, data: Dataset) -> tuple[int, int]:
    """Number of folds, and of those that are left out: all, or a small one where there are many frames of each kind."""
    limits = task.limits.sparse
    counts = np.count_nonzero(data.counts_by_kind, axis=0)
    return (2, 1) if counts[counts > 0].min() >= limits.many_frames else 2 * (min(limits.folds, len(data)),)


def most_explicit(task: Task, n_support: int) -> int:
    """Number of explicit functions at most; none in trials, whose matrices are to stay small."""
    limits = task.limits.sparse
    return 0 if task.trial or n_support < limits.explicit_from else int(limits.explicit * n_support)


def _count_explicit(task: Task, n_support: int) -> int:
    """Number of explicit functions beside some number of support points."""
    return count_low_orders(task.densities[0], task.options.order, most_explicit(task, n_support))


def count_copies(task: Task, n_support: int) -> int:
    """Number of copies of each frame with forces, where its environments are too few for the support points."""
    return task.limits.sparse.copies if n_support > task.data.n_environments else 0


def count_candidates(task: Task, n_support: int) -> int:
    """Number of environments of the frames and their copies."""
    with_forces = task.data.counts_by_kind[:, LabelKind.FORCES] > 0
    return task.data.n_environments + count_copies(task, n_support) * int(task.data.n_atoms[with_forces].sum())
