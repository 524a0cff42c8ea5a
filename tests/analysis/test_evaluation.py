import numpy as np
import pytest

from wk_potential import Frame, WKCalculator
from wk_potential.analysis.evaluation import errors
from wk_potential.analysis.plots import md_figure, parity_figure
from wk_potential.errors import CompositionWarning, UnknownElementError
from wk_potential.model.model import Model
from wk_potential.model.prediction import Prediction


def frame(energy=None, forces=None, stress=None, config_type="", source="here"):
    """Two atoms, H and O, in a cell of 27 cubic Angstrom."""
    positions = np.array([[0, 0, 0], [0, 0, 1.0]])
    forces = None if forces is None else np.reshape(np.array(forces, float), (2, 3))
    stress = None if stress is None else np.array(stress, float)
    numbers, cell, pbc = np.array([1, 8]), 3 * np.eye(3), np.ones(3, bool)
    return Frame(numbers, positions, cell, pbc, energy, forces, stress, source, config_type)


def test_errors_by_hand():
    frames = [
        frame(1.0, [1, 0, 0, 0, 0, 0], [0.1, 0, 0, 0, 0, 0], "a"),
        frame(2.0, [0, 0, 0, 0, 0, 2], None, "b"),
        frame(None, None, None, "b"),
    ]
    zero = Prediction(energy=0.0, forces=np.zeros((2, 3)), stress=np.zeros(6))
    table = errors(frames, [zero] * 3)
    assert table["n_frames"] == 3
    assert table["n_atoms"] == 6
    assert (table["n_energies"], table["n_forces"], table["n_stresses"]) == (2, 12, 6)
    assert table["energy_mae"] == pytest.approx(1.5)
    assert table["energy_rmse"] == pytest.approx(np.sqrt(2.5))
    assert table["energy_per_atom_mae"] == pytest.approx(0.75)
    assert table["energy_per_atom_rmse"] == pytest.approx(np.sqrt(2.5) / 2)
    assert table["forces_mae"] == pytest.approx(3 / 12)
    assert table["forces_rmse"] == pytest.approx(np.sqrt(5 / 12))
    assert table["stress_mae"] == pytest.approx(0.1 / 6)
    assert table["stress_rmse"] == pytest.approx(0.1 / np.sqrt(6))
    hydrogen, oxygen = table["forces_by_element"]["H"], table["forces_by_element"]["O"]
    assert hydrogen == {"n_atoms": 2, "forces_mae": pytest.approx(1 / 6), "forces_rmse": pytest.approx(6**-0.5)}
    assert oxygen["forces_mae"] == pytest.approx(2 / 6)
    assert table["by_config_type"]["a"]["energy_mae"] == pytest.approx(1.0)
    assert table["by_config_type"]["b"]["n_frames"] == 2
    assert table["by_config_type"]["b"]["stress_mae"] is None


def test_predictions_are_those_of_the_calculator(copper_model, copper_frames):
    seen = []
    for threads in (1, 2):
        predictions = copper_model.predict(copper_frames[:3], threads, progress=lambda s, f: seen.append(f))
        for frame, prediction in zip(copper_frames, predictions, strict=False):
            atoms = frame.to_atoms()
            atoms.calc = WKCalculator(copper_model)
            assert prediction.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
            np.testing.assert_allclose(prediction.forces, atoms.get_forces(), atol=1e-12)
            np.testing.assert_allclose(prediction.stress, atoms.get_stress(), atol=1e-12)
    assert seen == [1 / 3, 2 / 3, 1] * 2
    assert len(copper_model.predict(copper_frames[:1], threads=2)) == 1


def test_unknown_elements_name_the_frame(copper_model, copper_frames):
    with pytest.raises(UnknownElementError, match=r"file.xyz, frame 7: atom 0 is H"):
        copper_model.predict([*copper_frames[:2], frame(1.0, source="file.xyz, frame 7")])


def test_compositions_without_a_baseline_are_warned_of(random_model):
    model = random_model(numbers=(1, 8))
    fields = {name: getattr(model, name) for name in Model.__dataclass_fields__}
    open_model = Model(**{**fields, "compositions": np.array([[2.0, 1.0]]) / np.sqrt(5)})
    with pytest.warns(CompositionWarning) as found:
        open_model.predict([frame(1.0), frame(2.0)])
    assert len(found) == 1


@pytest.mark.parametrize("n", [1, 3, 300])
def test_parity_figure(tmp_path, n):
    rng = np.random.default_rng(0)
    frames = [frame(rng.normal(), rng.normal(size=6), rng.normal(size=6)) for _ in range(n)]
    predictions = [Prediction(energy=f.energy + 0.1, forces=f.forces * 1.1, stress=f.stress + 0.1) for f in frames]
    for name in ("p.png", "p.pdf"):
        parity_figure(frames, predictions, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000
    perfect = [Prediction(energy=f.energy, forces=f.forces, stress=f.stress) for f in frames]
    parity_figure(frames, perfect, tmp_path / "p.svg")
    with pytest.raises(ValueError, match="nothing to draw"):
        parity_figure([frame()], predictions[:1], tmp_path / "p.png")


@pytest.mark.parametrize("n", [1, 2, 500])
def test_md_figure(tmp_path, n):
    log = {key: np.linspace(0, 1, n) for key in ("time", "potential", "total", "temperature", "volume")}
    md_figure(log, 2, tmp_path / "a.png", "title")
    del log["volume"]
    md_figure(log, 2, tmp_path / "b.png")
    assert (tmp_path / "a.png").stat().st_size > (tmp_path / "b.png").stat().st_size > 5000
