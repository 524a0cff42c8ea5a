"""Training frames and their labels: how many there are, of which kind, in which order."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from .frame import Frame
from .kinds import KINDS, TENSORS, LabelKind

LEFT_ASIDE = "left aside"  # in the table of what a data set holds


def _sampled(counts: np.ndarray, most: int, least: int, seed: int) -> np.ndarray:
    """Random frames, in order, as many as together have `most` (of what is counted) or fewer, but `least` at least."""
    order = np.random.default_rng(seed).permutation(len(counts))
    within = np.cumsum(np.asarray(counts)[order]) <= most
    within[:least] = True
    return np.sort(order[within])


def _constant(array: npt.ArrayLike) -> np.ndarray:
    """Return the array, which can no longer be changed."""
    array = np.asarray(array)
    array.flags.writeable = False
    return array


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each part begins, and where the last one ends (n + 1,)."""
    return _constant(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))


@dataclass(frozen=True)
class Labels:
    """Numbers to fit, and what is known of each of them.

    Attributes:
        values: (n,) numbers to fit, eV and Angstrom; virials stand for stresses.
        kind: (n,) `LabelKind` of each. Components of tensors count as energies, for they are sums over atoms too.
        size: (n,) standard deviation of each in units of the noise of its kind: the square root of the number of atoms
            for energies and virials, 1 for forces, divided by the square root of the frame's weight.
        first: (F + 1,) first label of each frame.

    """

    values: np.ndarray
    kind: np.ndarray
    size: np.ndarray
    first: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.first) - 1

    def rows(self, frames: Iterable[int]) -> np.ndarray:
        """Numbers of the labels of some of the frames."""
        return np.concatenate([np.arange(self.first[k], self.first[k + 1]) for k in frames])

    def subset(self, frames: np.ndarray) -> "Labels":
        """Return the labels of some of the frames."""
        rows = self.rows(frames)
        return Labels(self.values[rows], self.kind[rows], self.size[rows], _starts(np.diff(self.first)[frames]))

    def sampled(self, most: int, least: int, seed: int) -> np.ndarray:
        """Return random frames as `Dataset.sampled` does."""
        return _sampled(np.diff(self.first), most, least, seed)

    def has(self, kind: LabelKind) -> bool:
        """Whether there are labels of a kind."""
        return bool(np.any(self.kind == kind))

    @property
    def kinds(self) -> list[LabelKind]:
        """The kinds of labels that there are."""
        return [LabelKind(kind) for kind in np.unique(self.kind)]

    def spread(self) -> np.ndarray:
        """Root mean square (3,) of each kind in units of its size, 1 for a kind without labels."""
        out = np.ones(len(LabelKind))
        for kind in self.kinds:
            of_kind = self.kind == kind
            out[kind] = np.sqrt(np.mean((self.values[of_kind] / self.size[of_kind]) ** 2)) or 1.0
        return out


