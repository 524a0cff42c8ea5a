"""The density of a model: kernels between its coefficients against those of all channels."""

import numpy as np
import pytest
from ase.data import covalent_radii
from oracles.systems import SMALL

from wk_potential import TrainingOptions
from wk_potential.atoms.dataset import Dataset
from wk_potential.density.expansion import full_density
from wk_potential.density.frames import Environments
from wk_potential.density.radial import radial_table
from wk_potential.training.channels import model_density


@pytest.mark.parametrize("mixing", [None, 0.3, 0.8])
def test_neighbours_of_different_elements_are_as_alike_as_asked(molecules, mixing):
    """Sum over pairs of elements of their kernel, weights and overlaps; only the size of each centre's is free."""
    options = TrainingOptions(**SMALL, element_mixing=mixing, channel_tolerance=0.0)
    data = Dataset(molecules)
    elements = data.elements
    assert len(elements) > 1
    density = model_density(data, options)
    full = full_density(
        options.lmax, radial_table(*options.long, options.lmax, options.radial_tolerance), len(elements)
    )
    kernel = np.full((len(elements), len(elements)), mixing or 0.0)
    np.fill_diagonal(kernel, 1.0)
    kernel *= np.outer(covalent_radii[elements], covalent_radii[elements])
    ours, raw = ([Environments(data, d).of_frame(k, derivatives=False) for k in range(3)] for d in (density, full))
    centres = np.concatenate([e.centres for e in ours])
    x = np.concatenate([e.coefficients for e in ours])
    y = np.concatenate([e.coefficients for e in raw])
    y = y.reshape(*y.shape[:2], len(elements), -1)
    for z in range(len(elements)):
        a, b, sizes = x[centres == z], y[centres == z], []
        for l in range(options.lmax + 1):
            m = slice(l * l, (l + 1) ** 2)
            found = np.einsum("imq,jnq->imjn", a[:, m], a[:, m])
            expected = (2 * l + 1) ** (2 * options.angular_weight) * np.einsum(
                "imak,ab,jnbk->imjn", b[:, m], kernel, b[:, m]
            )
            sizes.append(np.sum(found * expected) / np.sum(expected**2))
            np.testing.assert_allclose(found, sizes[-1] * expected, atol=1e-9 * np.abs(found).max())
        assert sizes == pytest.approx(sizes[:1] * len(sizes), rel=1e-8)
