"""Labels less a baseline: what a model learns if it adds to one."""

import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..atoms.files import write_atomically
from ..atoms.frame import Frame
from ..compute.ranks import Communicator
from ..errors import BaselineError, DataError
from .potential import BaselinePotential, BaselineResult

SAVED_EVERY = 20.0  # seconds
SAME = 1e-5  # eV per atom, of results that were kept and are computed again


def less_baseline(
    frames: Sequence[Frame],
    baseline: BaselinePotential,
    threads: int = 1,
    file: Path | None = None,
    progress: Callable[[float], None] | None = None,
    comm: Communicator | None = None,
) -> list[Frame]:
    """Return the frames with the difference of their labels to a baseline.

    Args:
        frames: with labels.
        baseline: that is subtracted from energies, forces and stresses.
        threads: frames that are computed side by side.
        file: keeps what has been computed, so that it is not computed again [none].
        progress: called with the fraction done.
        comm: ranks that share the work [one].

    Raises:
        DataError: the baseline fails for a frame, or has no stress where a frame has one.

    """
    comm, results = comm or Communicator(), _Results(file, baseline)
    known: dict[str, BaselineResult] = comm.first(results.read)
    keys = [_key(frame) for frame in frames]

    def result(k: int) -> BaselineResult:
        try:
            return baseline.evaluate(frames[k])
        except BaselineError as error:
            raise DataError(f"{frames[k].source}: {error}") from error

    kept = [k for k, key in enumerate(keys) if key in known]
    if kept and not all(_same(known[keys[k]], comm.first(result, k)) for k in {kept[0], kept[-1]}):
        known = {}  # a calculator of the same name that has changed
    first = {key: k for k, key in reversed(list(enumerate(keys))) if key not in known}
    missing, step, saved = sorted(first.values()), 4 * threads * comm.size, time.monotonic()
    try:
        for n in range(0, len(missing), step):
            batch = missing[n : n + step]
            known |= zip((keys[k] for k in batch), comm.together(comm.each, result, batch, threads), strict=True)
            if time.monotonic() - saved > SAVED_EVERY:
                saved = time.monotonic()
                comm.first(results.write, known)
            if progress:
                progress((n + len(batch)) / len(missing))
    finally:
        if missing and comm.rank == 0:
            results.write(known)
    return [_difference(frame, known[key], baseline) for frame, key in zip(frames, keys, strict=True)]


def _same(a: BaselineResult, b: BaselineResult) -> bool:
    return abs(a.energy - b.energy) < SAME * len(a.forces) and np.abs(a.forces - b.forces).max() < 100 * SAME


def _difference(frame: Frame, below: BaselineResult, baseline: BaselinePotential) -> Frame:
    labels: dict[str, Any] = {}
    if frame.energy is not None:
        labels["energy"] = frame.energy - below.energy
    if frame.forces is not None:
        labels["forces"] = frame.forces - below.forces
    if frame.stress is not None:
        if below.stress is None:
            raise DataError(
                f"{frame.source}: has a stress, but the baseline {baseline} gives none; leave stresses out with "
                "--no-use-stress"
            )
        labels["stress"] = frame.stress - below.stress
    return replace(frame, **labels)


def _key(frame: Frame) -> str:
    """Return what tells the structures of frames apart."""
    found = hashlib.sha256()
    for array in (frame.numbers, frame.positions, frame.cell, frame.pbc):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:32]


class _Results:
    """Results by structure, in a file of NumPy arrays."""

    def __init__(self, path: Path | None, baseline: BaselinePotential) -> None:
        self.path = path
        self.of = json.dumps([[term.facts(), term.identity] for term in baseline.terms], sort_keys=True)

    def read(self) -> dict[str, BaselineResult]:
        """Return what the file holds of this baseline, nothing if there is no file or it is that of another one.

        Raises:
            DataError: the file is another one, or damaged.

        """
        if self.path is None or not self.path.exists():
            return {}
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as file:
                if str(file["baseline"]) != self.of:
                    return {}
                keys, energies, stresses = file["keys"].tolist(), file["energies"].tolist(), file["stresses"]
                forces = np.split(file["forces"], np.cumsum(file["counts"])[:-1])
                parts = list(zip(keys, energies, forces, stresses, strict=True))
        except Exception as error:  # the readers raise errors of any class
            raise DataError(
                f"{self.path}: is to keep the results of the baseline, and holds something else, or is damaged; delete "
                "it, move it, or name another model"
            ) from error
        return {key: BaselineResult(e, f, s if np.isfinite(s).all() else None) for key, e, f, s in parts}

    def write(self, known: dict[str, BaselineResult]) -> None:
        """Replace the file, if there is to be one."""
        if self.path is None or not known:
            return
        results, buffer = list(known.values()), io.BytesIO()
        np.savez_compressed(
            buffer,
            baseline=np.array(self.of),
            keys=np.array(list(known)),
            energies=np.array([r.energy for r in results]),
            counts=np.array([len(r.forces) for r in results]),
            forces=np.concatenate([r.forces for r in results]),
            stresses=np.array([np.full(6, np.nan) if r.stress is None else r.stress for r in results]),
        )
        write_atomically(self.path, buffer.getvalue())
