"""Exact Gaussian process regression on Gram matrices: hyperparameters by marginal likelihood, leave-one-out errors.

The likelihood of few labels has more than one maximum. With very little noise a few frames that resemble each other
are fitted to the last digit, and the highest maximum may be of this kind. Leave-one-out errors tell which to trust.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from scipy.linalg import LinAlgError, blas, lapack
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from ...atoms.dataset import Labels
from ...atoms.kinds import LabelKind
from ...errors import OptionsError
from ..limits import DEFAULT, Limits
from ..options import TrainingOptions
from ..task import score_of_errors
from .inverse import inverse_of_sum, mirror, traces

NOT_POSITIVE = (
    "the covariance of the labels is not positive definite, because their noise is too small beside the kernel: "
    "raise energy_noise, forces_noise or stress_noise, or lower order_weights"
)
# options of the noise of labels that are few beside forces
FEW_KINDS = {LabelKind.ENERGY: "energy_noise", LabelKind.STRESS: "stress_noise"}


def _start(
    gram: np.ndarray, labels: Labels, options: TrainingOptions, share: float
) -> tuple[np.ndarray, np.ndarray, list[int], list[LabelKind]]:
    """Return where the search begins: weights, noise, and which weights and kinds of noise are free.

    The weights give each order an equal part of the labels' variance, the noise is a share of their rms.
    """
    kind = LabelKind.FORCES if labels.has(LabelKind.FORCES) else labels.kind[0]
    rows = np.flatnonzero(labels.kind == kind)
    prior = gram[:, rows, rows].mean(axis=1)
    weights = np.mean(labels.values[rows] ** 2) / np.maximum(prior, 1e-12) / len(gram)
    fixed = options.given_noise
    noise = np.array([given or guess for given, guess in zip(fixed, share * labels.spread(), strict=True)])
    free_kinds = [k for k in labels.kinds if fixed[k] is None]
    if options.order_weights is None:
        return weights, noise, list(range(len(gram))), free_kinds
    return np.tile(np.array(options.order_weights, float), len(gram) // options.order), noise, [], free_kinds


def choose_hyperparameters(
    gram: np.ndarray,
    labels: Labels,
    options: TrainingOptions,
    report: Callable[[str], None],
    threads: int = 1,
    limits: Limits = DEFAULT,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights (n,) of Gram matrices (n, N, N), noise (3,), and the score of the leave-one-out errors.

    The likelihood of some of the frames is maximised twice, from little and from much noise. The start whose maximum
    has the better leave-one-out errors is taken for the search on all of them.

    Args:
        gram, options, report, limits: as in `maximise_likelihood`.
        labels, threads: as in `solve`.

    """
    few = labels.sampled(limits.full.start_labels, 2, options.seed)
    part, some = labels, gram
    if len(few) < labels.n_frames:
        part, rows = labels.subset(few), labels.rows(few)
        some = np.stack([matrix[np.ix_(rows, rows)] for matrix in gram])
    found = []
    for share in limits.full.noise_starts:
        weights, noise, _ = maximise_likelihood(some, part, options, report, threads, share, limits)
        found.append((*_raised(some, weights, noise, part, options, threads, limits), weights, share))
    noise, score, weights, share = max(found, key=lambda x: x[1])
    if some is not gram:  # from the same start and not from the weights found: those that vanished could not come back
        weights, noise, _ = maximise_likelihood(gram, labels, options, report, threads, share, limits)
        noise, score = _raised(gram, weights, noise, labels, options, threads, limits)
    for kind, name in FEW_KINDS.items():
        if getattr(options, name) is not None or not {LabelKind.FORCES, kind} <= set(labels.kinds):
            continue
        least = _lowered(kind, np.tensordot(weights, gram, 1), noise, score, labels, threads, limits)
        if least == noise[kind]:
            continue
        report(f"  leave-one-out errors want a smaller {name.replace('_', ' ')} than the likelihood: {least:.2g}")
        own = options.model_copy(update={name: least})
        new_weights, new_noise, _ = maximise_likelihood(gram, labels, own, report, threads, share, limits)
        new_noise, new_score = _raised(gram, new_weights, new_noise, labels, own, threads, limits)
        if new_score > score:
            weights, noise, score, options = new_weights, new_noise, new_score, own
    if score == -np.inf:
        noise, score = _positive(np.tensordot(weights, gram, 1), noise, labels, options, threads, limits)
    return weights, noise, score


