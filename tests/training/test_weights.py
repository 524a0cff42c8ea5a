"""Weights of frames and of config_types: those of a file, those of the options, and what they do to a fit."""

from dataclasses import replace

import numpy as np
import pytest
from ase.io import write
from oracles.systems import QUICK, SPARSE

from wk_potential import Frame, read_frames, train
from wk_potential.atoms.dataset import Dataset, data_hash
from wk_potential.errors import DataError, OptionsError


def test_weight_in_a_file(tmp_path, molecules):
    """`weight` and `config_weight` in any case; both multiply, and what is written is read again."""
    frames = [replace(molecules[0], weight=4.0, config_type="bulk"), molecules[1]]
    images = [frame.to_atoms() for frame in frames]
    images[1].info["Config_Weight"] = 0.25
    write(tmp_path / "frames.xyz", images)
    found = read_frames(tmp_path / "frames.xyz")
    assert [frame.weight for frame in found] == [4.0, 0.25]
    assert not any("weight" in name.lower() for frame in found for name in frame.unused)
    images[1].info["weight"] = 0.5
    assert Frame.from_atoms(images[1]).weight == 0.125
    assert data_hash([molecules[0]]) != data_hash(frames[:1])


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, 1e7, "much", [1.0, 2.0]])
def test_weight_that_is_none(molecules, weight):
    atoms = molecules[0].to_atoms()
    atoms.info["weight"] = weight
    with pytest.raises(DataError, match="'weight' is"):
        Frame.from_atoms(atoms)


def test_size_of_labels(molecules):
    """A weight divides the variance of all labels of its frame, and of no other."""
    plain = Dataset(molecules[:2])
    weighted = Dataset([replace(molecules[0], weight=4.0), molecules[1]])
    own = slice(*plain.label_first[:2])
    expected = plain.size.copy()
    expected[own] /= 2
    np.testing.assert_allclose(weighted.size, expected, rtol=1e-15)


@pytest.mark.train
@pytest.mark.parametrize("options", [QUICK, SPARSE])
def test_weights_are_noise(crystals, options):
    """Weights of 4 for all frames do what half of the noise does."""
    fixed = {"uncertainty": False, "map": False, "order_weights": [1.0] * options.order}
    noise = {"energy_noise": 0.02, "forces_noise": 0.1, "stress_noise": 0.05}
    if options.estimator == "sparse":  # whose cross-validation chooses the size of the kernel
        crystals = crystals[:1]
    half = train(crystals, options.model_copy(update=fixed | {name: s / 2 for name, s in noise.items()}), threads=1)
    frames = [replace(frame, weight=4.0) for frame in crystals]
    weighted = train(frames, options.model_copy(update=fixed | noise), threads=1)
    for one, other in zip(half.predict(crystals), weighted.predict(crystals), strict=True):
        np.testing.assert_allclose(one.forces, other.forces, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(one.energy, other.energy, rtol=1e-9)


@pytest.mark.train
def test_weights_of_config_types(crystals):
    """A large weight draws the fit to a frame, and a small one lets go of it; the log says how many have one."""
    plain = [replace(frame, energy=None, stress=None) for frame in crystals]
    frames = [replace(frame, config_type="odd" if n == 0 else "") for n, frame in enumerate(plain)]
    labels = 3 * frames[0].forces
    frames[0] = replace(frames[0], forces=labels)
    options = QUICK.model_copy(update={"uncertainty": False, "saturation": 0.0, "order_weights": [1.0, 1.0]})
    options = options.model_copy(update={"forces_noise": 0.1, "isolated_atoms": {"Cu": 0.0}})
    errors, lines = [], []
    for weight in (1e-4, 1.0, 1e4):
        model = train(frames, options.model_copy(update={"config_weights": {"odd": weight}}), log=lines.append)
        errors.append(np.abs(model.predict(frames[:1])[0].forces - labels).mean())
    assert errors[0] > 1.05 * errors[1] > 1.05**2 * errors[2]
    found = [line for line in lines if line.startswith("Weights: ")]
    assert found == [f"Weights: 1 of {len(frames)} frames have another than 1, {w} to {w}" for w in ("0.0001", "10000")]
    with pytest.raises(OptionsError, match="no frame has the config_type 'even'; there are: odd"):
        train(frames, options.model_copy(update={"config_weights": {"even": 2.0}}))
    with pytest.raises(OptionsError, match="config_weights"):
        train(frames, options, config_weights={"odd": 0.0})
