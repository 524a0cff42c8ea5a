"""Least squares for the sparse estimator on triangular factors of the design matrix.

The labels' design matrix is streamed into triangular factors (tall-skinny QR): memory is O(M^2), the condition number
is that of the matrix and not its square, and every question about noise and order weights is answered, by
cross-validation, from the factors alone. The kernel's own matrix K_MM is decomposed by pivoted Cholesky, and support
points that the others describe to rounding are dropped.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lapack, qr, solve_triangular
from scipy.optimize import minimize

from ...atoms.kinds import LabelKind
from ...compute.ranks import Communicator
from ..limits import DEFAULT, Limits
from ..task import score_of_errors

LEAST_PIVOT = 1e-13  # of the largest kernel: what is left of a support point below this is mostly rounding
WORST = 1e3  # loss of a fit that fails


class TriangularFactor:
    """R of the QR decomposition of rows that come in batches, [design, target]; R^T R is their Gram matrix."""

    def __init__(self, n_columns: int) -> None:
        self.factor = np.zeros((0, n_columns))
        self.n_rows = 0
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0

    def add(self, rows: np.ndarray) -> None:
        """Take up rows (n, n_columns)."""
        self._waiting.append(rows)
        self._n_waiting += len(rows)
        self.n_rows += len(rows)
        if self._n_waiting > max(2000, rows.shape[1]):
            self.merge()

    def merge(self) -> np.ndarray:
        """Reduce what waits and return R (at most n_columns rows)."""
        if self._waiting:
            stacked = np.concatenate([self.factor, *self._waiting])
            self._waiting, self._n_waiting = [], 0
            n = min(stacked.shape)
            self.factor = qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0][:n]
        return self.factor

    def columns(self, n: int, n_sets: int) -> "TriangularFactor":
        """Return the factor of the columns of one of several sets, with the target."""
        width = (self.factor.shape[1] - 1) // n_sets
        out = TriangularFactor(width + 1)
        out.add(np.column_stack([self.merge()[:, n * width : (n + 1) * width], self.factor[:, -1]]))
        out.merge()
        out.n_rows = self.n_rows
        return out

    def join(self, other: "TriangularFactor") -> None:
        """Take up the rows of another."""
        self.add(other.factor)
        self.n_rows += other.n_rows - len(other.factor)

    def collect(self, comm: Communicator, home: int, holders: np.ndarray) -> None:
        """Bring the rows that some ranks hold to one of them; the others have none afterwards."""
        self.merge()
        if list(holders) == [home]:
            return
        for rank in holders:
            part = comm.share(self, int(rank))
            if comm.rank == home != rank:
                self.join(part)
        if comm.rank != home:
            self.factor, self.n_rows = self.factor[:0], 0
        self.merge()


def whitening(kernel: np.ndarray) -> np.ndarray:
    """Matrix T (M, r) with T^T K T = 1, of the support points that the others do not describe to rounding.

    Pivoted Cholesky decomposition knows the kernel to rounding of its diagonal. Eigenvalues are known to rounding of
    the largest one only, which in condensed matter is nearly the sum of all: the mean environment.
    """
    least = LEAST_PIVOT * kernel.diagonal().max(initial=0.0)
    factor, pivots, rank, _ = lapack.dpstrf(kernel, tol=least, lower=1)
    order = pivots[:rank] - 1
    basis = np.zeros((len(kernel), rank))
    triangle = np.tril(factor[:rank, :rank])
    basis[order] = solve_triangular(triangle, np.eye(rank), lower=True, trans="T", check_finite=False)
    return basis


def left_out_errors(rows: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Errors (n,) at labels of the least-squares fit without them, exact: (1 - rows rows^T)^-1 residuals.

    Args:
        rows: (n, r) such that rows rows^T is the labels' block of the hat matrix.
        residuals: (n,) of the fit with them, in units of their noise.

    """
    return np.linalg.solve(np.eye(len(rows)) - rows @ rows.T, residuals)


