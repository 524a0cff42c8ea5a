"""The sparse estimator: support environments with weights, fitted to energies, forces and stresses.

The labels' design matrix is streamed frame by frame into triangular factors, one for each kind of label (tall-skinny
QR): memory is O(M^2), the condition number is that of the matrix and not its square, and every question about
noise and order weights is answered from the factors alone. The kernel's own matrix K_MM is diagonalised and
directions below a relative threshold are dropped, so that nothing is divided by rounding errors.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import qr, solve_triangular
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from ..density.expansion import Density
from ..kernel.coupling import wigner_terms
from ..kernel.direct import in_blocks, kernel_rows, kernel_rows_with_gradients
from ..threads import run_threads
from .baseline import targets
from .data import Frame
from .environments import frame_environments
from .gram import label_slots

LEAST_EIGENVALUE = 1e-11  # of K_MM, relative to the largest: smaller ones are rounding


class TriangularFactor:
    """R of the QR decomposition of rows that come in batches, [design, target]; R^T R is their Gram matrix."""

    def __init__(self, n_columns: int):
        self.factor = np.zeros((0, n_columns))
        self.n_rows = 0
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0

    def add(self, rows) -> None:
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


def kernel_matrices(support: list[np.ndarray], lmax: int, order: int) -> np.ndarray:
    """Kernels (order, M, M) among the support points, elements one after the other."""
    terms = wigner_terms(lmax, order)
    out = np.zeros((order, *2 * (sum(len(s) for s in support),)))
    first = 0
    for points in support:
        n = len(points)
        blocks = in_blocks(points.reshape(n, -1))
        rows = np.zeros((order, blocks.shape[0] * blocks.shape[2]))
        for i, c in enumerate(points):
            kernel_rows(terms, lmax, order, c, blocks, rows)
            out[:, first + i, first : first + n] = rows[:, :n]
        first += n
    return 0.5 * (out + out.transpose(0, 2, 1))


def _frame_design(frame: Frame, density: Density, elements, terms, sets, blocks, counts):
    """Design matrix (labels, n_sets, M) of one frame."""
    environments = frame_environments(frame, density, elements)
    slots = label_slots(frame)
    first = np.concatenate([[0], np.cumsum(counts)])
    out = np.zeros((slots.max() + 1, len(sets), first[-1]))
    for i, z in enumerate(environments.centres):
        if counts[z] == 0:
            continue
        n = blocks[z].shape[0] * blocks[z].shape[2]
        values, grads = np.zeros((len(sets), n)), np.zeros((blocks[z].shape[1], len(sets), n))
        kernel_rows_with_gradients(
            terms, density.lmax, sets, environments.coefficients[i], blocks[z], values, grads
        )
        columns = slice(first[z], first[z + 1])
        if slots[0] >= 0:
            out[slots[0], :, columns] += values[:, : counts[z]]
        rows = slice(environments.first[i], environments.first[i + 1])
        if rows.stop > rows.start:
            product = environments.jacobian[rows] @ grads.reshape(len(grads), -1)
            own = slots[environments.label[rows]]  # an environment has each label once
            out[own, :, columns] += product.reshape(-1, len(sets), n)[:, :, : counts[z]]
    return out


def stream_design(
    frames: Sequence[Frame],
    density: Density,
    elements,
    baseline,
    support: list[np.ndarray],
    sets,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
) -> list[TriangularFactor]:
    """Triangular factors of [design, target] for energies, forces and stresses, rows divided by the labels' size.

    Args:
        frames: the training frames.
        density, elements, baseline: of the model.
        support: (M_z, n_lm, Q) for each element.
        sets: (n_sets, order) order weights; the columns are the M support points for each set in turn.
        threads: how many.
        progress: called with the fraction done, or None.

    """
    sets = np.atleast_2d(np.asarray(sets, float))
    terms = wigner_terms(density.lmax, sets.shape[1])
    counts = [len(s) for s in support]
    blocks = [in_blocks(s.reshape(len(s), -1)) for s in support]
    factors = [TriangularFactor(len(sets) * sum(counts) + 1) for _ in range(3)]

    def work(frame):
        with threadpool_limits(1, user_api="blas"):
            return _frame_design(frame, density, elements, terms, sets, blocks, counts)

    for first in range(0, len(frames), 4 * threads):
        batch = frames[first : first + 4 * threads]
        for frame, design in zip(batch, run_threads(work, batch, threads), strict=True):
            values, kind, size = targets([frame], elements, baseline)
            rows = np.column_stack([design.reshape(len(values), -1), values]) / size[:, None]
            for k in np.unique(kind):
                factors[k].add(rows[kind == k])
        if progress:
            progress(min(first + len(batch), len(frames)) / len(frames))
    for factor in factors:
        factor.merge()
    return factors


def whitening(kernel):
    """Matrix T (M, r) with T^T K T = 1 on the directions of K above the threshold."""
    values, vectors = np.linalg.eigh(kernel)
    keep = values > LEAST_EIGENVALUE * values[-1]
    return vectors[:, keep] / np.sqrt(values[keep])


class SparseProblem:
    """Regression on the triangular factors: evidence and weights for any order weights and noise.

    Args:
        factors: from `stream_design`, with one set of columns for each kernel.
        kernels: (n_sets, M, M).

    """

    def __init__(self, factors: list[TriangularFactor], kernels):
        self.kernels = kernels
        self.kinds = [k for k, f in enumerate(factors) if f.n_rows]
        self.n_rows = [factors[k].n_rows for k in self.kinds]
        n_sets, m = kernels.shape[:2]
        self.design = [factors[k].factor[:, :-1].reshape(-1, n_sets, m) for k in self.kinds]
        self.target = [factors[k].factor[:, -1] for k in self.kinds]

    def _triangle(self, amplitudes, noise):
        """R of [design / noise; 1] in the whitened basis, its right-hand side, and the residual sum of squares."""
        basis = whitening(np.tensordot(amplitudes, self.kernels, 1))
        rank = basis.shape[1]
        rows = [
            np.column_stack([np.tensordot(d, amplitudes, (1, 0)) @ basis, t]) / noise[k]
            for k, d, t in zip(self.kinds, self.design, self.target, strict=True)
        ]
        rows.append(np.eye(rank, rank + 1))
        triangle = qr(np.concatenate(rows), mode="r", overwrite_a=True, check_finite=False)[0][: rank + 1]
        return basis, triangle[:rank, :rank], triangle[:rank, rank], triangle[rank, rank] ** 2

    def log_evidence(self, amplitudes, noise) -> float:
        """Logarithm of the marginal likelihood of the labels (projected process), up to a constant."""
        _, r, _, misfit = self._triangle(amplitudes, noise)
        log_det = 2 * np.sum(np.log(np.abs(np.diag(r))))
        log_noise = sum(2 * n * np.log(noise[k]) for k, n in zip(self.kinds, self.n_rows, strict=True))
        return -0.5 * (misfit + log_det + log_noise)

    def weights(self, amplitudes, noise):
        """Weights (M,) of the support points under the kernel sum_n amplitudes[n] kernels[n]."""
        basis, r, rhs, _ = self._triangle(amplitudes, noise)
        return basis @ solve_triangular(r, rhs)

    def rms(self) -> np.ndarray:
        """Root mean square (3,) of the targets of each kind in units of their size."""
        out = np.ones(3)
        for k, t, n in zip(self.kinds, self.target, self.n_rows, strict=True):
            out[k] = np.linalg.norm(t) / np.sqrt(n) or 1.0
        return out

    def maximise_evidence(self, amplitudes, noise, fixed_noise, free_amplitudes: bool, evaluations: int = 400):
        """Amplitudes (n_sets,) and noise (3,) of highest evidence, from a starting guess.

        Args:
            amplitudes, noise: where to start.
            fixed_noise: (3,) values that stay, or None each.
            free_amplitudes: whether each amplitude is free, or all keep their ratios.
            evaluations: at most.

        """
        free = [k for k in self.kinds if fixed_noise[k] is None]
        n = len(amplitudes) if free_amplitudes else 1
        start = np.array([fixed or guess for fixed, guess in zip(fixed_noise, noise, strict=True)])

        def unpack(x):
            s = start.copy()
            s[free] *= np.exp(x[n:])
            return amplitudes * np.exp(x[:n]), s

        found = minimize(
            lambda x: -self.log_evidence(*unpack(x)),
            np.zeros(n + len(free)),
            method="L-BFGS-B",
            bounds=[(-12.0, 12.0)] * n + [(-7.0, 6.0)] * len(free),
            options={"maxfun": evaluations, "ftol": 1e-7},
        )
        return unpack(found.x)
