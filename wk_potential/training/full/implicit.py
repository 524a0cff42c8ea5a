"""The covariance of many labels as a linear operator: its products with vectors, and never the matrix.

Kernels of orders 1 to 4 are quadratic in features of an environment (`forms.features`), so that K = F F^T. F^T v adds
up to the matrices W of a mapped form, and F W is what that form predicts. Both are matrix products whose cost is
proportional to the number of environments.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...compute.jit import njit
from ...compute.ranks import Communicator
from ...compute.threads import run_threads
from ...density.expansion import Density
from ...forms.features import (
    Block,
    add_feature_gradients,
    all_blocks,
    fill_derivatives,
    fill_features,
    form_of_half,
)
from .gram import FlatEnvironments, weights_and_tangents

GROUPS = 8  # of environments, over which threads and ranks share the work: sums do not depend on how many there are
CHUNK = 256  # environments at a time


@njit(nogil=True)
def _add_to_labels(flat, own, gradients, out):
    """Add to labels out (N,) what the gradients (n, n_lm * Q) of environments `own` make of them."""
    for i in range(len(own)):
        for row in range(flat.row_first[own[i]], flat.row_first[own[i] + 1]):
            out[flat.label[row]] += np.dot(flat.jacobian[row], gradients[i])


@dataclass(frozen=True)
class _Part:
    """The environments of one length scale and one central element.

    Attributes:
        flat: environments of all elements.
        own: (n,) those of the element.
        shape: (n_lm, Q) of their coefficients.
        blocks: their features.
        order_weights: (order,) a_nu.

    """

    flat: FlatEnvironments
    own: np.ndarray
    shape: tuple[int, int]
    blocks: list[Block]
    order_weights: np.ndarray

    def group(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Environments (n,) of a group, and their coefficients (n, n_lm, Q)."""
        own = np.array_split(self.own, GROUPS)[group]
        return own, self.flat.coefficients[own].reshape(len(own), *self.shape)

    def halves(self, vector: np.ndarray, group: int) -> list[np.ndarray]:
        """Sums (P, P) for `form_of_half`, of a group of environments and each block."""
        (own, c), out = self.group(group), []
        weights, tangents = weights_and_tangents(self.flat, own, vector)
        half_weights, d = 0.5 * weights[:, None, None], tangents.reshape(c.shape)
        for block in self.blocks:
            half = np.zeros((len(block), len(block)))
            product = np.empty_like(half)
            for part, (x, dx) in _in_chunks(block, len(own)):
                fill_features(block, c[part], x)
                fill_derivatives(block, c[part], d[part], dx)
                dx += half_weights[part] * x
                # lets other threads work, which `dgemm` of SciPy does not
                half += np.matmul(x.reshape(-1, len(block)).T, dx.reshape(-1, len(block)), out=product)
            out.append(half)
        return out

    def add_predictions(self, forms: list[np.ndarray], out: np.ndarray, group: int) -> None:
        """Add to labels out (GROUPS, N) what the forms (P, P) of the blocks predict for a group of environments."""
        (own, c), flat, labels = self.group(group), self.flat, out[group]
        energies, gradients = np.zeros(len(own)), np.zeros(c.shape)
        for block, form in zip(self.blocks, forms, strict=True):
            for part, (x, product) in _in_chunks(block, len(own)):
                fill_features(block, c[part], x)
                np.matmul(x.reshape(-1, len(block)), form, out=product.reshape(-1, len(block)))
                energies[part] += np.einsum("imp,imp->i", x, product)
                product *= 2.0
                add_feature_gradients(block, c[part], product, gradients[part])
        energy = flat.energy_of_environment[own]
        np.add.at(labels, energy[energy >= 0], energies[energy >= 0])
        _add_to_labels(flat, own, gradients.reshape(len(own), flat.coefficients.shape[1]), labels)


def _in_chunks(block: Block, n: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of n environments, some at a time, with two arrays for their features, which are used again and again."""
    arrays = np.empty((2, min(n, CHUNK), 2 * block.L + 1, len(block)))
    for first in range(0, n, CHUNK):
        part = slice(first, min(first + CHUNK, n))
        yield part, arrays[:, : part.stop - first]


def _channels(density: Density, element: int) -> np.ndarray:
    """Number (lmax + 1,) of channels of an element's environments in use, by l."""
    return np.count_nonzero(density.projection[element].any(axis=1), axis=1)


class ImplicitCovariance:
    """The kernel of all labels, K (N, N), of which only products with vectors are known.

    Args:
        scales: environments of each length scale.
        densities: that describe them.
        order_weights: (n_scales, n_elements, order), order at most 4.
        threads: how many.
        comm: ranks that share the environments [one]; all call `times` together.

    """

    def __init__(
        self,
        scales: Sequence[FlatEnvironments],
        densities: Sequence[Density],
        order_weights: np.ndarray,
        threads: int = 1,
        comm: Communicator | None = None,
    ) -> None:
        self.n_labels, self._threads, self._comm, self._parts = scales[0].n_labels, threads, comm or Communicator(), []
        for flat, density, by_element in zip(scales, densities, order_weights, strict=True):
            shape = (density.lmax + 1) ** 2, density.projection.shape[3]
            for z, weights in enumerate(by_element):
                own, blocks = np.flatnonzero(flat.centres == z), all_blocks(density.lmax, _channels(density, z))
                self._parts.append(_Part(flat, own, shape, blocks, weights))

    def times(self, vector: np.ndarray) -> np.ndarray:
        """Return K v (N,) of a vector (N,)."""
        out, groups = np.zeros((GROUPS, self.n_labels)), range(self._comm.rank, GROUPS, self._comm.size)
        for part in self._parts:
            halves = run_threads(partial(part.halves, vector), groups, self._threads)
            forms = []
            for n, block in enumerate(part.blocks):  # a rank may have no group
                half = sum((of_group[n] for of_group in halves), np.zeros((len(block), len(block))))
                forms.append(form_of_half(block, self._comm.total(half), part.order_weights))
            run_threads(partial(part.add_predictions, forms, out), groups, self._threads)
        return self._comm.total(out).sum(axis=0)

    @property
    def n_stored(self) -> float:
        """Number of coefficients of the forms that `times` holds at once."""
        return GROUPS * max(sum(float(len(b)) ** 2 for b in part.blocks) for part in self._parts)

    @property
    def cost(self) -> float:
        """Multiply-adds of `times`."""
        of_env = [sum((2 * b.L + 1) * float(len(b)) ** 2 for b in part.blocks) for part in self._parts]
        return 2 * sum(len(part.own) * each for part, each in zip(self._parts, of_env, strict=True))
