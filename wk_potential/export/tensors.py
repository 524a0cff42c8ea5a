"""Dipoles and polarisabilities of a model as PyTorch modules that TorchScript compiles.

The formulas are those of `wk_potential.forms.bilinear`. Derivatives are those of autograd.
"""

import torch

from ..density.expansion import Density
from ..forms.bilinear import BilinearForm
from ..kernel.coupling import real_cg
from ..model.tensors import BASES, TensorProperty
from .element import ChannelDensity, Factors, used_channels
from .neighbours import CHUNK, CHUNK_CUDA, SortedPairs


class Coupled(torch.nn.Module):
    """Sum over r, s of core[r, s] (y_r y'_s)_LM.

    Args:
        form: of the tensor.
        k: number of the coupling.
        dtype: of the arithmetic.

    """

    core: torch.Tensor
    cg: torch.Tensor

    def __init__(self, form: BilinearForm, k: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.left, self.right, core = form.couplings[k]
        cg = real_cg(form.factors[self.left].block.L, form.factors[self.right].block.L, form.momentum)
        self.register_buffer("core", torch.tensor(core, dtype=dtype))
        self.register_buffer("cg", torch.tensor(cg, dtype=dtype))

    def forward(self, y: list[torch.Tensor]) -> torch.Tensor:
        """Return values (n, 2L + 1) of factors y (R, 2 l + 1, n)."""
        right = y[self.right]
        mixed = torch.mm(self.core, right.flatten(1)).reshape(-1, right.shape[1], right.shape[2])
        return torch.einsum("abn,abm->nm", torch.einsum("ran,rbn->abn", y[self.left], mixed), self.cg)


class ElementTensor(torch.nn.Module):
    """Components of atoms of one element from their neighbours, of one L and one density.

    Args:
        density: of the tensor.
        centre: index of the element.
        form: its form.
        dtype: of the arithmetic.

    """

    def __init__(self, density: Density, centre: int, form: BilinearForm, dtype: torch.dtype) -> None:
        super().__init__()
        self.saturation, self.width = float(density.saturation), 2 * form.momentum + 1
        channels = used_channels(density, centre, form.factors)
        self.density = ChannelDensity(density, centre, channels, dtype)
        self.factors = torch.nn.ModuleList(Factors(f, channels, dtype) for f in form.factors)
        self.couplings = torch.nn.ModuleList(Coupled(form, k, dtype) for k in range(len(form.couplings)))

    def forward(self, vectors: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """Components (n, 2L + 1); arguments as `ElementEnergy.forward`."""
        r = torch.linalg.vector_norm(vectors, dim=-1)
        radial, _ = self.density.radial(r, species, False)
        c = self.density(radial, self.density.harmonics(vectors / r.unsqueeze(-1)))
        if self.saturation > 0.0:
            size = torch.zeros_like(c[0][0, 0])
            for c_l in c:
                size = size + (c_l * c_l).sum(dim=(0, 1))
            factor = torch.sqrt((1.0 + self.saturation) / (1.0 + self.saturation * size))
            c = [factor * c_l for c_l in c]
        y: list[torch.Tensor] = []
        for factors in self.factors:
            found, _ = factors(c)
            y.append(found.unflatten(1, (factors.width, -1)))
        out = torch.zeros(vectors.shape[0], self.width, dtype=vectors.dtype, device=vectors.device)
        for coupled in self.couplings:
            out = out + coupled(y)
        return out


class DensityTensor(torch.nn.Module):
    """Components of atoms, of one L and one density.

    Args:
        density: of the tensor.
        forms: of each element.
        dtype: of the arithmetic.

    """

    def __init__(self, density: Density, forms: list[BilinearForm], dtype: torch.dtype) -> None:
        super().__init__()
        self.cutoff, self.width = float(density.radial.cutoff), 2 * forms[0].momentum + 1
        self.chunk, self.chunk_cuda = CHUNK, CHUNK_CUDA
        self.elements = torch.nn.ModuleList(ElementTensor(density, z, form, dtype) for z, form in enumerate(forms))

    def forward(
        self, vectors: torch.Tensor, centre: torch.Tensor, around: torch.Tensor, species: torch.Tensor
    ) -> torch.Tensor:
        """Components (N, 2L + 1); arguments as `WignerEnergy.forward`."""
        pairs = SortedPairs(vectors, centre, len(species), self.cutoff)
        out = torch.zeros(len(species), self.width, dtype=vectors.dtype, device=vectors.device)
        size = self.chunk_cuda if vectors.is_cuda else self.chunk
        for z, element in enumerate(self.elements):
            own = torch.nonzero(species == z).flatten()
            for start in range(0, len(own), size):
                atoms = own[start : start + size]
                own_pairs, there = pairs.of_atoms(atoms)
                padded, neighbours = pairs.padded(own_pairs, there, vectors, around)
                out = out.index_add(0, atoms, element(padded, neighbours))
        return out


class TensorPartOutput(torch.nn.Module):
    """The part of one L, as Cartesian components.

    Args:
        target: dipole or polarisability.
        k: number of the part.
        dtype: of the arithmetic.

    """

    baseline: torch.Tensor
    basis: torch.Tensor

    def __init__(self, target: TensorProperty, k: int, dtype: torch.dtype) -> None:
        super().__init__()
        part = target.parts[k]
        basis = BASES[target.name][part.momentum].reshape(2 * part.momentum + 1, -1)
        self.register_buffer("basis", torch.tensor(basis, dtype=dtype))
        self.register_buffer("baseline", torch.tensor(part.baseline[:, None], dtype=dtype))
        self.densities = torch.nn.ModuleList(
            DensityTensor(density, forms, dtype) for density, forms in zip(target.densities, part.forms, strict=True)
        )

    def forward(
        self, vectors: torch.Tensor, centre: torch.Tensor, around: torch.Tensor, species: torch.Tensor
    ) -> torch.Tensor:
        """Cartesian components (N, 3) or (N, 9); arguments as `WignerEnergy.forward`."""
        out = self.baseline[species]
        for density in self.densities:
            out = out + density(vectors, centre, around, species)
        return torch.mm(out, self.basis)


class TensorOutput(torch.nn.Module):
    """A dipole in e Angstrom or a polarisability in Angstrom^3, as contributions of atoms.

    Args:
        target: of the model.
        dtype: of the arithmetic.

    """

    def __init__(self, target: TensorProperty, dtype: torch.dtype) -> None:
        super().__init__()
        self.is_vector = target.name == "dipole"
        self.parts = torch.nn.ModuleList(TensorPartOutput(target, k, dtype) for k in range(len(target.parts)))

    def forward(
        self, vectors: torch.Tensor, centre: torch.Tensor, around: torch.Tensor, species: torch.Tensor
    ) -> torch.Tensor:
        """Contributions (N, 3) or (N, 3, 3) of the atoms; arguments as `WignerEnergy.forward`."""
        width = 3 if self.is_vector else 9
        out = torch.zeros(len(species), width, dtype=vectors.dtype, device=vectors.device)
        for part in self.parts:
            out = out + part(vectors, centre, around, species)
        return out if self.is_vector else out.unflatten(1, (3, 3))
