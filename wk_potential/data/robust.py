"""Statistics that a few wrong frames do not change: medians instead of means."""

import numpy as np
import numpy.typing as npt

NORMAL = 2.5631  # standard deviations between the lowest and the highest tenth of a normal distribution
ALONE = 6.0  # standard deviations from the nearest frames: normal numbers are not that lonely in sets of any size
RARE = 0.01  # of the frames: what more of them have in common is a kind of structure, and not a fault
LEAST_RARE = 3  # frames that may be wrong in the same way, in sets however small
MAJORITY = 12  # frames that are needed to say what is usual: four times as many as may be wrong
STEPS = 50  # of reweighting, after which least absolute deviations have converged to far below any spread


def spread(values: npt.ArrayLike, least: float = 0.0) -> float:
    """Standard deviation of most of the values, from the eight tenths in the middle, but not below `least`.

    Half of the frames may be of one kind and the others of several, so the middle half would tell too little. A tenth
    of the frames on each side may be wrong.
    """
    low, high = np.quantile(np.asarray(values, float), [0.1, 0.9])
    return max(float(high - low) / NORMAL, least)


def lonely(values: npt.ArrayLike, least: float, alone: float = ALONE) -> np.ndarray:
    """Signed distances (n,) from the median, in standard deviations, of values far from all others; 0 for the rest.

    A value is far if, but for a few, the nearest others are more than `alone` standard deviations away. So the tail of
    a wide distribution and a second kind of structure, which many frames share, are not far.

    Args:
        values: (n,) one for each frame.
        least: standard deviation to be assumed at least; smaller differences mean nothing.
        alone: standard deviations.

    """
    values = np.asarray(values, float)
    n = len(values)
    few = max(LEAST_RARE, int(RARE * n))
    if n < MAJORITY:
        return np.zeros(n)
    deviation, order = spread(values, least), np.argsort(values, kind="stable")
    x = np.concatenate([np.full(few, -np.inf), values[order], np.full(few, np.inf)])
    own = x[few : few + n]
    # of each value the `few`-th nearest other: the narrowest window with so many others that holds it
    windows = [
        np.maximum(own - x[few - j : few - j + n], x[2 * few - j : 2 * few - j + n] - own) for j in range(few + 1)
    ]
    isolation = np.empty(n)
    isolation[order] = np.min(windows, axis=0)
    return np.where(isolation > alone * deviation, (values - np.median(values)) / deviation, 0.0)


def least_absolute(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients (k,) that minimise the sum of the absolute errors of matrix (n, k) times them, against values (n,).

    Least squares, reweighted by the inverse errors (Schlossmacher, J. Am. Stat. Assoc. 68, 857 (1973)). Where the
    matrix leaves coefficients open, they have the smallest norm.
    """
    weights: np.ndarray = np.ones(len(values))
    found = np.zeros(matrix.shape[1])
    for _ in range(STEPS):
        found = np.linalg.lstsq(matrix * weights[:, None], values * weights, rcond=1e-8)[0]
        errors = np.abs(values - matrix @ found)
        weights = 1 / np.sqrt(np.maximum(errors, 1e-6 * max(float(errors.max()), 1e-12)))
    return found
