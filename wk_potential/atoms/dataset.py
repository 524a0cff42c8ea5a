"""Training frames and their labels: how many there are, of which kind, in which order."""

import hashlib
from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols

from .frame import Frame
from .kinds import KINDS, TENSORS


def label_slots(frame: Frame) -> np.ndarray:
    """Positions (1 + 3 N + 6,) of a frame's labels among those it has, -1 for those it lacks."""
    n = len(frame)
    has = np.zeros(7 + 3 * n, bool)
    has[0] = frame.energy is not None
    has[1 : 1 + 3 * n] = frame.forces is not None
    has[1 + 3 * n :] = frame.stress is not None
    return np.where(has, np.cumsum(has) - 1, -1)


def sampled_frames(counts, n_labels: int, least: int, seed: int) -> np.ndarray:
    """Return random frames, in order, that have n_labels labels together or fewer, but at least so many frames.

    Args:
        counts: (F,) labels of each frame.
        n_labels: at most.
        least: number of frames.
        seed: of the choice.

    """
    order = np.random.default_rng(seed).permutation(len(counts))
    within = np.cumsum(np.asarray(counts)[order]) <= n_labels
    within[:least] = True
    return np.sort(order[within])


def label_counts(frames) -> list[int]:
    """Number of labels of each frame."""
    return [sum(np.size(v) for k in KINDS if (v := getattr(f, k)) is not None) for f in frames]


def kind_counts(frames) -> dict[str, int]:
    """Number of labels of each kind."""
    return {kind: sum(np.size(v) for f in frames if (v := getattr(f, kind)) is not None) for kind in KINDS}


def label_table(frames: Sequence[Frame]) -> list[tuple[str, str, int, int]]:
    """Count what a data set holds: rows of (kind, name, frames, numbers).

    The kinds are energy, forces and stress, named by the keys they were read from (a single unnamed row where
    there are none), then element and config_type with the number of atoms, last "total".
    """
    tensors = [kind for kind in TENSORS if any(getattr(frame, kind) is not None for frame in frames)]
    kinds = (*KINDS, *tensors, "element", "config_type", "total")
    counts: dict[str, dict[str, list[int]]] = {kind: {} for kind in kinds}
    for frame in frames:
        for kind in (*KINDS, *tensors):
            if (label := getattr(frame, kind)) is not None:
                counts[kind].setdefault(dict(frame.keys).get(kind, kind), []).append(np.size(label))
        for number, n in zip(*np.unique(frame.numbers, return_counts=True), strict=True):
            counts["element"].setdefault(chemical_symbols[number], []).append(int(n))
        counts["config_type"].setdefault(frame.config_type, []).append(len(frame))
        counts["total"].setdefault("", []).append(len(frame))
    found = ((kind, name, n) for kind, names in counts.items() for name, n in (names or {"": []}).items())
    return [(kind, name, len(n), sum(n)) for kind, name, n in found]


def data_hash(frames: Sequence[Frame]) -> str:
    """Return the SHA-256 of all structures and labels in order, in hex; sources and keys do not count."""
    digest = hashlib.sha256()
    for frame in frames:
        for name in ("numbers", "positions", "cell", "pbc", *KINDS):
            value = getattr(frame, name)
            array = np.asarray([] if value is None else value, "<i8" if name in ("numbers", "pbc") else "<f8")
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        for name in TENSORS:
            if (value := getattr(frame, name)) is not None:
                digest.update(name.encode() + np.asarray(value, "<f8").tobytes())
    return digest.hexdigest()
