"""Least squares for the sparse estimator by normal equations in a whitened basis.

Pivoted Cholesky decomposition K_MM = L L^T gives the support points features X = K_NM L^-T, in which the prior of the
weights is a unit matrix. Support points that the others describe to rounding are dropped. The condition number of
X^T X / noise^2 + 1 is the square of signal by noise, which double precision bears; that of K_NM itself is not.

The labels are streamed into X^T X, X^T y and y^T y, by fold and by kind of label. Memory is O(M^2), and every question
about noise and order weights is answered, by cross-validation, without another look at the labels.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, blas, cho_factor, cho_solve, lapack, solve_triangular
from scipy.optimize import minimize

from ...atoms.kinds import LabelKind
from ...compute.ranks import Communicator
from ...compute.threads import run_threads
from ..limits import DEFAULT, Limits
from ..task import score_of_errors

LEAST_PIVOT = 1e-13  # of a support point's own kernel: what is left of it below this is mostly rounding
FEW = 1 / 8  # labels for each feature, up to which X itself is kept: to form X^T X takes a third of a solution
MANY = 1200  # rows of a matrix from which on more threads than one pay
WORST = 1e3  # loss of a fit that fails


class _Block(NamedTuple):
    """Features of the support points of one element.

    Attributes:
        n_support: number M_z of support points.
        order: (r_z,) those that the others do not describe to rounding, in the order of the decomposition.
        triangle: (r_z, r_z) lower triangular L, K = L L^T for these.
        pivots: (r_z,) diagonal of L in units of the root of each point's own kernel.

    """

    n_support: int
    order: np.ndarray
    triangle: np.ndarray
    pivots: np.ndarray


class Basis:
    """Features of the support points in which their kernel K is the unit matrix: X = K_NM T, T^T K T = 1.

    Pivoted Cholesky decomposition knows a kernel to rounding of its diagonal, so it is divided by that first:
    compressed cells have far larger kernels than others. Eigenvalues are known to rounding of the largest one only,
    which in condensed matter is nearly the sum of all: the mean environment.

    Features of all elements stand in the order of their pivots, the largest first, as if the whole kernel had been
    decomposed. Their squares differ by many orders of magnitude, and equations in which large ones come after small
    ones are lost in rounding. (Explicit ones need no order: measured.)

    Args:
        kernels: (M_z, M_z) among the support points of each element, which have no kernel with those of others.
        n_explicit: number of columns before those of the support points that are features as they are.

    Attributes:
        n_columns: number M of explicit features and support points.
        rank: number r of features.

    """

    def __init__(self, *kernels: np.ndarray, n_explicit: int = 0) -> None:
        self._blocks, self._n_explicit = [_decomposed(kernel) for kernel in kernels], n_explicit
        self.n_columns = n_explicit + sum(b.n_support for b in self._blocks)
        self.rank = n_explicit + sum(len(b.order) for b in self._blocks)
        pivots = np.concatenate([b.pivots for b in self._blocks])
        places = np.empty(len(pivots), np.int64)
        places[np.argsort(-pivots, kind="stable")] = np.arange(n_explicit, self.rank)
        self._places = np.split(places, np.cumsum([len(b.order) for b in self._blocks])[:-1])

    def _parts(self) -> Iterator[tuple[_Block, slice, np.ndarray]]:
        """Each block, with the columns of its support points and the places of its features among all."""
        first = self._n_explicit
        for block, places in zip(self._blocks, self._places, strict=True):
            yield block, slice(first, first + block.n_support), places
            first += block.n_support

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Features (n, r) of rows (n, M) of kernels with the support points."""
        out = np.empty((self.rank, len(rows)), order="F")
        out[: self._n_explicit] = rows[:, : self._n_explicit].T
        for block, points, own in self._parts():
            right = np.asfortranarray(rows[:, points][:, block.order].T)
            out[own] = solve_triangular(block.triangle, right, lower=True, overwrite_b=True, check_finite=False)
        return out.T

    def weights(self, coefficients: np.ndarray) -> np.ndarray:
        """Weights (M, ...) of the columns that coefficients (r, ...) of the features stand for."""
        out = np.zeros((self.n_columns, *coefficients.shape[1:]))
        out[: self._n_explicit] = coefficients[: self._n_explicit]
        for block, points, own in self._parts():
            solution = solve_triangular(block.triangle, coefficients[own], lower=True, trans="T", check_finite=False)
            out[points][block.order] = solution
        return out


