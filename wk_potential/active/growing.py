"""Sparse regression that grows: labels and support points are added to a factorisation.

The features are phi = L^-1 k_M, with k_M the kernels of the support points and L the Cholesky factor of K_MM. With them
the prior of the weights is a unit matrix, and they do not change when support points are added: L gets more rows, the
design matrix Phi more columns. R of the QR decomposition of A = [Phi / noise; 1] gets both. New labels add rows to A
(QR of R and the new rows). New support points add columns (Q^T of the columns by corrected semi-normal equations,
without Q). A is well conditioned: its singular values are between 1 and the ratio of signal to noise.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import lapack, qr, solve_triangular

from ..atoms.dataset import Dataset
from ..atoms.frame import Frame
from ..compute.threads import run_threads
from ..density.expansion import Density
from ..density.frames import Environments
from ..kernel.coupling import wigner_terms
from ..kernel.direct import in_blocks, kernel_rows
from ..training.limits import DEFAULT
from ..training.sparse.design import Design
from ..training.sparse.regression import left_out_errors

LEAST_RESIDUAL = 1e-9  # of an environment's own kernel: what is left below is rounding, after many steps


class GrowingRegression:
    """Weights of support points, for a given kernel and noise.

    Args:
        density: of the environments.
        order_weights: (order,) of the kernel.
        noise: (3,) of each kind of label.
        elements: sorted atomic numbers.
        baseline: eV, of each.
        threads: how many.
        kept_bytes: of expanded environments that are kept.

    Attributes:
        environments: of the frames that were added.
        support: (n, n_lm, Q) for each element, in the order in which they were added.

    """

    def __init__(
        self,
        density: Density,
        order_weights: np.ndarray,
        noise: np.ndarray,
        elements: np.ndarray,
        baseline: np.ndarray,
        threads: int = 1,
        kept_bytes: float = DEFAULT.kept_bytes,
    ) -> None:
        self.density, self.order_weights, self.noise = density, np.asarray(order_weights, float), np.asarray(noise)
        self.elements, self.baseline, self.threads = elements, baseline, threads
        self.environments = Environments(Dataset([], elements), density, kept_bytes)
        self.terms = wigner_terms(density.lmax, len(self.order_weights))
        shape = (density.lmax + 1) ** 2, density.projection.shape[3]
        self.support = [np.zeros((0, *shape)) for _ in elements]
        self._element = np.zeros(0, np.int64)  # of each support point, in the order of L
        self._factor = np.zeros((0, 0))  # L
        self._triangle = np.zeros((0, 0))  # R
        # by frame: labels' standard deviations, scaled targets and features
        self._size: list[np.ndarray] = []
        self._target: list[np.ndarray] = []
        self._features: list[np.ndarray] = []
        self._solution = np.zeros(0)

    def add(self, frames: Sequence[Frame], candidates: Sequence[np.ndarray] | None = None) -> None:
        """Add frames, and support points.

        Args:
            frames: with labels.
            candidates: for each element (n, n_lm, Q), environments that may become support points [those of the
                frames]. They are taken in the order of the largest residual of the kernel, down to the least residual
                of a support point so far.

        """
        old, environments = range(self.n_frames), self.environments.extended(frames)
        new = range(self.n_frames, len(environments.data))
        if candidates is None:
            candidates = [np.concatenate(found) for found in zip(*map(environments.by_element, new), strict=True)]
        self._add_support(candidates, old)
        self.environments = environments
        self._add_labels(new)
        self._solve()

    @property
    def n_frames(self) -> int:
        """Number of frames that were added."""
        return len(self.environments.data)

    def weights(self) -> list[np.ndarray]:
        """Weights (n,) of the support points of each element."""
        solution = solve_triangular(self._factor, self._solution, lower=True, trans="T")
        return [solution[self._element == z] for z in range(len(self.elements))]

    def left_out(self, k: int) -> np.ndarray:
        """Errors (n_labels,) at frame k, in the units of its labels, of the fit without this frame: exact."""
        features = self._features[k]
        rows = solve_triangular(self._triangle, features.T, trans="T", check_finite=False).T
        return left_out_errors(rows, self._target[k] - features @ self._solution) * self._size[k]

    def _kernel(self, others: Sequence[np.ndarray], points: Sequence[np.ndarray]) -> np.ndarray:
        """Kernels (n, m) of environments, element after element, with points; zero between elements."""
        out = np.zeros((sum(map(len, others)), sum(map(len, points))))
        row = column = 0
        for of_element, own in zip(others, points, strict=True):
            n, blocks = len(own), in_blocks(own)
            found = np.zeros((len(self.order_weights), blocks.shape[0] * blocks.shape[2]))
            for i, c in enumerate(of_element if n else ()):
                kernel_rows(self.terms, self.density.lmax, len(found), c, blocks, found)
                out[row + i, column : column + n] = self.order_weights @ found[:, :n]
            row, column = row + len(of_element), column + n
        return out

    def _in_order(self) -> np.ndarray:
        """Where the points, element after element, are in the order of L."""
        return np.argsort(self._element, kind="stable")

    def _add_support(self, candidates: Sequence[np.ndarray], old: range) -> None:
        """Add rows to L, and columns to the features of the old frames and to R."""
        cross = np.zeros((sum(map(len, candidates)), len(self._element)))
        cross[:, self._in_order()] = self._kernel(candidates, self.support)
        left = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        own = self._kernel(candidates, candidates)
        least = LEAST_RESIDUAL * own.diagonal().max(initial=0.0)
        if len(self._element):
            least = max(least, self._factor.diagonal().min() ** 2)
        residual = 0.5 * (own + own.T) - left.T @ left
        if residual.diagonal().max(initial=0.0) <= least:
            return  # LAPACK would take the first, however small its residual
        lower, pivots, rank, _ = lapack.dpstrf(residual, tol=least, lower=1)
        chosen = pivots[:rank] - 1
        lower = np.tril(lower[:rank, :rank])
        element = np.repeat(np.arange(len(candidates)), [len(c) for c in candidates])
        first = np.cumsum([0, *(len(c) for c in candidates)])
        new = [c[chosen[element[chosen] == z] - first[z]] for z, c in enumerate(candidates)]
        columns = self._new_features(old, new, np.argsort(element[chosen], kind="stable"), left[:, chosen], lower)
        self._grow_triangle(np.concatenate(columns) if columns else np.zeros((0, rank)))
        self._features = [np.hstack(pair) for pair in zip(self._features, columns, strict=True)]
        corner = np.zeros((len(self._element), rank))
        self._factor = np.block([[self._factor, corner], [left[:, chosen].T, lower]])
        self._element = np.concatenate([self._element, element[chosen]])
        self.support = [np.concatenate(pair) for pair in zip(self.support, new, strict=True)]

    def _new_features(
        self, frames: range, new: Sequence[np.ndarray], order: np.ndarray, left: np.ndarray, lower: np.ndarray
    ) -> list[np.ndarray]:
        """Features (n_labels, m) of support points to be added, at the labels of each frame."""
        columns = []
        for scaled, known in zip(self._designs(frames, new), self._features, strict=True):
            kernels = np.zeros(scaled.shape)
            kernels[:, order] = scaled
            columns.append(solve_triangular(lower, (kernels - known @ left).T, lower=True, check_finite=False).T)
        return columns

    def _designs(self, frames: range, points: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Design matrices (n_labels, m) of frames, columns element after element, in units of the labels' noise."""
        design, data = Design(self.environments, points, self.order_weights), self.environments.data
        deviations = np.split(data.size * self.noise[data.kind], data.label_first[1:-1])
        return run_threads(lambda k: design.of_frame(k)[:, 0] / deviations[k][:, None], frames, self.threads)

    def _grow_triangle(self, columns: np.ndarray) -> None:
        """Add new columns (N, m) of the features, and as many unknowns, to R."""
        old = self._stacked()
        right, x, rest = np.zeros((old.shape[1], columns.shape[1])), 0.0, columns
        for _ in range(2):  # the second time corrects for the rounding of the first
            step = solve_triangular(self._triangle, old.T @ rest - x, trans="T", check_finite=False)
            right += step
            x = x + solve_triangular(self._triangle, step, check_finite=False)
            rest = columns - old @ x
        m = columns.shape[1]
        corner = qr(np.concatenate([rest, -x, np.eye(m)]), mode="r", check_finite=False)[0][:m]
        self._triangle = np.block([[self._triangle, right], [np.zeros((m, len(right))), corner]])

    def _stacked(self) -> np.ndarray:
        """Features (N, M) of all labels."""
        return np.concatenate([np.zeros((0, len(self._element))), *self._features])

    def _add_labels(self, frames: range) -> None:
        """Add the labels of new frames: rows of features and R."""
        order, new = self._in_order(), []
        labels = self.environments.data.labels(self.baseline)
        for k, scaled in zip(frames, self._designs(frames, self.support), strict=True):
            kernels = np.zeros(scaled.shape)
            kernels[:, order] = scaled
            new.append(solve_triangular(self._factor, kernels.T, lower=True, check_finite=False).T)
            own = slice(labels.first[k], labels.first[k + 1])
            size = labels.size[own] * self.noise[labels.kind[own]]
            self._size.append(size)
            self._target.append(labels.values[own] / size)
        self._features += new
        rows = qr(np.concatenate([self._triangle, *new]), mode="r", overwrite_a=True, check_finite=False)[0]
        self._triangle = rows[: len(self._element)]

    def _solve(self) -> None:
        """Least squares, corrected once."""
        features, target = self._stacked(), np.concatenate(self._target)
        self._solution = np.zeros(len(self._element))
        for _ in range(2):
            slope = features.T @ (target - features @ self._solution) - self._solution
            step = solve_triangular(self._triangle, slope, trans="T", check_finite=False)
            self._solution += solve_triangular(self._triangle, step, check_finite=False)
