import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.io import write
from click.testing import CliRunner

from wk_potential import WKCalculator
from wk_potential.cli import main
from wk_potential.testing import (
    Check,
    check_cutoff,
    check_drift,
    check_rotations,
    check_supercell,
    run_checks,
)

SHORT = {"time": 0.5, "timestep": 1.0}


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def failed(rows):
    return {row.name.partition(",")[0].partition(" at")[0] for row in rows if not row.passed}


class Soft(LennardJones):
    """Smooth, conservative and symmetric; what derives from it is not."""

    def __init__(self, **kwargs):
        super().__init__(sigma=2.2, epsilon=0.3, rc=5.0, smooth=True, **kwargs)

    def calculate(self, *arguments, **more):
        super().calculate(*arguments, **more)
        self.spoil(self.atoms, self.results)

    def spoil(self, atoms, results):
        pass


class Scaled(Soft):
    def spoil(self, atoms, results):
        results["forces"] = 1.001 * results["forces"]


class Transposed(Soft):
    def spoil(self, atoms, results):
        if "stress" in results:
            results["stress"] = results["stress"][[0, 1, 2, 5, 4, 3]]


class Curl(Soft):
    """Forces that push around the centre: no energy has them."""

    def spoil(self, atoms, results):
        r = atoms.positions - atoms.positions.mean(axis=0)
        results["forces"] = results["forces"] + 0.02 * np.cross([0, 0, 1], atoms.get_velocities())
        results["forces"] += 0.01 * np.cross([0, 0, 1], r)


class Heating(Soft):
    """Friction with the wrong sign."""

    def spoil(self, atoms, results):
        results["forces"] = results["forces"] + 0.02 * atoms.get_velocities()


class Oriented(Soft):
    """Springs along z only, between all atoms and their centre."""

    def spoil(self, atoms, results):
        z = atoms.positions[:, 2] - atoms.positions[:, 2].mean()
        results["energy"] += 0.01 * np.sum(z**2)
        results["forces"][:, 2] -= 0.02 * z


class Handed(Soft):
    """A triple product of three pairs of atoms, whose sign a mirror changes."""

    def spoil(self, atoms, results):
        a, b, c = (atoms.positions[k] - atoms.positions[0] for k in (1, 2, 3))
        results["energy"] += 0.01 * np.dot(a, np.cross(b, c))
        gradient = 0.01 * np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
        results["forces"][1:4] -= gradient
        results["forces"][0] += gradient.sum(axis=0)


class Ordered(Soft):
    """The first atom is bound to the centre."""

    def spoil(self, atoms, results):
        d = atoms.positions[0] - atoms.positions[1:].mean(axis=0)
        results["energy"] += 0.05 * d @ d
        results["forces"][0] -= 0.1 * d
        results["forces"][1:] += 0.1 * d / (len(atoms) - 1)


class Anchored(Soft):
    """A field along x."""

    def spoil(self, atoms, results):
        results["energy"] += 0.01 * atoms.positions[:, 0].sum()
        results["forces"][:, 0] -= 0.01


class Shrinking(Soft):
    """An energy that is not proportional to the number of atoms."""

    def spoil(self, atoms, results):
        factor = 1 + 0.01 * len(atoms)
        for name in {"energy", "forces", "stress"} & set(results):
            results[name] = factor * results[name]


@pytest.mark.parametrize(
    ("calculator", "atoms"),
    [
        (EMT(), copper()),
        (EMT(), molecule("CH3CH2OH")),
        (Soft(), copper()),
        (Soft(), copper().repeat((2, 1, 1))),
        (EMT(), Atoms("Cu", cell=np.diag([2.6, 2.7, 9.0]), pbc=[True, True, False])),
    ],
    ids=["EMT", "EMT molecule", "LJ", "LJ larger", "EMT sheet"],
)
def test_sound_calculators_pass(calculator, atoms):
    atoms.calc = calculator
    rows = run_checks(atoms)
    assert not [str(row) for row in rows if not row.passed]


def test_this_package_passes(copper_model):
    atoms = copper()
    atoms.calc = WKCalculator(copper_model, threads=1)
    rows = run_checks(atoms, **SHORT)
    assert not [str(row) for row in rows if not row.passed]
    assert len(rows) == 20


@pytest.mark.train
def test_all_kinds_of_terms_pass(random_model):
    atoms = molecule("CH3CH2OH")
    atoms.calc = WKCalculator(random_model(scale=0.3), threads=1)
    rows = run_checks(atoms, temperature=10, time=0.02, timestep=0.05)  # steep: random weights
    assert not [str(row) for row in rows if not row.passed]


