"""Forces for i-PI: path integrals and all its other methods.

Use it as a client of i-PI through a socket, or inside i-PI (`<ffdirect>` with `<pes>custom</pes>` and this file as
`<pes_path>`):

    i-pi-driver-py -m custom -P $(python -m wk_potential.ipi_driver) -u -a ADDRESS -o template=start.xyz,model=model.wkp

The module is not called `ipi`, because i-PI would import it instead of itself.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ipi.pes._ase import ASEDriver

from wk_potential.calculator import WKCalculator  # i-PI loads the file by its path: no relative imports

__DRIVER_NAME__ = "wk_potential"
__DRIVER_CLASS__ = "WKDriver"


class WKDriver(ASEDriver):
    """Driver of i-PI that evaluates a model; energies, forces and virials.

    Args:
        template: file with the atoms in i-PI's order, any format of ASE; its positions do not matter, its periodic
            directions do: a molecule must not be periodic.
        model: path of a model file.
        threads, precision, baseline: as in `WKCalculator`.

    """

    def __init__(
        self,
        template: str,
        model: str | Path,
        threads: int | None = None,
        precision: str = "float64",
        baseline: str | None = None,
        **options: Any,
    ) -> None:
        self._calculator = WKCalculator(model, threads, precision, baseline=baseline)
        super().__init__(template, **options)

    def check_parameters(self) -> None:
        """Read the template and see that the model knows its elements.

        Raises:
            UnknownElementError: it does not.

        """
        super().check_parameters()
        self._calculator.model.check_composition(self.template_ase.numbers)
        self.ase_calculator = self._calculator

    def compute_structure(self, cell: npt.ArrayLike, pos: npt.ArrayLike) -> tuple[float, np.ndarray, np.ndarray, str]:
        """Energy, forces and virial in i-PI's units; energies of the atoms in eV, as JSON.

        Raises:
            StructureError: positions that are not finite, or two atoms less than 0.1 Angstrom apart.

        """
        return super().compute_structure(np.asarray(cell, float), np.asarray(pos, float))


if __name__ == "__main__":
    print(__file__)
