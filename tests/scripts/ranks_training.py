"""Run under mpiexec by test_parallel.py: python ranks_training.py FOLDER OUTPUT ROWS."""

import pickle
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

from wk_potential import TrainingOptions, read_frames, train
from wk_potential.compute.ranks import MPICommunicator
from wk_potential.training.full import shared_rows
from wk_potential.training.limits import FullLimits, Limits, TensorLimits

OPTIONS = {"cutoff": 3.5, "short_cutoff": 2.5, "cutoff_width": 2.0, "lmax": 2, "order": 3, "channel_tolerance": 3e-2}
FEW = {"forces": 100, "energy": 7, "dipole": 30, "dipole sparse": 30}  # labels


def run(folder: Path, search_labels, comm, direct_labels=8000) -> dict[str, np.ndarray]:
    """Predictions and error bars of models that are trained on each kind of label."""
    out = {}
    for key, labels in search_labels.items():
        name, _, estimator = key.partition(" ")
        full = FullLimits(search_labels=labels, direct_labels=direct_labels, residual=1e-8)
        limits = Limits(full=full, tensors=TensorLimits(search_labels=labels))
        frames = read_frames(folder / f"{name}.xyz", dipole_key="mu" if name == "dipole" else None)
        options = TrainingOptions(estimator=estimator or "full", support_points=20, map=False, **OPTIONS)
        predicted = train(frames, options, threads=1, comm=comm, limits=limits).predict(frames, 1)
        for value in (name, f"{name}_std"):
            if (values := [getattr(p, value, None) for p in predicted])[0] is not None:
                out[f"{value} {estimator}".rstrip()] = np.concatenate([np.ravel(v) for v in values])
    return out


if __name__ == "__main__":
    shared_rows.ROWS = int(sys.argv[3])
    comm = MPICommunicator(MPI.COMM_WORLD)
    folder = Path(sys.argv[1])
    found = [run(folder, labels, comm) for labels in (dict.fromkeys(FEW, 4000), FEW)]
    found.append(run(folder, {"forces": 4000, "energy": 4000}, comm, direct_labels=0))
    everyones = comm.mpi.gather(found)
    if comm.rank == 0:
        Path(sys.argv[2]).write_bytes(pickle.dumps(everyones))
