"""The ASE calculator: Atoms in, energies, forces and stress out."""

import os
from pathlib import Path

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

    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        model: Model | str | os.PathLike,
        threads: int | None = None,
        precision: str = "float64",
        direct: bool = False,
        skin: float = 0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if skin < 0:
            raise ValueError(f"skin must not be negative, not {skin}")
        self.model = Model.load(Path(model)) if isinstance(model, str | os.PathLike) else model
        self.potential = self.model.potential(precision, direct)
        self.threads = thread_count(threads)
        self.neighbour_list = VerletList(self.model.cutoff, skin, self.threads)
        self._checked_numbers: np.ndarray | None = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Compute all properties at once.

        Raises:
            UnknownElementError: an element is not in the model.
            ValueError: positions or cell are not finite, or two atoms are on one site.

        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        positions, cell, pbc = atoms.positions, atoms.cell.array, atoms.pbc
        if not np.isfinite(positions).all():
            bad = int(np.argmax(~np.isfinite(positions).all(axis=1)))
            raise ValueError(f"the position of atom {bad} is not finite: {positions[bad]}")
        if not np.array_equal(self._checked_numbers, atoms.numbers):
            self.model.check_composition(atoms.numbers)
            self._checked_numbers = atoms.numbers.copy()
        neighbours = self.neighbour_list.update(positions, cell, pbc)
        prediction = self.model.predict(atoms.numbers, positions, cell, neighbours, self.threads, self.potential)
        energy = float(prediction.energies.sum())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": prediction.energies,
            "forces": prediction.forces,
        }
        if atoms.cell.rank == 3:
            stress = prediction.virial / atoms.cell.volume
            self.results["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
