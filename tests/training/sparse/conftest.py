"""Environments and support points of a few frames for the tests of the sparse estimator."""

import numpy as np
import pytest
from oracles.systems import SMALL

from wk_potential import TrainingOptions
from wk_potential.atoms.dataset import Dataset
from wk_potential.density.frames import Environments
from wk_potential.training.baseline import fit_baseline
from wk_potential.training.channels import model_density
from wk_potential.training.sparse.selection import select_support


@pytest.fixture(scope="module")
def sparse_parts(crystals, molecules):
    data = Dataset([*crystals, *molecules])
    environments = Environments(data, model_density(data, TrainingOptions(**SMALL, order=3)))
    pools = [np.concatenate(found) for found in zip(*map(environments.by_element, range(len(data))), strict=True)]
    support = select_support(pools, 40, environments.density.lmax, np.ones(3))
    return environments, fit_baseline(data)[0], support
