"""Molecular dynamics of ASE structures, with files that survive an interruption."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units

from ..atoms.trajectories import RECORDED, append_frame, drop_half_frame, read_structure, store_results
from ..errors import DynamicsError, ExtrapolationError, FinishedError
from .explosion import has_exploded
from .extrapolation import ExtrapolationGuard
from .integrators import MDSettings, make_dynamics, noise_from, restore, set_velocities, variables_of

if TYPE_CHECKING:
    from ase.md.md import MolecularDynamics

_COLUMNS = {
    "step": "step",
    "time": "time/ps",
    "potential": "Epot/eV",
    "kinetic": "Ekin/eV",
    "total": "Etot/eV",
    "temperature": "T/K",
    "volume": "V/A^3",
    "pressure": "P/GPa",
}


@dataclass(frozen=True)
class MDSummary:
    """Summary of a run.

    Attributes:
        steps: number of steps of this run, without those of the run that it continues.
        time: ps at the end.
        temperature: K, mean over the second half of the log.
        drift: eV per atom and ps, slope of the total energy; meaningful for nve only.
        volume: Angstrom^3, mean over the second half of the log, None unless npt.
        seconds_per_step: wall time.

    """

    steps: int
    time: float
    temperature: float
    drift: float
    volume: float | None
    seconds_per_step: float


class _Recorder:
    """Observer of a run: checks every step, writes trajectory and log, reports progress.

    At every frame it clears the history (neighbour list, random numbers), so that a run continued from that frame is
    the same to the last bit.
    """

    def __init__(
        self,
        atoms: Atoms,
        dynamics: "MolecularDynamics",
        settings: MDSettings,
        free: int,
        trajectory: Path,
        log: IO[str],
        progress: Callable[[str, float], None] | None,
    ) -> None:
        self.atoms, self.dynamics, self.settings, self.free = atoms, dynamics, settings, free
        self.trajectory, self.log, self.progress = trajectory, log, progress
        now = 2 * atoms.get_kinetic_energy() / (free * units.kB)
        self.hottest = 10 * max(settings.temperature, now) + 5000

    def __call__(self) -> None:
        """Check the structure after a step, then write it."""
        step, settings = self.dynamics.nsteps, self.settings
        temperature = 2 * self.atoms.get_kinetic_energy() / (self.free * units.kB)
        potential = self.atoms.get_potential_energy()
        if not (np.isfinite(potential) and np.isfinite(temperature)):
            raise DynamicsError("the energy is not finite any more")
        if temperature > self.hottest:
            raise DynamicsError(f"the temperature has reached {temperature:.6g} K")
        # the log first: a restart drops the lines beyond the last frame and writes them again
        if step % settings.log_interval == 0 or step == settings.steps:
            self._write_line(potential, temperature)
        if step % settings.interval == 0 or step == settings.steps:
            frame = store_results(self.atoms, RECORDED)
            frame.set_constraint([c for c in frame.constraints if type(c).__name__ != "FixCom"])
            frame.info = {"step": step, "time": self.time}
            if variables := [value.ravel() for _, _, value in variables_of(self.dynamics)]:
                frame.info["md_variables"] = np.concatenate(variables)
            append_frame(self.trajectory, frame)
            self.forget()
        if self.progress is not None:
            self.progress(f"{self.settings.ensemble}: {temperature:4.0f} K", step / settings.steps)

    def forget(self) -> None:
        """Restart the random numbers and the neighbour list."""
        if hasattr(self.dynamics, "rng"):
            self.dynamics.rng.bit_generator.state = noise_from(
                self.settings.seed, self.dynamics.nsteps
            ).bit_generator.state
        if hasattr(self.atoms.calc, "clear_history"):
            self.atoms.calc.clear_history()

    @property
    def time(self) -> float:
        """Time of the trajectory, ps."""
        return round(self.dynamics.nsteps * self.settings.timestep / 1000, 9)

    def _write_line(self, potential: float, temperature: float) -> None:
        kinetic = self.atoms.get_kinetic_energy()
        line = f"{self.dynamics.nsteps:>9d} {self.time:>12.5f} {potential:>17.8f} {kinetic:>15.8f} "
        line += f"{potential + kinetic:>17.8f} {temperature:>9.2f}"
        if self.settings.ensemble.startswith("npt"):
            pressure = -self.atoms.get_stress(include_ideal_gas=True)[:3].mean() / units.GPa
            line += f" {self.atoms.get_volume():>14.5f} {pressure:>10.5f}"
        self.log.write(line + "\n")
        self.log.flush()


def _start_log(path: Path, settings: MDSettings, first_step: int) -> IO[str]:
    """Open the log; a restart drops the lines after the frame that it starts from.

    Raises:
        DynamicsError: the log to continue has other columns.

    """
    names = list(_COLUMNS.values())[: 8 if settings.ensemble.startswith("npt") else 6]
    widths = (7, 12, 17, 15, 17, 9, 14, 10)
    header = "# " + " ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=False)) + "\n"
    kept = ""
    if first_step > 0 and path.exists():
        if not path.read_text().startswith(header):
            raise DynamicsError(f"{path}: the columns are not those of this run; name another file for the log")
        for line in path.read_text().splitlines(keepends=True):
            row = line.split()
            whole = len(row) == len(names) and line.endswith("\n")  # the last line may be incomplete
            if line.startswith("#") or (whole and int(row[0]) <= first_step):
                kept += line
    path.write_text(kept or header)
    return path.open("a")


def read_log(path: str | Path) -> dict[str, np.ndarray]:
    """Return the columns of a log.

    Args:
        path: written by `run_md`.

    Returns:
        Arrays (n,) step, time (ps), potential, kinetic, total (eV), temperature (K), of npt also volume
        (Angstrom^3) and pressure (GPa).

    """
    columns = np.loadtxt(path, ndmin=2).T
    return dict(zip(_COLUMNS, columns, strict=False))


def _starting_point(atoms: Atoms, settings: MDSettings, trajectory: Path, restart: bool) -> tuple[Atoms, int]:
    """Return the structure with velocities, and the number of its step."""
    if atoms.constraints and atoms.get_number_of_degrees_of_freedom() <= 0:
        raise DynamicsError("constraints hold all atoms: nothing can move; leave some of them free")
    if not restart:
        atoms = atoms.copy()
        if not settings.keep_velocities:
            set_velocities(atoms, settings.temperature, np.random.default_rng(settings.seed))
        elif not atoms.has("momenta"):
            raise DynamicsError("the structure has no velocities to keep")
        return atoms, 0
    last = read_structure(trajectory, keep_results=True)
    if "step" not in last.info or not last.has("momenta"):
        raise DynamicsError(f"{trajectory}: cannot be continued, its last frame lacks step number or momenta")
    if not np.array_equal(last.numbers, atoms.numbers):
        raise DynamicsError(f"{trajectory}: cannot be continued, it holds other atoms than the structure")
    step = int(last.info["step"])
    if not np.isclose(step * settings.timestep / 1000, float(last.info.get("time", np.nan)), atol=1e-6):
        raise DynamicsError(f"{trajectory}: cannot be continued, it was made with another time step")
    if step >= settings.steps:
        raise FinishedError(f"{trajectory}: is {last.info['time']} ps long already; ask for a longer time")
    last.set_constraint(atoms.copy().constraints)
    return last, step


def extrapolation_file(trajectory: str | Path) -> Path:
    """Return the file in which `run_md` saves structures that the model extrapolates to."""
    trajectory = Path(trajectory)
    return trajectory.with_name(f"{trajectory.stem}.unknown{trajectory.suffix}")


def run_md(
    atoms: Atoms,
    settings: MDSettings,
    trajectory: str | Path,
    log: str | Path | None = None,
    restart: bool = False,
    progress: Callable[[str, float], None] | None = None,
    prepare: Callable[["MolecularDynamics"], None] | None = None,
) -> MDSummary:
    """Run molecular dynamics; existing files are overwritten, or continued.

    With `restart` the run continues from the last complete frame of the trajectory until `settings.time` is reached. If
    there is no frame, it starts from the beginning. A .traj file keeps all digits: with a `WKCalculator`, the same
    number of threads and one rank, the continued run is the same to the last bit as one that was never interrupted.
    Extended XYZ keeps eight decimals.

    Args:
        atoms: the structure, with a calculator; not changed.
        settings: what to run.
        trajectory: a .traj file, or else written as extended XYZ.
        log: text file with a line every `log_interval` steps [the trajectory's name, ending in .log].
        restart: continue the trajectory.
        progress: called with the name of the stage and the fraction done.
        prepare: called with ASE's dynamics before the first step, to attach observers; they see each step before it
            is written.

    Raises:
        DynamicsError: the settings do not fit the structure, the trajectory cannot be continued, or energy,
            positions or temperature have exploded; the files hold everything before.
        UnknownElementError: an element is not in the model.

    """
    from time import perf_counter

    trajectory = Path(trajectory)
    log = trajectory.with_suffix(".log") if log is None else Path(log)
    restart = restart and drop_half_frame(trajectory)
    calculator = atoms.calc
    atoms, first_step = _starting_point(atoms, settings, trajectory, restart)
    restart = first_step > 0  # else the first frame is written again
    _hand_over(atoms, calculator)
    dynamics, free = make_dynamics(atoms, settings, noise_from(settings.seed, first_step))
    with dynamics:  # closes what ASE opens for a log of its own
        restore(dynamics, atoms.info.get("md_variables"))
        atoms.get_potential_energy()  # errors of the model come before any file is changed
        if not restart:
            trajectory.unlink(missing_ok=True)
        with _start_log(log, settings, first_step) as lines:
            recorder = _Recorder(atoms, dynamics, settings, free, trajectory, lines, progress)
            if prepare is not None:
                prepare(dynamics)
            dynamics.attach(recorder)
            _attach_guard(dynamics, atoms, settings, extrapolation_file(trajectory), restart)
            dynamics.nsteps = first_step
            recorder.forget()
            begin = perf_counter()
            _run_to_the_end(dynamics, settings, trajectory)
            seconds = perf_counter() - begin
    return _summary(read_log(log), len(atoms), settings.steps - first_step, seconds)


def _attach_guard(
    dynamics: "MolecularDynamics", atoms: Atoms, settings: MDSettings, unknown: Path, restart: bool
) -> None:
    """Attach the extrapolation guard, if one is wanted; a continued run appends to the saved structures."""
    action = settings.on_extrapolation
    if action is None:
        return
    if not restart:
        unknown.unlink(missing_ok=True)
    dynamics.attach(ExtrapolationGuard(atoms, action, unknown, settings.grade_limit, lambda: dynamics.nsteps))


def _run_to_the_end(dynamics: "MolecularDynamics", settings: MDSettings, trajectory: Path) -> None:
    """Take all steps; an error says at which step, and what the files hold."""
    try:
        dynamics.run(settings.steps - dynamics.nsteps)
    except ExtrapolationError as error:
        raise DynamicsError(
            f"stopped: {error}. All earlier frames are in {trajectory}; label the saved structure and train with it"
        ) from error
    except Exception as error:
        if not has_exploded(error, dynamics.atoms):
            raise
        where = f"step {dynamics.nsteps} ({dynamics.nsteps * settings.timestep / 1000:g} ps)"
        raise DynamicsError(
            f"the run stopped at {where}: {error}. All earlier frames are in {trajectory}; use a "
            "smaller time step or a lower temperature, or train on more such structures"
        ) from error


def _hand_over(atoms: Atoms, calculator: Any) -> None:
    """Attach the calculator, with the results that the trajectory holds for these positions."""
    read, atoms.calc = atoms.calc, calculator
    if read is not None and hasattr(calculator, "clear_history"):  # other calculators may keep more than results
        calculator.atoms, calculator.results = atoms.copy(), dict(read.results)


def _summary(log: dict[str, np.ndarray], n_atoms: int, steps: int, seconds: float) -> MDSummary:
    late = slice(len(log["time"]) // 2, None)
    drift = np.polyfit(log["time"], log["total"], 1)[0] / n_atoms if len(log["time"]) > 2 else 0.0
    volume = float(log["volume"][late].mean()) if "volume" in log else None
    temperature = float(log["temperature"][late].mean())
    return MDSummary(steps, float(log["time"][-1]), temperature, float(drift), volume, seconds / steps)