class Dataset(Sequence[Frame]):
    """Frames whose atoms and labels are counted once.

    Labels stand in the order of the frames, and within a frame in the order of `LabelKind`: the energy, the forces
    (x, y, z of the first atom, then of the second), the stress. It does not change; what is counted is kept.

    Args:
        frames: structures and their labels. Of another data set the frames are taken, not the elements.
        elements: (n_elements,) sorted atomic numbers, which have to include those of the frames [those of the frames].

    Attributes:
        frames: all frames.
        elements: (n_elements,) sorted atomic numbers.

    """

    def __init__(self, frames: Sequence[Frame], elements: np.ndarray | None = None) -> None:
        self.frames = tuple(frames)
        if elements is None:
            elements = np.unique(np.concatenate([np.zeros(0, np.int64), *(f.numbers for f in self.frames)]))
        self.elements = np.asarray(elements)

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> "Dataset": ...

    def __getitem__(self, index: int | slice) -> "Frame | Dataset":
        """Return a frame, or for a slice a data set with the same elements."""
        return Dataset(self.frames[index], self.elements) if isinstance(index, slice) else self.frames[index]

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def subset(self, indices: Iterable[int]) -> "Dataset":
        """Return the data set of some of the frames, with the same elements."""
        return Dataset([self.frames[k] for k in indices], self.elements)

    def with_tensor(self, name: str) -> "Dataset":
        """Return the data set of the frames that have a dipole or a polarisability, with the same elements."""
        return Dataset([frame for frame in self.frames if getattr(frame, name) is not None], self.elements)

    # atoms

    @cached_property
    def n_atoms(self) -> np.ndarray:
        """Number of atoms (F,) of each frame."""
        return _constant(np.array([len(frame) for frame in self.frames], np.int64))

    @property
    def n_environments(self) -> int:
        """Number of atoms of all frames."""
        return int(self.n_atoms.sum())

    @cached_property
    def species(self) -> np.ndarray:
        """Index (n_environments,) among `elements` of each atom."""
        numbers = np.concatenate([np.zeros(0, np.int64), *(frame.numbers for frame in self.frames)])
        return _constant(np.searchsorted(self.elements, numbers))

    @cached_property
    def element_counts(self) -> np.ndarray:
        """Number of atoms (F, n_elements) of each element in each frame."""
        counts = [[np.sum(frame.numbers == z) for z in self.elements] for frame in self.frames]
        return _constant(np.array(counts, np.int64).reshape(len(self), len(self.elements)))

    # labels

    @cached_property
    def counts_by_kind(self) -> np.ndarray:
        """Number of labels (F, 3) of each frame and kind."""
        counts = [[np.size(v) if (v := getattr(f, kind)) is not None else 0 for kind in KINDS] for f in self.frames]
        return _constant(np.array(counts, np.int64).reshape(len(self), len(KINDS)))

    @property
    def energies_alone(self) -> bool:
        """Whether no frame has forces or stresses."""
        return not self.counts_by_kind[:, LabelKind.FORCES :].any()

    @property
    def label_counts(self) -> np.ndarray:
        """Number of labels (F,) of each frame."""
        return self.counts_by_kind.sum(axis=1)

    @property
    def kind_counts(self) -> dict[str, int]:
        """Number of labels of each kind, by its name."""
        return dict(zip(KINDS, self.counts_by_kind.sum(axis=0).tolist(), strict=True))

    @property
    def tensor_counts(self) -> dict[str, int]:
        """Number of frames with each kind of tensor, of those that there are."""
        counts = {name: sum(getattr(frame, name) is not None for frame in self.frames) for name in TENSORS}
        return {name: n for name, n in counts.items() if n}

    @property
    def n_labels(self) -> int:
        """Number of labels of all frames; tensors are none."""
        return int(self.counts_by_kind.sum())

    @cached_property
    def label_first(self) -> np.ndarray:
        """First label of each frame, and the number of labels (F + 1,)."""
        return _starts(self.label_counts)

    @cached_property
    def frame_of_label(self) -> np.ndarray:
        """Frame (n_labels,) of each label."""
        return _constant(np.repeat(np.arange(len(self)), self.label_counts))

    @cached_property
    def kind(self) -> np.ndarray:
        """`LabelKind` (n_labels,) of each label."""
        return _constant(np.repeat(np.tile(np.arange(len(KINDS)), len(self)), self.counts_by_kind.ravel()))

    @cached_property
    def size(self) -> np.ndarray:
        """Standard deviation (n_labels,) of each label in units of the noise of its kind, see `Labels`."""
        roots, weights = np.sqrt(self.n_atoms), np.array([frame.weight for frame in self.frames])
        of_kind = np.where(self.kind == LabelKind.FORCES, 1.0, roots[self.frame_of_label])
        return _constant(of_kind / np.sqrt(weights)[self.frame_of_label])

    def slots(self, k: int) -> np.ndarray:
        """Positions (1 + 3 N + 6,) of the labels of frame k among those that it has, -1 for those that it lacks.

        They are those of the energy, of the derivatives by the atoms' coordinates, and by the strains.
        """
        has = np.repeat(self.counts_by_kind[k] > 0, [1, 3 * self.n_atoms[k], 6])
        return np.where(has, np.cumsum(has) - 1, -1)

    def fit_targets(self, baseline: npt.ArrayLike) -> np.ndarray:
        """Numbers to fit (n_labels,): energies less the baseline, derivatives by positions (-forces), virials.

        Args:
            baseline: (n_elements,) eV, energy of an atom of each element.

        """
        values: list[np.ndarray] = [np.zeros(0)]
        for frame in self.frames:
            if frame.energy is not None:
                of_atoms = np.asarray(baseline)[np.searchsorted(self.elements, frame.numbers)]
                values.append(np.array([frame.energy - of_atoms.sum()]))
            if frame.forces is not None:
                values.append(-frame.forces.ravel())
            if frame.stress is not None:
                values.append(frame.stress * frame.volume)
        return np.concatenate(values)

    def labels(self, baseline: npt.ArrayLike) -> Labels:
        """Return the numbers to fit and what is known of them; the argument is that of `fit_targets`."""
        return Labels(self.fit_targets(baseline), self.kind, self.size, self.label_first)

    # choices of frames and environments

    def sampled(self, most: int, least: int, seed: int, most_atoms: int | None = None) -> np.ndarray:
        """Return random frames, in order, that have together at most some number of labels.

        Args:
            most: labels.
            least: number of frames, which counts more.
            seed: of the choice.
            most_atoms: of those of these frames that have labels [any number].

        """
        by_labels = _sampled(self.label_counts, most, least, seed)
        if most_atoms is None:
            return by_labels
        return min(by_labels, _sampled(np.where(self.label_counts, self.n_atoms, 0), most_atoms, least, seed), key=len)

    def sampled_until(self, n_labels: int, seed: int, most_atoms: int) -> np.ndarray:
        """Return random frames, in order, until there are so many labels, or so many atoms in frames with labels."""
        order = np.random.default_rng(seed).permutation(len(self))
        atoms = np.where(self.label_counts, self.n_atoms, 0)[order]
        n_frames = int(np.searchsorted(np.cumsum(self.label_counts[order]), n_labels)) + 1
        most = int(np.searchsorted(np.cumsum(atoms), most_atoms)) + 1
        return np.sort(order[: min(n_frames, most)])

    def drawn_environments(self, most: int, seed: int) -> np.ndarray:
        """Return which environments (n_environments,) are drawn at random: `most` of each element, or all."""
        rng, drawn = np.random.default_rng(seed), np.zeros(self.n_environments, bool)
        for z in range(len(self.elements)):
            drawn[rng.permutation(np.flatnonzero(self.species == z))[:most]] = True
        return drawn


