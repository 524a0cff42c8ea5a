"""The sparse estimator: support environments with weights, chosen by the kernel, fitted by cross-validation."""

import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
from ase.data import chemical_symbols
from scipy.linalg import LinAlgError
from threadpoolctl import threadpool_limits

from ...atoms.dataset import Dataset
from ...atoms.kinds import LabelKind
from ...density.frames import Environments
from ...model.scale import Scale
from ...model.support import SupportPoints
from ..doubts import slope_doubt, stress_doubt
from ..task import Fit, LeftOut, Task, predict_cost
from .cost import choose_n_support, count_copies, count_folds, count_rows, most_explicit, predicted_cost
from .design import Design, Folds, in_batches, kernel_matrices, stream_design
from .low_orders import LowOrders, choose_low_orders, high_orders
from .regression import Basis, NormalEquations, SparseRegression, blas_threads, left_out
from .selection import candidates, mean_kernels, select_support, with_rattled

NAMES = {  # of errors, for people and the header
    LabelKind.ENERGY: "energy_per_sqrt_atom", LabelKind.FORCES: "forces", LabelKind.STRESS: "virial_per_sqrt_atom",
}  # fmt: skip
SMALLER = 12  # times the kernel is divided by ten, at most, until the equations can be solved
# factors of the noise
WITHOUT_STRESS, FOR_STRESS, FORCES_ALONE = np.array([1, 1, 1e3]), np.array([1, 1, 1 / 30]), np.array([1e3, 1, 1e3])


def fit_sparse(task: Task) -> Fit:
    """Select support points, choose hyperparameters by cross-validation, and fit the weights."""
    options, environments, density, limits = task.options, task.environments[0], task.densities[0], task.limits.sparse
    rows = count_rows(task)
    n_support = choose_n_support(task, rows)
    predict_cost(task, *predicted_cost(task, n_support, rows))
    pools = _pools(task)
    mean = mean_kernels(pools, density.lmax, options.order, options.seed)
    searched = options.order_weights is None
    weights = 1.0 / (options.order * mean) if searched else np.array(options.order_weights)
    noise = None
    if searched:
        few = _support(task, pools, min(limits.search_support, n_support), weights, "support points of the search")
        weights, noise, score = _search_order_weights(task, pools, few, mean)
        if task.trial:  # a fit to the same labels would score nearly the same
            return Fit([], noise, {}, {}, score)
    if copies := count_copies(task, n_support):
        pools = _pools(task, copies)
    low = _explicit(task, pools, weights, n_support)
    support = _support(task, pools, n_support, weights, "support points")
    _say_support(task, support, low)
    folds = _folds(task, task.data)
    (equations,), (basis,) = _stream(task, environments, support, weights[None], folds, "design", low)
    regression = SparseRegression(equations, basis, task.comm, task.limits, folds.tested, task.threads)
    del equations
    amplitude = 1.0
    noise = _start_noise(task, regression.rms()) if noise is None else noise
    errors: dict[str, float] = {}
    score = float("-inf")
    with threadpool_limits(blas_threads(basis.rank, task.threads), user_api="blas"):
        if regression.n_folds > 1:
            report = partial(task.progress, "noise")
            evaluations = limits.final_evaluations if searched else limits.noise_evaluations
            amplitude, noise = regression.choose(
                amplitude, noise, options.given_noise, evaluations, not searched, report
            )
            errors, score = _cross_validated(task, regression, folds, amplitude, noise)
        amplitude, solution, leverage = _fitted(regression, amplitude, noise)
    points = _weighted(support, low, solution, weights, amplitude)
    scale = Scale(density, np.tile(weights * amplitude, (len(points), 1)), points)
    errors_of_frames = None
    if regression.n_folds > 1:
        design = Design(environments, support, weights, low)
        if not task.trial:
            _warn_of_slope(task, design, regression, amplitude, noise)
        errors_of_frames = _left_out(task, design, solution, leverage, noise)
    remarks: dict[str, float | int | str] = {"explicit_functions": sum(low.counts)} if low else {}
    return Fit([scale], noise, errors, remarks, score, errors_of_frames)


