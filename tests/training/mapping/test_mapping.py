"""Quadratic forms that are nearly the same as the support points, as small as a tolerance allows."""

import dataclasses
from itertools import chain

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from oracles.mapped import ORDER_WEIGHTS, SYSTEMS, TOLERANCES, check, predict, rattled
from oracles.systems import scale_of

from wk_potential import Frame, TrainingOptions, train
from wk_potential.atoms.dataset import Dataset
from wk_potential.errors import UnknownElementError
from wk_potential.training.limits import Limits, MappingLimits, SampleLimits
from wk_potential.training.mapping import compression, mapping
from wk_potential.training.mapping.mapping import MappingError, map_model
from wk_potential.training.mapping.samples import choose_frames, draw_samples


def n_factors(model):
    return sum(f.vectors.size for scale in model.scales for element in scale.mapped for f in element)


def test_tolerance_is_kept(mapped, unmapped, frames):
    """On the frames, and in what the model says of itself; smaller tolerances take more factors."""
    for tolerance in TOLERANCES:
        model = mapped[tolerance]
        assert not unmapped.is_mapped
        deviations = []
        for frame in frames:
            exact_forces, forces = (predict(m, frame.to_atoms())[1] for m in (unmapped, model))
            deviations.append(scale_of(forces - exact_forces))
        assert 0 < max(deviations) < tolerance
        found = model.info["mapping"]
        assert found["tolerance"] == tolerance
        assert max(deviations) <= (1 + 1e-6) * found["largest_force_deviation"]
        assert found["largest_force_deviation"] <= tolerance
        assert 0 < found["rms_force_deviation"] < found["largest_force_deviation"]
        assert found["multiply_adds"] < found["multiply_adds_direct"]
    sizes = [n_factors(mapped[tolerance]) for tolerance in (*TOLERANCES, 0)]
    assert sizes == sorted(set(sizes))


def test_tolerance_zero_is_exact(mapped, frames):
    for frame in frames:
        check(mapped[0], frame.to_atoms(), 1e-9)


@pytest.mark.parametrize("system", SYSTEMS)
def test_forces_and_virial_are_derivatives(mapped, system):
    """Of the energy of the mapped form, however rough it is, to the error of the difference."""
    model, atoms, h = mapped[TOLERANCES[0]], SYSTEMS[system], 1e-4

    def energy(moved):
        return predict(model, moved)[0].sum()

    def slope(move):
        values = [energy(move(k * h)) - energy(move(-k * h)) for k in (1, 2)]
        return (8 * values[0] - values[1]) / (12 * h)

    def displaced(i, x, step):
        moved = atoms.copy()
        moved.positions[i, x] += step
        return moved

    def strained(x, y, step):
        moved, strain = atoms.copy(), np.eye(3)
        strain[x, y] += step / 2
        strain[y, x] += step / 2
        moved.set_cell(atoms.cell.array @ strain)
        moved.positions = atoms.positions @ strain
        return moved

    _, forces, virial = predict(model, atoms)
    numerical = [[slope(lambda s, i=i, x=x: displaced(i, x, s)) for x in range(3)] for i in range(len(atoms))]
    assert forces == pytest.approx(-np.array(numerical), abs=1e-7 * max(1, scale_of(forces)))
    numerical = [[slope(lambda s, x=x, y=y: strained(x, y, s)) for x in range(3)] for y in range(3)]
    assert virial == pytest.approx(np.array(numerical), abs=1e-7 * max(1, scale_of(virial)))


@pytest.mark.parametrize("system", ["molecule", "crystal", "slab"])
@pytest.mark.parametrize("tolerance", [TOLERANCES[0], TOLERANCES[-1], 0])
def test_single_precision(mapped, system, tolerance):
    """Its arithmetic is good to some six digits, its sums over atoms are of float64."""
    single, double = (predict(mapped[tolerance], SYSTEMS[system], precision=p) for p in ("float32", "float64"))
    for a, b in zip(single, double, strict=True):
        assert a.dtype == np.float64
        assert a == pytest.approx(b, abs=1e-4 * scale_of(b))
        assert not np.array_equal(a, b)
    assert single[1].sum(axis=0) == pytest.approx(0, abs=1e-12 * scale_of(single[1]))


def test_single_precision_follows_its_energy(mapped):
    """The slope of a polynomial through energies of large steps, whose rounding is that much smaller."""
    model, atoms = mapped[TOLERANCES[-1]], SYSTEMS["molecule"]
    direction = np.random.default_rng(0).normal(size=atoms.positions.shape)
    direction /= np.linalg.norm(direction)
    steps = 0.1 * np.cos(np.pi * (np.arange(24) + 0.5) / 24)
    energies = []
    for step in steps:
        moved = atoms.copy()
        moved.positions += step * direction
        energies.append(predict(model, moved, precision="float32")[0].sum())
    fit = np.polynomial.Polynomial.fit(steps, energies, 8)
    forces = predict(model, atoms, precision="float32")[1]
    assert -np.sum(forces * direction) == pytest.approx(fit.deriv()(0.0), abs=1e-3 * scale_of(forces))