def _positive(
    kernel: np.ndarray, noise: np.ndarray, labels: Labels, options: TrainingOptions, threads: int, limits: Limits
) -> tuple[np.ndarray, float]:
    """Raise the noise that is free until the covariance is positive definite; arguments as in `raised_noise`.

    Raises:
        OptionsError: it never is.

    """
    free = np.array([given is None for given in options.given_noise])
    for factor in limits.full.rescues if free.any() else ():
        candidate = np.where(free, factor * noise, noise)
        score = left_out_score(kernel, candidate, labels, threads, limits)
        if score > -np.inf:
            return candidate, score
    raise OptionsError(NOT_POSITIVE)


def _lowered(
    kind: LabelKind, kernel: np.ndarray, noise: np.ndarray, score: float, labels: Labels, threads: int, limits: Limits
) -> float:
    """Noise of energies or virials, lowered as far as leave-one-out errors become smaller.

    Where the kernel does not describe all of the labels, the likelihood favours the many forces over the few others.

    Args:
        kind: of the labels.
        kernel, noise: as in `raised_noise`.
        score: of their leave-one-out errors.
        labels, threads: as in `solve`.

    """
    best, least = score + limits.full.few_gain, noise[kind]
    for factor in limits.full.few_factors:
        candidate = noise.copy()
        candidate[kind] = max(factor * noise[kind], limits.full.least_noise * labels.spread()[kind])
        found = left_out_score(kernel, candidate, labels, threads, limits)
        if found > best:
            best, least = found, candidate[kind]
    return float(least)


