"""Units of energies and forces that do not fit each other."""

import dataclasses

import numpy as np
import pytest
from corpus.cases import frames as copper

from wk_potential import Frame, train
from wk_potential.training.doubts import slope_doubt


@pytest.mark.parametrize(
    ("slope", "says"),
    [
        (1.0, ""),
        (1.15, ""),
        (1.8897, "as if they were in Ha and the forces in Ha/bohr"),
        (1 / 27.2114, "as if they were in Ha and the forces in eV/Angstrom"),
        (23.0605, "as if they were in kcal/mol and the forces in eV/Angstrom"),
        (3.01, "change 3 times as much as the forces imply; see"),
        (-1.0, "opposite sign"),
    ],
)
def test_slopes(slope, says):
    """Energies of two compositions, which forces do not know."""
    rng = np.random.default_rng(0)
    counts = np.array([[1, 2], [2, 1]])[np.arange(20) % 2].astype(float)
    predicted = rng.normal(size=20)
    labelled = slope * predicted + 0.05 * abs(slope) * rng.normal(size=20) + counts @ [-100.0, 50.0]
    found = slope_doubt(predicted, labelled, counts)
    assert says in found
    assert bool(found) == bool(says)


def test_unrelated_energies_say_nothing():
    rng = np.random.default_rng(0)
    assert slope_doubt(rng.normal(size=50), 9 * rng.normal(size=50), np.ones((50, 1))) == ""
    assert slope_doubt(np.arange(2.0), 9 * np.arange(2.0), np.ones((2, 1))) == ""


@pytest.mark.train
@pytest.mark.parametrize("estimator", ["full", "sparse"])
def test_both_estimators_compare_energies_with_forces(estimator):
    frames = [Frame.from_atoms(atoms) for atoms in copper(12, strain=0)]
    options = {"estimator": estimator, "cutoff": 4.0, "lmax": 1, "order": 2, "short_cutoff": 0, "saturation": 0}
    options |= {"support_points": 30, "map": False, "uncertainty": False, "element_mixing": 0, "use_stress": False}
    train(frames, **options)  # no warning
    wrong = [dataclasses.replace(f, energy=f.energy * 5) for f in frames]
    with pytest.warns(UserWarning, match="times as much as the forces imply"):
        train(wrong, **options)
