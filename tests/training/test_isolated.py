"""Isolated atoms among the frames are the baseline."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from wk_potential import Frame, train
from wk_potential.errors import DataError
from wk_potential.training.baseline import fit_baseline
from wk_potential.training.isolated import energies_of_isolated_atoms, with_isolated_atoms
from wk_potential.training.options import TrainingOptions

TINY = {"cutoff": 4.0, "lmax": 1, "order": 2, "short_cutoff": 0, "saturation": 0, "map": False, "uncertainty": False}


def atom(number=29, energy=3.0, pbc=False, side=10.0, source="atom"):
    zeros = np.zeros((1, 3))
    return Frame(
        numbers=np.array([number]), positions=zeros, cell=side * np.eye(3), pbc=np.full(3, pbc), energy=energy,
        forces=zeros, source=source,
    )  # fmt: skip


@pytest.mark.parametrize("pbc", [False, True])
def test_isolated_atom_is_no_frame(crystals, pbc):
    """The model is that of the option: an atom alone has its energy, and the errors are as without it."""
    lines = []
    found = train([*crystals[:6], atom(pbc=pbc)], log=lines.append, **TINY)
    given = train(crystals[:6], isolated_atoms={"Cu": 3.0}, **TINY)
    assert found.info["training"]["frames"] == 6
    assert any(
        line.startswith("Isolated atoms, taken as the baseline") and "Cu 3.0000 eV (atom)" in line for line in lines
    )
    alone = atom().to_atoms()
    assert found.predict(alone).energy == given.predict(alone).energy == 3.0
    assert found.predict(crystals[7]).energy == given.predict(crystals[7]).energy


def test_an_atom_that_sees_its_images_is_a_frame(crystals):
    frames, options = with_isolated_atoms([*crystals[:3], atom(pbc=True, side=3.0)], TrainingOptions(cutoff=4.0))
    assert len(frames) == 4
    assert options.isolated_atoms is None


def test_without_isolated_atoms_the_log_says_what_that_means(crystals):
    lines = []
    train(crystals[:4], log=lines.append, **TINY)
    assert any("the model knows nothing of atoms apart" in line for line in lines)


def test_energies_that_contradict_each_other(crystals):
    options = TrainingOptions(cutoff=4.0)
    with pytest.raises(DataError, match=r"one and two: an isolated Cu atom has the energies 3.0000 and 3.5000 eV"):
        with_isolated_atoms([*crystals, atom(source="one"), atom(energy=3.5, source="two")], options)
    given = options.model_copy(update={"isolated_atoms": {"Cu": 2.0}})
    with pytest.raises(DataError, match=r"atom: an isolated Cu atom has 3.0000 eV, but 2.0000 in isolated_atoms"):
        with_isolated_atoms([*crystals, atom()], given)
    with pytest.raises(DataError, match="isolated_atoms lacks Cu"):
        train(crystals[:4], isolated_atoms={"H": 0.0}, **TINY)


def test_other_elements_are_fitted(crystals):
    """Half of the elements: the others get what is left, and the baseline is then known for all compositions."""
    rng, frames = np.random.default_rng(0), []
    for frame in crystals[:5]:
        numbers = np.array([29, 79])[rng.permutation(2)]
        frames.append(dataclasses.replace(frame, numbers=numbers, energy=-4.0 - 7.0))
    kept, options = with_isolated_atoms([*frames, atom(energy=-4.0)], TrainingOptions(cutoff=4.0))
    from wk_potential.atoms.dataset import Dataset

    baseline, compositions = fit_baseline(Dataset(kept), options.isolated_atoms)
    np.testing.assert_allclose(baseline, [-4.0, -7.0], rtol=1e-12)
    np.testing.assert_allclose(compositions.T @ compositions, np.eye(2), atol=1e-12)


def test_energies_from_a_file(tmp_path):
    atoms = [Atoms("H"), Atoms("O")]
    for k, atom in enumerate(atoms):
        atom.info["REF_energy"] = -0.5 - k
    write(tmp_path / "atoms.xyz", atoms)
    found = energies_of_isolated_atoms(tmp_path / "atoms.xyz", 6.0, energy_unit="Ha")
    assert found == pytest.approx({"H": -0.5 * 27.211386, "O": -1.5 * 27.211386})
    write(tmp_path / "pair.xyz", Atoms("H2", [[0, 0, 0], [0, 0, 1]], info={"energy": -1.0}))
    with pytest.raises(DataError, match=r"pair\.xyz, frame 0: no isolated atom with an energy"):
        energies_of_isolated_atoms(tmp_path / "pair.xyz", 6.0)
