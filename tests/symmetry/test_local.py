import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from wk_potential.errors import OptionsError
from wk_potential.symmetry.local import LocalCalculator, SymmetricEnergy
from wk_potential.testing import check_cutoff, check_forces, check_permutation, check_rotations, check_stress

CUTOFF = 3.5


class Network:
    """A smooth function of the environment that knows where x, y and z are: tanh of sums of random plane waves."""

    def __init__(self, n=12, seed=0):
        rng = np.random.default_rng(seed)
        self.waves, self.phases = rng.normal(size=(3, n)), rng.uniform(0, 6, n)
        self.mixing, self.weights = rng.normal(size=(n, n)) / np.sqrt(n), 0.1 * rng.normal(size=n)

    def __call__(self, centre, numbers, vectors):
        d2 = np.sum(vectors**2, axis=1) / CUTOFF**2
        h = np.maximum(1 - d2, 0)[:, None]
        z = (1 + numbers / 10)[:, None]
        angle = vectors @ self.waves + self.phases
        hidden = np.tanh(np.sum(z * h**3 * np.cos(angle), axis=0) @ self.mixing)
        by_sum = (self.weights * (1 - hidden**2)) @ self.mixing.T
        along = -6 / CUTOFF**2 * (z * h**2 * np.cos(angle)) @ by_sum
        gradient = along[:, None] * vectors - (z * h**3 * np.sin(angle) * by_sum) @ self.waves.T
        return float(hidden @ self.weights) * (1 + 0.1 * centre), gradient * (1 + 0.1 * centre)


def environment(n, seed=0):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(n, 3))
    lengths = rng.uniform(1.0, CUTOFF, n)
    return rng.choice([1, 8], n), directions * (lengths / np.linalg.norm(directions, axis=1))[:, None]


def collinear(spread, seed=0):
    """Three neighbours on a line, up to some Angstrom."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    line = np.outer([1.2, -1.5, 2.2], axis / np.linalg.norm(axis))
    return np.array([1, 8, 1]), line + spread * rng.normal(size=(3, 3))


CASES = {
    "many": environment(9), "two": environment(2, 1), "one": environment(1, 2), "collinear": collinear(0.0),
    "nearly collinear": collinear(0.05), "between": collinear(0.15),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_energies_are_invariant(case):
    numbers, vectors = CASES[case]
    plain, symmetric = Network(), SymmetricEnergy(Network(), CUTOFF)
    expected, gradient = symmetric(6, numbers, vectors)
    order = np.random.default_rng(0).permutation(len(vectors))
    changes = []
    for k in range(4):
        turn = (-1) ** k * Rotation.random(random_state=k).as_matrix()
        found, slope = symmetric(6, numbers[order], vectors[order] @ turn.T)
        assert found == pytest.approx(expected, abs=1e-12)
        assert slope @ turn == pytest.approx(gradient[order], abs=1e-10)
        changes.append(plain(6, numbers, vectors @ turn.T)[0] - plain(6, numbers, vectors)[0])
    assert np.abs(changes).max() > 1e-3


@pytest.mark.parametrize("case", [c for c in CASES if c != "collinear"])
def test_gradients_are_derivatives(case):
    numbers, vectors = CASES[case]
    symmetric, step = SymmetricEnergy(Network(), CUTOFF), 1e-4
    _, gradient = symmetric(6, numbers, vectors)
    for place in np.ndindex(vectors.shape):
        shift = np.zeros_like(vectors)
        shift[place] = step
        values = [symmetric(6, numbers, vectors + k * shift)[0] for k in (-2, -1, 1, 2)]
        slope = np.dot(values, [1, -8, 8, -1]) / (12 * step)
        assert gradient[place] == pytest.approx(slope, abs=1e-7)


def test_invariant_functions_stay_what_they_are():
    def pairs(centre, numbers, vectors):
        d2 = np.sum(vectors**2, axis=1) / CUTOFF**2
        return float(np.sum(numbers * (1 - d2) ** 3)), -6 / CUTOFF**2 * (numbers * (1 - d2) ** 2)[:, None] * vectors

    for numbers, vectors in CASES.values():
        expected, found = pairs(6, numbers, vectors), SymmetricEnergy(pairs, CUTOFF)(6, numbers, vectors)
        assert found[0] == pytest.approx(expected[0], rel=1e-12)
        assert found[1] == pytest.approx(expected[1], abs=1e-11)


def test_no_jump_towards_collinear_neighbours():
    """The energy changes as the square of the distance from a line, and less and less."""
    numbers, line = collinear(0.0)
    _, bent = collinear(1.0)
    symmetric = SymmetricEnergy(Network(), CUTOFF)
    start = symmetric(6, numbers, line)[0]
    direction = bent - line
    direction -= direction @ np.outer(line[0], line[0]) / (line[0] @ line[0])  # across the line
    changes = [abs(symmetric(6, numbers, line + s * direction)[0] - start) for s in (1e-2, 1e-3, 1e-4)]
    assert changes[1] < 0.02 * changes[0] + 1e-14
    assert changes[2] < 0.02 * changes[1] + 1e-14


def test_neighbours_enter_smoothly():
    numbers, vectors = CASES["many"]
    for n in (0, 1, 2, 5):
        symmetric = SymmetricEnergy(Network(), CUTOFF)
        without = symmetric(6, numbers[:n], vectors[:n])[0]
        far = [vectors[n] / np.linalg.norm(vectors[n]) * (CUTOFF - gap) for gap in (1e-2, 1e-3)]
        found = [symmetric(6, numbers[: n + 1], np.vstack([vectors[:n], v]))[0] for v in far]
        jumps = np.abs(np.array(found) - without)
        assert jumps[1] < 2e-3 * jumps[0] + 1e-13  # the third power of the distance from the cutoff


def test_calculator_passes_the_checks():
    atoms = bulk("CO", "zincblende", a=4.0)
    atoms.set_cell(atoms.cell.array + 0.2 * np.random.default_rng(0).normal(size=(3, 3)), scale_atoms=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = LocalCalculator(Network(), CUTOFF)
    rotations = {row.name: row.value for row in check_rotations(atoms)}
    assert rotations["rotations, energy (rms)"] > 1
    symmetric = SymmetricEnergy(Network(), CUTOFF)
    atoms.calc = LocalCalculator(symmetric, CUTOFF)
    atoms.get_potential_energy()
    print(f"{symmetric.calls / len(atoms):.0f} calls per atom")
    assert len(atoms) < symmetric.calls < 100 * len(atoms)
    rows = [*check_forces(atoms, components=6, limit=1e-7), *check_stress(atoms, limit=1e-7), *check_permutation(atoms)]
    rows += check_rotations(atoms, limit_energy=1e-7, limit_forces=1e-9)
    water = molecule("H2O")
    water.calc = atoms.calc
    rows += check_cutoff(water)
    assert [str(row) for row in rows if not row.passed] == []
    energies = atoms.get_potential_energies()
    assert energies.sum() == pytest.approx(atoms.get_potential_energy())


def test_isolated_atoms_and_arguments_that_make_no_sense():
    atoms = Atoms("O", calculator=LocalCalculator(SymmetricEnergy(Network(), CUTOFF), CUTOFF))
    assert atoms.get_potential_energy() == pytest.approx(Network()(8, np.zeros(0), np.zeros((0, 3)))[0])
    for make in (LocalCalculator, SymmetricEnergy):
        with pytest.raises(OptionsError, match="cutoff"):
            make(Network(), 0.0)
