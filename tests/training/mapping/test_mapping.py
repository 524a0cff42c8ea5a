"""Quadratic forms in place of support points: exact, small, in both precisions, in files."""

import copy
import dataclasses
import pickle
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from oracles.systems import scale_of

from wk_potential import Frame, Model, WKCalculator
from wk_potential.atoms.neighbours import find_neighbours
from wk_potential.errors import ClashError, PrecisionWarning, UnknownElementError
from wk_potential.model.container import read_container
from wk_potential.model.support import SupportPoints
from wk_potential.training.mapping import compression, mapping, samples
from wk_potential.training.mapping.compression import exact
from wk_potential.training.mapping.mapping import MappingError, map_model

ORDER_WEIGHTS = (0.7, 1.1, 0.9, 1.3)


# --- energies and forces ---


def rattled(atoms, seed=0, amount=0.08):
    atoms = atoms.copy()
    atoms.rattle(amount, seed=seed)
    return atoms


def slab():
    """Periodic in two directions, without a third cell vector."""
    atoms = fcc111("C", (1, 2, 2), a=3.4)
    atoms.numbers[1] = 1
    return rattled(atoms)


def crystal(seed=0):
    """A skewed cell smaller than the cutoff."""
    atoms = bulk("CH", "zincblende", a=3.4)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    return rattled(atoms, seed, 0.15)


SYSTEMS = {"molecule": rattled(molecule("C2H6")), "crystal": crystal(), "slab": slab(), "atom": Atoms("C")}


def exactly_mapped(model) -> Model:
    """The model with exact forms, which `Model.map` would not take if they cost more than few support points."""
    scales = []
    for scale in model.scales:
        forms = [exact(s, a) for s, a in zip(scale.support, scale.order_weights, strict=True)]
        scales.append(dataclasses.replace(scale, mapped=forms))
    return dataclasses.replace(model, scales=scales)


@pytest.fixture(scope="module")
def carbon(random_model):
    """A model of one element in exact mapped form."""
    return exactly_mapped(random_model(numbers=(6,), lmax=3, n=12, order_weights=ORDER_WEIGHTS))


@pytest.fixture(scope="module")
def hydrocarbon(random_model):
    """A model of two elements in exact mapped form."""
    return exactly_mapped(random_model(numbers=(1, 6), n=12, order_weights=ORDER_WEIGHTS))


def predict(model, atoms, threads=1, **options):
    """Energies, forces and virial."""
    neighbours = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    structure = model.structure(atoms.numbers, atoms.positions, atoms.cell.array, neighbours)
    p = model.evaluate(structure, threads, model.potential(**options))
    return p.energies, p.forces, p.virial


def check(model, atoms, tolerance, threads=1, **options):
    """The mapped form and the direct kernel agree, relative to the largest of each."""
    mapped, direct = predict(model, atoms, threads, **options), predict(model, atoms, direct=True)
    for found, expected in zip(mapped, direct, strict=True):
        assert found == pytest.approx(expected, abs=tolerance * scale_of(expected))
    return mapped


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("n_elements", [1, 2])
def test_exact_form(n_elements, system, request):
    model, atoms = request.getfixturevalue(("carbon", "hydrocarbon")[n_elements - 1]), SYSTEMS[system].copy()
    if n_elements == 1:
        atoms.numbers[:] = 6
    check(model, atoms, 1e-9)
    check(model, atoms, 1e-9, threads=2)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("tangents", [False, True])
@pytest.mark.parametrize("lmax", [0, 1, 3])
def test_exact_form_of_any_kernel(random_model, lmax, order, tangents):
    model = random_model(numbers=(1, 6), lmax=lmax, n=3, tangents=tangents, order_weights=ORDER_WEIGHTS[:order])
    check(exactly_mapped(model), SYSTEMS["crystal"], 1e-9)


def test_exact_form_beyond_lmax_three(random_model):
    model = random_model(numbers=(6,), lmax=4, n=3, order_weights=ORDER_WEIGHTS)
    check(exactly_mapped(model), Atoms("C3", [[0, 0, 0], [1, 1, 0.3], [0.2, -0.9, 0.8]]), 1e-9)


@pytest.mark.parametrize("n", range(1, 18))
def test_any_number_of_atoms(carbon, n):
    """Lanes of the last vectors are partly in use."""
    positions = np.argwhere(np.ones((3, 3, 2))) * 1.8
    atoms = rattled(Atoms(f"C{n}", positions[np.random.default_rng(n).permutation(18)[:n]]), n, 0.2)
    for threads in (1, 2):
        check(carbon, atoms, 1e-9, threads)
        check(carbon, atoms, 1e-4, threads, precision="float32")


def test_more_threads_than_atoms(hydrocarbon):
    check(hydrocarbon, SYSTEMS["atom"], 1e-9, threads=5)
    check(hydrocarbon, SYSTEMS["crystal"], 1e-9, threads=5)


