"""Settings of molecular dynamics, initial velocities, and ASE's integrators with the state of their thermostats."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from ase import Atoms, units

from ..errors import DynamicsError
from .extrapolation import LIMIT, Action

if TYPE_CHECKING:
    from ase.md.md import MolecularDynamics

Ensemble = Literal["nve", "nvt-langevin", "nvt-bussi", "npt", "npt-flexible"]
ENSEMBLES: tuple[str, ...] = get_args(Ensemble)
LARGEST = 1e15  # number that a setting may have: larger ones overflow in the integrators
PICOSECOND = 1000 * units.fs
_VARIABLES = ("_eps", "_p_eps", "_p_g", "_cell0", "_volume0", "_eta", "_p_eta", "_xi", "_p_xi")  # of ASE's npt


@dataclass(frozen=True)
class MDSettings:
    """Settings of a run.

    Attributes:
        ensemble: nve (velocity Verlet), nvt-langevin, nvt-bussi (stochastic velocity rescaling), npt (of
            Martyna, Tobias and Klein; the cell keeps its shape) or npt-flexible (the cell is free).
        temperature: K, of the initial velocities and of the thermostat.
        timestep: fs.
        time: ps, length of the whole trajectory; a continued run counts from its first start.
        friction: 1/ps, of nvt-langevin.
        thermostat_time: fs, of nvt-bussi and npt.
        barostat_time: fs, of npt.
        pressure: GPa, of npt.
        seed: of the initial velocities and the thermostat's noise.
        interval: steps between frames of the trajectory.
        log_interval: steps between lines of the log.
        keep_velocities: start with the velocities of the structure.
        on_extrapolation: None, or what to do when the extrapolation grade of an atom passes the limit: warn, save the
            structures beside the trajectory, or save and stop. The calculator must have error bars.
        grade_limit: of the extrapolation grade.

    """

    ensemble: Ensemble = "nve"
    temperature: float = 300.0
    timestep: float = 0.5
    time: float = 1.0
    friction: float = 5.0
    thermostat_time: float = 100.0
    barostat_time: float = 1000.0
    pressure: float = 0.0
    seed: int = 0
    interval: int = 10
    log_interval: int = 10
    keep_velocities: bool = False
    on_extrapolation: Action | None = None
    grade_limit: float = LIMIT

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            DynamicsError: a setting makes no sense.

        """
        if self.ensemble not in ENSEMBLES:
            raise DynamicsError(f"unknown ensemble {self.ensemble!r}: choose one of {', '.join(ENSEMBLES)}")
        times = ("timestep", "time", "friction", "thermostat_time", "barostat_time", "grade_limit")
        for name in (*times, "interval", "log_interval"):
            if not 0 < getattr(self, name) <= LARGEST:
                bounds = "positive" if getattr(self, name) <= 0 else f"a positive number, {LARGEST:g} at most"
                raise DynamicsError(f"{name} must be {bounds}, not {getattr(self, name)}")
        if self.seed < 0:
            raise DynamicsError(f"the seed must not be negative, not {self.seed}")
        if not abs(self.pressure) <= LARGEST:
            raise DynamicsError(f"the pressure must be a number, {LARGEST:g} GPa at most, not {self.pressure}")
        if not 0 <= self.temperature <= LARGEST or (self.temperature == 0 and self.ensemble != "nve"):
            raise DynamicsError(f"a temperature of {self.temperature} K makes no sense for {self.ensemble}")

    @property
    def steps(self) -> int:
        """Number of steps in all."""
        return max(round(1000 * self.time / self.timestep), 1)


def degrees_of_freedom(atoms: Atoms, thermostatted: bool = False) -> int:
    """Number of degrees of freedom in the temperature: without constrained ones and momenta conserved at zero.

    Args:
        atoms: the structure.
        thermostatted: whether the thermostat acts on the rotation of a molecule as a whole.

    """
    free = atoms.get_number_of_degrees_of_freedom()
    if atoms.constraints or len(atoms) == 1:
        return free
    if not atoms.pbc.any() and not thermostatted:
        free -= np.linalg.matrix_rank(_inertia(atoms), tol=1e-3)
    return max(free - 3, 1)


def _inertia(atoms: Atoms) -> np.ndarray:
    """Tensor of inertia about the centre of mass, amu Angstrom^2."""
    r = atoms.positions - atoms.get_center_of_mass()
    m = atoms.get_masses()
    return np.eye(3) * np.einsum("i,ix,ix", m, r, r) - np.einsum("i,ix,iy->xy", m, r, r)