def _fitted(regression: SparseRegression, amplitude: float, noise: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Amplitude, weights and leverage of the fit to all labels: `SparseRegression.fitted`.

    The amplitude is that of left-out errors, or smaller: labels without noise may be beyond double precision when no
    fold is left out.
    """
    for _ in range(SMALLER):
        try:
            return amplitude, *regression.fitted(amplitude, noise)
        except LinAlgError:
            amplitude /= 10
    return amplitude, *regression.fitted(amplitude, noise)


def _weighted(
    support: Sequence[np.ndarray], low: LowOrders | None, solution: np.ndarray, weights: np.ndarray, amplitude: float
) -> list[SupportPoints]:
    """Support points of the kernel with its amplitude, with those that stand for explicit functions.

    Args:
        support: (M_z, n_lm, Q) of each element.
        low: the explicit functions.
        solution: (M,) weights of the columns of the design.
        weights: (order,) order weights of the design.
        amplitude: by which the kernel is larger.

    """
    counts = low.counts if low else []
    parts = np.split(solution, np.cumsum([*counts, *map(len, support)])[:-1])
    explicit, parts = parts[: len(counts)], parts[len(counts) :]
    if low:
        explicit = np.split(np.concatenate(explicit) * low.scale(weights), np.cumsum(counts)[:-1])
    points = []
    for z, (c, w) in enumerate(zip(support, parts, strict=True)):
        more = low.points(z, explicit[z], c, w, weights) if low else (c[:0], w[:0])
        points.append(SupportPoints(np.concatenate([c, more[0]]), np.concatenate([w, more[1]]) / amplitude))
    return points


def _explicit(task: Task, pools: Sequence[np.ndarray], weights: np.ndarray, n_support: int) -> LowOrders | None:
    """Explicit functions beside some number of support points, the same on all ranks."""
    return task.comm.first(choose_low_orders, pools, task.densities[0], weights, most_explicit(task, n_support))


def _pools(task: Task, n_copies: int = 0) -> list[np.ndarray]:
    """Candidates of each element for support points, from the frames and from rattled copies."""
    seed, limits, environments = task.options.seed, task.limits.sparse, task.environments[0]
    if n_copies:
        frames = with_rattled(task.data, n_copies, limits.rattle, seed)
        environments = Environments(frames, environments.density)
    return candidates(environments, limits.candidates, seed, partial(task.progress, "environments"))


def _support(task: Task, pools: list[np.ndarray], n_support: int, weights: np.ndarray, stage: str) -> list[np.ndarray]:
    """Support points of each element for a kernel of given order weights (order,)."""
    report = partial(task.progress, stage)
    return select_support(pools, n_support, task.densities[0].lmax, weights, task.threads, report, task.comm)


def _say_support(task: Task, support: Sequence[np.ndarray], low: LowOrders | None) -> None:
    def counted(numbers: Sequence[int]) -> str:
        return ", ".join(f"{chemical_symbols[z]} {n}" for z, n in zip(task.elements, numbers, strict=True))

    task.log(f"Support points: {counted(list(map(len, support)))}")
    if low:
        task.log(f"Explicit functions of orders 1 and 2: {counted(low.counts)}")


def _cross_validated(
    task: Task, regression: SparseRegression, folds: Folds, amplitude: float, noise: np.ndarray
) -> tuple[dict[str, float], float]:
    """Cross-validation errors for the header, and their score; warns of labels that contradict each other."""
    held_out, kinds = regression.errors(amplitude, noise), regression.kinds
    errors = {f"cross_validation_{NAMES[k]}_rmse": float(held_out[k]) for k in kinds}
    found = ", ".join(f"{NAMES[k].replace('_', ' ')} {held_out[k]:.3g}" for k in kinds)
    how = f"{folds.number}-fold cross-validation" if folds.all_tested else f"{task.limits.sparse.held_out:.0%} left out"
    task.log(f"Expected errors ({how}, rmse, eV and Å): {found}")
    if not task.trial:
        _warn_of_contradiction(task, regression, amplitude, noise, held_out)
        _warn_of_sign(task, regression, amplitude, noise)
    return errors, regression.score(held_out)


def _left_out(task: Task, design: Design, solution: np.ndarray, leverage: np.ndarray, noise: np.ndarray) -> LeftOut:
    """Leave-one-out errors of some of the frames.

    Args:
        task: with the training set.
        design: of the fit, with one set of order weights.
        solution, leverage: as `SparseRegression.fitted` returns them.
        noise: (3,) of each kind of label.

    """
    labels, data = task.labels, task.data

    def of_frames(ks: Sequence[int]) -> list[np.ndarray]:
        matrices = [design.of_frame(k)[:, 0] for k in ks]
        first = np.cumsum([0, *map(len, matrices)])
        matrix, own = np.concatenate(matrices), labels.rows(ks)
        deviation = labels.size[own] * noise[labels.kind[own]]
        rows, residuals = matrix @ leverage / deviation[:, None], (labels.values[own] - matrix @ solution) / deviation
        return [deviation[s] * left_out(rows[s], residuals[s]) for s in map(slice, first, first[1:])]

    def predicted(frames: np.ndarray) -> list[np.ndarray | None]:
        few = [frames[n] for n in data.subset(frames).sampled(task.limits.sparse.left_out_labels, 2, task.options.seed)]
        most = -(-len(few) // (task.threads * task.comm.size))
        batches = in_batches(few, data.label_counts, 1, most)
        with threadpool_limits(1, user_api="blas"):
            found = [x for batch in task.comm.each(of_frames, batches, task.threads) for x in batch]
        known = dict(zip(few, found, strict=True))
        return [known.get(k) for k in frames]

    return LeftOut(lambda frames: [None if x is None else x[0] for x in predicted(frames)], predicted)


def _warn_of_contradiction(
    task: Task, regression: SparseRegression, amplitude: float, noise: np.ndarray, held_out: np.ndarray
) -> None:
    """Log where stresses and energies contradict each other, as those of plane-wave codes may (Pulay stress)."""
    energy, stress = LabelKind.ENERGY, LabelKind.STRESS
    if energy not in regression.kinds or stress not in regression.kinds:
        return
    without = regression.errors(amplitude, noise * WITHOUT_STRESS)
    favoured = regression.errors(amplitude, noise * FOR_STRESS)
    stress_suffers = held_out[stress] > 2 * favoured[stress] and favoured[energy] > 2 * held_out[energy]
    energy_suffers = held_out[energy] > 2 * without[energy] and without[stress] > 2 * held_out[stress]
    if stress_suffers or energy_suffers:
        task.log(
            "Warning: the stresses contradict the energies. Expected errors (energy, virial, eV per sqrt(atom)): "
            f"{without[energy]:.2g}, {without[stress]:.2g} fitted to the energies; {favoured[energy]:.2g}, "
            f"{favoured[stress]:.2g} fitted to the stresses. Energies are preferred; set stress_noise to choose "
            "otherwise"
        )


def _warn_of_sign(task: Task, regression: SparseRegression, amplitude: float, noise: np.ndarray) -> None:
    """Warn if the stresses have the opposite sign of what the other labels imply."""
    if LabelKind.STRESS in regression.kinds and len(regression.kinds) > 1:
        try:
            found = regression.correlation(LabelKind.STRESS, amplitude, noise * WITHOUT_STRESS)
        except LinAlgError:  # labels without noise, beyond double precision: nothing can be said
            return
        doubt = stress_doubt(*found, task.limits.doubts)
        if doubt and task.comm.rank == 0:
            warnings.warn(doubt, stacklevel=2)


def _warn_of_slope(
    task: Task, design: Design, regression: SparseRegression, amplitude: float, noise: np.ndarray
) -> None:
    """Warn if the energies of some frames do not change as their forces imply."""
    if not {LabelKind.ENERGY, LabelKind.FORCES} <= set(regression.kinds):
        return
    data, limits = task.data, task.limits.doubts
    with_energy = np.flatnonzero(data.counts_by_kind[:, LabelKind.ENERGY])
    own = data.subset(with_energy).sampled(limits.slope_labels, limits.slope_frames, task.options.seed)
    try:
        weights = regression.weights(amplitude, noise * FORCES_ALONE)
    except LinAlgError:  # as in `_warn_of_sign`
        return

    def compared(k: int) -> np.ndarray:
        """The energy (2,) by the forces alone, and as labelled."""
        return np.array([design.of_frame(k)[0, 0] @ weights, task.labels.values[task.labels.first[k]]])

    frames = with_energy[own]
    roots = np.sqrt(data.n_atoms[frames])
    predicted, labelled = np.array(task.comm.each(compared, frames, task.threads)).T / roots
    doubt = slope_doubt(predicted, labelled, data.element_counts[frames] / roots[:, None], limits)
    if doubt and task.comm.rank == 0:
        warnings.warn(doubt, stacklevel=2)


def _folds(task: Task, data: Dataset) -> Folds:
    """Folds of the frames, drawn at random."""
    order, (number, tested) = np.random.default_rng(task.options.seed).permutation(len(data)), count_folds(task, data)
    small = order < task.limits.sparse.held_out * len(data)
    return Folds(order % number if tested == number else np.where(small, 0, 1), tested)


def _stream(
    task: Task,
    environments: Environments,
    support: Sequence[np.ndarray],
    sets: np.ndarray,
    folds: Folds,
    stage: str,
    low: LowOrders | None = None,
) -> tuple[list[list[list[NormalEquations]]], list[Basis]]:
    """Normal equations of the labels of some or all frames, and the bases, of each set; see `stream_design`."""
    of_points, n_explicit = (sets, 0) if low is None else (high_orders(sets), sum(low.counts))
    kernels = [kernel_matrices(points, environments.density.lmax, of_points, task.threads) for points in support]
    bases = [Basis(*of_set, n_explicit=n_explicit) for of_set in zip(*kernels, strict=True)]
    design, streamed = Design(environments, support, sets, low), partial(task.progress, stage)
    return stream_design(design, bases, folds, task.baseline, task.threads, streamed, task.comm), bases


def _start_noise(task: Task, rms: np.ndarray) -> np.ndarray:
    """Noise (3,) that the options give, else where the search for it begins; rms (3,) is that of the labels."""
    guess = task.limits.sparse.start_noise * rms
    return np.array([given or own for given, own in zip(task.options.given_noise, guess, strict=True)])


def _search_order_weights(
    task: Task, pools: Sequence[np.ndarray], few: Sequence[np.ndarray], mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Order weights, noise and their score by cross-validation, with few support points and some of the frames.

    The weights fall from order to order by a factor, of which some are tried. With fewer support points than these, or
    fewer labels, the best factor is another one than that of the final fit. One frame alone tells nothing: the weights
    and the noise with which the search would begin are taken.
    """
    limits, order = task.limits.sparse, task.options.order
    frames = task.data.sampled_until(limits.search_labels, task.options.seed, limits.search_environments)
    falls = limits.energy_falls if task.data.energies_alone else limits.falls
    falls = falls if order > 1 and len(frames) > 1 else falls[:1]
    sets = np.array([1.0 / (order * mean * fall ** np.arange(order)) for fall in falls])
    environments = task.environments[0].subset(frames)
    folds = _folds(task, environments.data)
    low = _explicit(task, pools, sets[0], sum(map(len, few)))
    equations, bases = _stream(task, environments, few, sets, folds, "kernels of each order", low)
    if len(frames) > 1:
        n_points = sum(map(len, few))
        task.log(f"Cross-validating order weights and noise ({n_points} support points, {len(frames)} frames)")
    found = []
    for n, (weights, own, basis) in enumerate(zip(sets, equations, bases, strict=True)):
        regression = SparseRegression(own, basis, task.comm, task.limits, folds.tested, task.threads)
        rms = regression.rms()
        # labels are far more than weights: the search begins where the prior hardly constrains the weights
        amplitude, noise = limits.start_amplitude * rms[regression.kinds[0]] ** 2, _start_noise(task, rms)
        if regression.n_folds == 1:
            return amplitude * weights, noise, float("-inf")
        with threadpool_limits(blas_threads(basis.rank, task.threads), user_api="blas"):
            amplitude, noise = regression.choose(amplitude, noise, task.options.given_noise, limits.noise_evaluations)
            score = regression.score(regression.errors(amplitude, noise))
        found.append((amplitude * weights, noise, score))
        task.progress("order weights", (n + 1) / len(sets))
    scores = ", ".join(f"{fall:g}: {score:.2f}" for fall, (*_, score) in zip(falls, found, strict=True))
    task.log(f"Weights fall from order to order (scores of the factors tried, higher is better: {scores})")
    return max(found, key=lambda f: f[-1])
