"""The ASE calculator: Atoms in, energies, forces and stress out."""

import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from inspect import signature
from numbers import Real
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from .atoms.kinds import VOIGT
from .atoms.neighbours import VerletList, find_neighbours
from .atoms.structure import Structure
from .baselines.potential import BaselinePotential, virial_of_molecule
from .compute.threads import thread_count
from .errors import BaselineError, OptionsError, StructureError
from .model.error_bars import CommitteePotential
from .model.model import Model

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

NO_STRUCTURE = "no structure to compute: set atoms.calc = calculator, or pass atoms"
UNCERTAINTIES = ("energy_std", "energies_std", "forces_std", "stress_std", "extrapolation_grade")

ENERGY_PROPERTIES = ("energy", "free_energy", "energies", "forces", "stress", "stresses")
ATOMIC_PROPERTIES = ("energies", "stresses")  # which a baseline does not have
# each property: name of the tensor, and whether it is its derivatives
TENSOR_PROPERTIES = {
    "dipole": ("dipole", False),
    "polarizability": ("polarizability", False),
    "dipole_derivatives": ("dipole", True),
    "polarizability_derivatives": ("polarizability", True),
}
TENSOR_UNCERTAINTIES = {"dipole_std": "dipole", "polarizability_std": "polarizability"}


