"""Isolated atoms among the frames: their energies are the baseline."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from ..atoms.frame import Frame
from ..atoms.neighbours import find_neighbours
from ..atoms.reading import read_frames
from ..errors import DataError
from .options import TrainingOptions
from .task import Log, quiet

SAME = 1e-3  # eV between two energies of an isolated atom


def with_isolated_atoms(
    frames: Sequence[Frame], options: TrainingOptions, log: Log = quiet
) -> tuple[list[Frame], TrainingOptions]:
    """Take the energies of atoms without neighbours as the baseline; they are no frames to learn from.

    Returns:
        The frames without those atoms, and the options with their energies as `isolated_atoms`.

    Raises:
        DataError: two frames give an atom different energies, or `isolated_atoms` is given and lacks an element.

    """
    kept: list[Frame] = []
    isolated: list[Frame] = []
    for frame in frames:
        if not is_isolated(frame, options.cutoff):
            kept.append(frame)
            continue
        isolated.append(frame)
        if frame.dipole is not None or frame.polarizability is not None:
            kept.append(replace(frame, energy=None, forces=None, stress=None))
    found = _energies(isolated)
    if not kept or not found:
        return list(frames), options
    text = ", ".join(f"{symbol} {energy:.4f} eV ({source})" for symbol, (energy, source) in found.items())
    below = "" if options.baseline is None else ", less the baseline potential"
    log(f"Isolated atoms, taken as the baseline and not as frames{below}: {text}")
    given = options.isolated_atoms or {}
    for symbol, (energy, source) in found.items():
        if abs(given.get(symbol, energy) - energy) > SAME:
            raise DataError(
                f"{source}: an isolated {symbol} atom has {energy:.4f} eV, but {given[symbol]:.4f} in isolated_atoms"
            )
    energies = {symbol: energy for symbol, (energy, _) in found.items()} | given
    return kept, options.model_copy(update={"isolated_atoms": energies})


def _energies(frames: Sequence[Frame]) -> dict[str, tuple[float, str]]:
    """Energy of each symbol, and the frame that it is from; frames without an energy do not count."""
    found: dict[str, tuple[float, str]] = {}
    for frame in frames:
        if frame.energy is None:
            continue
        symbol = chemical_symbols[frame.numbers[0]]
        energy, source = found.setdefault(symbol, (frame.energy, frame.source))
        if abs(energy - frame.energy) > SAME:
            raise DataError(
                f"{source} and {frame.source}: an isolated {symbol} atom has the energies {energy:.4f} and "
                f"{frame.energy:.4f} eV; remove the wrong one"
            )
    return found


def is_isolated(frame: Frame, cutoff: float) -> bool:
    """Whether a frame is one atom without neighbours."""
    return len(frame) == 1 and not len(find_neighbours(frame.positions, frame.cell, frame.pbc, cutoff).neighbour)


def energies_of_isolated_atoms(path: str | Path, cutoff: float, **reading: Any) -> dict[str, float]:
    """Read energies by symbol from a file of isolated atoms.

    Args:
        path: what `read_frames` takes.
        cutoff: Angstrom; the atoms have no neighbour within it.
        reading: keywords of `read_frames`.

    Raises:
        DataError: a frame holds another thing than one atom with an energy, or two energies of an element differ.

    """
    frames = read_frames(path, **reading)
    for frame in frames:
        if not is_isolated(frame, cutoff) or frame.energy is None:
            raise DataError(
                f"{frame.source}: no isolated atom with an energy; --isolated-atoms takes a file of such frames only"
            )
    return {symbol: energy for symbol, (energy, _) in _energies(frames).items()}
