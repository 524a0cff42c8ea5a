"""Environments that are like none of the training set."""

import numpy as np
import pytest
from ase.build import bulk
from oracles.systems import coefficients, make_density, random_environment, rattled_frames, rotation_matrix

from wk_potential import TrainingOptions
from wk_potential.atoms.dataset import Dataset
from wk_potential.density.expansion import expand
from wk_potential.density.packed import pack
from wk_potential.model.environments import as_arrays
from wk_potential.model.error_bars import coarse
from wk_potential.model.novelty import (
    FAR,
    _coefficients,
    count_novel,
    n_components,
    nearest_distances,
    power_spectra,
)
from wk_potential.training.channels import model_density
from wk_potential.training.error_bars.novelty import choose_references
from wk_potential.training.limits import ErrorBarLimits


@pytest.fixture(scope="module")
def salt():
    """Rattled cells of rock salt, the density, and what is chosen from them."""
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    data = Dataset(rattled_frames(atoms, 12, 0.05))
    density = coarse(model_density(data, TrainingOptions(cutoff=4.5)), 3, 6)
    return atoms, data, density, choose_references(data, density)


def novel(salt, atoms):
    _, data, density, (references, species, limits) = salt
    structure = as_arrays(atoms, data.elements, density.radial.cutoff)
    return count_novel(structure, pack(density), references, species, limits)


def test_spectra_do_not_depend_on_orientation():
    density = make_density(3, 2)
    vectors, elements = random_environment(0, n=8, n_elements=2)
    a, b = (coefficients(density, v, elements)[None] for v in (vectors, vectors @ rotation_matrix(1).T))
    assert power_spectra(a) == pytest.approx(power_spectra(b), abs=1e-10)
    assert np.abs(a - b).max() > 0.1
    assert power_spectra(a).shape == (1, n_components(3, a.shape[2]))
    assert np.linalg.norm(power_spectra(3 * a)) == pytest.approx(3 * np.linalg.norm(power_spectra(a)))
    assert not power_spectra(np.zeros((2, 16, 3))).any()


@pytest.mark.parametrize("threads", [1, 3])
def test_coefficients_of_vectors_of_atoms_are_those_of_single_ones(salt, threads):
    atoms, data, density, _ = salt
    structure = as_arrays(atoms * (2, 1, 1), data.elements, density.radial.cutoff + 0.5)  # with a skin
    vectors = structure.neighbours.vectors(structure.positions, structure.cell)
    around = structure.species[structure.neighbours.neighbour]
    expected = expand(density, structure.species, structure.neighbours.first, vectors, around)
    assert _coefficients(structure, pack(density), threads) == pytest.approx(expected, abs=1e-12)


def test_distances_are_those_written_out():
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(7, 4)), rng.normal(size=(5, 4))
    all_pairs = np.linalg.norm(x[:, None] - r, axis=2)
    assert nearest_distances(x, r) == pytest.approx(all_pairs.min(axis=1))
    frame, own = np.arange(7) % 2, np.array([0, 0, 1, 1, 1])
    expected = np.where(frame[:, None] == own, np.inf, all_pairs).min(axis=1)
    assert nearest_distances(x, r, frame, own) == pytest.approx(expected)
    assert (nearest_distances(x, r[:0]) == FAR).all()


def test_frames_like_those_of_the_training_set_are_not_new(salt):
    assert not any(novel(salt, frame).any() for frame in rattled_frames(salt[0], 40, 0.05, seed=50))


@pytest.mark.parametrize("what", ["swapped", "stretched", "vacancy", "strained"])
def test_new_environments(salt, what):
    atoms = salt[0].copy() * (2, 2, 2)
    if what == "swapped":  # distances alone would not see it
        i, j = 0, int(np.flatnonzero(atoms.numbers == 8)[0])
        atoms.numbers[[i, j]] = atoms.numbers[[j, i]]
        near = [i, j]
    elif what == "stretched":
        atoms.positions[0] += 0.6 * 2.1 * np.array([1, 0, 0])
        near = [0]
    elif what == "vacancy":
        near = list(np.flatnonzero(atoms.get_distances(0, range(len(atoms)), mic=True) < 2.2)[1:] - 1)
        del atoms[0]
    else:
        atoms.set_cell(1.15 * atoms.cell.array, scale_atoms=True)
        near = list(range(len(atoms)))
    assert novel(salt, atoms)[near].all()


def test_references_cover_the_training_set(salt):
    _, data, density, (references, species, limits) = salt
    assert len(references) == data.n_environments  # fewer than may be chosen
    few, _, _ = choose_references(data, density, ErrorBarLimits(references=10))
    assert len(few) == 20
    assert np.isfinite(limits).all()
    assert (np.diff(species) == 0).sum() == len(species) - 2


def test_one_frame_tells_nothing(salt):
    _, data, density, _ = salt
    assert (choose_references(data[:1], density)[2] == FAR).all()
