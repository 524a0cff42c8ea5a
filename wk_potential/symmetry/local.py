"""Energies of atoms as functions of their environments: an ASE calculator of them, and symmetric ones.

`SymmetricEnergy` makes a function of one environment invariant under rotations and inversion, exactly and smoothly: the
ECSE protocol of S. Pozdnyakov, M. Ceriotti, Smooth, exact rotational symmetrization for deep learning on point clouds,
NeurIPS 2023, arXiv:2305.19302. The function is evaluated in coordinate systems that pairs of neighbours define, and the
results are averaged with weights that vanish where such a pair leaves the cutoff or becomes collinear.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress

from ..errors import OptionsError

# Energy of an atom in eV and its gradient (n, 3), from its atomic number, those of its neighbours (n,), and the vectors
# to them (n, 3). It must not depend on their order, and a neighbour must vanish smoothly at the cutoff
LocalEnergy = Callable[[int, np.ndarray, np.ndarray], tuple[float, np.ndarray]]

COLLINEAR = 0.1  # sin^2 of the angle of a pair, from which on it has its full weight
POWER = 16  # of the mean that stands for the largest weight: smooth, and at most 1.6 times as large for 40 neighbours
KEPT = (0.4, 0.6)  # of the largest weight: a pair with less has none, one with more its own
SCARCE = 0.1  # largest weight, below which axes through single neighbours count too, and their own largest weight


class LocalCalculator(Calculator):
    """ASE calculator whose energy is the sum of functions of the environments of the atoms.

    Args:
        energy: of an atom, see `LocalEnergy`.
        cutoff: Angstrom.

    Raises:
        OptionsError: the cutoff is not positive.

    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(self, energy: LocalEnergy, cutoff: float) -> None:
        super().__init__()
        _check_cutoff(cutoff)
        self.energy, self.cutoff = energy, cutoff

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Compute energies, forces and, for crystals, stress."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        centre, neighbour, vectors = neighbor_list("ijD", self.atoms, self.cutoff)
        numbers = self.atoms.numbers
        energies, gradients = np.zeros(len(numbers)), np.zeros((len(vectors), 3))
        first = np.searchsorted(centre, np.arange(len(numbers) + 1))
        for i, own in enumerate(map(slice, first, first[1:])):
            energies[i], gradients[own] = self.energy(int(numbers[i]), numbers[neighbour[own]], vectors[own])
        forces = np.zeros((len(numbers), 3))
        np.add.at(forces, centre, gradients)
        np.add.at(forces, neighbour, -gradients)
        energy = float(energies.sum())
        self.results = {"energy": energy, "free_energy": energy, "energies": energies, "forces": forces}
        if self.atoms.pbc.all():
            stress = vectors.T @ gradients / self.atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(0.5 * (stress + stress.T))


def _check_cutoff(cutoff: float) -> None:
    if not 0 < cutoff < np.inf:
        raise OptionsError(f"the cutoff must be a positive number of Angstrom, not {cutoff}")


class _Environment(NamedTuple):
    """Neighbours of an atom.

    Attributes:
        r: (n, 3) vectors to them, Angstrom.
        d: (n,) their lengths.
        u: (n, 3) their directions.
        cosines: (n, n) between the directions.
        f, slopes: (n,) 1 for neighbours at the centre, 0 at the cutoff, and the derivatives by d.

    """

    r: np.ndarray
    d: np.ndarray
    u: np.ndarray
    cosines: np.ndarray
    f: np.ndarray
    slopes: np.ndarray


class _Weights(NamedTuple):
    """Weights of the coordinate systems.

    Attributes:
        plain: (n, n) f_i f_j q_ij, q = 0 for collinear pairs.
        largest: smooth stand-in for the largest of them.
        pairs: (n, n) those of the coordinate systems with z along i and x towards j.
        axes: (n,) those of the axes through single neighbours.

    """

    plain: np.ndarray
    largest: float
    pairs: np.ndarray
    axes: np.ndarray


