"""The kernels of a length scale: low orders of the density as it is, higher orders of the saturated density.

Orders 1 and 2 are what pairs, triplets and functions of the density of an embedded atom need; saturation would spoil
them. Higher orders are polynomials that know no bounds where atoms crowd, and gain from it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..density.expansion import Density
from ..model import Scale

PLAIN_ORDERS = 2


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
    """Parts of the kernel of a model."""
    out: list[KernelPart] = []
    for scale in scales:
        number = out[-1].scale + 1 if out else 0
        first = PLAIN_ORDERS if scale.density.saturation else 0  # then the part before has the low orders
        out.append(KernelPart(number - 1 if first else number, scale.density, slice(first, scale.order)))
    return out
