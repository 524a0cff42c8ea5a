"""A model behind the interface of metatomic, through which ASE, TorchSim, i-PI, LAMMPS and others can run it.

The classes are those of metatomic-torch (F. Bigi et al., arXiv:2508.15704). The file that is written needs PyTorch and
metatomic-torch to be loaded, and nothing of this package.
"""

import json
from typing import Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)

from ..model.model import Model
from .potential import WignerEnergy
from .tensors import TensorOutput

UNITS = {"dipole": "e*Angstrom", "polarizability": "Angstrom^3"}


class MetatomicPotential(torch.nn.Module):
    """Energies, dipoles and polarisabilities of systems, in the form that metatomic wants (its `ModelInterface`).

    Args:
        model: that `check_exportable` accepts.
        dtype: of the arithmetic.

    """

    species: torch.Tensor

    def __init__(self, model: Model, dtype: torch.dtype) -> None:
        super().__init__()
        self.energy = WignerEnergy(model, dtype)
        self.tensors = torch.nn.ModuleDict({name: TensorOutput(t, dtype) for name, t in model.tensors.items()})
        self.neighbours = NeighborListOptions(cutoff=float(model.cutoff), full_list=True, strict=True)
        species = torch.full((int(model.elements[-1]) + 1,), -1)
        species[torch.tensor(model.elements)] = torch.arange(len(model.elements))
        self.register_buffer("species", species)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        """Return what pairs of atoms are needed."""
        return [self.neighbours]

    def forward(
        self, systems: List[System], outputs: Dict[str, ModelOutput], selected_atoms: Optional[Labels]
    ) -> Dict[str, TensorMap]:
        """Energies in eV, and dipoles and polarisabilities if the model has them, of the systems or of their atoms.

        Args:
            systems: with neighbours.
            outputs: what is asked for: "energy", "wk_potential::dipole", "wk_potential::polarizability".
            selected_atoms: which atoms count, `system` and `atom`; the others are only neighbours.

        """
        results: Dict[str, TensorMap] = {}
        if len(outputs) == 0:
            return results
        device = systems[0].device
        sizes = torch.tensor([len(system) for system in systems], device=device)
        first = torch.cumsum(sizes, 0) - sizes
        species = self.species[torch.cat([system.types for system in systems]).to(torch.long)]
        if selected_atoms is None:
            system_of = torch.repeat_interleave(torch.arange(len(systems), device=device), sizes)
            samples = torch.stack([system_of, torch.arange(len(species), device=device) - first[system_of]], dim=1)
        else:
            samples = selected_atoms.values.to(device=device, dtype=torch.long)
        atoms = first[samples[:, 0]] + samples[:, 1]
        place = torch.full([len(species)], -1, device=device)
        place[atoms] = torch.arange(len(atoms), device=device)

        vectors: List[torch.Tensor] = []
        pairs: List[torch.Tensor] = []
        for k, system in enumerate(systems):
            block = system.get_neighbor_list(self.neighbours)
            vectors.append(block.values.squeeze(-1))
            pairs.append(block.samples.values[:, :2].to(torch.long) + first[k])
        pair, vector = torch.cat(pairs), torch.cat(vectors)
        centre = place[pair[:, 0]]
        if selected_atoms is not None:
            kept = centre >= 0
            pair, vector, centre = pair[kept], vector[kept], centre[kept]
        around, centres = species[pair[:, 1]], species[atoms]
        if "energy" in outputs:
            energies = self.energy(vector, centre, around, centres)
            per_atom = outputs["energy"].sample_kind != "system"
            results["energy"] = as_map(energies.unsqueeze(1), samples, len(systems), per_atom, "energy")
        for name, tensor in self.tensors.items():
            wanted = "wk_potential::" + name
            if wanted in outputs:
                values = tensor(vector, centre, around, centres).unsqueeze(-1)
                per_atom = outputs[wanted].sample_kind != "system"
                results[wanted] = as_map(values, samples, len(systems), per_atom, name)
        return results


def as_map(values: torch.Tensor, samples: torch.Tensor, n_systems: int, per_atom: bool, name: str) -> TensorMap:
    """Values (n, ..., 1) of the atoms, or their sums over the systems, in the form that metatomic wants."""
    names = ["system", "atom"]
    if not per_atom:
        names = ["system"]
        sums = torch.zeros([n_systems] + list(values.shape[1:]), dtype=values.dtype, device=values.device)  # noqa: RUF005
        values = sums.index_add(0, samples[:, 0], values)
        samples = torch.arange(n_systems, device=values.device).unsqueeze(1)
    axes = torch.arange(3, dtype=torch.int32, device=values.device).unsqueeze(1)
    components: List[Labels] = []
    if values.dim() == 3:
        components.append(Labels("xyz", axes))
    elif values.dim() == 4:
        components.append(Labels("xyz_1", axes))
        components.append(Labels("xyz_2", axes))
    one = torch.zeros(1, 1, dtype=torch.int32, device=values.device)
    block = TensorBlock(values, Labels(names, samples.to(torch.int32)), components, Labels(name, one))
    return TensorMap(Labels("_", one), [block])


def atomistic_model(model: Model, name: str, precision: str) -> AtomisticModel:
    """Return the module with what it can do, its units, and the header of the model as metadata.

    Args:
        model: that `check_exportable` accepts.
        name: for people.
        precision: float64 or float32.

    """
    training = model.info.get("training", {})
    metadata = ModelMetadata(
        name=name,
        description=f"Wigner-kernel potential in mapped form, trained on {training.get('frames', '?')} frames",
        references={
            "architecture": ["F. Bigi, S. N. Pozdnyakov, M. Ceriotti, J. Chem. Phys. 161, 044116 (2024)"],
            "implementation": ["https://github.com/wk-potential/wk_potential"],
        },
        extra={"wk_potential": json.dumps({"cutoff": model.cutoff, **model.info})},
    )
    capabilities = ModelCapabilities(
        outputs={
            "energy": ModelOutput(unit="eV", sample_kind="atom"),
            **{f"wk_potential::{name}": ModelOutput(unit=UNITS[name], sample_kind="atom") for name in model.tensors},
        },
        atomic_types=[int(z) for z in model.elements],
        interaction_range=float(model.cutoff),
        length_unit="angstrom",
        supported_devices=["cpu", "cuda"],
        dtype=precision,
    )
    module = MetatomicPotential(model, getattr(torch, precision)).eval()
    return AtomisticModel(module, metadata, capabilities)
