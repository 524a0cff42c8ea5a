"""The energy of a model as one PyTorch module: all length scales, elements, the repulsion, and baseline energies.

The gradient of the energies by the vectors to the neighbours is computed with them, for some atoms at a time, so that
memory is bounded. Autograd gets it from there: the energies are constants plus gradient times change of the vectors.
So first derivatives by autograd are exact, and there are no second ones.
"""

import numpy as np
import torch

from ..model.model import Model
from ..model.repulsion import COULOMB, DECAYS, SCREENING, SHARES, Repulsion
from ..model.scale import Scale
from .element import ElementEnergy
from .neighbours import CHUNK, CHUNK_CUDA, SortedPairs


class ScaleEnergy(torch.nn.Module):
    """Energies of atoms at one length scale.

    Args:
        scale: with a mapped form.
        dtype: of the arithmetic.

    """

    def __init__(self, scale: Scale, dtype: torch.dtype) -> None:
        super().__init__()
        self.cutoff = float(scale.density.radial.cutoff)
        self.chunk, self.chunk_cuda = CHUNK, CHUNK_CUDA
        self.elements = torch.nn.ModuleList(
            ElementEnergy(scale.density, z, forms, dtype) for z, forms in enumerate(scale.mapped or [])
        )

    def forward(
        self,
        vectors: torch.Tensor,
        centre: torch.Tensor,
        around: torch.Tensor,
        species: torch.Tensor,
        gradient: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies (N,) and their gradient (P, 3); arguments as `WignerEnergy.forward`."""
        near = SortedPairs(vectors, centre, len(species), self.cutoff)
        energies = torch.zeros(len(species), dtype=vectors.dtype, device=vectors.device)
        grads = torch.zeros_like(vectors)
        size = self.chunk_cuda if vectors.is_cuda else self.chunk
        for z, element in enumerate(self.elements):
            own = torch.nonzero(species == z).flatten()
            for start in range(0, len(own), size):
                atoms = own[start : start + size]
                pairs, there = near.of_atoms(atoms)
                padded, neighbours = near.padded(pairs, there, vectors, around)
                found, back = element(padded, neighbours, gradient)
                energies[atoms] = found
                grads[pairs] = back[there]
        return energies, grads


class PairRepulsion(torch.nn.Module):
    """Repulsion of close atoms; half the energy of a pair belongs to each of its atoms.

    The potential of Ziegler, Biersack and Littmark (The Stopping and Range of Ions in Solids, 1985) times a switch.

    Args:
        repulsion: of the model.
        dtype: of the arithmetic.

    """

    product: torch.Tensor
    screening: torch.Tensor
    inner: torch.Tensor
    outer: torch.Tensor
    shares: torch.Tensor
    decays: torch.Tensor

    def __init__(self, repulsion: Repulsion, dtype: torch.dtype) -> None:
        super().__init__()
        charges = repulsion.charges
        self.farthest = float(np.max(repulsion.outer))
        arrays = {
            "product": COULOMB * np.outer(charges, charges),
            "screening": SCREENING / np.add.outer(charges**0.23, charges**0.23),
            "inner": repulsion.inner,
            "outer": repulsion.outer,
            "shares": SHARES,
            "decays": DECAYS,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.tensor(array, dtype=dtype))

    def forward(
        self, vectors: torch.Tensor, centre: torch.Tensor, around: torch.Tensor, species: torch.Tensor
    ) -> torch.Tensor:
        """Energies (N,) in eV, for autograd; arguments as `WignerEnergy.forward`."""
        near = torch.nonzero(torch.linalg.vector_norm(vectors.detach(), dim=1) < self.farthest).flatten()
        r = torch.linalg.vector_norm(vectors[near], dim=1)
        a, b = species[centre[near]], around[near]
        scaled = r / self.screening[a, b]
        energy = self.product[a, b] / r * torch.exp(-self.decays * scaled.unsqueeze(1)).mv(self.shares)
        t = ((self.outer[a, b] - r) / (self.outer[a, b] - self.inner[a, b])).clamp(0.0, 1.0)
        energy = energy * t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)
        out = torch.zeros(len(species), dtype=vectors.dtype, device=vectors.device)
        return out.index_add(0, centre[near], 0.5 * energy)


class WignerEnergy(torch.nn.Module):
    """Energies of atoms by a mapped model.

    Args:
        model: that `check_exportable` accepts.
        dtype: of the arithmetic.

    """

    baseline: torch.Tensor

    def __init__(self, model: Model, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("baseline", torch.tensor(model.baseline, dtype=dtype))
        self.scales = torch.nn.ModuleList(ScaleEnergy(scale, dtype) for scale in model.scales)
        self.repulsion = torch.nn.ModuleList([] if model.repulsion is None else [PairRepulsion(model.repulsion, dtype)])

    def forward(
        self, vectors: torch.Tensor, centre: torch.Tensor, around: torch.Tensor, species: torch.Tensor
    ) -> torch.Tensor:
        """Energies (N,) in eV.

        Args:
            vectors: (P, 3) from each centre to its neighbours, Angstrom; all pairs within the cutoff, or more.
            centre: (P,) which of the N atoms is the centre of a pair.
            around: (P,) element of its neighbour, an index among the elements of the model.
            species: (N,) elements of the centres.

        """
        gradient = vectors.requires_grad and torch.is_grad_enabled()
        energies = self.baseline[species]
        fixed = vectors.detach()
        for scale in self.scales:
            found, grads = scale(fixed, centre, around, species, gradient)
            energies = energies + found
            if gradient:
                energies = energies.index_add(0, centre, torch.linalg.vecdot(grads, vectors - fixed))
        for repulsion in self.repulsion:
            energies = energies + repulsion(vectors, centre, around, species)
        return energies