def set_velocities(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Draw velocities from the Maxwell-Boltzmann distribution, scaled to the exact temperature.

    The centre of mass is at rest and a molecule does not rotate, unless atoms are constrained.

    Args:
        atoms: the structure, changed in place.
        temperature: K.
        rng: source of random numbers.

    """
    masses = atoms.get_masses()[:, None]
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(masses * units.kB * temperature))
    if not atoms.constraints and len(atoms) > 1:
        velocities = atoms.get_velocities()
        velocities -= (masses * velocities).sum(axis=0) / masses.sum()
        atoms.set_velocities(velocities)
        if not atoms.pbc.any():
            turn = np.linalg.pinv(_inertia(atoms), rcond=1e-6) @ atoms.get_angular_momentum()
            atoms.set_velocities(velocities - np.cross(turn, atoms.positions - atoms.get_center_of_mass()))
    kinetic = 0.5 * degrees_of_freedom(atoms) * units.kB * temperature
    if kinetic > 0:
        atoms.set_momenta(atoms.get_momenta() * np.sqrt(kinetic / atoms.get_kinetic_energy()))


def make_dynamics(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> tuple["MolecularDynamics", int]:
    """Return ASE's integrator and the number of degrees of freedom in the temperature."""
    from ase.md import nose_hoover_chain
    from ase.md.bussi import Bussi
    from ase.md.langevin import Langevin
    from ase.md.verlet import VelocityVerlet

    s, step = settings, settings.timestep * units.fs
    free = degrees_of_freedom(atoms)
    if s.ensemble == "nve":
        return VelocityVerlet(atoms, step), free
    if s.ensemble == "nvt-langevin":
        from ase.constraints import FixCom

        free = degrees_of_freedom(atoms, thermostatted=True)
        if not atoms.constraints and len(atoms) > 1:
            atoms.set_constraint(FixCom())  # or a molecule would drift away
        noise: dict[str, Any] = {
            "temperature_K": s.temperature,
            "friction": s.friction / PICOSECOND,
            "rng": rng,
        }
        return Langevin(atoms, step, fixcm=False, **noise), free
    if s.ensemble == "nvt-bussi":
        bussi = Bussi(atoms, step, s.temperature, s.thermostat_time * units.fs, rng=rng)
        # ASE also counts momenta that are conserved at zero, and would make a small molecule too hot
        bussi.ndof, bussi.target_kinetic_energy = free, 0.5 * free * bussi.temp
        return bussi, free
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise DynamicsError(f"{s.ensemble} needs a cell that is periodic in three directions")
    if atoms.constraints:
        raise DynamicsError(f"{s.ensemble} does not work with constrained atoms")
    kind = "IsotropicMTKNPT" if s.ensemble == "npt" else "MTKNPT"
    # the thermostat counts 3 N degrees of freedom, but the centre of mass is at rest
    temperature = s.temperature * free / (3 * len(atoms))
    times = {"tdamp": s.thermostat_time * units.fs, "pdamp": s.barostat_time * units.fs}
    pressure = s.pressure * units.GPa
    dynamics = getattr(nose_hoover_chain, kind)
    return dynamics(atoms, step, temperature_K=temperature, pressure_au=pressure, **times), free


def noise_from(seed: int, step: int) -> np.random.Generator:
    """Random numbers of a thermostat from a step on: the same whether or not the run was continued there."""
    return np.random.default_rng([seed, step, 1])


def variables_of(dynamics: "MolecularDynamics") -> list[tuple[Any, str, np.ndarray]]:
    """Variables of thermostat and barostat: owner, name and value."""
    owners = [getattr(dynamics, name, None) for name in ("_thermostat", "_barostat")]
    return [
        (owner, name, np.asarray(vars(owner)[name], float))
        for owner in (dynamics, *owners)
        for name in _VARIABLES
        if owner is not None and name in vars(owner)
    ]


def restore(dynamics: "MolecularDynamics", values: np.ndarray | None) -> None:
    """Set the variables of thermostat and barostat to the values in a frame."""
    found = variables_of(dynamics)
    if values is None or np.size(values) != sum(value.size for _, _, value in found):
        return  # an older trajectory: they start at rest
    cuts = np.cumsum([value.size for _, _, value in found])
    for (owner, name, value), part in zip(found, np.split(np.ravel(values), cuts[:-1]), strict=True):
        setattr(owner, name, part.reshape(value.shape).copy() if value.shape else float(part[0]))
