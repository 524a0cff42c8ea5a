"""The metric in which forms are made small: second moments of features of real environments and of their changes."""

from collections.abc import Callable

import numpy as np

from ...forms.features import Block, feature_derivatives, features
from .samples import Samples

CHUNK = 2_000_000  # numbers in a block of features
RIDGE = 1e-9  # relative, of the metric: features that are linearly dependent on the samples


def n_samples(block: Block, samples: Samples) -> int:
    """Samples that are enough for the second moments of a block, or all."""
    return min(len(samples.coefficients), 200 + 4 * len(block) // (2 * block.L + 1))


def chunks(n: int, width: int, numbers: int = CHUNK) -> list[slice]:
    """Parts of n samples with `width` numbers each, so many numbers a part, to be treated one after the other."""
    step = max(1, numbers // max(width, 1))
    return [slice(k, min(k + step, n)) for k in range(0, n, step)]


def moments(block: Block, samples: Samples, centred: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (P,) of the features, second moments (P, P) of their deviations from it and of their changes.

    Args:
        block: the features.
        samples: of the central element.
        centred: about the mean of invariants, and without the constant feature; otherwise about zero, with it.

    """
    width, skip, n = len(block), int(block.constant and centred), n_samples(block, samples)
    parts = [(samples.coefficients[k], samples.directions[k]) for k in chunks(n, (2 * block.L + 1) * width)]
    mean = np.zeros(width - skip)
    if block.L == 0 and centred:
        mean += sum(features(block, c)[:, 0, skip:].sum(axis=0) for c, _ in parts) / n
    values, changes = np.zeros((2, width - skip, width - skip))
    for c, d in parts:
        x = features(block, c).reshape(-1, width)[:, skip:] - mean
        dx = feature_derivatives(block, c, d).reshape(-1, width)[:, skip:]
        values += x.T @ x / n
        changes += dx.T @ dx / n
    return mean, values, changes


def value_factor(values: float, changes: float, weight: float) -> float:
    """Factor of the second moments of the features in the metric, from the traces of both moments and their weight."""
    return weight * changes / max(values, 1e-300)


def metric_of(values: np.ndarray, changes: np.ndarray, weight: float) -> np.ndarray:
    """Metric (P, P) of second moments, positive definite; `weight` is that of the features beside their changes."""
    metric = changes + value_factor(np.trace(values), np.trace(changes), weight) * values
    diagonal = np.diag_indices(len(metric))
    metric[diagonal] *= 1 + RIDGE
    metric[diagonal] += max(float(1e-3 * RIDGE * np.mean(metric[diagonal])), 1e-300) if len(metric) else 0.0
    return metric


def largest_threshold(deviation: Callable[[int], float], n: int, tolerance: float) -> int | None:
    """Bisect n thresholds, the largest first.

    Args:
        deviation: of the form with the k-th threshold; it falls with k.
        n: number of thresholds.
        tolerance: largest deviation allowed.

    Returns:
        The number of the largest threshold within the tolerance, or None.

    """
    low, high, best = 0, n - 1, None
    while low <= high:
        middle = (low + high) // 2
        if deviation(middle) <= tolerance:
            best, high = middle, middle - 1
        else:
            low = middle + 1
    return best