class SymmetricEnergy:
    """Energy of an atom that does not depend on the orientation, from one that does (a `LocalEnergy` itself).

    It is exact to rounding, and as smooth as the function where no neighbours coincide. Where all neighbours are
    collinear, the mean is taken over the axes through single neighbours, about which the environment is turned into a
    plane in a smooth way that becomes exact there.

    Args:
        energy: any function of the environment, see `LocalEnergy`.
        cutoff: Angstrom, of the function.

    Attributes:
        calls: of the function, so far.

    Raises:
        OptionsError: the cutoff is not positive.

    """

    def __init__(self, energy: LocalEnergy, cutoff: float) -> None:
        _check_cutoff(cutoff)
        self.energy, self.cutoff, self.calls = energy, cutoff, 0

    def __call__(self, centre: int, numbers: np.ndarray, vectors: np.ndarray) -> tuple[float, np.ndarray]:
        """Return energy and gradient (n, 3)."""
        if not len(vectors):
            return self._of(centre, numbers, vectors)
        e = self._environment(vectors)
        w = _weights(e)
        pairs, values, gradients = np.argwhere(w.pairs).tolist(), [], []
        for i, j in pairs:
            value, gradient = self._in_pair(centre, numbers, e, i, j)
            values.append(value)
            gradients.append(w.pairs[i, j] * gradient)
        axes = np.flatnonzero(w.axes).tolist()
        for i in axes:
            value, gradient = self._about_axis(centre, numbers, e, i)
            values.append(value)
            gradients.append(w.axes[i] * gradient)
        weights = np.array([*(w.pairs[i, j] for i, j in pairs), *w.axes[axes]])
        total = weights.sum()
        if total == 0:  # all neighbours are at the cutoff
            return self._of(centre, numbers[:0], vectors[:0])[0], np.zeros_like(vectors)
        energy = float(weights @ values) / total
        by_weight = (np.array(values) - energy) / total
        by_pair, by_axis = np.zeros_like(w.pairs), np.zeros_like(w.axes)
        for (i, j), g in zip(pairs, by_weight, strict=False):
            by_pair[i, j] = g
        by_axis[axes] = by_weight[len(pairs) :]
        return energy, np.sum(gradients, axis=0) / total + _weights_adjoint(e, w, by_pair, by_axis)

    def _of(self, centre: int, numbers: np.ndarray, vectors: np.ndarray) -> tuple[float, np.ndarray]:
        self.calls += 1
        return self.energy(centre, numbers, vectors)

    def _environment(self, r: np.ndarray) -> _Environment:
        d = np.linalg.norm(r, axis=1)
        u = r / d[:, None]
        h = np.maximum(1 - (d / self.cutoff) ** 2, 0.0)
        return _Environment(r, d, u, u @ u.T, h**3, -6 * h**2 * d / self.cutoff**2)

    def _in_pair(self, centre: int, numbers: np.ndarray, e: _Environment, i: int, j: int) -> tuple[float, np.ndarray]:
        """Mean over the two coordinate systems, right- and left-handed, with z along i and x towards j."""
        z = e.u[i]
        p = e.r[j] - (e.r[j] @ z) * z
        size = np.linalg.norm(p)
        x = p / size
        energy, out = 0.0, np.zeros_like(e.r)
        for hand in (1.0, -1.0):
            axes = np.array([x, hand * np.cross(z, x), z])
            value, g = self._of(centre, numbers, e.r @ axes.T)
            energy += 0.5 * value
            out += 0.5 * g @ axes
            gx, gy, gz = 0.5 * g.T @ e.r  # by the axes
            gx, gz = gx + hand * np.cross(gy, z), gz + hand * np.cross(x, gy)
            gp = (gx - (gx @ x) * x) / size
            out[j] += gp - (gp @ z) * z
            gz = gz - (gp @ z) * e.r[j] - (e.r[j] @ z) * gp
            out[i] += (gz - (gz @ z) * z) / e.d[i]
        return energy, out

    def _about_axis(self, centre: int, numbers: np.ndarray, e: _Environment, i: int) -> tuple[float, np.ndarray]:
        """Energy with all neighbours turned about the axis through i into one half-plane, at the same distances.

        A neighbour at distance d whose angle with the axis has the cosine t goes to x = d (1 - t^2), y = 0,
        z = d t (2 - t^2)^(1/2). This is smooth, and nothing moves where t = 1 or -1.
        """
        t = e.cosines[:, i]
        root = np.sqrt(2 - t**2)
        value, g = self._of(centre, numbers, np.stack([e.d * (1 - t**2), 0 * t, e.d * t * root], axis=1))
        by_d = g[:, 0] * (1 - t**2) + g[:, 2] * t * root
        by_t = e.d * (-2 * t * g[:, 0] + 2 * (1 - t**2) / root * g[:, 2])
        out = by_d[:, None] * e.u
        cosines = np.zeros_like(e.cosines)
        cosines[:, i] = by_t
        return value, out + _cosines_adjoint(e, cosines)


