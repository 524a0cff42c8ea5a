"""The kernels of a length scale, low orders of the density as it is, higher orders of the saturated density; its limit.

Orders 1 and 2 are what pairs, triplets and functions of the density of an embedded atom need; saturation would spoil
them, and molecules gain from it in higher orders.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..density.expansion import Density
from ..model import Scale
from .data import Frame
from .environments import frame_environments

PLAIN_ORDERS = 2
LIMIT = 1.1  # of the largest squared norm in the training set: from there on the density is held back


class KernelPart(NamedTuple):
    """Some orders of the kernel of one length scale.

    Attributes:
        scale: number of the length scale.
        density: that they are made of.
        orders: which, as a slice of all.

    """

    scale: int
    density: Density
    orders: slice

    def weights(self, order_weights) -> np.ndarray:
        """Order weights (..., orders.stop) that are zero but for these orders, from those (..., order) of all."""
        out = np.zeros((*np.shape(order_weights)[:-1], self.orders.stop))
        out[..., self.orders] = np.asarray(order_weights)[..., self.orders]
        return out


def kernel_parts(scale: int, density: Density, order: int, saturation: float) -> list[KernelPart]:
    """Divide the orders of a kernel.

    Args:
        scale: number of the length scale.
        density: its density, not saturated.
        order: of the kernel.
        saturation: b of `wk_potential.density.saturation`, for the orders above `PLAIN_ORDERS`.

    """
    if saturation == 0 or order <= PLAIN_ORDERS:
        return [KernelPart(scale, density, slice(0, order))]
    saturated = density._replace(saturation=saturation)
    return [
        KernelPart(scale, density, slice(0, PLAIN_ORDERS)),
        KernelPart(scale, saturated, slice(PLAIN_ORDERS, order)),
    ]


def parts_of(scales: Sequence[Scale]) -> list[KernelPart]:
    """Parts of the kernel of a model, as it was trained: no density is held back."""
    out: list[KernelPart] = []
    for scale in scales:
        density, number = scale.density, out[-1].scale + 1 if out else 0
        first = PLAIN_ORDERS if density.saturation else 0  # then the part before has the low orders
        free = density._replace(largest=np.full_like(density.largest, np.inf))
        out.append(KernelPart(number - 1 if first else number, free, slice(first, scale.order)))
    return out


def with_limits(scales: Sequence[Scale], frames: Sequence[Frame], elements) -> list[Scale]:
    """Return the parts of a kernel with densities that are held back where they leave the training set.

    Args:
        scales: parts of the kernel.
        frames: of the training set.
        elements: sorted atomic numbers of the model.

    """
    out: list[Scale] = []
    for scale in scales:
        plain, last = scale.density._replace(saturation=0.0), out[-1].density if out else None
        if last is not None and last.radial is plain.radial:  # the other part of one length scale
            largest = last.largest
        else:
            largest = np.zeros(len(elements))
            for frame in frames:
                environments = frame_environments(frame, plain, elements, derivatives=False)
                np.maximum.at(largest, environments.centres, np.sum(environments.coefficients**2, axis=(1, 2)))
            largest = np.where(largest > 0, LIMIT * largest, np.inf)
        out.append(replace(scale, density=scale.density._replace(largest=largest)))
    return out
