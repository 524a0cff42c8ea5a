"""Mapped tensor kernels, their derivatives and symmetry; training; files; the calculator."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.vibrations import Infrared
from oracles.kernels import central_difference
from oracles.systems import coefficients, make_density, random_environment, tensor_kernels
from scipy.spatial.transform import Rotation

from wk_potential import Model, WKCalculator
from wk_potential.analysis.spectra import harmonic_spectrum
from wk_potential.atoms.kinds import TENSORS
from wk_potential.atoms.neighbours import find_neighbours
from wk_potential.atoms.structure import Structure
from wk_potential.calculator import TENSOR_PROPERTIES
from wk_potential.density.packed import pack
from wk_potential.forms.bilinear import pack_tensor
from wk_potential.forms.bilinear_kernel import LANES
from wk_potential.model.tensor_evaluation import TensorLayer, evaluate_tensors, tensor_terms_of
from wk_potential.model.tensors import TensorPart, TensorProperty
from wk_potential.training.mapping.samples import Samples
from wk_potential.training.mapping.tensors import TensorSupport, compressed, exact_form

WEIGHTS = np.array([0.5, 0.3, 0.2, 0.1])


def environments(lmax, n, seed=0):
    density = make_density(lmax, 2, 1e-2)
    return np.array([coefficients(density, *random_environment(seed + k, 5, 2)) for k in range(n)])


def random_tensor_support(lmax, momentum, n=7, seed=3):
    rng = np.random.default_rng(seed)
    return TensorSupport(environments(lmax, n, 100), rng.normal(size=(n, 2 * momentum + 1)))


@pytest.mark.parametrize(
    ("lmax", "order", "momentum"), [(1, 1, 1), (2, 2, 0), (2, 3, 2), (2, 4, 0), (3, 4, 1), (3, 4, 2)]
)
def test_polynomial_is_the_sum_over_support_points(lmax, order, momentum):
    support, c = random_tensor_support(lmax, momentum), environments(lmax, 4)
    form = exact_form(support, momentum, WEIGHTS[:order])
    kernels = np.array([tensor_kernels(lmax, order, momentum, x, support.coefficients) for x in c])
    expected = np.einsum("o,eomsn,sn->em", WEIGHTS[:order], kernels, support.weights)
    assert form.values(c) == pytest.approx(expected, abs=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("momentum", [0, 1, 2])
def test_small_form_keeps_to_its_tolerance(momentum):
    support, rng = random_tensor_support(2, momentum), np.random.default_rng(0)
    c = environments(2, 30)
    samples = Samples(c, 0.3 * rng.normal(size=c.shape))
    (exact,) = compressed([support], momentum, WEIGHTS[None], [samples], 0.0)
    scale = np.sqrt(np.mean(exact.values(c) ** 2))
    (small,) = compressed([support], momentum, WEIGHTS[None], [samples], 1e-2 * scale)
    assert 0 < np.sqrt(np.mean((small.values(c) - exact.values(c)) ** 2)) < 1e-2 * scale
    n_small, n_exact = (sum(f.vectors.size for f in form.factors) for form in (small, exact))
    assert n_small < 0.2 * n_exact


def random_structure(seed=0, periodic=False, n=11):
    rng = np.random.default_rng(seed)
    cell = np.diag([5.0, 5.5, 6.0]) + 0.3 * rng.normal(size=(3, 3))
    positions = rng.uniform(0, 1, (60, 3)) @ cell
    kept = [positions[0]]
    for r in positions[1:]:
        if len(kept) < n and min(np.linalg.norm(r - s) for s in kept) > 1.2:
            kept.append(r)
    return np.array(kept), cell * periodic, rng.integers(2, size=len(kept)), np.full(3, periodic)


def evaluated(layers, positions, cell, elements, pbc, derivatives=False, threads=1):
    structure = Structure(positions, cell, elements, find_neighbours(positions, cell, pbc, 4.0))
    return evaluate_tensors(layers, structure, threads, derivatives)


def random_layers(lmax, momentum, order=4):
    density = pack(make_density(lmax, 2, 1e-2))
    forms = [
        pack_tensor(exact_form(random_tensor_support(lmax, momentum, 5, s), momentum, WEIGHTS[:order])) for s in (0, 1)
    ]
    return [TensorLayer(density, momentum, forms)]


@pytest.mark.parametrize("momentum", [0, 1, 2])
def test_compiled_form_is_the_polynomial(momentum):
    lmax = 3
    positions, cell, elements, pbc = random_structure(periodic=True, n=2 * LANES + 3)
    layers = random_layers(lmax, momentum)
    values, none = evaluated(layers, positions, cell, elements, pbc)
    neighbours = find_neighbours(positions, cell, pbc, 4.0)
    vectors, density = neighbours.vectors(positions, cell), make_density(lmax, 2, 1e-2)
    assert len(none) == 0
    for i, element in enumerate(elements):
        own = slice(neighbours.first[i], neighbours.first[i + 1])
        c = coefficients(density, vectors[own], elements[neighbours.neighbour[own]], element)
        form = exact_form(random_tensor_support(lmax, momentum, 5, element), momentum, WEIGHTS)
        assert values[i] == pytest.approx(form.values(c[None])[0], abs=1e-10 * np.abs(values).max())


@pytest.mark.parametrize("momentum", [0, 1, 2])
def test_terms_are_what_the_values_consist_of(momentum):
    positions, cell, elements, pbc = random_structure(periodic=True, n=2 * LANES + 3)
    layers = random_layers(3, momentum)
    values, _ = evaluated(layers, positions, cell, elements, pbc)
    structure = Structure(positions, cell, elements, find_neighbours(positions, cell, pbc, 4.0))
    terms = tensor_terms_of(layers, structure, 2)
    forms = [exact_form(random_tensor_support(3, momentum, 5, z), momentum, WEIGHTS) for z in (0, 1)]
    assert len(terms) == sum(len(core) for form in forms for _, _, core in form.couplings)
    assert terms.sum(axis=0) == pytest.approx(values.sum(axis=0), abs=1e-10 * np.abs(terms).max())
    # each is linear in its row of a core
    i, j, core = forms[0].couplings[0]
    forms[0].couplings[0] = (i, j, np.vstack([2 * core[:1], core[1:]]))
    doubled, _ = evaluated([replace(layers[0], forms=[pack_tensor(f) for f in forms])], positions, cell, elements, pbc)
    assert doubled.sum(axis=0) - values.sum(axis=0) == pytest.approx(terms[0], abs=1e-10 * np.abs(terms).max())


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("momentum", [0, 1, 2])
def test_derivatives_are_those_of_the_values(momentum, periodic):
    positions, cell, elements, pbc = random_structure(1, periodic)
    layers = random_layers(2, momentum)
    values, slopes = evaluated(layers, positions, cell, elements, pbc, True, 2)
    plain, _ = evaluated(layers, positions, cell, elements, pbc)
    assert values == pytest.approx(plain, abs=1e-13 * np.abs(plain).max())

    def total(r):
        return evaluated(layers, r, cell, elements, pbc)[0].sum(axis=0)

    expected = np.moveaxis(central_difference(total, positions, 1e-4), -1, 0)
    assert slopes == pytest.approx(expected, abs=1e-7 * np.abs(expected).max())


# --- models of them ---


def random_target(name, lmax=2, numbers=2, seed=0):
    """A target with random support points."""
    densities = [make_density(lmax, numbers, 1e-2)]
    parts = []
    for momentum in TENSORS[name]:
        forms = [
            exact_form(random_tensor_support(lmax, momentum, 4, seed + z), momentum, WEIGHTS) for z in range(numbers)
        ]
        baseline = np.arange(numbers) + 1.0 if momentum == 0 else np.zeros(numbers)
        parts.append(TensorPart(momentum, baseline, [forms]))
    return TensorProperty(name, densities, parts)


@pytest.fixture(scope="module")
def tensor_model(random_model):
    """Energy, dipole and polarisability of H and O."""
    targets = {name: random_target(name, seed=k) for k, name in enumerate(TENSORS)}
    return replace(random_model(numbers=(1, 8)), tensors=targets)


def systems():
    positions, cell, elements, _ = random_structure(2, True, 9)
    molecule = Atoms(np.array([1, 8])[elements], positions)
    return molecule, Atoms(molecule.numbers, positions, cell=cell, pbc=True)


@pytest.mark.parametrize("atoms", systems(), ids=["molecule", "crystal"])
@pytest.mark.parametrize("sign", [1, -1], ids=["proper", "improper"])
def test_predictions_turn_with_the_structure(tensor_model, atoms, sign):
    q = sign * Rotation.from_quat(np.random.default_rng(5).normal(size=4)).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ q.T)
    turned.positions = atoms.positions @ q.T + [1.0, -2.0, 0.5]
    calculators = WKCalculator(tensor_model, threads=1), WKCalculator(tensor_model, threads=2)
    plain, other = (
        [c.get_property(name, a) for name in TENSOR_PROPERTIES]
        for c, a in zip(calculators, (atoms, turned), strict=True)
    )
    expected = [
        np.einsum("ax,...x->...a", q, plain[0]),
        q @ plain[1] @ q.T,
        np.einsum("ax,by,nxy->nab", q, q, plain[2]),
        np.einsum("ax,by,cz,nxyz->nabc", q, q, q, plain[3], optimize=True),
    ]
    for value, turned_value in zip(other, expected, strict=True):
        assert value == pytest.approx(turned_value, abs=1e-10 * np.abs(value).max())
        assert np.abs(value).max() > 1e-3


@pytest.mark.parametrize("atoms", systems(), ids=["molecule", "crystal"])
@pytest.mark.parametrize("name", list(TENSORS))
def test_derivatives_of_the_calculator(tensor_model, atoms, name):
    calculator = WKCalculator(tensor_model, threads=1)
    slopes = calculator.get_property(f"{name}_derivatives", atoms)

    def value(positions):
        moved = atoms.copy()
        moved.positions = positions
        return calculator.get_property(name, moved)

    expected = central_difference(value, atoms.positions, 1e-4)
    assert slopes == pytest.approx(expected, abs=1e-6 * np.abs(expected).max())
    assert slopes.sum(axis=0) == pytest.approx(0, abs=1e-11 * np.abs(slopes).max())


def test_contributions_of_atoms_add_up(tensor_model):
    """A supercell has the polarisability and dipole of its cells together."""
    _, crystal = systems()
    calculator = WKCalculator(tensor_model, threads=1)
    for name in TENSORS:
        one, four = (calculator.get_property(name, atoms) for atoms in (crystal, crystal.repeat((2, 1, 2))))
        assert four == pytest.approx(4 * one, abs=1e-10 * np.abs(four).max())


def test_only_what_is_asked_for_is_computed(tensor_model):
    atoms = systems()[0]
    atoms.calc = WKCalculator(tensor_model, threads=1)
    atoms.get_dipole_moment()
    dipole = atoms.calc.results["dipole"]
    assert set(atoms.calc.results) == {"dipole"}
    atoms.get_potential_energy()
    forces = atoms.calc.results["forces"]
    assert atoms.calc.results["dipole"] is dipole
    atoms.calc.get_property("dipole_derivatives", atoms)
    assert atoms.calc.results["forces"] is forces
    atoms.positions[0, 0] += 0.1
    assert np.abs(atoms.get_dipole_moment() - dipole).max() > 1e-6
    assert "forces" not in atoms.calc.results


def test_model_file_keeps_targets(tensor_model, tmp_path):
    tensor_model.save(tmp_path / "m.wkp")
    loaded = Model.load(tmp_path / "m.wkp")
    assert loaded.info == tensor_model.info
    atoms = systems()[0]
    for name in TENSOR_PROPERTIES:
        values = [WKCalculator(m, threads=1).get_property(name, atoms) for m in (tensor_model, loaded)]
        np.testing.assert_array_equal(*values)


def test_model_without_energy(tensor_model, tmp_path):
    model = replace(tensor_model, scales=[])
    model.save(tmp_path / "m.wkp")
    atoms = systems()[0]
    atoms.calc = WKCalculator(Model.load(tmp_path / "m.wkp"), threads=1)
    assert np.abs(atoms.get_dipole_moment()).max() > 0
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_potential_energy()


def test_model_without_dipole(random_model):
    atoms = systems()[0]
    atoms.calc = WKCalculator(random_model(numbers=(1, 8)), threads=1)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_dipole_moment()


def test_two_atoms_on_one_site(tensor_model):
    atoms = Atoms("OHH", [[0, 0, 0], [1, 0, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match=r"atoms (1 and 2|2 and 1) are less than 0.1 Angstrom apart"):
        WKCalculator(tensor_model, threads=1).get_property("dipole", atoms)


def test_harmonic_intensities_are_those_of_ase(tensor_model, tmp_path):
    """Analytic derivatives against `ase.vibrations.Infrared`, which displaces the atoms."""
    atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0.05], [-0.24, 0.93, 0]])
    atoms.calc = WKCalculator(tensor_model, threads=1)
    found = harmonic_spectrum(atoms)
    infrared = Infrared(atoms, name=str(tmp_path / "ir"), delta=0.002)
    infrared.run()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        energies = infrared.get_energies()
    order = np.argsort(np.real(energies) - np.imag(energies))
    km_mol = infrared.intensities[order] * 42.2561
    assert found.infrared == pytest.approx(km_mol, rel=0.01, abs=1e-3 * km_mol.max())
    frequencies = infrared.get_frequencies()[order]
    assert found.wavenumbers == pytest.approx(
        frequencies.real - frequencies.imag, abs=0.5 + 1e-3 * abs(frequencies).max()
    )
    assert found.raman.shape == (9,)