def _decomposed(kernel: np.ndarray) -> _Block:
    size = np.sqrt(kernel.diagonal())
    size[size == 0] = 1.0
    if not len(size):  # LAPACK refuses it
        return _Block(0, np.zeros(0, int), kernel, np.zeros(0))
    factor, pivots, rank, _ = lapack.dpstrf(kernel / np.outer(size, size), tol=LEAST_PIVOT, lower=1)
    order = pivots[:rank] - 1
    triangle = np.tril(factor[:rank, :rank])
    return _Block(len(kernel), order, np.asfortranarray(triangle * size[order, None]), triangle.diagonal().copy())


def blas_threads(rank: int, threads: int) -> int:
    """Return how many threads pay for matrices of this size: waiting for each other costs more than small products."""
    return threads if rank >= MANY else 1


class NormalEquations:
    """Sums over labels y of one kind and their features X (n, r).

    The features of few labels are kept as they are, which takes less memory than X^T X.

    Args:
        rank: number r of features.

    Attributes:
        target: (r,) X^T y.
        square: y^T y.
        n_rows: number of labels.

    """

    def __init__(self, rank: int) -> None:
        self._rows = np.zeros((0, rank))
        self._design: np.ndarray | None = None
        self.target = np.zeros(rank)
        self.square, self.n_rows = 0.0, 0

    @property
    def design(self) -> np.ndarray:
        """Upper triangle (r, r) of X^T X, in the order of Fortran."""
        out = np.zeros(2 * self.target.shape, order="F")
        self.add_design(out)
        return out

    def add_design(self, matrix: np.ndarray, scale: float = 1.0) -> None:
        """Add X^T X times a factor to the upper triangle of a matrix (r, r) in the order of Fortran."""
        if self._design is not None:
            blas.daxpy(self._design.ravel(order="K"), matrix.ravel(order="K"), a=scale)
        elif len(self._rows):
            blas.dsyrk(scale, self._rows.T, beta=1.0, c=matrix, overwrite_c=1)

    def _formed(self) -> np.ndarray:
        """X^T X, which is kept from now on instead of X."""
        if self._design is None:
            self._design, self._rows = self.design, self._rows[:0]
        return self._design

    def _take(self, features: np.ndarray) -> None:
        """Take up features (n, r)."""
        if self._design is None and self.n_rows + len(features) <= FEW * len(self.target):
            self._rows = np.concatenate([self._rows, features])
        else:
            blas.dsyrk(1.0, features.T, beta=1.0, c=self._formed(), overwrite_c=1)

    def add(self, features: np.ndarray, values: np.ndarray) -> None:
        """Take up features (n, r) and labels (n,)."""
        self._take(features)
        self.target += values @ features
        self.square += float(values @ values)
        self.n_rows += len(values)

    def join(self, other: "NormalEquations") -> None:
        """Take up the labels of another."""
        if not other.n_rows:
            return
        if other._design is None:
            self._take(other._rows)
        else:
            other.add_design(self._formed())
        self.target += other.target
        self.square += other.square
        self.n_rows += other.n_rows

    def misfit(self, solution: np.ndarray) -> float:
        """Sum of squared errors with the coefficients (r,) of the features."""
        return max(self.square + self.predicted_square(solution) - 2 * float(solution @ self.target), 0.0)

    def predicted_square(self, solution: np.ndarray) -> float:
        """Sum of the squares of what the coefficients (r,) predict."""
        if self._design is None:
            return float(np.sum((self._rows @ solution) ** 2))
        return max(float(solution @ blas.dsymv(1.0, self._design, solution)), 0.0) if len(solution) else 0.0

    def collect(self, comm: Communicator, home: int, holders: np.ndarray) -> None:
        """Bring the labels that some ranks hold to one of them; the others have none afterwards."""
        if list(holders) == [home]:
            return
        for rank in holders:
            part = comm.share(self, int(rank))
            if comm.rank == home != rank:
                self.join(part)
        if comm.rank != home:
            self._rows, self._design = np.zeros((0, 0)), None
            self.target, self.square, self.n_rows = self.target[:0], 0.0, 0


