"""The ASE calculator: Atoms in, energies, forces and stress out."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from .model import Model
from .neighbours import VerletList
from .threads import thread_count


class WKCalculator(Calculator):
    """Wigner-kernel potential for ASE.

    Energy, free_energy (the same), energies (per atom, each with its element's baseline), forces and, for cells
    of rank 3, stress are computed together and cached. All are exact derivatives of one energy. Local: no
    interaction beyond the model's cutoff, no charges, no spins. Not to be trusted far from the training data.

    Args:
        model: a `Model` or the path of a model file.
        threads: number of threads; without it OMP_NUM_THREADS if set, else the cores available.
        precision: float64, or float32 for the arithmetic of a model in mapped form: twice as fast.
        direct: sum over the support points although the model has a mapped form.
        skin: Angstrom; the neighbour list reaches this far beyond the cutoff and is rebuilt when atoms have moved
            half of it.
        comm: communicator of mpi4py whose ranks compute together, such as MPI.COMM_WORLD in a script that runs under
            mpiexec. Each has all atoms and must take the same steps (random generators with the same seed); import
            mpi4py before ASE writes files, so that only the first rank does. The default for `threads` becomes the
            rank's share of the cores. An exception that nothing catches then ends all ranks.

    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        model: Model | str | os.PathLike,
        threads: int | None = None,
        precision: str = "float64",
        direct: bool = False,
        skin: float = 0.5,
        comm: Any = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if skin < 0:
            raise ValueError(f"skin must not be negative, not {skin}")
        self.model = Model.load(Path(model)) if isinstance(model, str | os.PathLike) else model
        self.potential = self.model.potential(precision, direct)
        if comm is None:
            self.threads = thread_count(threads)
            self.parallel = None
            self.neighbour_list = VerletList(self.model.cutoff, skin, self.threads)
        else:
            from .parallel.communicator import Ranks
            from .parallel.prediction import ParallelPredictor

            ranks = Ranks(comm)
            self.threads = thread_count(threads, ranks.cores)
            self.parallel = ParallelPredictor(self.model, self.potential, ranks, skin, self.threads)
            self.neighbour_list = self.parallel.list
        self._checked_numbers: np.ndarray | None = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Compute all properties at once.

        Raises:
            UnknownElementError: an element is not in the model.
            ValueError: positions or cell are not finite, or two atoms are on one site.
            RanksDifferError: the ranks of `comm` hold different atoms.

        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        numbers, positions, cell, pbc = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
        if self.parallel is None:
            self._check(numbers, positions)
            neighbours = self.neighbour_list.update(positions, cell, pbc)
            prediction = self.model.predict(numbers, positions, cell, neighbours, self.threads, self.potential)
            energy = float(prediction.energies.sum())
        else:
            self.parallel.ranks.together(self._check, numbers, positions)
            energy, prediction = self.parallel.predict(numbers, positions, cell, pbc)
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": prediction.energies,
            "forces": prediction.forces,
        }
        if atoms.cell.rank == 3:
            stress = prediction.virial / atoms.cell.volume
            self.results["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    def clear_history(self) -> None:
        """Make what comes next independent of what was before, to the last bit, as a restart of a run needs it."""
        self.neighbour_list.clear()

    def _check(self, numbers, positions) -> None:
        """Refuse what cannot be computed."""
        if not np.isfinite(positions).all():
            bad = int(np.argmax(~np.isfinite(positions).all(axis=1)))
            raise ValueError(f"the position of atom {bad} is not finite: {positions[bad]}")
        if self._checked_numbers is None or not np.array_equal(self._checked_numbers, numbers):
            self.model.check_composition(numbers)
            self._checked_numbers = numbers.copy()
