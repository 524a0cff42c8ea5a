"""The energy of a mapped model as a PyTorch module that TorchScript compiles.

Arrays of atoms are treated together: the density as products of padded matrices, the quadratic forms as matrix products
over all atoms of one element. The formulas are those of docs/theory.md ("Density", "Saturation", "Mapped form"); no
code is shared with the compiled kernels. n stands for atoms, K for the most neighbours of one of them, Q_l for the
channels of angular momentum l.
"""

import numpy as np
import torch

from ..density.expansion import Density
from ..forms.quadratic import TruncatedForm
from ..kernel.coupling import real_cg


def harmonic_steps(lmax: int) -> np.ndarray:
    """Matrices (lmax + 1, 3 (2 lmax - 1), 2 lmax + 1) that make harmonics of l from those of l - 1, padded with zeros.

    Y_l is the coupling of the unit vector u with Y_{l-1}, times a constant that is found at u = z. Rows are the
    products of x, y, z and a component of Y_{l-1}. The same matrices give the derivatives of the solid harmonics,
    d(r^l Y_lm)/dx_i = l r^(l-1) sum_k S[i k, m] Y_{l-1,k}: their gradient couples to l - 1 alone (D. A. Varshalovich et
    al., Quantum Theory of Angular Momentum (1988)), and the factor is that of Euler's theorem.
    """
    out = np.zeros((lmax + 1, 3 * max(2 * lmax - 1, 1), 2 * lmax + 1))
    for l in range(1, lmax + 1):
        coupling = real_cg(l - 1, 1, l)
        scale = np.sqrt((2 * l + 1) / (2 * l - 1)) / coupling[l - 1, 1, l]
        rows = coupling[:, [2, 0, 1]].swapaxes(0, 1).reshape(3 * (2 * l - 1), 2 * l + 1)
        out[l, : len(rows), : 2 * l + 1] = scale * rows
    return out


def used_channels(density: Density, centre: int, forms: list[TruncatedForm]) -> list[int]:
    """Return Q_l of a central element: the channels that its projection fills or its forms name."""
    used = np.any(density.projection[centre] != 0.0, axis=1)  # (l, Q)
    for form in forms:
        used[form.block.L, : form.block.channels] = True
        for l1, l2, pairs, _ in form.block.products:
            used[l1, pairs[:, 0]] = used[l2, pairs[:, 1]] = True
    return [int(np.max(np.nonzero(row)[0], initial=0)) + 1 for row in used]


def channel_splines(density: Density, centre: int, channels: list[int]) -> np.ndarray:
    """Values and slopes (n_elements * G * 2, Q) of the radial functions of a central element's channels.

    Rows are the elements of the neighbour, the nodes of the grid, and value and slope; slopes are multiplied by the
    distance of the nodes. Q is the sum of `channels`, Q_l.
    """
    projection, radial = density.projection[centre], density.radial
    n_grid, _, n_radial = radial.values.shape
    nodes = np.stack([radial.values, radial.cutoff / (n_grid - 1) * radial.slopes], axis=1)
    parts = []
    for l, n in enumerate(channels):
        weights = projection[l, :, :n].reshape(-1, n_radial, n)
        parts.append(np.einsum("gdk,akq->agdq", nodes[:, :, l], weights).reshape(-1, n))
    return np.concatenate(parts, axis=1)