class _Products(NamedTuple):
    """Inner products of the columns of a design matrix in a basis of r directions, by kind of label.

    To try a noise costs r^3 / 3 with them, for all labels.

    Attributes:
        design: of each kind (r, r).
        target: of each kind (r,), with the targets.
        square: (3,) of the targets with themselves.

    """

    design: list[np.ndarray]
    target: list[np.ndarray]
    square: np.ndarray

    @classmethod
    def of(cls, factors: Sequence[TriangularFactor], basis: np.ndarray, triangle: np.ndarray) -> "_Products":
        """Products of triangular factors, one of each kind, in a basis divided by a triangle."""
        rows = [
            solve_triangular(triangle, (factor.factor[:, :-1] @ basis).T, trans="T", check_finite=False).T
            for factor in factors
        ]
        targets = [factor.factor[:, -1] for factor in factors]
        return cls(
            [x.T @ x for x in rows],
            [x.T @ y for x, y in zip(rows, targets, strict=True)],
            np.array([y @ y for y in targets]),
        )


class _Trials:
    """Held-out errors of a kernel of any amplitude, with any noise.

    The products of a design matrix have the square of its condition number, signal over noise. So they are taken in a
    basis in which the fit with a first noise is the unit matrix: then only ratios of the noises matter.

    Args:
        everything: factors of all labels, by kind.
        folds: those of some folds.
        basis: (M, r) in which the kernel is the unit matrix.
        triangle: (r, r) of the fit to all labels in this basis, with the first noise.
        kinds: of label that there are.

    """

    def __init__(
        self, everything: Sequence[TriangularFactor], folds: dict[int, list[TriangularFactor]], basis: np.ndarray,
        triangle: np.ndarray, kinds: Sequence[LabelKind],
    ) -> None:  # fmt: skip
        inverse = solve_triangular(triangle, np.eye(len(triangle)), check_finite=False)
        self._prior, self._kinds = inverse.T @ inverse, kinds
        self._all = _Products.of(everything, basis, triangle)
        self._folds = {i: _Products.of(fold, basis, triangle) for i, fold in folds.items()}

    def misfits(self, amplitude: float, noise: np.ndarray, n_folds: int) -> np.ndarray:
        """Sums (n_folds, 3) of squared errors at each fold by the fit to the others, infinite where it fails."""
        out = np.zeros((n_folds, len(LabelKind)))
        for i, fold in self._folds.items():
            matrix, vector = self._prior / amplitude, np.zeros(len(self._prior))
            for k in self._kinds:
                matrix += (self._all.design[k] - fold.design[k]) / noise[k] ** 2
                vector += (self._all.target[k] - fold.target[k]) / noise[k] ** 2
            try:
                solution = cho_solve(cho_factor(matrix, overwrite_a=True, check_finite=False), vector)
            except LinAlgError:
                out[i] = np.inf
                continue
            for k in self._kinds:
                out[i, k] = max(fold.square[k] + solution @ (fold.design[k] @ solution - 2 * fold.target[k]), 0.0)
        return out


