"""Whole structures that no graph of distances tells apart, and the test that fails.

S. N. Pozdnyakov, M. Ceriotti, *Incompleteness of graph neural networks for point clouds in three dimensions*,
arXiv:2201.07136: there are different structures whose graphs, with every edge labelled by its distance, are the same
to the first-order Weisfeiler-Lehman test at any cutoff. Those here consist of pairs of atoms at v and -v:

* `sign_pair`: the vectors of both structures have the same lengths, and the same scalar products up to sign. From each
  atom, the two atoms of any pair are at the distances sqrt(v^2 + w^2 - 2 v.w) and sqrt(v^2 + w^2 + 2 v.w), in either
  order. With three vectors the sign of (u.v)(v.w)(w.u) does not change when a vector is reversed, so it tells the
  structures apart, and no distance knows it.
* `plane_pair`: u = (a, 0, c), v = (0, b, d), and w = (x, y, 0) or (x, -y, 0). The two stay a pair in any orthorhombic
  cell, which no reflection of a coordinate changes.
"""

import numpy as np
from ase import Atoms


def sign_pair(seed: int = 0) -> tuple[Atoms, Atoms]:
    """Two clusters of six atoms; the structures are different, the multisets of distances of their atoms are not."""
    rng = np.random.default_rng(seed)
    lengths, signs = rng.uniform(1.2, 1.8, 3), rng.uniform(0.1, 0.4, 3)
    found = []
    for last in (1, -1):
        cosines = np.eye(3)
        cosines[[0, 1], [1, 0]], cosines[[0, 2], [2, 0]] = signs[0], signs[1]
        cosines[[1, 2], [2, 1]] = last * signs[2]
        vectors = np.linalg.cholesky(cosines) * lengths[:, None]
        found.append(Atoms("C6", np.concatenate([vectors, -vectors])))
    return found[0], found[1]


def plane_pair(dimensions: int, seed: int = 0) -> tuple[Atoms, Atoms]:
    """Two structures of six atoms in a cell that is periodic along some (0 to 3) of its axes."""
    rng = np.random.default_rng(seed)
    a, b, x, y = rng.uniform(0.9, 1.6, 4)
    c, d = rng.uniform(0.4, 0.8, 2)
    cell, pbc = rng.uniform(4.5, 6.0, 3), np.arange(3) >= 3 - dimensions
    found = []
    for sign in (1, -1):
        vectors = np.array([[a, 0, c], [0, b, d], [x, sign * y, 0]])
        found.append(Atoms("C6", np.concatenate([vectors, -vectors]), cell=cell * pbc, pbc=pbc))
    return found[0], found[1]


def edges(atoms: Atoms, cutoff: float) -> list[list[tuple[float, int]]]:
    """Of each atom, the distances (to 1e-6 Angstrom) and the numbers of the atoms within the cutoff, images too."""
    spans = [np.arange(-n, n + 1) for n in np.ceil(cutoff / np.maximum(atoms.cell.lengths(), 1e-9)) * atoms.pbc]
    shifts = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3) @ atoms.cell.array
    between = atoms.positions[None] - atoms.positions[:, None]
    distances = np.linalg.norm(between[:, :, None] + shifts, axis=-1)
    found = (distances < cutoff) & (distances > 1e-9)
    return [[(round(distances[i, j, s], 6), int(j)) for j, s in np.argwhere(found[i])] for i in range(len(atoms))]


def colours(first: Atoms, second: Atoms, cutoff: float, rounds: int = 6) -> list[tuple[list[int], list[int]]]:
    """Sorted colours of the atoms of two structures in each round of the first-order Weisfeiler-Lehman test.

    The first colour is the element. An atom's next colour stands for its colour and the multiset of (distance, colour)
    of its neighbours. The test tells the structures apart if the colours differ in any round.
    """
    graphs = [edges(first, cutoff), edges(second, cutoff)]
    now = [atoms.numbers.tolist() for atoms in (first, second)]
    found = []
    for _ in range(rounds):
        found.append((sorted(now[0]), sorted(now[1])))
        seen: dict[tuple, int] = {}
        now = [
            [seen.setdefault((own[i], *sorted((d, own[j]) for d, j in graph[i])), len(seen)) for i in range(len(graph))]
            for graph, own in zip(graphs, now, strict=True)
        ]
    return found