def test_threads_repeat_to_the_last_bit(hydrocarbon):
    atoms = SYSTEMS["molecule"]
    for first, second in zip(predict(hydrocarbon, atoms, 2), predict(hydrocarbon, atoms, 2), strict=True):
        assert np.array_equal(first, second)


def test_no_atoms(hydrocarbon):
    energies, forces, virial = predict(hydrocarbon, Atoms())
    assert energies.shape == (0,)
    assert forces.shape == (0, 3)
    assert np.array_equal(virial, np.zeros((3, 3)))


@pytest.mark.parametrize("n", [0, 1])
def test_element_without_environments(random_model, n):
    """Its support points are none, or isolated atoms only, whose coefficients are zero."""
    model = random_model(numbers=(1, 6), n=12, order_weights=ORDER_WEIGHTS)
    scales = []
    for scale in model.scales:
        shape = (n, *scale.support[0].coefficients.shape[1:])
        nothing = SupportPoints(np.zeros(shape), np.ones(n), np.zeros(shape))
        scales.append(dataclasses.replace(scale, support=[nothing, scale.support[1]]))
    model = dataclasses.replace(model, scales=scales)
    check(exactly_mapped(model), SYSTEMS["molecule"], 1e-9)


# --- forms that are nearly the same ---

TOLERANCES = (0.3, 3e-2, 3e-3, 3e-4)


@pytest.fixture(scope="module")
def frames():
    """Crystals, molecules and slabs of hydrogen and carbon."""
    structures = [maker(seed) for seed in range(4) for maker in (crystal, lambda seed: rattled(molecule("C2H6"), seed))]
    return [Frame.from_atoms(atoms, f"frame {k}") for k, atoms in enumerate([*structures, slab()])]


@pytest.fixture(scope="module")
def unmapped(random_model):
    """A model of two elements with so many support points that all forms are cheaper."""
    return random_model(numbers=(1, 6), n=40, scale=0.5, order_weights=ORDER_WEIGHTS)


@pytest.fixture(scope="module")
def mapped(unmapped, frames):
    """Mapped models by tolerance."""
    return {tolerance: map_model(unmapped, frames, tolerance, threads=1) for tolerance in (*TOLERANCES, 0)}


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


