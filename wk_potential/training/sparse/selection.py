"""Choice of support environments by pivoted Cholesky: each next one is what the chosen ones describe worst."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from ...atoms.dataset import Dataset
from ...compute.ranks import Communicator
from ...compute.threads import run_threads
from ...density.frames import Environments
from ...kernel.coupling import WignerTerms, wigner_terms
from ...kernel.direct import in_blocks, kernel_rows
from .design import kernel_matrices

# Of an environment's own kernel, not of the largest one, which is that of the most compressed cell: what is left below
# is mostly rounding. Forces know about directions far below that of the mean environment, which is nearly all of a
# kernel in crystals
LEAST_RESIDUAL = 1e-13


def with_rattled(data: Dataset, n_copies: int, amount: float, seed: int) -> Dataset:
    """Frames, and rattled copies of those that have forces.

    Forces ask for more than the environments themselves can describe: a kernel with an environment near to another one
    is, beside the kernel with that, a derivative of it.

    Args:
        data: the frames.
        n_copies: of each frame with forces.
        amount: Angstrom, rms of the displacements along each axis.
        seed: of the displacements.

    """
    rng = np.random.default_rng(seed)
    copies = [frame.rattled(amount, rng) for frame in data if frame.forces is not None for _ in range(n_copies)]
    return Dataset([*data, *copies], data.elements)


def candidates(
    environments: Environments, most: int, seed: int, progress: Callable[[float], None] | None = None
) -> list[np.ndarray]:
    """Coefficients (n, n_lm, Q) of the environments of each element that may become support points, `most` at most.

    They are those of `Dataset.drawn_environments`, in their order.
    """
    data = environments.data
    drawn = data.drawn_environments(most, seed)
    pools: list[list[np.ndarray]] = [[] for _ in data.elements]
    for k, own in enumerate(np.split(drawn, np.cumsum(data.n_atoms)[:-1])):
        if own.any():
            found = environments.of_frame(k, derivatives=False)
            for z, pool in enumerate(pools):
                pool.append(found.coefficients[own & (found.centres == z)])
        if progress:
            progress((k + 1) / len(data))
    return [np.concatenate(pool) for pool in pools]


def mean_kernels(pools: Sequence[np.ndarray], lmax: int, order: int, seed: int) -> np.ndarray:
    """Mean kernel (order,) of an environment with itself, over a sample of those of all elements."""
    rng = np.random.default_rng(seed)
    sample = [c for pool in pools for c in pool[rng.permutation(len(pool))[:50]]]
    return np.mean([kernel_matrices(c[None], lmax, np.eye(order))[:, 0, 0] for c in sample], axis=0)


class ElementCandidates:
    """The candidates of one central element and the Cholesky factor so far."""

    def __init__(
        self,
        coefficients: np.ndarray,
        n_most: int,
        terms: WignerTerms,
        lmax: int,
        order_weights: np.ndarray,
        threads: int,
        comm: Communicator,
    ) -> None:
        self.coefficients, self.comm = coefficients, comm
        self.terms, self.lmax, self.order_weights, self.threads = terms, lmax, order_weights, threads
        self.blocks = in_blocks(coefficients)
        # an environment's kernel with itself: a block of its own, padded with zeros
        own = np.zeros((len(order_weights), self.blocks.shape[2]))
        self.residual = np.zeros(len(coefficients))
        for i in range(comm.rank, len(coefficients), comm.size):
            c = coefficients[i]
            kernel_rows(terms, lmax, len(order_weights), c, in_blocks(c[None]), own)
            self.residual[i] = order_weights @ own[:, 0]
        self.residual = comm.total(self.residual)
        self.least = LEAST_RESIDUAL * self.residual
        # each rank has the columns of some blocks of candidates
        self.edges = np.linspace(0, len(self.blocks), comm.size + 1).astype(int)
        lanes, (first, last) = self.blocks.shape[2], self.edges[comm.rank :][:2]
        self.own = slice(first * lanes, min(last * lanes, len(coefficients)))
        # pages come when written to
        self.factor = np.zeros((min(n_most, len(coefficients)), self.own.stop - self.own.start))
        self.chosen: list[int] = []

    def column(self, i: int) -> np.ndarray:
        """Kernel (n,) of the rank's candidates with candidate i."""
        first, last = self.edges[self.comm.rank :][:2]
        lanes = self.blocks.shape[2]
        out = np.zeros((len(self.order_weights), (last - first) * lanes))

        def work(span: tuple[int, int]) -> None:
            start, end = span
            rows = np.zeros((len(out), (end - start) * lanes))
            kernel_rows(self.terms, self.lmax, len(out), self.coefficients[i], self.blocks[start:end], rows)
            out[:, (start - first) * lanes : (end - first) * lanes] = rows

        edges = np.linspace(first, last, self.threads + 1).astype(int)
        run_threads(work, [span for span in pairwise(edges) if span[1] > span[0]], self.threads)
        return self.order_weights @ out[:, : self.factor.shape[1]]

    def largest(self) -> float:
        """Largest residual of the candidates that the chosen ones do not describe to rounding; 0 if there are none."""
        return float(self.residual.max(initial=0.0))

    def choose(self, candidate: int | None = None) -> None:
        """Take a candidate, by default that of the largest residual; it must have one."""
        i = self.comm.share(int(np.argmax(self.residual)) if candidate is None else candidate, 0)
        earlier = self.factor[: len(self.chosen)]
        owner = int(np.searchsorted(self.edges * self.blocks.shape[2], i, side="right")) - 1
        left = earlier[:, i - self.own.start].copy() if owner == self.comm.rank else None
        column = self.column(i) - self.comm.share(left, owner) @ earlier
        column /= np.sqrt(self.residual[i])
        self.factor[len(self.chosen)] = column
        whole = np.zeros(len(self.coefficients))
        whole[self.own] = column
        self.residual -= self.comm.total(whole) ** 2
        self.residual[self.residual <= self.least] = 0.0
        self.residual[i] = 0.0
        self.chosen.append(i)


def select_support(
    coefficients: list[np.ndarray],
    n_support: int,
    lmax: int,
    order_weights: np.ndarray,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
    comm: Communicator | None = None,
) -> list[np.ndarray]:
    """Coefficients of the support environments of each element, in the order of their choice.

    Elements compete: the next support point goes to the element with the largest residual of the kernel. Stops
    early where every candidate is described by the chosen ones to rounding.

    Args:
        coefficients: for each element (n, n_lm, Q), the candidates.
        n_support: number of support points of all elements together.
        lmax, order_weights: of the kernel.
        threads: how many.
        progress: called with the fraction done, or None.
        comm: ranks that share the work [one].

    """
    order_weights = np.asarray(order_weights, float)
    terms = wigner_terms(lmax, len(order_weights))
    comm = comm or Communicator()
    elements = [ElementCandidates(c, n_support, terms, lmax, order_weights, threads, comm) for c in coefficients]
    for done in range(n_support):
        best = elements[comm.share(int(np.argmax([e.largest() for e in elements])), 0)]
        if comm.share(best.largest() == 0, 0):
            break
        best.choose()
        if progress:
            progress((done + 1) / n_support)
    if progress:
        progress(1.0)
    return [e.coefficients[e.chosen] for e in elements]