@pytest.mark.parametrize("system", ["molecule", "crystal"])
def test_symmetries(mapped, system):
    """Improper rotation and the order of the atoms do not matter."""
    model, atoms = mapped[TOLERANCES[1]], SYSTEMS[system]
    energies, forces, virial = predict(model, atoms)
    rotation = -np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    order = np.random.default_rng(1).permutation(len(atoms))
    turned = atoms[order]
    turned.set_cell(atoms.cell.array @ rotation.T)
    turned.positions = atoms.positions[order] @ rotation.T
    e, f, v = predict(model, turned)
    assert e == pytest.approx(energies[order], abs=1e-11 * scale_of(energies))
    assert f == pytest.approx(forces[order] @ rotation.T, abs=1e-11 * scale_of(forces))
    assert v == pytest.approx(rotation @ virial @ rotation.T, abs=1e-11 * scale_of(virial))


def test_trained_model(copper_model, copper_frames):
    """A model of few channels: of its cost less than a tenth is left."""
    model = map_model(copper_model, copper_frames, 1e-3)
    assert model.info["mapping"]["multiply_adds"] < 0.1 * model.info["mapping"]["multiply_adds_direct"]
    assert model.info == {**copper_model.info, "mapping": model.info["mapping"]}
    for frame in copper_frames[8:]:
        exact_forces, forces = (predict(model, frame.to_atoms(), direct=direct)[1] for direct in (True, False))
        assert forces == pytest.approx(exact_forces, abs=1e-3)


def test_cheap_models_stay_as_they_are(random_model, frames):
    model = random_model(numbers=(1, 6), n=1, tangents=False, order_weights=ORDER_WEIGHTS)
    lines = []
    assert map_model(model, frames, 0, log=lines.append) is model
    assert "stays as it is" in lines[-1]


def test_mapping_is_reproducible_and_independent_of_threads(mapped, unmapped, frames):
    again = map_model(unmapped, frames, TOLERANCES[1], threads=2)
    for mine, theirs in zip(again.scales, mapped[TOLERANCES[1]].scales, strict=True):
        for a, b in zip(chain(*mine.mapped), chain(*theirs.mapped), strict=True):
            assert np.array_equal(a.vectors, b.vectors)
            assert np.array_equal(a.values, b.values)


# --- errors ---


@pytest.mark.parametrize("order", [5, 6])
def test_kernels_of_high_order_have_no_mapped_form(random_model, frames, order):
    with pytest.raises(MappingError, match=f"order {order} have no mapped form"):
        map_model(random_model(numbers=(1, 6), n=1, order_weights=np.ones(order)), frames)


def test_arguments_that_make_no_sense(unmapped, frames):
    with pytest.raises(MappingError, match=r"not negative, not -0\.1"):
        map_model(unmapped, frames, -0.1)
    with pytest.raises(MappingError, match="needs frames"):
        map_model(unmapped, [])


def test_tolerance_out_of_reach(unmapped, frames):
    with pytest.raises(MappingError, match=r"no mapped form is within 1e-15 eV/Å.*take 0 for exact"):
        map_model(unmapped, frames, 1e-15)


def test_frames_of_other_elements(unmapped, frames):
    """Also in frames that are not compared with the direct kernel."""
    few = Limits(mapping=MappingLimits(measured_atoms=1))
    other = Frame.from_atoms(molecule("H2O"), "water")
    for position in range(len(frames)):
        with pytest.raises(UnknownElementError, match="is O"):
            map_model(unmapped, [*frames[:position], other, *frames[position:]], TOLERANCES[0], limits=few)


@pytest.mark.parametrize("missing", ["H", "C"])
def test_frames_without_one_of_the_elements(unmapped, frames, missing):
    """What its environments are is not known."""
    others = []
    for frame in frames:
        atoms = frame.to_atoms()
        atoms.symbols[:] = {"H": "C", "C": "H"}[missing]
        others.append(Frame.from_atoms(atoms, frame.source))
    with pytest.raises(MappingError, match=missing):
        map_model(unmapped, others, TOLERANCES[0])


@pytest.mark.parametrize("place", range(4))
def test_rare_element(unmapped, frames, place):
    """Frames are chosen such that each element is among them."""
    few = Limits(samples=SampleLimits(frames=2))
    carbon = [Frame.from_atoms(rattled(bulk("C"), seed), f"{seed}") for seed in range(4)]
    model = map_model(unmapped, [*carbon[:place], frames[0], *carbon[place:]], TOLERANCES[1], limits=few)
    exact_forces, forces = (predict(m, frames[0].to_atoms())[1] for m in (unmapped, model))
    assert forces == pytest.approx(exact_forces, abs=TOLERANCES[1])


