"""What a data set holds: ranges, distances, repeated frames, wrong units, and frames that stand out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from ..atoms.dataset import Dataset, label_table
from ..atoms.frame import Frame
from ..atoms.reading import FrameSource, frames_of
from ..density.frames import closest_distances
from ..training.doubts import label_warnings, unit_warnings
from ..training.task import Progress, quiet
from .findings import Finding, file_of, frame_name, largest_first, named
from .likeness import likeness, near_groups, same_labels, structure_groups
from .robust import least_absolute, lonely
from .units import likely_unit

REACH = 6.0  # Angstrom, the usual cutoff: up to it nearest distances are looked for
# Least standard deviations that are assumed of the frames: smaller differences are no sign of a fault
LEAST_ENERGY = 0.01  # eV per atom
LEAST_LOG = 0.1  # of logarithms: 10 % of forces, stresses and net forces
LEAST_VOLUME = 0.02  # of its logarithm
LEAST_DISTANCE = 0.02  # of its logarithm
SMALLEST = {"forces": 0.01, "stress": 1e-4}  # eV/Angstrom, eV/Angstrom^3: below are frames at rest, whatever the unit
NET = 0.01  # eV/Angstrom, net force per sqrt(atom) that codes leave by the finite grids of their integrals
SAME_UNIT = 0.05  # by which energies may differ from a known unit; their ratio is known far better
SIMILAR = 0.3  # likewise of the rms forces of a frame, which vary from frame to frame


@dataclass(frozen=True)
class Summary:
    """What a data set holds; all of it can be written as JSON.

    Attributes:
        n_frames, n_atoms: of all files.
        elements: number of atoms by chemical symbol.
        labels: rows of kind, name in the files, number of frames and of values.
        ranges: least, median and largest of each quantity over the frames, with its unit.
        distances: smallest distance in Angstrom by pair of elements, and the frame that has it.
        duplicates: groups of frames with the same structure to the last bit, and whether their labels are the same.
        near_duplicates: groups of frames whose structures differ by less than small random displacements do.
        doubts: what looks wrong in whole files.
        findings: frames that stand out, those that stand out most first.

    """

    n_frames: int
    n_atoms: int
    elements: dict[str, int]
    labels: list[tuple[str, str, int, int]]
    ranges: dict[str, dict[str, Any]]
    distances: dict[str, dict[str, Any]]
    duplicates: list[dict[str, Any]]
    near_duplicates: list[list[str]]
    doubts: list[str]
    findings: list[Finding]

    def to_json(self) -> dict[str, Any]:
        """Return all of it by name, for JSON."""
        return asdict(self) | {"findings": [f._asdict() for f in self.findings]}


def summarise(
    data: FrameSource | Sequence[Frame], threads: int | None = None, progress: Progress = quiet, **reading: Any
) -> Summary:
    """Look at a data set without a model: what it holds, what is repeated, what looks wrong.

    Frames stand out if a number of theirs is more than six standard deviations from those of nearly all others. The
    statistics are medians, which wrong frames do not change as long as they are few.

    Args:
        data: what `read_frames` takes, or frames.
        threads: without it OMP_NUM_THREADS if set, else the cores available.
        progress: receives the name of a stage and the fraction done.
        reading: keywords of `read_frames`.

    Raises:
        DataError: as `read_frames`.

    """
    frames = frames_of(data, **reading)
    dataset = Dataset(frames)
    table = label_table(frames)
    likes = likeness(frames, threads=threads, progress=progress)
    exact = structure_groups(frames)
    whole = {tuple(group) for group in exact}
    near = [group for group in near_groups(frames, likes) if tuple(group) not in whole]
    closest = [closest_distances(dataset[k : k + 1], REACH) for k in range(len(frames))]
    return Summary(
        len(frames),
        dataset.n_environments,
        {name: n for kind, name, _, n in table if kind == "element"},
        table,
        {name: _range(values) | {"unit": unit} for name, (unit, values) in quantities(frames).items()},
        _distances(dataset, closest),
        [
            {
                "frames": named(frames, group),
                "same_labels": all(same_labels(frames[group[0]], frames[k]) for k in group),
            }
            for group in exact
        ],
        [named(frames, group) for group in near],
        file_doubts(frames),
        largest_first([*standing_out(frames), *_odd_distances(frames, closest)]),
    )


def quantities(frames: Sequence[Frame]) -> dict[str, tuple[str, np.ndarray]]:
    """Unit and values, one for each frame that has it, of the quantities whose ranges are told."""
    rms: Callable[[Any], float] = lambda x: float(np.sqrt(np.mean(np.square(x))))  # noqa: E731
    found: dict[str, tuple[str, list[float]]] = {
        "energy per atom": ("eV", [f.energy / len(f) for f in frames if f.energy is not None]),
        "forces, rms": ("eV/Å", [rms(f.forces) for f in frames if f.forces is not None]),
        "forces, largest": ("eV/Å", [_largest(f.forces) for f in frames if f.forces is not None]),
        "stress, rms": ("eV/Å³", [rms(f.stress) for f in frames if f.stress is not None]),
        "volume per atom": ("Å³", [f.volume / len(f) for f in frames if f.pbc.all()]),
        "atoms": ("", [float(len(f)) for f in frames]),
    }
    return {name: (unit, np.array(values)) for name, (unit, values) in found.items() if values}


def _largest(forces: np.ndarray) -> float:
    return float(np.linalg.norm(forces, axis=1).max())


def _range(values: np.ndarray) -> dict[str, Any]:
    least, middle, most = (float(x) for x in np.quantile(values, [0, 0.5, 1]))
    return {"least": least, "median": middle, "largest": most}


def _distances(data: Dataset, closest: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
    """Smallest distance of each pair of elements that come near each other."""
    stacked, out = np.stack(closest), {}
    for a, b in zip(*np.triu_indices(len(data.elements)), strict=True):
        k = int(stacked[:, a, b].argmin())
        if np.isfinite(stacked[k, a, b]):
            pair = "-".join(chemical_symbols[data.elements[i]] for i in (a, b))
            out[pair] = {"distance": float(stacked[k, a, b]), "frame": frame_name(data[k], k)}
    return out


def file_doubts(frames: Sequence[Frame]) -> list[str]:
    """Say what looks wrong in whole files: units, labels that stand for missing ones, energies of another unit."""
    files: dict[str, list[Frame]] = {}
    for frame in frames:
        files.setdefault(file_of(frame), []).append(frame)
    doubts = []
    for name, own in files.items():
        texts = [*unit_warnings(own), *label_warnings(own)]
        if len(files) > 1:
            texts += _unlike_others(own, [frame for frame in frames if file_of(frame) != name])
        doubts += [f"{name}: {text}" if name else text for text in texts]
    return doubts


def _unlike_others(own: Sequence[Frame], others: Sequence[Frame]) -> list[str]:
    """Say if the energies of a file are those of the others in another unit."""
    labelled = [[f for f in part if f.energy is not None] for part in (own, others)]
    if not all(labelled):
        return []
    joined, n = Dataset([*labelled[0], *labelled[1]]), len(labelled[0])
    shares = joined.element_counts / joined.n_atoms[:, None]
    energies = np.array([f.energy for f in joined]) / joined.n_atoms
    expected = shares[:n] @ least_absolute(shares[n:], energies[n:])
    ratio = float(np.median(energies[:n] / np.where(expected, expected, np.inf)))
    unit = likely_unit("energy", ratio, SAME_UNIT) if ratio else ""
    text = f"energies are {ratio:.4g} times those of the other files, as if they were in {unit}; see --energy-unit"
    return [text] if unit else []


def standing_out(frames: Sequence[Frame]) -> list[Finding]:
    """Frames whose energy, forces, stress, net force or volume are far from those of nearly all others."""
    return [*_odd_energies(frames), *_odd_sizes(frames, "forces"), *_odd_sizes(frames, "stress"),
            *_odd_net_forces(frames), *_odd_volumes(frames)]  # fmt: skip


def expected_energies(frames: Sequence[Frame]) -> np.ndarray:
    """Energies (F,) in eV of the compositions, by least absolute deviations from the energies per atom.

    Args:
        frames: all with energies.

    """
    data = Dataset(frames)
    shares = data.element_counts / data.n_atoms[:, None]
    energies = np.array([f.energy for f in frames], float)
    return data.n_atoms * (shares @ least_absolute(shares, energies / data.n_atoms))


def _odd_energies(frames: Sequence[Frame]) -> list[Finding]:
    own = [k for k, f in enumerate(frames) if f.energy is not None]
    if not own:
        return []
    expected = expected_energies([frames[k] for k in own])
    found, n = np.array([frames[k].energy for k in own]), np.array([len(frames[k]) for k in own])
    sizes = lonely((found - expected) / n, LEAST_ENERGY)
    out = []
    for i in np.flatnonzero(sizes):
        unit = likely_unit("energy", found[i] / expected[i], SAME_UNIT) if found[i] and expected[i] else ""
        text = f"energy is {(found[i] - expected[i]) / n[i]:+.4g} eV per atom from what is usual for its composition"
        text += f", as if it were in {unit}" if unit else ""
        out.append(_finding(frames, own[i], "energy", sizes[i], text))
    return out


def _odd_sizes(frames: Sequence[Frame], kind: str) -> list[Finding]:
    """Frames whose forces or stress are far larger or smaller than those of the others."""
    own = [k for k, f in enumerate(frames) if getattr(f, kind) is not None and len(f) > 1]
    if not own:
        return []
    rms = np.array([np.sqrt(np.mean(np.square(getattr(frames[k], kind)))) for k in own])
    sizes = lonely(np.log(np.maximum(rms, SMALLEST[kind])), LEAST_LOG)
    middle, unit_name = float(np.median(rms)), {"forces": "eV/Å", "stress": "eV/Å³"}[kind]
    out = []
    for i in np.flatnonzero(sizes):
        text = f"{kind} of {rms[i]:.3g} {unit_name} (rms), {rms[i] / middle:.3g} times the median"
        unit = likely_unit(kind, rms[i] / middle, SIMILAR) if rms[i] else ""
        text += f", as if in {unit}" if unit else ""
        out.append(_finding(frames, own[i], kind, sizes[i], text))
    return out


def _odd_net_forces(frames: Sequence[Frame]) -> list[Finding]:
    """Frames whose forces do not add up to zero, unlike those of the others: they are noisy or some are missing."""
    sums = {
        k: np.linalg.norm(f.forces.sum(axis=0)) for k, f in enumerate(frames) if f.forces is not None and len(f) > 1
    }
    if not sums:
        return []
    per_root = np.array([total / np.sqrt(len(frames[k])) for k, total in sums.items()])
    sizes = lonely(np.log(np.maximum(per_root, NET)), LEAST_LOG)
    return [
        _finding(
            frames, k, "net force", size, f"the forces add up to {sums[k]:.3g} eV/Å and not to zero: not converged?"
        )
        for k, size in zip(sums, sizes, strict=True)
        if size > 0
    ]


def _odd_volumes(frames: Sequence[Frame]) -> list[Finding]:
    own = [k for k, f in enumerate(frames) if f.pbc.all()]
    if not own:
        return []
    volumes = np.array([frames[k].volume / len(frames[k]) for k in own])
    sizes = lonely(np.log(volumes), LEAST_VOLUME)
    middle = float(np.median(volumes))
    return [
        _finding(frames, own[i], "volume", sizes[i], f"{volumes[i]:.4g} Å³ per atom, median {middle:.4g}")
        for i in np.flatnonzero(sizes)
    ]


def _odd_distances(frames: Sequence[Frame], closest: Sequence[np.ndarray]) -> list[Finding]:
    """Frames in which two atoms are far closer than in all others."""
    nearest = np.array([np.min(c, initial=np.inf) for c in closest])
    own = np.flatnonzero(np.isfinite(nearest))
    if not len(own):
        return []
    sizes = lonely(np.log(nearest[own]), LEAST_DISTANCE)
    middle = float(np.median(nearest[own]))
    return [
        _finding(
            frames, int(own[i]), "distance", sizes[i], f"atoms {nearest[own[i]]:.3g} Å apart, usually {middle:.3g}"
        )
        for i in np.flatnonzero(sizes)
    ]


def _finding(frames: Sequence[Frame], k: int, what: str, size: float, reason: str) -> Finding:
    return Finding(k, frame_name(frames[k], k), what, float(size), reason)