def maximise_likelihood(
    gram: np.ndarray, labels: Labels, options: TrainingOptions, report: Callable[[str], None], threads: int = 1,
    start: float = DEFAULT.full.noise_starts[0], limits: Limits = DEFAULT,
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """Weights (n,) of Gram matrices (n, N, N) and noise (3,) of highest marginal likelihood, and its logarithm.

    L-BFGS with analytic gradients on the logarithms. Weights of orders that do not help go to their lower bound.

    Args:
        gram: (n, N, N) kernels of the labels, of each length scale, element and order.
        labels: N numbers to fit.
        options: what is set there stays; the order_weights there hold for all elements and length scales.
        report: receives lines of text for people.
        threads: how many.
        start: noise with which the search begins, in units of the labels' rms.
        limits: constants of training.

    """
    weights, noise, free_orders, free_kinds = _start(gram, labels, options, start)
    least = limits.full.least_noise * labels.spread()
    by_kind = [(labels.kind == k).astype(float) * labels.size**2 for k in LabelKind]
    steps = 0

    def unpack(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w, s = weights.copy(), noise.copy()
        w[free_orders] *= np.exp(x[: len(free_orders)])
        s[free_kinds] *= np.exp(x[len(free_orders) :])
        return w, s

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal steps
        w, s = unpack(x)
        try:
            inverse, log_det = inverse_of_sum(gram, w, (s[labels.kind] * labels.size) ** 2, threads)
        except LinAlgError:
            return 1e12, np.zeros_like(x)
        alpha = inverse @ labels.values
        value = 0.5 * labels.values @ alpha + 0.5 * log_det
        slopes = traces(inverse, alpha, gram, threads) if free_orders else np.zeros(0)
        by_weight = [0.5 * w[nu] * slopes[nu] for nu in free_orders]
        by_noise = [s[k] ** 2 * (np.diag(inverse) - alpha**2) @ by_kind[k] for k in free_kinds]
        steps += 1
        if steps % 10 == 0:
            report(f"  step {steps}: log likelihood {-value:.1f}")
        return value, np.array(by_weight + by_noise)

    n_free = len(free_orders) + len(free_kinds)
    if n_free:
        bounds = [(-18.0, 14.0)] * len(free_orders) + [(np.log(least[k] / noise[k]), 8.0) for k in free_kinds]
        settings = {"maxiter": 50, "ftol": 1e-7}
        found = minimize(objective, np.zeros(n_free), jac=True, method="L-BFGS-B", bounds=bounds, options=settings)
        weights, noise = unpack(found.x)
        highest = -float(found.fun)
    else:
        highest = -objective(np.zeros(0))[0]
    return weights, noise, highest


def _raised(
    gram: np.ndarray,
    weights: np.ndarray,
    noise: np.ndarray,
    labels: Labels,
    options: TrainingOptions,
    threads: int,
    limits: Limits,
) -> tuple[np.ndarray, float]:
    """`raised_noise` for weights of Gram matrices; the noise of forces stays if the options set it."""
    free = options.forces_noise is None and labels.has(LabelKind.FORCES) and labels.n_frames > 1
    kernel, factors = np.tensordot(weights, gram, 1), limits.full.noise_factors
    return raised_noise(kernel, noise, labels, threads, factors if free else factors[:1], limits)


def raised_noise(
    kernel: np.ndarray,
    noise: np.ndarray,
    labels: Labels,
    threads: int = 1,
    factors: Sequence[float] = DEFAULT.full.noise_factors,
    limits: Limits = DEFAULT,
) -> tuple[np.ndarray, float]:
    """Raise the noise (3,) of forces as far as leave-one-out errors stay the same; returns it and their score.

    Where forces are fitted to the last digit, the likelihood says little about their noise, and more is safer. The
    score must not fall by more than `FullLimits.noise_loss`.

    Args:
        kernel: (N, N) of the labels; not changed.
        noise: (3,) of highest likelihood.
        labels, threads: as in `solve`.
        factors: of the noise of forces, from small to large.
        limits: constants of training.

    """
    candidates = [noise * np.where(np.arange(len(noise)) == LabelKind.FORCES, factor, 1.0) for factor in factors]
    scores = [left_out_score(kernel, candidate, labels, threads, limits) for candidate in candidates]
    last = int(np.flatnonzero(np.array(scores) >= max(scores) - limits.full.noise_loss)[-1])
    return candidates[last], scores[last]


def left_out_score(
    kernel: np.ndarray, noise: np.ndarray, labels: Labels, threads: int = 1, limits: Limits = DEFAULT
) -> float:
    """Score of the leave-one-frame-out errors, higher is better; arguments as in `raised_noise`.

    It is minus infinity where the noise is so small that the covariance is not positive definite.
    """
    try:
        residuals = solve(kernel.copy(), noise, labels, threads)[1] / labels.size
    except LinAlgError:
        return -np.inf
    kinds = labels.kinds
    return score_of_errors(
        [np.sqrt(np.mean(residuals[labels.kind == k] ** 2)) for k in kinds], kinds, limits.importance
    )


def solve(
    kernel: np.ndarray, noise: np.ndarray, labels: Labels, threads: int = 1
) -> tuple[np.ndarray, np.ndarray, float]:
    """Dual coefficients (N,), leave-one-frame-out errors (N,) and log marginal likelihood.

    One triangle of the matrix keeps the covariance, the other becomes its Cholesky factor and then its inverse.

    Args:
        kernel: (N, N) kernel of the labels, of which the upper triangle counts; overwritten.
        noise: (3,) of each kind of label.
        labels: N numbers to fit.
        threads: how many.

    Raises:
        LinAlgError: the covariance is not positive definite.

    """
    values, matrix = labels.values, kernel.T  # in the order of LAPACK, where the lower triangle now counts
    diagonal = matrix.diagonal() + (noise[labels.kind] * labels.size) ** 2
    mirror(kernel)  # the other triangle keeps the covariance
    np.fill_diagonal(matrix, diagonal)
    with threadpool_limits(threads, user_api="blas"):
        factor, failed = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
        if failed:
            raise LinAlgError(NOT_POSITIVE)
        log_det = 2 * np.sum(np.log(factor.diagonal()))
        alpha = lapack.dpotrs(factor, values, lower=1)[0]
        for _ in range(2):
            applied = blas.dsymv(1.0, factor, alpha, lower=0) + (diagonal - factor.diagonal()) * alpha
            alpha += lapack.dpotrs(factor, values - applied, lower=1)[0]
        inverse = lapack.dpotri(factor, lower=1, overwrite_c=1)[0]
    residuals = np.zeros_like(alpha)
    for first, last in pairwise(labels.first):
        own = slice(first, last)
        block = np.tril(inverse[own, own])
        residuals[own] = np.linalg.solve(block + np.tril(block, -1).T, alpha[own])
    return alpha, residuals, float(-0.5 * (values @ alpha + log_det + len(alpha) * np.log(2 * np.pi)))
