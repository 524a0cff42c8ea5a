"""Candidates for support points: environments of the frames and of rattled copies."""

from dataclasses import replace

import numpy as np
import pytest
from oracles.systems import SPARSE, labelled_copper

from wk_potential.atoms.dataset import Dataset
from wk_potential.training.limits import DEFAULT
from wk_potential.training.sparse.fit import fit_sparse
from wk_potential.training.sparse.selection import with_rattled
from wk_potential.training.task import make_task

FINE = {"lmax": 3, "order": 4, "density_width": 0.3, "channel_tolerance": 1e-3}
SUPPORT = replace(DEFAULT, sparse=replace(DEFAULT.sparse, explicit=0.0))
NO_COPIES = replace(SUPPORT, sparse=replace(SUPPORT.sparse, copies=0))


def test_copies_of_frames_with_forces(molecules):
    frames = [*molecules[:3], replace(molecules[3], forces=None)]
    found = with_rattled(Dataset(frames), 2, 0.1, seed=1)
    assert found.frames[:4] == tuple(frames)
    assert len(found) == 4 + 2 * 3
    assert found.n_labels == Dataset(frames).n_labels  # copies have no labels
    moved = np.concatenate([found[4 + k].positions - frames[k // 2].positions for k in range(6)])
    assert np.sqrt(np.mean(moved**2)) == pytest.approx(0.1, rel=0.2)
    again = with_rattled(Dataset(frames), 2, 0.1, seed=1)
    assert all(a.structure_key == b.structure_key for a, b in zip(found, again, strict=True))


@pytest.mark.train
def test_copies_describe_what_environments_cannot():
    """Forces are three labels for each environment: with copies, errors of left-out forces are smaller."""
    options, ratios = SPARSE.model_copy(update=FINE | {"support_points": 10_000}), []
    for seed in range(4):  # of single sets the ratio is 0.5 to 1
        frames, errors = labelled_copper(12, seed), []
        for limits in (NO_COPIES, SUPPORT):
            fit = fit_sparse(make_task(Dataset(frames), options, "sparse", 1, limits=limits))
            n_points = len(fit.scales[0].support[0])
            assert (n_points > sum(map(len, frames))) == (limits is SUPPORT)
            errors.append(fit.errors["cross_validation_forces_rmse"])
        ratios.append(errors[1] / errors[0])
    assert np.exp(np.mean(np.log(ratios))) < 0.8
