import errno

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from wk_potential.errors import (
    ActiveLearningError,
    ClashError,
    DynamicsError,
    FileError,
    RelaxationError,
    StructureError,
    UncertaintyError,
)
from wk_potential.simulation.dynamics import run_md
from wk_potential.simulation.explosion import has_exploded
from wk_potential.simulation.integrators import MDSettings
from wk_potential.simulation.relaxation import relax


def test_our_errors_tell_by_their_class():
    atoms = bulk("Cu")
    for error in (StructureError("no"), ClashError(1, 2), DynamicsError("no"), RelaxationError("no")):
        assert has_exploded(error, atoms)
    for error in (UncertaintyError("no"), ActiveLearningError("no"), FileError(errno.ENOSPC, "full", "a.xyz")):
        assert not has_exploded(error, atoms)


@pytest.mark.parametrize("where", ["positions", "momenta", "cell"])
def test_other_errors_tell_by_the_structure(where):
    atoms = bulk("Cu")
    for error in (ValueError("arrays of unequal shape"), RuntimeError(), TypeError()):
        assert not has_exploded(error, atoms)
    for error in (np.linalg.LinAlgError("Eigenvalues did not converge"), ZeroDivisionError(), OverflowError()):
        assert has_exploded(error, atoms)
    if where == "cell":
        atoms.cell[0, 0] = np.nan
    else:
        atoms.set_array(where, np.full((1, 3), np.inf))
    assert has_exploded(ValueError("array must not contain infs or NaNs"), atoms)
    assert not has_exploded(PermissionError(errno.EACCES, "Permission denied", "a.xyz"), atoms)


class Faulty(Calculator):
    """Sound in the first steps, then with forces that do not fit the atoms."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.calls = getattr(self, "calls", 0) + 1
        forces = np.zeros((len(atoms) - (self.calls > 2), 3))
        forces[0, 0] = 1.0 / self.calls
        self.results = {"energy": 0.0, "forces": forces, "stress": np.zeros(6)}


def test_faults_of_a_calculator_are_not_taken_for_explosions(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.calc = Faulty()
    with pytest.raises(ValueError, match=r"shape|broadcast") as raised:
        run_md(atoms, MDSettings(time=0.01), tmp_path / "md.traj")
    assert not isinstance(raised.value, DynamicsError)
    atoms.calc = Faulty()
    with pytest.raises(ValueError, match=r"shape|broadcast|size") as raised:
        relax(atoms)
    assert not isinstance(raised.value, RelaxationError)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, about numbers that overflow
@pytest.mark.parametrize("barostat_time", [1e-6, 1e-300])
def test_a_barostat_that_explodes_before_the_atoms(tmp_path, barostat_time):
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    with pytest.raises(DynamicsError, match="stopped at step"):
        run_md(atoms, MDSettings("npt-flexible", time=0.02, barostat_time=barostat_time), tmp_path / "md.traj")


@pytest.mark.parametrize(
    "settings",
    [{"thermostat_time": 1e300}, {"interval": 10**30}, {"pressure": np.nan}, {"temperature": 1e200}, {"seed": -1}],
)
def test_settings_beyond_all_bounds(settings):
    with pytest.raises(DynamicsError, match=r"must|makes no sense"):
        MDSettings("npt", **settings)
