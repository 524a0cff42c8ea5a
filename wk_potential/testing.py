"""Checks of any ASE calculator on any structure: are forces derivatives, is energy conserved, are symmetries obeyed?

Every check takes `Atoms` with a calculator and returns rows of a table. It does not change the structure. The values
are deviations in their own units, so that a model which has only learned a symmetry can be judged. Deviations under
rotation are averages over all rotations.

    atoms.calc = WKCalculator("model.wkp")
    for row in run_checks(atoms):
        print(row)
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError

from .atoms.kinds import VOIGT_PAIRS
from .symmetry.grids import rotation_grid

# differences f(kh) - f(-kh), k = 1, 2, 3, make a derivative with an error of order h^6
STENCIL = ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))
SUPERCELL_ATOMS = 2000  # beyond which no larger cell is tried


@dataclass(frozen=True)
class Check:
    """A row of the table.

    Attributes:
        name: what was checked.
        value: largest (or root mean square) deviation found.
        unit: of value and limit.
        limit: above which the check has failed.

    """

    name: str
    value: float
    unit: str
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the value is within the limit; one that is not finite is not."""
        return bool(self.value <= self.limit)

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        return f"{self.name}: {self.value:.2g} {self.unit} (limit {self.limit:g}) {verdict}"


@dataclass(frozen=True)
class _Results:
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None  # (3, 3)


def _free_copy(atoms: Atoms) -> Atoms:
    """Copy with the same calculator, without constraints."""
    copy = atoms.copy()
    copy.set_constraint()
    copy.calc = atoms.calc
    return copy


def _changed(atoms: Atoms, positions: np.ndarray | None = None, cell: np.ndarray | None = None) -> Atoms:
    copy = _free_copy(atoms)
    if cell is not None:
        copy.set_cell(cell)
    if positions is not None:
        copy.positions = positions
    return copy


def _evaluate(atoms: Atoms) -> _Results:
    """Energy, forces and, where there is one, stress."""
    stress = None
    if atoms.cell.rank == 3 and atoms.pbc.all():
        with suppress(PropertyNotImplementedError):
            stress = atoms.get_stress(voigt=False)
    return _Results(atoms.get_potential_energy(), atoms.get_forces(), stress)


def _derivative(energy: Callable[[float], float], step: float) -> float:
    return sum(weight * (energy(k * step) - energy(-k * step)) for k, weight in STENCIL) / step