def left_out_errors(rows: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Errors (n,) at labels of the least-squares fit without them, exact: (1 - rows rows^T)^-1 residuals.

    Args:
        rows: (n, r) such that rows rows^T is the labels' block of the hat matrix.
        residuals: (n,) of the fit with them, in units of their noise.

    """
    return np.linalg.solve(np.eye(len(rows)) - rows @ rows.T, residuals)


def left_out(rows: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """`left_out_errors`, and the standard deviations of the labels about that fit (2, n), both in units of the noise.

    The covariance of labels about a fit without them is the inverse of their block of the precision matrix, which in
    units of the noise is 1 - rows rows^T. Arguments as in `left_out_errors`.
    """
    covariance = np.linalg.inv(np.eye(len(rows)) - rows @ rows.T)
    return np.stack([left_out_errors(rows, residuals), np.sqrt(np.maximum(covariance.diagonal(), 1.0))])


class SparseRegression:
    """Regression on normal equations, with errors of folds that are left out.

    The kernel has an amplitude, and each kind of label a noise (3,).

    Args:
        folds: by fold and kind, from `stream_design`.
        basis: of the kernel of the support points with the amplitude 1.
        comm: ranks that share the folds: rank n of m has fold n, n + m, ... [one].
        limits: constants of training.
        n_tested: number of folds, the first ones, of which errors are asked for [all]. The others are given up: their
            memory goes to the sum of all.
        threads: how many share the folds where matrices are too small to be shared.

    Attributes:
        kinds: kinds of label that there are.

    """

    def __init__(
        self,
        folds: list[list[NormalEquations]],
        basis: Basis,
        comm: Communicator | None = None,
        limits: Limits = DEFAULT,
        n_tested: int | None = None,
        threads: int = 1,
    ) -> None:
        self.basis, self.comm, self.limits = basis, comm or Communicator(), limits
        self._threads = threads // blas_threads(basis.rank, threads)
        self.n_folds, self._folds = len(folds), folds[:n_tested]
        self.all = [self._joined(folds, k) for k in LabelKind]
        self.kinds = [k for k in LabelKind if self.all[k].n_rows]

    def _joined(self, folds: list[list[NormalEquations]], kind: LabelKind) -> NormalEquations:
        """Sum of all folds of a kind."""
        if self.n_folds == 1 and self.comm.size == 1:
            return folds[0][kind]
        spare = len(folds) > len(self._folds) and self.comm.size == 1
        out = folds[-1][kind] if spare else NormalEquations(self.basis.rank)
        for i, of_fold in enumerate(folds[: len(folds) - spare]):
            part = self.comm.share(of_fold[kind], i % self.comm.size)
            if self.comm.rank == 0:
                out.join(part)
        return self.comm.share(out, 0)

    def rms(self) -> np.ndarray:
        """Root mean square (3,) of the targets of each kind in units of their size, 1 where there is none."""
        return np.array([np.sqrt(e.square / max(e.n_rows, 1)) or 1.0 for e in self.all])

    def _factor(self, amplitude: float, noise: np.ndarray, fold: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Cholesky factor, and right-hand side, of the fit to all labels or to those of the other folds.

        Raises:
            LinAlgError: signal over noise is beyond double precision.

        """
        matrix = np.zeros((self.basis.rank, self.basis.rank), order="F")
        vector = np.zeros(self.basis.rank)
        for k in self.kinds:
            scale = noise[k] ** -2
            self.all[k].add_design(matrix, scale)
            vector += scale * self.all[k].target
            if fold is not None:
                self._folds[fold][k].add_design(matrix, -scale)
                vector -= scale * self._folds[fold][k].target
        matrix[np.diag_indices(len(matrix))] += 1 / amplitude
        return cho_factor(matrix, overwrite_a=True, check_finite=False)[0], vector

    def correlation(self, kind: LabelKind, amplitude: float, noise: np.ndarray) -> tuple[float, int]:
        """Correlation of the labels of a kind with those predicted with some noise, and how many there are."""
        own = self.all[kind]
        solution = self._solution(amplitude, noise)
        norm = np.sqrt(own.predicted_square(solution) * own.square)
        return float(solution @ own.target) / (norm or 1.0), own.n_rows

    def _solution(self, amplitude: float, noise: np.ndarray, fold: int | None = None) -> np.ndarray:
        """Coefficients (r,) of the features."""
        factor, vector = self._factor(amplitude, noise, fold)
        return cho_solve((factor, False), vector, check_finite=False)

    def weights(self, amplitude: float, noise: np.ndarray) -> np.ndarray:
        """Weights (M,) of the columns of the design under the kernel with the amplitude 1, fitted to all folds."""
        return self.basis.weights(self._solution(amplitude, noise))

    def fitted(self, amplitude: float, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (M,), and the matrix (M, r) that turns design / noise into the rows of `left_out_errors`.

        Both belong to the design under the kernel with the amplitude 1.
        """
        factor, vector = self._factor(amplitude, noise)
        solution = cho_solve((factor, False), vector, check_finite=False)
        inverse = solve_triangular(factor, np.eye(len(factor)), check_finite=False)
        return self.basis.weights(solution), self.basis.weights(inverse)

    def errors(self, amplitude: float, noise: np.ndarray) -> np.ndarray:
        """Root mean square errors (3,) of held-out folds by kind, in units of the labels' size; infinite on failure."""
        out = np.zeros((2, len(self._folds), len(LabelKind)))  # squares, and how many

        def of_fold(fold: int) -> None:
            out[1, fold] = [own.n_rows for own in self._folds[fold]]
            try:
                solution = self._solution(amplitude, noise, fold)
            except LinAlgError:
                out[0, fold] = np.inf
                return
            out[0, fold] = [own.misfit(solution) for own in self._folds[fold]]

        run_threads(of_fold, range(self.comm.rank, len(self._folds), self.comm.size), self._threads)
        squares, counts = self.comm.total(out).sum(axis=1)
        return np.sqrt(squares / np.maximum(counts, 1))

    def score(self, errors: np.ndarray) -> float:
        """`score_of_errors` of errors (3,) by kind, higher is better."""
        return score_of_errors(errors[self.kinds], self.kinds, self.limits.importance)

    def choose(
        self,
        amplitude: float,
        noise: np.ndarray,
        fixed: Sequence[float | None],
        evaluations: int,
        grid: bool = True,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[float, np.ndarray]:
        """Amplitude and noise (3,) of least cross-validation error, from a starting guess.

        They have the highest `score`, which gives no kind up for another. (The marginal likelihood of a sparse model
        with far more forces than energies would give up the energies.)

        Args:
            amplitude, noise: where to start.
            fixed: (3,) noise that stays, or None for each that is searched.
            evaluations: at most, beside those of the grid.
            grid: begin with the best of some points around the start [only where the fit fails at the start].
            progress: called with the fraction done, or None.

        """
        # one noise is redundant: only ratios to the amplitude matter
        most = LabelKind.FORCES if LabelKind.FORCES in self.kinds else self.kinds[0]
        free = [k for k in self.kinds if fixed[k] is None and k != most]
        least, count = self.limits.sparse.least_noise * self.rms(), 0
        # there are several minima, and an evaluation costs little
        factors = self.limits.sparse.grid
        whole = [np.log(point) for point in product(factors.amplitude, *(factors.noise for _ in free))]
        points = whole if grid else [np.zeros(1 + len(free))]

        def unpack(x: np.ndarray) -> tuple[float, np.ndarray]:
            s = noise.copy()
            s[free] = np.maximum(s[free] * np.exp(np.clip(x[1:], -15, 15)), least[free])
            return amplitude * float(np.exp(np.clip(x[0], -30, 30))), s

        def loss(x: np.ndarray) -> float:
            nonlocal count
            count += 1
            if progress:
                progress(min(count / (evaluations + len(points)), 1.0))
            errors = self.errors(*unpack(x))
            if not np.isfinite(errors[self.kinds]).all():
                return WORST
            # where errors do not tell, less kernel and more noise are better: they are farther from rounding
            return self.limits.sparse.price * (x[0] - x[1:].sum()) - self.score(errors)

        settings = {"maxfev": evaluations, "ftol": 1e-3, "xtol": 0.1}
        if not grid and loss(points[0]) >= WORST:  # beyond double precision: a smaller kernel is not
            points = whole
        found = minimize(loss, min(points, key=loss), method="Powell", options=settings)
        if progress:
            progress(1.0)
        return unpack(found.x)