def label_table(frames: Sequence[Frame]) -> list[tuple[str, str, int, int]]:
    """Count what a data set holds: rows of (kind, name, frames, numbers).

    The kinds are energy, forces and stress, named by the keys they were read from (a single unnamed row where
    there are none), then what was left aside, of which only frames are counted, element and config_type with the number
    of atoms, last "total".
    """
    tensors = [kind for kind in TENSORS if any(getattr(frame, kind) is not None for frame in frames)]
    kinds = (*KINDS, *tensors, LEFT_ASIDE, "element", "config_type", "total")
    counts: dict[str, dict[str, list[int]]] = {kind: {} for kind in kinds}
    for frame in frames:
        for kind in (*KINDS, *tensors):
            if (label := getattr(frame, kind)) is not None:
                counts[kind].setdefault(dict(frame.keys).get(kind, kind), []).append(np.size(label))
        for name in frame.unused:
            counts[LEFT_ASIDE].setdefault(name, []).append(0)
        for number, n in zip(*np.unique(frame.numbers, return_counts=True), strict=True):
            counts["element"].setdefault(chemical_symbols[number], []).append(int(n))
        counts["config_type"].setdefault(frame.config_type, []).append(len(frame))
        counts["total"].setdefault("", []).append(len(frame))
    if not counts[LEFT_ASIDE]:
        del counts[LEFT_ASIDE]
    found = ((kind, name, n) for kind, names in counts.items() for name, n in (names or {"": []}).items())
    return [(kind, name, len(n), sum(n)) for kind, name, n in found]


def data_hash(frames: Sequence[Frame]) -> str:
    """Return the SHA-256 of all structures, labels and weights in order, in hex; sources and keys do not count."""
    digest = hashlib.sha256()
    for frame in frames:
        for name in ("numbers", "positions", "cell", "pbc", *KINDS):
            value = getattr(frame, name)
            array = np.asarray([] if value is None else value, "<i8" if name in ("numbers", "pbc") else "<f8")
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        if frame.weight != 1.0:
            digest.update(b"weight" + np.asarray(frame.weight, "<f8").tobytes())
        for name in TENSORS:
            if (value := getattr(frame, name)) is not None:
                digest.update(name.encode() + np.asarray(value, "<f8").tobytes())
    return digest.hexdigest()