class WKCalculator(Calculator):
    """Wigner-kernel potential for ASE.

    The properties are energy, free_energy (the same), energies (per atom, each with its element's baseline), forces,
    and stress for cells with three vectors. They are computed together and cached. Forces and stress are exact
    derivatives of the energy. `stresses` (N, 6), the shares of the atoms in the stress, are computed when they are
    asked for: that of atom j is sum_i (r_j - r_i) x dE_i/dr_j, symmetrised and divided by the volume, as the heat flux
    of many-body potentials needs it. The potential is local: it has no interaction beyond the cutoff, no charges and no
    spins. Do not trust it far from the training data; `uncertainty` shows how far a structure is.

    Models that were trained on them also have these properties, each computed when it is asked for by
    `atoms.get_dipole_moment()` or `calculator.get_property("polarizability", atoms)`:

    * dipole (3,), e Angstrom, from the centre of mass;
    * polarizability (3, 3), Angstrom^3;
    * dipole_derivatives (N, 3, 3), e: derivative of component y by coordinate x of atom i, at [i, x, y];
    * polarizability_derivatives (N, 3, 3, 3), Angstrom^2.

    All are sums of contributions of the atoms. In a periodic cell only changes of the dipole have a meaning.

    Args:
        model: a `Model` or the path of a model file.
        threads: number of threads; without it OMP_NUM_THREADS if set, else the cores available.
        precision: float64, or float32 for the arithmetic of a model in mapped form: twice as fast.
        direct: sum over the support points although the model has a mapped form.
        uncertainty: compute error bars as well. energy_std, energies_std, forces_std (N, 3) and stress_std are standard
            deviations, calibrated on left-out training frames; energies_std holds if the errors of different atoms are
            independent. extrapolation_grade (N,) is above 1 where an environment is less certain than 99.9 % of the
            left-out training environments; `ExtrapolationGuard` acts on it during a run. dipole_std (3,) and
            polarizability_std (3, 3) are computed when they are asked for.
        baseline: the calculator that the model adds to, where the model file does not hold it: any calculator of ASE, a
            function that makes one, or text such as FILE.py:NAME.
        skin: Angstrom; the neighbour list reaches this far beyond the cutoff, and is rebuilt when atoms have moved half
            of it.
        comm: communicator of mpi4py whose ranks compute together, such as MPI.COMM_WORLD in a script under mpiexec.
            Every rank has all atoms and must take the same steps, so give random generators the same seed. Import
            mpi4py before ASE writes files; then only the first rank writes. The default for `threads` becomes the
            rank's share of the cores. An exception that nothing catches ends all ranks.
        atoms: structure to attach the calculator to.

    """

    name = "wk_potential"
    implemented_properties = [*ENERGY_PROPERTIES, *TENSOR_PROPERTIES]  # noqa: RUF012

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        threads: int | None = None,
        precision: str = "float64",
        direct: bool = False,
        uncertainty: bool = False,
        baseline: Any = None,
        skin: float = 0.5,
        comm: "Intracomm | None" = None,
        atoms: Atoms | None = None,
        **unknown: Any,
    ) -> None:
        _check_options(unknown, {"direct": direct, "uncertainty": uncertainty}, skin)
        super().__init__()
        self._lock = RLock()
        self.model, source = (model, None) if isinstance(model, Model) else (Model.load(model), model)
        if baseline is not None:
            self.model = self.model.with_baseline(baseline)
        whole = [name for name in ENERGY_PROPERTIES if name not in ATOMIC_PROPERTIES]
        self.implemented_properties = [
            *(() if not self.model.scales else ENERGY_PROPERTIES if self.model.baseline_potential is None else whole),
            *(name for name, (target, _) in TENSOR_PROPERTIES.items() if target in self.model.tensors),
        ]
        self.potential = self.model.potential(precision, direct)
        if comm is None:
            self.threads = thread_count(threads)
            self.parallel = None
            self.neighbour_list = VerletList(self.model.cutoff, skin, self.threads)
        else:
            from .compute.ranks import MPICommunicator
            from .parallel.prediction import ParallelPredictor

            ranks = MPICommunicator(comm)
            self.threads = thread_count(threads, ranks.cores)
            self.parallel = ParallelPredictor(self.model, self.potential, ranks, skin, self.threads)
            self.neighbour_list = self.parallel.list
        self._checked_numbers: np.ndarray | None = None
        self._structure: Structure | None = None
        self.committee: CommitteePotential | None = None
        if uncertainty:
            bars = [name for name, target in TENSOR_UNCERTAINTIES.items() if target in self.model.error_bars]
            if self.model.scales or not bars:
                self.committee = self.model.committee
                bars += UNCERTAINTIES
            self.implemented_properties = [*self.implemented_properties, *bars]
        self.parameters.update(
            model=str(source) if source is not None else repr(self.model), model_hash=self.model.fingerprint,
            precision=precision, direct=direct, uncertainty=uncertainty, skin=float(skin),
        )  # fmt: skip
        if atoms is not None:
            atoms.calc = self

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={self.parameters[name]!r}" for name in ("precision", "direct", "uncertainty"))
        return f"WKCalculator({self.model!r}, threads={self.threads}, {options})"

    def set(self, **options: Any) -> dict[str, Any]:
        """Refuse changes: the options of a calculator are chosen when it is made.

        Raises:
            OptionsError: there are any.

        """
        if options:
            raise OptionsError(
                f"{', '.join(options)}: the options of a WKCalculator cannot be changed; make another one, "
                f"WKCalculator(model, {next(iter(options))}=...)"
            )
        return {}

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Say which model and options there are, as ASE writes them to databases and trajectories."""
        return dict(self.parameters)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=RLock())

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Compute a property, or return it if it is known; one thread at a time.

        Threads may share a calculator, but they wait for each other and each change of structure costs a new neighbour
        list: give each its own for speed. What is in `results` belongs to the structure that was computed last.

        Args:
            name: see `implemented_properties`.
            atoms: the structure [the last one].
            allow_calculation: return None for what is not known, instead of computing it.

        Raises:
            StructureError: there is no structure; and as `calculate`.
            PropertyNotImplementedError: the model does not have the property.

        """
        with self._lock:
            if atoms is None and self.atoms is None:
                raise StructureError(NO_STRUCTURE)
            return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute energy, forces and stress at once, dipole and polarisability if they are among `properties`.

        Raises:
            UnknownElementError: an element is not in the model.
            StructureError: positions or cell are not finite.
            ClashError: two atoms are less than 0.1 Angstrom apart.
            RanksDifferError: the ranks of `comm` hold different atoms.

        """
        with self._lock:
            self._calculate(atoms, properties, system_changes)

    def _calculate(self, atoms: Atoms | None, properties: Sequence[str], system_changes: Sequence[str]) -> None:
        if system_changes or self.atoms is None:
            super().calculate(atoms, properties, system_changes)
            self.results, self._structure = {}, None
        if self.atoms is None:
            raise StructureError(NO_STRUCTURE)
        energy_wanted = not set(properties) <= {*TENSOR_PROPERTIES, *TENSOR_UNCERTAINTIES}
        # results that were read from a file have no error bars
        last = "energy" if self.committee is None else "energy_std"
        atomic = "stresses" in properties and "stresses" not in self.results
        if self.model.scales and energy_wanted and (last not in self.results or atomic):
            self._calculate_energy(self.atoms, atomic)
        baseline, whole = self.model.baseline_potential, self.atoms.cell.rank == 3
        if baseline is not None and whole and "stress" in properties and "stress" not in self.results:
            raise BaselineError(f"the baseline {baseline} gives no stress for this structure")
        for name in properties:
            if name not in self.implemented_properties or name in self.results:
                continue
            if name in TENSOR_PROPERTIES:
                self._calculate_tensor(self.atoms, name)
            elif name in TENSOR_UNCERTAINTIES:
                target = self.model.tensors[TENSOR_UNCERTAINTIES[name]]
                self.results[name] = target.deviation(self._current(self.atoms), self.threads)

    def _current(self, atoms: Atoms) -> Structure:
        """Return the checked structure with its neighbours; made once for energies, tensors and error bars."""
        if self._structure is None:
            numbers, positions, cell, pbc = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
            self._check(numbers, positions)
            if self.parallel is None:
                neighbours = self.neighbour_list.update(positions, cell, pbc)
            else:  # not divided among the ranks
                neighbours = find_neighbours(positions, cell, pbc, self.model.cutoff, self.threads)
            self._structure = self.model.structure(numbers, positions, cell, neighbours)
        return self._structure

    def _calculate_tensor(self, atoms: Atoms, name: str) -> None:
        structure = self._current(atoms)
        target, derivatives = TENSOR_PROPERTIES[name]
        tensor = self.model.tensors[target]
        if derivatives:
            self.results[name] = tensor.derivatives(structure, self.threads)
        else:
            self.results[name] = tensor.predict(structure, self.threads).sum(axis=0)

    def _calculate_energy(self, atoms: Atoms, atomic: bool) -> None:
        if self.parallel is None:
            prediction = self.model.evaluate(self._current(atoms), self.threads, self.potential, atomic)
            energy = float(prediction.energies.sum())
        else:
            self.parallel.comm.together(self._check, atoms.numbers, atoms.positions)
            structure = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
            energy, prediction = self.parallel.predict(*structure, atomic)
        self.results |= {
            "energy": energy,
            "free_energy": energy,
            "energies": prediction.energies,
            "forces": prediction.forces,
        }
        if atoms.cell.rank == 3:
            stress = prediction.virial / atoms.cell.volume
            self.results["stress"] = stress[VOIGT]
            if atomic:
                shares = 0.5 * (prediction.virials + prediction.virials.transpose(0, 2, 1)) / atoms.cell.volume
                self.results["stresses"] = shares[:, VOIGT[0], VOIGT[1]]
        if self.model.baseline_potential is not None:
            self._add_baseline(self.model.baseline_potential, atoms)
        if self.committee is not None:
            self._add_uncertainty(self.committee, atoms)

    def _add_baseline(self, baseline: BaselinePotential, atoms: Atoms) -> None:
        """Add the potential to which the model adds; it has no parts of atoms, and may have no stress."""
        if self.parallel is None:
            below = baseline.evaluate(atoms, self.threads)
        else:
            below = self.parallel.comm.first(baseline.evaluate, atoms, self.threads)
        for name in ("energy", "free_energy"):
            self.results[name] += below.energy
        self.results["forces"] = self.results["forces"] + below.forces
        for name in ATOMIC_PROPERTIES:
            self.results.pop(name, None)
        if "stress" in self.results:
            stress = _of_molecule(atoms, below.forces) if below.stress is None and not atoms.pbc.any() else below.stress
            if stress is None:
                del self.results["stress"]
            else:
                self.results["stress"] = self.results["stress"] + stress

    def _add_uncertainty(self, committee: CommitteePotential, atoms: Atoms) -> None:
        """Add the error bars of the structure whose energy has just been computed."""
        species = self.model.species_of(atoms.numbers)
        if self.parallel is None:
            deviations = committee.deviations(self._current(atoms), self.threads)
        else:
            deviations = self.parallel.deviations(committee, species, atoms.positions, atoms.cell.array)
        spread = committee.spread(deviations, species)
        self.results |= {
            "energy_std": spread.energy,
            "energies_std": spread.energies,
            "forces_std": spread.forces,
            "extrapolation_grade": spread.grade,
        }
        if "stress" in self.results:
            self.results["stress_std"] = (spread.virial / atoms.cell.volume)[VOIGT]

    def without_baseline(self) -> "WKCalculator":
        """Return a calculator of the model alone, without the potential to which it adds."""
        options = {name: self.parameters[name] for name in ("precision", "direct", "uncertainty", "skin")}
        return WKCalculator(replace(self.model, baseline_potential=None), self.threads, **options)

    def clear_history(self) -> None:
        """Forget the neighbour list, so that results do not depend on earlier steps; restarts need this."""
        self._structure = None
        self.neighbour_list.clear()

    def _check(self, numbers: np.ndarray, positions: np.ndarray) -> None:
        """Refuse what cannot be computed."""
        if not np.isfinite(positions).all():
            bad = int(np.argmax(~np.isfinite(positions).all(axis=1)))
            raise StructureError(f"the position of atom {bad} is not finite: {positions[bad]}")
        if self._checked_numbers is None or not np.array_equal(self._checked_numbers, numbers):
            if self.model.scales:
                self.model.check_composition(numbers)
            self._checked_numbers = numbers.copy()


def _of_molecule(atoms: Atoms, forces: np.ndarray) -> np.ndarray:
    """Stress (6,) of a molecule in a cell, which is that of its forces."""
    return (virial_of_molecule(atoms.positions, forces) / atoms.cell.volume)[VOIGT]


def _check_options(unknown: dict[str, Any], switches: dict[str, Any], skin: float) -> None:
    """Refuse unknown keywords and values of the wrong type; models, threads and precision are checked where used."""
    known = [name for name in signature(WKCalculator).parameters if name != "unknown"]
    for name in unknown:
        close = get_close_matches(name, known, 1, 0.4)
        hint = f"; did you mean {close[0]!r}?" if close else f": choose from {', '.join(known)}"
        raise OptionsError(f"WKCalculator has no option {name!r}{hint}")
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_):
            raise OptionsError(f"{name} must be True or False, not {value!r}")
    if isinstance(skin, bool) or not isinstance(skin, Real) or not 0 <= skin < np.inf:
        raise OptionsError(f"skin must be a number of Angstrom, not negative and not {skin!r}")
