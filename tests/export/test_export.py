"""Exported models are the model: the same energies, forces and stresses, in other programs and without this package."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.io import write
from oracles.mapped import crystal, exactly_mapped, rattled, slab
from oracles.systems import scale_of

from wk_potential import WKCalculator, export_model, load
from wk_potential.errors import PrecisionWarning
from wk_potential.model.repulsion import Repulsion

torch = pytest.importorskip("torch", reason="exported models need the extra 'torch'")
pytest.importorskip("metatomic.torch", reason="exported models need the extra 'torch'")
MetatomicCalculator = pytest.importorskip("metatomic_ase").MetatomicCalculator

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # metatomic's format is TorchScript
    pytest.mark.filterwarnings("ignore:found nvalchemi:UserWarning"),  # of metatomic's calculator, where that is there
]
MODELS = Path(__file__).parents[2] / "models"
PROPERTIES = ["energy", "energies", "forces"]


def with_saturation(model, b):
    scales = [dataclasses.replace(s, density=s.density._replace(saturation=b)) for s in model.scales]
    return dataclasses.replace(model, scales=scales)


def with_repulsion(model):
    shape = 2 * [len(model.elements)]
    repulsion = Repulsion(model.elements.astype(float), np.full(shape, 0.9), np.full(shape, 1.7))
    return dataclasses.replace(model, repulsion=repulsion)


@pytest.fixture(scope="module")
def small_models(random_model):
    """Models of H, C and O: one and two length scales, with and without saturation and repulsion."""
    plain = exactly_mapped(random_model(cutoffs=(4.0,), order_weights=(0.1, 0.03, 0.01, 0.003)))
    two = exactly_mapped(random_model(lmax=3, n=3, tangents=False))
    return {
        "one scale": plain,
        "saturation": with_saturation(plain, 1.5),
        "two scales": two,
        "everything": with_repulsion(with_saturation(two, 0.7)),
    }


SYSTEMS = {
    "molecule": rattled(molecule("CH3CH2OH")),
    "skewed cell smaller than the cutoff": crystal(),
    "slab": slab(),
    "isolated atom": Atoms("O"),
    "atoms that do not see each other": Atoms("CO", [[0, 0, 0], [0, 0, 30]]),
    "chain": Atoms("HC", [[0, 0, 0], [0.3, 0.2, 1.0]], cell=[0, 0, 2.1], pbc=[False, False, True]),
}


def exported(model, path, **options):
    export_model(model, path, **options)
    return MetatomicCalculator(path, device="cpu", check_consistency=True)


def results(calculator, atoms):
    """Energies, forces and, where there is a volume, stress."""
    wanted = [*PROPERTIES, "stress"] if atoms.pbc.all() else PROPERTIES
    calculator.calculate(atoms, wanted, ["positions", "numbers", "cell", "pbc"])
    return {name: np.array(calculator.results[name]) for name in wanted}


def compare(calculator, model, atoms, relative=1e-10, absolute=1e-8):
    """Energies agree relatively, and forces and stress to so many eV/Angstrom and eV/Angstrom^3."""
    found, expected = results(calculator, atoms), results(WKCalculator(model, threads=1), atoms)
    for name in found:
        if name.startswith("energ"):
            assert found[name] == pytest.approx(expected[name], rel=relative, abs=1e-10), name
        else:
            assert found[name] == pytest.approx(expected[name], abs=absolute * max(1.0, scale_of(expected[name]))), name


@pytest.mark.parametrize("kind", ["one scale", "saturation", "two scales", "everything"])
def test_energies_forces_and_stresses_are_those_of_the_model(small_models, kind, tmp_path):
    calculator = exported(small_models[kind], tmp_path / "model.pt")
    for seed, atoms in enumerate(SYSTEMS.values()):
        compare(calculator, small_models[kind], rattled(atoms, seed))


def test_more_atoms_than_are_treated_together(small_models, tmp_path, monkeypatch):
    from wk_potential.export import potential

    monkeypatch.setattr(potential, "CHUNK", 50)
    atoms = rattled(bulk("CO", "zincblende", a=4.2, cubic=True).repeat((5, 3, 2)))
    assert len(atoms) > 4 * 50
    compare(exported(small_models["everything"], tmp_path / "model.pt"), small_models["everything"], atoms)


@pytest.mark.parametrize("name", ["Si", "water"])
def test_published_models(name, tmp_path):
    path = MODELS / f"{name}.wkp"
    if not path.is_file():
        pytest.skip("no models beside the package")
    model = load(path)
    atoms = bulk("Si", cubic=True).repeat(2) if name == "Si" else Atoms(molecule("H2O"), cell=3 * [4.0], pbc=True)
    atoms = rattled(atoms, amount=0.05)
    compare(exported(model, tmp_path / "model.pt"), model, atoms)
    found = results(exported(model, tmp_path / "model.pt", precision="float32"), atoms)
    assert found["forces"] == pytest.approx(results(WKCalculator(model, threads=1), atoms)["forces"], abs=1e-4)


KINDS = {
    "molecules": ("ethanol", lambda: molecule("CH3CH2OH")),
    "slabs": ("Cu", lambda: fcc111("Cu", (2, 2, 3), vacuum=8.0)),
    "cells smaller than the cutoff": ("Si", lambda: bulk("Si")),
    "skewed cells": ("Mo", lambda: bulk("Mo", cubic=True).repeat((2, 1, 1))),
    "liquid": ("water", lambda: Atoms(molecule("H2O"), cell=3 * [3.1], pbc=True).repeat(2)),
    "five elements": (None, lambda: bulk("CO", "zincblende", a=4.4, cubic=True).repeat((2, 1, 1))),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_structures_of_each_kind(kind, random_model, tmp_path):
    name, make = KINDS[kind]
    if name and not (MODELS / f"{name}.wkp").is_file():
        pytest.skip("no models beside the package")
    five = np.array([1, 6, 7, 8, 9])
    model = load(MODELS / f"{name}.wkp") if name else exactly_mapped(random_model(five, cutoffs=(4.0,)))
    exact, rough = (exported(model, tmp_path / f"{p}.pt", precision=p) for p in ("float64", "float32"))
    rng = np.random.default_rng(0)
    for seed in range(100):
        atoms = rattled(make(), seed, 0.05)
        if name is None:
            atoms.numbers = rng.choice(five, len(atoms))
        if kind == "skewed cells":
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.1, 0.1, (3, 3))), scale_atoms=True)
        compare(exact, model, atoms)
        forces = results(WKCalculator(model, threads=1), atoms)["forces"]
        assert results(rough, atoms)["forces"] == pytest.approx(forces, abs=1e-4 * max(1.0, scale_of(forces)))


def test_forces_are_the_derivative_of_the_energy(small_models, tmp_path):
    calculator = exported(small_models["everything"], tmp_path / "model.pt")
    atoms, step = crystal(), 1e-4
    atoms.calc = calculator
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    start, cell = atoms.get_positions(), atoms.cell.array.copy()  # set_cell changes the array

    def slope(displace):
        energies = []
        for sign in (1, -1):
            displace(sign * step)
            energies.append(atoms.get_potential_energy())
        return (energies[0] - energies[1]) / (2 * step)

    def move(x):
        atoms.set_cell(cell)
        atoms.positions = start + x * np.eye(3)[1] * [[1], [0]]

    def strain(x):
        atoms.set_cell(cell @ (np.eye(3) + x * np.diag([1, 0, 0])))
        atoms.positions = start @ (np.eye(3) + x * np.diag([1, 0, 0]))

    assert -slope(move) == pytest.approx(forces[0, 1], rel=1e-5)
    assert slope(strain) / abs(np.linalg.det(cell)) == pytest.approx(stress[0, 0], rel=1e-5)


def test_several_systems_at_once_and_selected_atoms(small_models, tmp_path):
    """A batch gives what each system gives alone, and energies of selected atoms add up to the energy."""
    from metatensor.torch import Labels
    from metatomic.torch import ModelEvaluationOptions, ModelOutput, load_atomistic_model, systems_to_torch
    from vesin.metatomic import neighbor_lists_for_model

    calculator = exported(small_models["everything"], tmp_path / "model.pt")
    several = [SYSTEMS["molecule"], SYSTEMS["isolated atom"], SYSTEMS["slab"]]
    module = load_atomistic_model(tmp_path / "model.pt")
    systems = systems_to_torch(several, dtype=torch.float64)
    for neighbours in neighbor_lists_for_model("angstrom", module):
        neighbours.add_neighbor_list(systems, copy=True)

    def energies(kind, selected=None):
        options = ModelEvaluationOptions("angstrom", {"energy": ModelOutput(unit="eV", sample_kind=kind)}, selected)
        return module(systems, options, check_consistency=True)["energy"].block()

    together = energies("system").values[:, 0].numpy()
    alone = [float(results(calculator, atoms)["energy"]) for atoms in several]
    assert together == pytest.approx(alone, rel=1e-10)
    atoms = energies("atom")
    places = atoms.samples.values.numpy()
    parts = [Labels(["system", "atom"], atoms.samples.values[k::2]) for k in (0, 1)]
    sums = sum(energies("system", part).values[:, 0] for part in parts)
    assert sums.numpy() == pytest.approx(together, rel=1e-10)
    own = energies("atom", parts[1])
    np.testing.assert_array_equal(own.samples.values.numpy(), places[1::2])
    np.testing.assert_allclose(own.values.numpy(), atoms.values.numpy()[1::2], rtol=1e-10)


def test_what_a_file_says(small_models, tmp_path):
    from metatomic.torch import load_atomistic_model, read_model_metadata

    model = dataclasses.replace(small_models["two scales"], info={"training": {"frames": 12}})
    export_model(model, tmp_path / "cho.pt", "float32")
    facts = load_atomistic_model(tmp_path / "cho.pt").capabilities()
    assert facts.atomic_types == [1, 6, 8]
    assert facts.interaction_range == model.cutoff
    assert (facts.length_unit, facts.dtype, facts.supported_devices) == ("angstrom", "float32", ["cpu", "cuda"])
    assert facts.outputs["energy"].unit == "eV"
    metadata = read_model_metadata(str(tmp_path / "cho.pt"))
    assert metadata.name == "cho"
    assert json.loads(metadata.extra["wk_potential"])["training"] == {"frames": 12}


ALONE = """
import sys
sys.modules["wk_potential"] = None  # importing it fails
from ase.io import read
from metatomic_ase import MetatomicCalculator
atoms = read("start.xyz")
atoms.calc = MetatomicCalculator("model.pt", device="cpu", check_consistency=True)
print(repr(float(atoms.get_potential_energy())))
"""


def test_loading_needs_nothing_of_this_package(small_models, tmp_path):
    model = small_models["everything"]
    export_model(model, tmp_path / "model.pt")
    write(tmp_path / "start.xyz", SYSTEMS["molecule"], format="extxyz")
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = results(WKCalculator(model, threads=1), SYSTEMS["molecule"])["energy"]
    assert float(done.stdout) == pytest.approx(expected, abs=1e-5)  # positions are rounded in the file


def test_warning_where_float32_is_too_coarse(small_models, tmp_path):
    coarse = dataclasses.replace(small_models["one scale"], info={"mapping": {"largest_force_deviation_float32": 0.1}})
    with pytest.warns(PrecisionWarning, match="float32"):
        export_model(coarse, tmp_path / "model.pt", "float32")