def _weights(e: _Environment) -> _Weights:
    plain = np.outer(e.f, e.f) * _step((1 - e.cosines**2) / COLLINEAR)[0]
    np.fill_diagonal(plain, 0.0)
    highest = plain.max()
    largest = float(highest * np.sum((plain / highest) ** POWER) ** (1 / POWER)) if highest > 0 else 0.0
    pairs = plain * _kept(plain / largest)[0] if largest > 0 else np.zeros_like(plain)
    return _Weights(plain, largest, pairs, SCARCE * e.f**2 * (1 - _step(largest / SCARCE)[0]))


def _weights_adjoint(e: _Environment, w: _Weights, by_pair: np.ndarray, by_axis: np.ndarray) -> np.ndarray:
    """Gradient (n, 3) by the neighbours, from those by the weights (n, n) and (n,)."""
    few, few_slope = _step(w.largest / SCARCE)
    by_f = by_axis * SCARCE * 2 * e.f * (1 - few)
    by_plain = np.zeros_like(w.plain)
    if w.largest > 0:
        share = w.plain / w.largest
        kept, slope = _kept(share)
        by_largest = -float(np.sum(by_pair * share**2 * slope)) - float(by_axis @ e.f**2) * few_slope
        by_plain = by_pair * (kept + share * slope) + by_largest * share ** (POWER - 1)
    q, q_slope = _step((1 - e.cosines**2) / COLLINEAR)
    product = by_plain * q
    by_f = by_f + product @ e.f + product.T @ e.f
    by_cosine = by_plain * np.outer(e.f, e.f) * q_slope * -2 * e.cosines / COLLINEAR
    np.fill_diagonal(by_cosine, 0.0)
    return (by_f * e.slopes)[:, None] * e.u + _cosines_adjoint(e, by_cosine)


def _cosines_adjoint(e: _Environment, by_cosine: np.ndarray) -> np.ndarray:
    """Gradient (n, 3) by the neighbours, from that by the cosines (n, n) of their angles."""
    both = by_cosine + by_cosine.T
    return (both @ e.u - np.sum(both * e.cosines, axis=1)[:, None] * e.u) / e.d[:, None]


def _step(t: Any) -> tuple[Any, Any]:
    """Smooth step from 0 at t = 0 to 1 at t = 1, and its slope."""
    t = np.clip(t, 0.0, 1.0)
    return t**3 * (10 - 15 * t + 6 * t**2), 30 * t**2 * (1 - t) ** 2


def _kept(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which part of its weight a pair keeps that has a share (n, n) of the largest one, and the slope."""
    value, slope = _step((share - KEPT[0]) / (KEPT[1] - KEPT[0]))
    return value, slope / (KEPT[1] - KEPT[0])