@pytest.mark.parametrize(
    ("calculator", "expected"),
    [
        (Scaled(), {"forces"}),
        (Transposed(), {"stress", "rotations"}),
        (Heating(), {"drift"}),
        (Curl(), {"forces", "rotations"}),
        (Ordered(), {"permutation"}),
        (Shrinking(), {"supercell"}),
        (LennardJones(sigma=2.2, epsilon=0.3, rc=4.0), {"cutoff"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_defect_is_found_in_a_crystal(calculator, expected):
    atoms = copper()
    atoms.cell[0, 1] = 0.2
    atoms.calc = calculator
    assert expected <= failed(run_checks(atoms, timestep=2.0))


@pytest.mark.parametrize(
    ("calculator", "expected"),
    [
        (Oriented(), {"rotations"}),
        (Handed(), {"inversion"}),
        (Anchored(), {"translation", "rotations", "inversion"}),
        (Ordered(), {"permutation"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_the_defect_is_found_in_a_cluster(calculator, expected):
    atoms = copper()
    atoms.pbc = False
    atoms.calc = calculator
    assert failed(run_checks(atoms, timestep=2.0)) == expected


def test_rotations_measure_how_much_a_symmetry_is_broken():
    # c sum z^2 has the mean c sum r^2 / 3 and an l = 2 part; its mean square over rotations is known
    atoms = Atoms("Cu2", [[0, 0, 0], [1.1, 1.5, 1.7]])
    atoms.calc = Oriented()
    vector = (atoms.positions[1] - atoms.positions[0]) / 2
    r2, z2 = vector @ vector, vector[2] ** 2
    # <(z^2 - z0^2)^2> = r^4 / 5 - 2 z0^2 r^2 / 3 + z0^4, twice for two atoms, 0.01 eV / Å^2
    expected = 0.01 * 2 * np.sqrt(r2**2 / 5 - 2 * z2 * r2 / 3 + z2**2) / 2
    found = {row.name: row.value for row in check_rotations(atoms, degree=4)}
    assert found["rotations, energy (rms)"] == pytest.approx(1e3 * expected, rel=1e-9)


def test_jumps_of_any_size_and_place_are_measured():
    class Step(Soft):
        def spoil(self, atoms, results):
            if atoms.get_distance(0, 1) > 6.789:
                results["energy"] += 0.002

    atoms = Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]])
    atoms.calc = Step()
    energy, forces = check_cutoff(atoms)
    assert energy.value == pytest.approx(0.002, rel=1e-4)
    assert forces.passed
    atoms.calc = LennardJones(sigma=2.2, epsilon=0.3, rc=5.0)
    slope = 24 * 0.3 * (2 * (2.2 / 5) ** 12 - (2.2 / 5) ** 6) / 5
    # a jump J is J, 2 J, J in three third differences
    assert check_cutoff(atoms)[1].value == pytest.approx(2 * abs(slope), rel=0.02)


def test_drift_of_what_explodes_fails():
    atoms = Atoms("Cu2", [[0, 0, 0], [0.7, 0, 0]])
    atoms.calc = Soft()
    (row,) = check_drift(atoms, timestep=20.0)
    assert not row.passed


def test_nothing_is_changed_and_constraints_do_not_matter():
    atoms = copper()
    atoms.calc = EMT()
    atoms.set_constraint(FixAtoms([0, 1]))
    before = atoms.copy()
    rows = run_checks(atoms, **SHORT)
    assert all(row.passed for row in rows)
    assert atoms == before
    assert len(atoms.constraints) == 1


def test_molecules_have_no_stress_and_no_supercell():
    atoms = molecule("H2O")
    atoms.calc = EMT()
    names = {row.name for row in run_checks(atoms, **SHORT)}
    assert not [name for name in names if "stress" in name or "supercell" in name]
    assert check_supercell(atoms) == []


def test_not_a_number_is_a_failure():
    assert not Check("x", np.nan, "eV", 1.0).passed
    assert "FAILED" in str(Check("x", 2.0, "eV", 1.0))
    assert Check("x", 1.0, "eV", 1.0).passed


def test_command(tmp_path, copper_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copper_model.save("cu.wkp")
    write("cu.xyz", copper())
    arguments = ["check", "cu.wkp", "cu.xyz", "--threads", "1", "--time", "0.05"]
    good = CliRunner().invoke(main, arguments)
    assert good.exit_code == 0, good.output
    assert good.stdout.count("passed") == 20
    # a time step that velocity Verlet cannot take
    bad = CliRunner().invoke(main, [*arguments, "--timestep", "25", "--temperature", "1000", "--time", "2"])
    assert bad.exit_code == 1
    assert "1 of 20 checks failed: drift at constant energy" in bad.stderr
    assert "FAILED" in bad.stdout
