"""Neighbours of some atoms at a time as padded arrays, so that memory is bounded."""

import torch

CHUNK = 512  # atoms whose intermediate arrays are held at the same time on a CPU
CHUNK_CUDA = 8192  # on a graphics processor


@torch.jit.script
class SortedPairs:
    """Pairs within the cutoff, sorted by their centres.

    Args:
        vectors: (P, 3) from each centre to its neighbours, Angstrom.
        centre: (P,) the centre of each pair.
        n_atoms: number N of centres.
        cutoff: Angstrom.

    """

    def __init__(self, vectors: torch.Tensor, centre: torch.Tensor, n_atoms: int, cutoff: float) -> None:
        near = torch.nonzero(torch.linalg.vector_norm(vectors, dim=1) < cutoff).flatten()
        self.cutoff = cutoff
        self.near = near[torch.argsort(centre[near])]
        self.count = torch.bincount(centre[self.near], minlength=n_atoms)
        self.first = torch.cumsum(self.count, 0) - self.count

    def of_atoms(self, atoms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs (p,) of some atoms (n,), and their places in a padded array: (n, K), true where there is one."""
        count = self.count[atoms]
        places = torch.arange(max(1, int(count.max())), device=atoms.device).unsqueeze(0)
        there = places < count.unsqueeze(1)
        return self.near[(self.first[atoms].unsqueeze(1) + places)[there]], there

    def padded(
        self, pairs: torch.Tensor, there: torch.Tensor, vectors: torch.Tensor, around: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (n, K, 3) and elements (n, K) of the neighbours; what fills the rest is beyond the cutoff."""
        padded = torch.full(
            [there.shape[0], there.shape[1], 3], 2.0 * self.cutoff, dtype=vectors.dtype, device=vectors.device
        )
        padded[there] = vectors[pairs]
        neighbours = torch.zeros_like(there, dtype=torch.long)
        neighbours[there] = around[pairs]
        return padded, neighbours