def summed(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Sum over an axis, without a pass over the array where the axis has one element."""
    return x.squeeze(axis) if x.shape[axis] == 1 else x.sum(axis)


class Products(torch.nn.Module):
    """Products of two coefficients that are features of a block: (c_l1,q1 c_l2,q2)_LM.

    Args:
        momenta: l1, l2, L.
        pairs: (p, 2) channels q1, q2 of the products.
        channels: Q_l.
        dtype: of the arithmetic.

    """

    coupling: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    to_left: torch.Tensor
    to_right: torch.Tensor

    def __init__(
        self, momenta: tuple[int, int, int], pairs: np.ndarray, channels: list[int], dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.l1, self.l2, self.L = momenta
        coupling = real_cg(*momenta).swapaxes(1, 2).reshape(-1, 2 * self.l2 + 1)  # (m1 M, m2)
        self.register_buffer("coupling", torch.tensor(coupling, dtype=dtype))
        for name, l, places in (("left", self.l1, pairs[:, 0]), ("right", self.l2, pairs[:, 1])):
            self.register_buffer(name, torch.tensor(places))
            sums = np.arange(channels[l])[:, None] == places  # (Q_l, p): a product is faster than index_add
            self.register_buffer(f"to_{name}", torch.tensor(sums, dtype=dtype))

    def forward(self, c: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors (p, 2 l1 + 1, 1, n) and (p, 2 l1 + 1, 2 L + 1, n) of which the products are the sum over m1.

        The second ones are c_l2 times the coupling coefficients. The coefficients c_l are (Q_l, 2 l + 1, n).
        """
        right = c[self.l2]
        coupled = torch.bmm(self.coupling.expand(right.shape[0], -1, -1), right).index_select(0, self.right)
        return c[self.l1].index_select(0, self.left).unsqueeze(2), coupled.unflatten(
            1, (2 * self.l1 + 1, 2 * self.L + 1)
        )

    def adjoint(self, grad: torch.Tensor, left: torch.Tensor, right: torch.Tensor, grads: list[torch.Tensor]) -> None:
        """Add the gradient by the products (p, 2 L + 1, n) to that by the coefficients, given both factors."""
        grad = grad.unsqueeze(1)
        grads[self.l1].flatten(1).addmm_(self.to_left, summed(grad * right, 2).flatten(1))
        coupled = torch.mm(self.to_right, (grad * left).flatten(1)).reshape(-1, len(self.coupling), grad.shape[3])
        grads[self.l2].baddbmm_(self.coupling.t().expand(coupled.shape[0], -1, -1), coupled)


class Factors(torch.nn.Module):
    """Linear combinations y = u x of the features x of a block.

    Args:
        form: with the vectors u.
        channels: Q_l.
        dtype: of the arithmetic.

    """

    constant: torch.Tensor
    vectors: torch.Tensor

    def __init__(self, form: TruncatedForm, channels: list[int], dtype: torch.dtype) -> None:
        super().__init__()
        block = form.block
        self.L, self.width, self.channels = block.L, 2 * block.L + 1, int(block.channels)
        constant = form.vectors[:, 0] if block.constant else np.zeros(len(form.vectors))
        self.register_buffer("constant", torch.tensor(constant[:, None], dtype=dtype))
        self.register_buffer("vectors", torch.tensor(form.vectors[:, int(block.constant) :], dtype=dtype))
        self.products = torch.nn.ModuleList(
            Products((l1, l2, block.L), pairs, channels, dtype) for l1, l2, pairs, _ in block.products
        )

    def forward(self, c: list[torch.Tensor]) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Return y (R, (2L + 1) n) of coefficients c_l (Q_l, 2 l + 1, n), and the factors of the products."""
        y = torch.addmm(self.constant, self.vectors[:, : self.channels], c[self.L][: self.channels].flatten(1))
        factors: list[tuple[torch.Tensor, torch.Tensor]] = []
        first = self.channels
        for group in self.products:
            left, right = group(c)
            factors.append((left, right))
            y.addmm_(self.vectors[:, first : first + len(left)], summed(left * right, 1).flatten(1))
            first += len(left)
        return y, factors

    def adjoint(
        self, by_y: torch.Tensor, factors: list[tuple[torch.Tensor, torch.Tensor]], grads: list[torch.Tensor]
    ) -> None:
        """Add the gradient by y (R, (2L + 1) n) to that by the coefficients, given the factors of the products."""
        grads[self.L][: self.channels].flatten(1).addmm_(self.vectors[:, : self.channels].t(), by_y)
        first = self.channels
        for k, product in enumerate(self.products):
            left, right = factors[k]
            back = torch.mm(self.vectors[:, first : first + len(left)].t(), by_y)
            product.adjoint(back.unflatten(1, (self.width, -1)), left, right, grads)
            first += len(left)


class BlockEnergy(torch.nn.Module):
    """Quadratic form of a block: sum over r, M of lambda_r (u_r . x_M)^2.

    Args:
        form: the form.
        channels: Q_l.
        dtype: of the arithmetic.

    """

    values: torch.Tensor

    def __init__(self, form: TruncatedForm, channels: list[int], dtype: torch.dtype) -> None:
        super().__init__()
        self.factors = Factors(form, channels, dtype)
        self.register_buffer("values", torch.tensor(form.values[:, None], dtype=dtype))

    def forward(self, c: list[torch.Tensor], grads: list[torch.Tensor]) -> torch.Tensor:
        """Energies (n,) of coefficients c_l (Q_l, 2 l + 1, n); adds their gradient to `grads` unless that is empty."""
        y, factors = self.factors(c)
        scaled = self.values * y
        if len(grads) > 0:
            self.factors.adjoint(2.0 * scaled, factors, grads)
        return (scaled * y).sum(0).unflatten(0, (self.factors.width, -1)).sum(0)


class ChannelDensity(torch.nn.Module):
    """Density coefficients of atoms of one element, and the way back from their gradient to the neighbours.

    Args:
        density: of the length scale.
        centre: index of the element.
        channels: Q_l.
        dtype: of the arithmetic.

    """

    table: torch.Tensor
    steps: torch.Tensor

    def __init__(self, density: Density, centre: int, channels: list[int], dtype: torch.dtype) -> None:
        super().__init__()
        self.channels = channels
        self.lmax, self.n_grid = density.lmax, len(density.radial.values)
        self.step = float(density.radial.cutoff) / (self.n_grid - 1)
        self.register_buffer("table", torch.tensor(channel_splines(density, centre, channels), dtype=dtype))
        self.register_buffer("steps", torch.tensor(harmonic_steps(density.lmax), dtype=dtype))

    def radial(
        self, r: torch.Tensor, species: torch.Tensor, derivatives: bool
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Radial functions (n, K, Q_l) for each l at distances (n, K), and their derivatives if wanted, else nothing.

        They are zero beyond the cutoff.
        """
        place = (r / self.step).clamp(max=float(self.n_grid - 1))
        node = place.floor().clamp(max=float(self.n_grid - 2))
        t = (place - node).flatten()
        u = 1.0 - t
        weights = torch.stack([(1.0 + 2.0 * t) * u * u, t * u * u, t * t * (1.0 + 2.0 * u), -t * t * u], dim=1)
        rows = 2 * (species * self.n_grid + node.to(torch.long)).flatten().unsqueeze(1)
        rows = rows + torch.arange(4, device=rows.device)
        if derivatives:  # in the same call, which is much faster than two
            fall = -6.0 * t * u
            more = torch.stack([fall, u * (1.0 - 3.0 * t), -fall, t * (3.0 * t - 2.0)], dim=1) / self.step
            rows, weights = torch.cat([rows, rows]), torch.cat([weights, more])
        found = torch.nn.functional.embedding_bag(rows, self.table, mode="sum", per_sample_weights=weights)
        found = found.reshape(-1, r.shape[0], r.shape[1], found.shape[1])
        values = found[0].split(self.channels, dim=-1)
        return values, found[1].split(self.channels, dim=-1) if derivatives else values[:0]

    def harmonics(self, unit: torch.Tensor) -> list[torch.Tensor]:
        """Real spherical harmonics (n, K, 2 l + 1) of unit vectors (n, K, 3), for each l."""
        y = [torch.full_like(unit[..., :1], 0.28209479177387814)]  # (4 pi)^(-1/2)
        for l in range(1, self.lmax + 1):
            products = (unit.unsqueeze(-1) * y[l - 1].unsqueeze(-2)).flatten(-2)
            y.append(torch.matmul(products, self.steps[l, : 3 * (2 * l - 1), : 2 * l + 1]))
        return y

    def forward(self, radial: list[torch.Tensor], y: list[torch.Tensor]) -> list[torch.Tensor]:
        """Coefficients c_l (Q_l, 2 l + 1, n)."""
        c: list[torch.Tensor] = []
        for l, phi in enumerate(radial):
            product = torch.bmm(phi.transpose(1, 2), y[l])
            c.append(product.flatten(1).t().contiguous().reshape(-1, 2 * l + 1, product.shape[0]))
        return c

    def adjoint(
        self,
        grads: list[torch.Tensor],
        radial: list[torch.Tensor],
        slopes: list[torch.Tensor],
        y: list[torch.Tensor],
        unit: torch.Tensor,
        r: torch.Tensor,
    ) -> torch.Tensor:
        """Gradient (n, K, 3) by the vectors to the neighbours, from that by c_l (Q_l, 2 l + 1, n)."""
        along = torch.zeros_like(r)
        around = torch.zeros_like(unit)
        for l in range(self.lmax + 1):
            g = grads[l].flatten(0, 1).t().contiguous().reshape(r.shape[0], -1, 2 * l + 1)
            along += (torch.bmm(slopes[l], g) * y[l]).sum(-1)
            if l > 0:
                back = torch.matmul(torch.bmm(radial[l], g), self.steps[l, : 3 * (2 * l - 1), : 2 * l + 1].t())
                back = back.reshape(r.shape[0], r.shape[1], 3, 2 * l - 1)
                around += l * torch.matmul(back, y[l - 1].unsqueeze(-1)).squeeze(-1)
        r = r.unsqueeze(-1)
        around = around / r
        return around + unit * (along.unsqueeze(-1) - (around * unit).sum(-1, keepdim=True))


class ElementEnergy(torch.nn.Module):
    """Energies of atoms of one element from their neighbours, at one length scale.

    Args:
        density: of the length scale.
        centre: index of the element.
        forms: its quadratic forms.
        dtype: of the arithmetic.

    """

    def __init__(self, density: Density, centre: int, forms: list[TruncatedForm], dtype: torch.dtype) -> None:
        super().__init__()
        self.saturation = float(density.saturation)
        channels = used_channels(density, centre, forms)
        self.density = ChannelDensity(density, centre, channels, dtype)
        self.blocks = torch.nn.ModuleList(BlockEnergy(f, channels, dtype) for f in forms if len(f.values))

    def of_coefficients(self, c: list[torch.Tensor], grads: list[torch.Tensor]) -> torch.Tensor:
        """Energies (n,) of coefficients c_l (Q_l, 2 l + 1, n); fills `grads` with the gradient unless it is empty."""
        b = self.saturation
        factor = torch.ones_like(c[0][0, 0])
        if b > 0.0:
            factor = torch.sqrt((1.0 + b) / (1.0 + b * self.inner(c, c)))
            c = [factor * c_l for c_l in c]
        energies = torch.zeros_like(factor)
        for block in self.blocks:
            energies += block(c, grads)
        if b > 0.0 and len(grads) > 0:
            along = b / (1.0 + b) * self.inner(c, grads)
            for g, c_l in zip(grads, c):
                g.sub_(along * c_l).mul_(factor)
        return energies

    def inner(self, a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
        """Inner product (n,) of coefficients."""
        out = torch.zeros_like(a[0][0, 0])
        for a_l, b_l in zip(a, b):
            out += (a_l * b_l).sum(dim=(0, 1))
        return out

    def forward(
        self, vectors: torch.Tensor, species: torch.Tensor, gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies (n,) in eV and, if it is asked for, their gradient (n, K, 3) by the vectors, eV/Angstrom.

        Args:
            vectors: (n, K, 3) to the neighbours, Angstrom; those beyond the cutoff count for nothing.
            species: (n, K) indices of the neighbours' elements.
            gradient: whether it is wanted; otherwise zeros are returned in its place.

        """
        r = torch.linalg.vector_norm(vectors, dim=-1)
        unit = vectors / r.unsqueeze(-1)
        radial, slopes = self.density.radial(r, species, gradient)
        y = self.density.harmonics(unit)
        c = self.density(radial, y)
        grads: list[torch.Tensor] = []
        if gradient:
            grads = [torch.zeros_like(c_l) for c_l in c]
        energies = self.of_coefficients(c, grads)
        if gradient:
            return energies, self.density.adjoint(grads, radial, slopes, y, unit, r)
        return energies, torch.zeros_like(vectors)