def check_forces(
    atoms: Atoms, step: float = 2e-3, components: int = 24, limit: float = 1e-4, seed: int = 0
) -> list[Check]:
    """Compare forces with finite differences of the energy.

    Args:
        atoms: with a calculator.
        step: Angstrom.
        components: how many of the 3N are taken, at random.
        limit: eV/Angstrom.
        seed: of the choice.

    """
    atoms = _free_copy(atoms)
    forces, start = atoms.get_forces(), atoms.positions.copy()
    chosen = np.random.default_rng(seed).permutation(forces.size)[:components]
    worst = 0.0
    for index in chosen:

        def energy(shift: float, index: int = index) -> float:
            atoms.positions = start
            atoms.positions[index // 3, index % 3] += shift
            return atoms.get_potential_energy()

        worst = np.fmax(worst, abs(_derivative(energy, step) + forces.flat[index]))
    return [Check("forces, finite differences", float(worst), "eV/Å", limit)]


def check_stress(atoms: Atoms, step: float = 1e-3, limit: float = 1e-5) -> list[Check]:
    """Compare the stress with finite differences of the energy by strain; nothing without a stress.

    Args:
        atoms: with a calculator.
        step: strain.
        limit: eV/Angstrom^3.

    """
    stress = _evaluate(_free_copy(atoms)).stress
    if stress is None:
        return []
    worst = 0.0
    for a, b in VOIGT_PAIRS:

        def energy(strain: float, a: int = a, b: int = b) -> float:
            deformation = np.eye(3)
            deformation[a, b] += strain / 2
            deformation[b, a] += strain / 2
            return _changed(atoms, atoms.positions @ deformation, atoms.cell.array @ deformation).get_potential_energy()

        worst = np.fmax(worst, abs(_derivative(energy, step) / atoms.get_volume() - stress[a, b]))
    return [Check("stress, finite differences", float(worst), "eV/Å^3", limit)]


def check_drift(
    atoms: Atoms,
    temperature: float = 300.0,
    timestep: float = 0.5,
    time: float = 1.0,
    limit: float = 0.1,
    seed: int = 0,
) -> list[Check]:
    """Measure the drift of the total energy at constant energy, by a linear fit.

    Args:
        atoms: with a calculator.
        temperature: K, of the initial velocities.
        timestep: fs.
        time: ps.
        limit: meV per atom and ps; the fit to a single picosecond is uncertain by some hundredths.
        seed: of the velocities.

    Raises:
        DynamicsError: temperature, time step or time make no sense.

    """
    from ase.md.verlet import VelocityVerlet

    from .simulation.explosion import has_exploded
    from .simulation.integrators import MDSettings, set_velocities

    steps = MDSettings("nve", temperature, timestep, time).steps
    atoms = _free_copy(atoms)
    set_velocities(atoms, temperature, np.random.default_rng(seed))
    dynamics = VelocityVerlet(atoms, timestep * units.fs)
    found: list[float] = []
    dynamics.attach(lambda: found.append(atoms.get_total_energy()))
    name, unit = "drift at constant energy", "meV/atom/ps"
    try:
        dynamics.run(max(steps, 10))
    except Exception as error:
        if not has_exploded(error, atoms):
            raise
        return [Check(name, np.inf, unit, limit)]
    times, energies = 1e-3 * timestep * np.arange(len(found)), np.array(found)
    if not np.isfinite(energies).all():
        return [Check(name, np.inf, unit, limit)]
    window = np.hanning(len(times) + 2)[1:-1]  # without the window, oscillations at the ends would look like drift
    slope = np.polyfit(times, energies - energies[0], 1, w=window)[0]
    return [Check(name, 1e3 * abs(float(slope)) / len(atoms), unit, limit)]


def check_cutoff(
    atoms: Atoms, reach: float = 8.0, limit_energy: float = 1e-5, limit_forces: float = 1e-3
) -> list[Check]:
    """Look for jumps of energy and forces while the outermost atom is pulled away, beyond the cutoff.

    The structure is taken without its periodic images, and a model without the potential to which it adds: the cutoff
    is that of the model, and a method of electrons need not converge on the way. A true jump does not shrink with
    the step.

    Args:
        atoms: with a calculator, two atoms or more.
        reach: Angstrom that the atom is pulled, further than the cutoff.
        limit_energy: eV.
        limit_forces: eV/Angstrom.

    """
    if len(atoms) < 2:
        return []
    atoms = _free_copy(atoms)
    atoms.pbc = False
    atoms.cell = None
    if hasattr(atoms.calc, "without_baseline"):
        atoms.calc = atoms.calc.without_baseline()
    from_centre = atoms.positions - atoms.positions.mean(axis=0)
    pulled = int(np.argmax(np.linalg.norm(from_centre, axis=1)))
    direction = from_centre[pulled] / np.linalg.norm(from_centre[pulled])
    start = atoms.positions.copy()

    def path(shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energies, forces = [], []
        for shift in shifts:
            atoms.positions = start
            atoms.positions[pulled] += shift * direction
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
        return np.array(energies), np.array(forces)

    def jumps(shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Differences along the path that are of order step^3 or less if it is smooth."""
        energies, forces = path(shifts)
        along = forces[:, pulled] @ direction
        work = np.diff(energies) + np.diff(shifts) * (along[1:] + along[:-1]) / 2
        return np.abs(work), np.abs(np.diff(forces, 3, axis=0)).max(axis=(1, 2))

    coarse = np.linspace(0.0, reach, 201)
    found = jumps(coarse)
    largest = [0.0, 0.0]
    for kind, values in enumerate(found):
        for place in np.argsort(values)[-4:]:
            fine = np.linspace(coarse[place], coarse[min(place + 3, 200)], 61)
            largest[kind] = np.fmax(largest[kind], jumps(fine)[kind].max())
    return [
        Check("cutoff, jump of the energy", float(largest[0]), "eV", limit_energy),
        Check("cutoff, jump of the forces", float(largest[1]), "eV/Å", limit_forces),
    ]


def check_rotations(
    atoms: Atoms, degree: int = 3, limit_energy: float = 1e-3, limit_forces: float = 1e-5
) -> list[Check]:
    """Measure how energy and forces change with the orientation: root mean squares over all rotations, and inversion.

    Args:
        atoms: with a calculator.
        degree: of angular momentum to which the average over rotations is exact; see `symmetry.grids.rotation_grid`.
        limit_energy: meV per atom.
        limit_forces: eV/Angstrom.

    """
    expected = _evaluate(_free_copy(atoms))

    def deviations(turn: np.ndarray) -> tuple[float, float, float]:
        """Mean square deviations of energy per atom, forces and stress."""
        found = _evaluate(_changed(atoms, atoms.positions @ turn.T, atoms.cell.array @ turn.T))
        energy = ((found.energy - expected.energy) / len(atoms)) ** 2
        forces = np.mean((found.forces @ turn - expected.forces) ** 2)
        if found.stress is None or expected.stress is None:
            return energy, forces, np.nan
        return energy, forces, np.mean((turn.T @ found.stress @ turn - expected.stress) ** 2)

    squares = sum(weight * np.array(deviations(turn)) for turn, weight in zip(*rotation_grid(degree), strict=True))
    energy, forces, stress = np.sqrt(squares)
    rows = [
        Check("rotations, energy (rms)", 1e3 * float(energy), "meV/atom", limit_energy),
        Check("rotations, forces (rms)", float(forces), "eV/Å", limit_forces),
    ]
    if expected.stress is not None:
        rows.append(Check("rotations, stress (rms)", float(stress), "eV/Å^3", limit_forces))
    energy, forces, _ = np.sqrt(deviations(-np.eye(3)))
    rows.append(Check("inversion, energy", 1e3 * float(energy), "meV/atom", limit_energy))
    rows.append(Check("inversion, forces (rms)", float(forces), "eV/Å", limit_forces))
    return rows


def _compare(
    name: str, expected: _Results, found: _Results, order: np.ndarray, limit_energy: float, limit_forces: float
) -> list[Check]:
    energy = abs(found.energy - expected.energy) / len(order)
    forces = np.abs(found.forces - expected.forces[order]).max()
    rows = [
        Check(f"{name}, energy", 1e3 * float(energy), "meV/atom", limit_energy),
        Check(f"{name}, forces", float(forces), "eV/Å", limit_forces),
    ]
    if expected.stress is not None and found.stress is not None:
        deviation = float(np.abs(found.stress - expected.stress).max())
        rows.append(Check(f"{name}, stress", deviation, "eV/Å^3", limit_forces))
    return rows


def check_permutation(
    atoms: Atoms, limit_energy: float = 1e-3, limit_forces: float = 1e-5, seed: int = 0
) -> list[Check]:
    """Compare with the same atoms in another order; limits in meV per atom and eV/Angstrom."""
    order = np.random.default_rng(seed).permutation(len(atoms))
    shuffled = _free_copy(atoms)[order]
    shuffled.calc = atoms.calc
    expected = _evaluate(_free_copy(atoms))
    return _compare("permutation", expected, _evaluate(shuffled), order, limit_energy, limit_forces)


def check_translation(
    atoms: Atoms, limit_energy: float = 1e-3, limit_forces: float = 1e-5, seed: int = 0
) -> list[Check]:
    """Compare with all atoms moved by some Angstrom, and wrapped into the cell along periodic directions."""
    moved = _free_copy(atoms)
    moved.positions += np.random.default_rng(seed).uniform(-5, 5, 3)
    if atoms.pbc.any():
        moved.wrap()
    expected, order = _evaluate(_free_copy(atoms)), np.arange(len(atoms))
    return _compare("translation", expected, _evaluate(moved), order, limit_energy, limit_forces)


def check_supercell(atoms: Atoms, limit_energy: float = 1e-3, limit_forces: float = 1e-5) -> list[Check]:
    """Compare with a cell repeated twice along a periodic direction; nothing for molecules and very large cells."""
    if not atoms.pbc.any() or 2 * len(atoms) > SUPERCELL_ATOMS:
        return []
    expected = _evaluate(_free_copy(atoms))
    twice = _free_copy(atoms).repeat([2 if p and not any(atoms.pbc[:k]) else 1 for k, p in enumerate(atoms.pbc)])
    twice.calc = atoms.calc
    found = _evaluate(twice)
    half = _Results(found.energy / 2, found.forces[: len(atoms)], found.stress)
    order = np.arange(len(atoms))
    rows = _compare("supercell", expected, half, order, limit_energy, limit_forces)
    images = float(np.abs(found.forces[len(atoms) :] - half.forces).max())
    return [*rows, Check("supercell, forces on images", images, "eV/Å", limit_forces)]


def run_checks(atoms: Atoms, temperature: float = 300.0, timestep: float = 0.5, time: float = 1.0) -> list[Check]:
    """Make all checks with their default limits, which suit arithmetic in double precision.

    Args:
        atoms: with a calculator. Take a structure of a simulation: one at its minimum tests little.
        temperature, timestep, time: of `check_drift`.

    Raises:
        DynamicsError: temperature, time step or time make no sense.

    """
    from .simulation.integrators import MDSettings

    MDSettings("nve", temperature, timestep, time)  # refuses what makes no sense, before the other checks take time
    checks = (check_forces, check_stress, check_cutoff, check_rotations, check_permutation, check_translation)
    rows = [row for check in (*checks, check_supercell) for row in check(atoms)]
    return rows + check_drift(atoms, temperature, timestep, time)