@pytest.mark.parametrize("isolated", [Atoms("H"), Atoms("CH", [[0, 0, 0], [0, 0, 20]])], ids=["alone", "far"])
def test_frames_of_isolated_atoms(unmapped, isolated):
    """They say nothing of environments."""
    structures = [rattled(bulk("C")), isolated]
    with pytest.raises(MappingError, match="H"):
        map_model(unmapped, [Frame.from_atoms(atoms) for atoms in structures], TOLERANCES[0])


@pytest.mark.parametrize("tolerance", [None, 0])
def test_too_many_features(unmapped, frames, tolerance):
    with pytest.raises(MappingError, match=r"features in a block, where 50 are the limit"):
        map_model(unmapped, frames, tolerance, limits=Limits(mapping=MappingLimits(most_features=50)))


@pytest.fixture
def sizes(monkeypatch):
    """Features of the largest block of each form that is made."""
    found, make = [], compression.DenseForms.forms

    def made(*arguments):
        forms = make(*arguments)
        found.append(max(len(form.block) for form in forms))
        return forms

    monkeypatch.setattr(compression.DenseForms, "forms", made)
    return found


def test_features_are_added_until_they_suffice(unmapped, frames, sizes):
    """With too few of them there is no form, but the default tolerance is not kept at any price."""
    whole = map_model(unmapped, frames, TOLERANCES[1])
    most = max(sizes)
    sizes.clear()
    features = (most // 8, most)
    model = map_model(unmapped, frames, TOLERANCES[1], limits=Limits(mapping=MappingLimits(features=features)))
    assert (min(sizes), max(sizes)) == (most // 8, most)
    assert model.info["mapping"] == whole.info["mapping"]
    for slack, expected in ((1.0, most), (1e6, most // 8)):
        sizes.clear()
        map_model(unmapped, frames, limits=Limits(mapping=MappingLimits(features=features, slack=slack)))
        assert max(sizes) == expected
    with pytest.raises(MappingError, match="no mapped form is within"):
        map_model(unmapped, frames, TOLERANCES[1], limits=Limits(mapping=MappingLimits(features=features[:1])))


@pytest.mark.parametrize(("rmse", "expected"), [(None, 1e-4), (2e-4, 1e-4), (0.02, 5e-3), (1.0, 1e-2)])
def test_default_tolerance(unmapped, rmse, expected):
    """In proportion to the errors of the model, within limits."""
    for name in ("leave_one_out_forces_rmse", "cross_validation_forces_rmse"):
        errors = {"leave_one_out_energy_per_atom_rmse": 3.0} | ({} if rmse is None else {name: rmse})
        model = dataclasses.replace(unmapped, info={"training": {"errors": errors}})
        assert mapping.default_tolerance(model) == pytest.approx(expected)


def test_forms_without_features_have_no_factors(unmapped, frames):
    """A form of products alone, each negligible though their sum is not: a file of it could not be read."""
    scale = unmapped.scales[0]
    samples = draw_samples(choose_frames(Dataset(frames), np.random.default_rng(0)), scale.density)
    forms = compression.DenseForms.of(scale.support[1], scale.order_weights[1], samples[1], 1).forms(1)
    alone = [form for form in forms if not form.block.channels and not form.block.constant]
    assert any(np.abs(form.values).max() > 1e-8 for form in alone)
    negligible = [dataclasses.replace(form, importance=np.zeros(len(form.importance))) for form in alone]
    for form in compression.compress([*forms, *negligible], 1e-8)[len(forms) :]:
        assert form.vectors.shape == (0, 0)
        assert form.values.shape == (0,)


def test_elements_that_never_met_in_the_frames():
    """Trained on pure metals, the form agrees with the support points in their alloy."""
    rng = np.random.default_rng(0)

    def crystal(symbols):
        atoms = bulk("Cu", cubic=True, a=3.9) * (2, 2, 1)
        atoms.symbols = rng.choice(symbols, len(atoms))
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        return atoms

    frames = [crystal([metal]) for metal in ("Cu", "Ag", "Au") * 4]
    options = TrainingOptions(
        estimator="sparse", support_points=150, lmax=2, cutoff=4.5, cutoff_width=2.0, angular_weight=0.0,
        channel_tolerance=1e-4, element_mixing=0.5, saturation=0.0, uncertainty=False,
    )  # fmt: skip
    model = train(frames, options, threads=1)
    alloy = crystal(["Cu", "Ag", "Au"])
    exact, found = (predict(m, alloy)[1] for m in (_without_form(model), model))
    tolerance = model.info["mapping"]["tolerance"]
    assert scale_of(found - exact) < 2 * tolerance  # four times without copies of the frames with exchanged elements


def _without_form(model):
    return dataclasses.replace(model, scales=[dataclasses.replace(s, mapped=None) for s in model.scales])