# --- models, files and calculators ---


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("tolerance", [0, TOLERANCES[1]])
def test_file(tmp_path, mapped, tolerance, precision):
    """Predictions are equal to the last bit; factors are of single precision unless the form is exact."""
    model, path = mapped[tolerance], tmp_path / "model.wkp"
    model.save(path)
    loaded = Model.load(path)
    assert loaded.info == model.info
    for system in SYSTEMS.values():
        pairs = zip(*(predict(m, system, precision=precision) for m in (model, loaded)), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    assert read_container(path)[1]["scale0_mapped_vectors"].dtype == (np.float64 if tolerance == 0 else np.float32)
    loaded.save(tmp_path / "again.wkp")
    assert (tmp_path / "again.wkp").read_bytes() == path.read_bytes()


def test_calculator(tmp_path, mapped, unmapped):
    model, atoms = mapped[TOLERANCES[1]], SYSTEMS["crystal"].copy()
    model.save(tmp_path / "model.wkp")

    def results(m, **options):
        atoms.calc = WKCalculator(m, **options)
        return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()

    for a, b in zip(results(tmp_path / "model.wkp", direct=True), results(unmapped), strict=True):
        assert np.array_equal(a, b)
    for precision in ("float64", "float32"):
        energy, forces, stress = results(tmp_path / "model.wkp", precision=precision)
        energies, expected, virial = predict(model, atoms, precision=precision)
        assert energy == pytest.approx(energies.sum(), rel=1e-5)
        assert forces == pytest.approx(expected, abs=1e-5 * scale_of(expected))
        assert stress[0] == pytest.approx(virial[0, 0] / atoms.cell.volume, abs=1e-5 * scale_of(stress))
        for other in (copy.deepcopy(atoms), pickle.loads(pickle.dumps(atoms))):
            other.rattle(1e-9, seed=0)
            assert other.get_forces() == pytest.approx(forces, abs=1e-4 * scale_of(forces))


def test_rounding_that_matters_is_said(mapped):
    model = mapped[TOLERANCES[1]]
    facts = {"largest_force_deviation": 1e-4, "largest_force_deviation_float32": 0.02}
    suspicious = replace(model, info={**model.info, "mapping": facts})
    suspicious.potential()
    with pytest.warns(PrecisionWarning, match="by up to 2.0e-02 eV/Angstrom"):
        suspicious.potential("float32")


def test_precisions_and_forms_are_made_once(mapped, unmapped):
    model = mapped[TOLERANCES[1]]
    assert model.potential("float32") is model.potential("float32")
    assert model.potential() is not model.potential("float32")
    assert model.potential(direct=True) is model.direct
    assert unmapped.potential() is unmapped.direct


# --- errors ---


@pytest.mark.parametrize("order", [5, 6])
def test_kernels_of_high_order_have_no_mapped_form(random_model, frames, order):
    with pytest.raises(MappingError, match=f"order {order} have no mapped form"):
        map_model(random_model(numbers=(1, 6), n=1, order_weights=np.ones(order)), frames)


def test_arguments_that_make_no_sense(unmapped, frames):
    with pytest.raises(MappingError, match=r"must not be negative, not -0\.1"):
        map_model(unmapped, frames, -0.1)
    with pytest.raises(MappingError, match="needs frames"):
        map_model(unmapped, [])


def test_tolerance_out_of_reach(unmapped, frames):
    with pytest.raises(MappingError, match=r"no mapped form is within 1e-15 eV/Å.*take 0 for exact"):
        map_model(unmapped, frames, 1e-15)


def test_frames_of_other_elements(unmapped, frames, monkeypatch):
    """Also in frames that are not compared with the direct kernel."""
    monkeypatch.setattr(mapping, "MEASURED_ATOMS", 1)
    other = Frame.from_atoms(molecule("H2O"), "water")
    for position in range(len(frames)):
        with pytest.raises(UnknownElementError, match="is O"):
            map_model(unmapped, [*frames[:position], other, *frames[position:]], TOLERANCES[0])


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
def test_rare_element(unmapped, frames, monkeypatch, place):
    """Frames are chosen such that each element is among them."""
    monkeypatch.setattr(samples, "MOST_FRAMES", 2)
    carbon = [Frame.from_atoms(rattled(bulk("C"), seed), f"{seed}") for seed in range(4)]
    model = map_model(unmapped, [*carbon[:place], frames[0], *carbon[place:]], TOLERANCES[1])
    exact_forces, forces = (predict(m, frames[0].to_atoms())[1] for m in (unmapped, model))
    assert forces == pytest.approx(exact_forces, abs=TOLERANCES[1])


@pytest.mark.parametrize("isolated", [Atoms("H"), Atoms("CH", [[0, 0, 0], [0, 0, 20]])], ids=["alone", "far"])
def test_frames_of_isolated_atoms(unmapped, isolated):
    """They say nothing of environments."""
    structures = [rattled(bulk("C")), isolated]
    with pytest.raises(MappingError, match="H"):
        map_model(unmapped, [Frame.from_atoms(atoms) for atoms in structures], TOLERANCES[0])


def test_too_many_features(unmapped, frames, monkeypatch):
    monkeypatch.setattr(compression, "MOST_FEATURES", 50)
    with pytest.raises(MappingError, match=r"features in a block, where 50 are the limit"):
        map_model(unmapped, frames)


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


def test_features_are_added_until_they_suffice(unmapped, frames, monkeypatch, sizes):
    """With too few of them there is no form, but the default tolerance is not kept at any price."""
    whole = map_model(unmapped, frames, TOLERANCES[1])
    most = max(sizes)
    sizes.clear()
    monkeypatch.setattr(mapping, "FEATURES", (most // 8, most))
    model = map_model(unmapped, frames, TOLERANCES[1])
    assert (min(sizes), max(sizes)) == (most // 8, most)
    assert model.info["mapping"] == whole.info["mapping"]
    for slack, expected in ((1.0, most), (1e6, most // 8)):
        sizes.clear()
        monkeypatch.setattr(mapping, "SLACK", slack)
        map_model(unmapped, frames)
        assert max(sizes) == expected
    monkeypatch.setattr(mapping, "FEATURES", (most // 8,))
    with pytest.raises(MappingError, match="no mapped form is within"):
        map_model(unmapped, frames, TOLERANCES[1])


@pytest.mark.parametrize(("rmse", "expected"), [(None, 1e-4), (1e-3, 1e-4), (0.05, 1.5e-3), (1.0, 5e-3)])
def test_default_tolerance(unmapped, rmse, expected):
    """In proportion to the errors of the model, within limits."""
    for name in ("leave_one_out_forces_rmse", "cross_validation_forces_rmse"):
        errors = {"leave_one_out_energy_per_atom_rmse": 3.0} | ({} if rmse is None else {name: rmse})
        model = dataclasses.replace(unmapped, info={"training": {"errors": errors}})
        assert mapping.default_tolerance(model) == pytest.approx(expected)


def test_precision_must_be_known(mapped, unmapped):
    for model in (mapped[0], unmapped):
        with pytest.raises(ValueError, match="float64 or float32, not 'float16'"):
            model.potential("float16")
    for model, direct in ((unmapped, False), (mapped[0], True)):
        with pytest.raises(ValueError, match="float32 is for models in mapped form"):
            model.potential("float32", direct)
        with pytest.raises(ValueError, match="float32 is for models in mapped form"):
            WKCalculator(model, precision="float32", direct=direct)


@pytest.mark.parametrize("options", [{}, {"direct": True}, {"precision": "float32"}])
def test_two_atoms_on_one_site(mapped, options):
    atoms = SYSTEMS["molecule"].copy()
    atoms.positions[6] = atoms.positions[3]
    atoms.calc = WKCalculator(mapped[TOLERANCES[0]], threads=2, **options)
    with pytest.raises(ClashError, match=r"atoms (3 and 6|6 and 3) are on one site"):
        atoms.get_forces()
