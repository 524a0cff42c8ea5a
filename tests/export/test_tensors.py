"""Dipoles and polarisabilities of exported models are those of the model, with their derivatives."""

import dataclasses

import numpy as np
import pytest
from ase.build import bulk, molecule
from oracles.mapped import exactly_mapped, rattled
from oracles.systems import coefficients, make_density, random_environment

from wk_potential import export_model
from wk_potential.atoms.kinds import TENSORS
from wk_potential.atoms.neighbours import find_neighbours
from wk_potential.model.tensors import TensorPart, TensorProperty
from wk_potential.training.mapping.tensors import TensorSupport, exact_form

torch = pytest.importorskip("torch", reason="exported models need the extra 'torch'")
pytest.importorskip("metatomic.torch", reason="exported models need the extra 'torch'")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # metatomic's format is TorchScript
    pytest.mark.filterwarnings("ignore:found nvalchemi:UserWarning"),  # of metatomic's calculator, where that is there
]
SYSTEMS = {"molecule": rattled(molecule("H2O")), "crystal": rattled(bulk("OH", "rocksalt", a=3.6).repeat((2, 1, 1)))}


def random_target(name, saturation):
    """A target of H and O with random support points."""
    rng, parts, densities = np.random.default_rng(0), [], []
    for cutoff_seed in (0, 1):
        density = make_density(2, 2, 1e-2)
        densities.append(density._replace(saturation=saturation * cutoff_seed))
    for momentum in TENSORS[name]:
        forms = []
        for density in densities:
            points = [coefficients(density, *random_environment(k, 5, 2)) for k in range(4)]
            supports = [TensorSupport(np.array(points), rng.normal(size=(4, 2 * momentum + 1))) for _ in range(2)]
            forms.append([exact_form(s, momentum, np.array([0.5, 0.3, 0.2])) for s in supports])
        baseline = np.array([1.0, 2.0]) if momentum == 0 else np.zeros(2)
        parts.append(TensorPart(momentum, baseline, forms))
    return TensorProperty(name, densities, parts)


@pytest.fixture(scope="module")
def model(random_model):
    plain = exactly_mapped(random_model((1, 8), cutoffs=(4.0,), order_weights=(0.1, 0.03)))
    return dataclasses.replace(plain, tensors={name: random_target(name, 0.7) for name in TENSORS})


def evaluated(path, atoms, name, kind):
    """Values of an output, and the positions by which autograd can derive them."""
    from metatomic.torch import ModelEvaluationOptions, ModelOutput, load_atomistic_model, systems_to_torch
    from vesin.metatomic import neighbor_lists_for_model

    module = load_atomistic_model(path)
    (system,) = systems_to_torch([atoms], dtype=torch.float64, positions_requires_grad=True)
    for neighbours in neighbor_lists_for_model("angstrom", module):
        neighbours.add_neighbor_list([system], copy=True)
    options = ModelEvaluationOptions("angstrom", {f"wk_potential::{name}": ModelOutput(sample_kind=kind)})
    block = module([system], options, check_consistency=True)[f"wk_potential::{name}"].block()
    return block.values.squeeze(-1), system.positions


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("kind", SYSTEMS)
def test_tensors_and_their_derivatives(model, kind, name, tmp_path):
    atoms, target = SYSTEMS[kind], model.tensors[name]
    neighbours = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    structure = model.structure(atoms.numbers, atoms.positions, atoms.cell.array, neighbours)
    expected, slopes = target.predict(structure), target.derivatives(structure)
    export_model(model, tmp_path / "model.pt")
    of_atoms, _ = evaluated(tmp_path / "model.pt", atoms, name, "atom")
    assert of_atoms.detach().numpy() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    values, positions = evaluated(tmp_path / "model.pt", atoms, name, "system")
    assert values[0].detach().numpy() == pytest.approx(expected.sum(axis=0), rel=1e-9, abs=1e-9)
    for place in np.ndindex(values[0].shape):
        (found,) = torch.autograd.grad(values[0][place], positions, retain_graph=True)
        assert found.numpy() == pytest.approx(slopes[(slice(None), slice(None), *place)], abs=1e-8)


def test_energies_beside_them(model, tmp_path):
    plain = dataclasses.replace(model, tensors={})
    for path, one in (("with.pt", model), ("without.pt", plain)):
        export_model(one, tmp_path / path)
    from metatomic_ase import MetatomicCalculator

    found = [MetatomicCalculator(tmp_path / p, device="cpu").get_potential_energy(SYSTEMS["molecule"]) for p in
             ("with.pt", "without.pt")]  # fmt: skip
    assert found[0] == pytest.approx(found[1], rel=1e-12)