class SparseRegression:
    """Regression on triangular factors, with k-fold cross-validation.

    The kernel has an amplitude, and each kind of label a noise (3,). All answers come from the factors, so that trying
    other amplitudes and noises costs nothing that grows with the number of frames.

    Args:
        factors: by fold and kind, from `stream_design`.
        kernel: (M, M) of the support points among themselves, with the amplitude 1.
        comm: ranks that share the folds [one].
        limits: constants of training.

    Attributes:
        kinds: kinds of label that there are.

    """

    def __init__(
        self,
        factors: list[list[TriangularFactor]],
        kernel: np.ndarray,
        comm: Communicator | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        self.kernel, self.comm, self.limits = kernel, comm or Communicator(), limits
        self.n_folds = len(factors)
        self._factors = factors
        self._trials: _Trials | None = None  # made for the first noise that is tried
        self.all = [self._joined(k) for k in LabelKind]
        self.kinds = [k for k in LabelKind if self.all[k].n_rows]

    def _joined(self, kind: LabelKind) -> TriangularFactor:
        """Factor of all folds of a kind."""
        out = TriangularFactor(len(self.kernel) + 1)
        for i, of_fold in enumerate(self._factors):
            factor = self.comm.share(of_fold[kind], i % self.comm.size)
            if self.comm.rank == 0:
                out.join(factor)
        out.merge()
        return self.comm.share(out, 0)

    def rms(self) -> np.ndarray:
        """Root mean square (3,) of the targets of each kind in units of their size, 1 where there is none."""
        norms = [np.linalg.norm(f.factor[:, -1]) / np.sqrt(max(f.n_rows, 1)) or 1.0 for f in self.all]
        return np.array(norms)

    @cached_property
    def _basis(self) -> np.ndarray:
        """Matrix (M, r) that makes the kernel the unit matrix."""
        return whitening(self.kernel)

    def _triangle(self, amplitude: float, noise: np.ndarray) -> np.ndarray:
        """R (r, r + 1) of the QR decomposition of [design / noise, target / noise; 1, 0] in the whitened basis."""
        basis = np.sqrt(amplitude) * self._basis
        rank = basis.shape[1]
        rows = [np.eye(rank, rank + 1)]
        for k in self.kinds:
            factor = self.all[k].factor
            rows.append(np.column_stack([factor[:, :-1] @ basis, factor[:, -1]]) / noise[k])
        return qr(np.concatenate(rows), mode="r", overwrite_a=True, check_finite=False)[0][:rank]

    def predicted(self, kind: LabelKind, amplitude: float, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two vectors with the same inner products as the predictions and the labels of a kind."""
        factor = self.all[kind].factor
        return amplitude * (factor[:, :-1] @ weights), factor[:, -1]

    def weights(self, amplitude: float, noise: np.ndarray) -> np.ndarray:
        """Weights (M,) of the support points, fitted to all folds."""
        return self.fitted(amplitude, noise)[0]

    def fitted(self, amplitude: float, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (M,), and the matrix (M, r) that turns design / noise into the rows of `left_out_errors`.

        Both belong to the design under the kernel with its amplitude.
        """
        basis, triangle = self._basis / np.sqrt(amplitude), self._triangle(amplitude, noise)
        weights = basis @ solve_triangular(triangle[:, :-1], triangle[:, -1])
        return weights, solve_triangular(triangle[:, :-1], basis.T, trans="T").T

    def errors(self, amplitude: float, noise: np.ndarray) -> np.ndarray:
        """Root mean square errors (3,) of held-out folds by kind, in units of the labels' size."""
        if self._trials is None:
            triangle = self._triangle(1.0, noise / np.sqrt(amplitude))[:, :-1]
            folds = {i: self._factors[i] for i in range(self.comm.rank, self.n_folds, self.comm.size)}
            self._trials = _Trials(self.all, folds, self._basis, triangle, self.kinds)
        total = self.comm.total(self._trials.misfits(amplitude, noise, self.n_folds)).sum(axis=0)
        return np.sqrt(total / np.maximum([f.n_rows for f in self.all], 1))

    def score(self, errors: np.ndarray) -> float:
        """`score_of_errors` of errors (3,) by kind, higher is better."""
        return score_of_errors(errors[self.kinds], self.kinds, self.limits.importance)

    def choose(
        self,
        amplitude: float,
        noise: np.ndarray,
        fixed: Sequence[float | None],
        evaluations: int,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[float, np.ndarray]:
        """Amplitude and noise (3,) of least cross-validation error, from a starting guess.

        They have the highest `score`, which gives no kind up for another. (The marginal likelihood of a sparse model
        with far more forces than energies would give up the energies.)

        Args:
            amplitude, noise: where to start.
            fixed: (3,) noise that stays, or None for each that is searched.
            evaluations: at most.
            progress: called with the fraction done, or None.

        """
        # one noise is redundant: only ratios to the amplitude matter
        most = LabelKind.FORCES if LabelKind.FORCES in self.kinds else self.kinds[0]
        free = [k for k in self.kinds if fixed[k] is None and k != most]
        least, count = self.limits.sparse.least_noise * self.rms(), 0
        # there are several minima, and an evaluation costs little
        factors = self.limits.sparse.grid
        grid = [np.log(point) for point in product(factors.amplitude, *(factors.noise for _ in free))]

        def unpack(x: np.ndarray) -> tuple[float, np.ndarray]:
            s = noise.copy()
            s[free] = np.maximum(s[free] * np.exp(np.clip(x[1:], -15, 15)), least[free])
            return amplitude * float(np.exp(np.clip(x[0], -30, 30))), s

        def loss(x: np.ndarray) -> float:
            nonlocal count
            count += 1
            if progress:
                progress(min(count / (evaluations + len(grid)), 1.0))
            errors = self.errors(*unpack(x))
            if not np.isfinite(errors[self.kinds]).all():
                return WORST
            # where errors do not tell, less kernel and more noise are better: they are farther from rounding
            return self.limits.sparse.price * (x[0] - x[1:].sum()) - self.score(errors)

        settings = {"maxfev": evaluations, "ftol": 1e-3, "xtol": 0.1}
        found = minimize(loss, min(grid, key=loss), method="Powell", options=settings)
        if progress:
            progress(1.0)
        return unpack(found.x)
