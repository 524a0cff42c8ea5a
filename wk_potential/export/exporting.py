"""Write a model as a file for PyTorch: what can be exported, and what is said when it cannot."""

import os
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ..atoms.files import replacing
from ..errors import ExportError
from ..model.model import Model

LIBRARIES = ("torch", "metatensor.torch", "metatomic.torch")
LARGEST_MAPPED_ORDER = 4


def export_model(
    model: Model,
    path: str | os.PathLike[str],
    precision: str = "float64",
    log: Callable[[str], None] | None = None,
) -> None:
    """Write a model as a TorchScript module behind metatomic's interface.

    ASE, TorchSim, i-PI and LAMMPS run such files through metatomic (https://docs.metatensor.org/metatomic). They need
    PyTorch and metatomic-torch for it, and nothing of this package. The module has the mapped form, the repulsion and
    the baseline energies of atoms. Its outputs are the energies of systems and of atoms, in eV; forces and stress are
    their first derivatives by autograd. Dipoles (e Angstrom) and polarisabilities (Angstrom^3) are the outputs
    `wk_potential::dipole` and `wk_potential::polarizability`. Error bars are left out.

    Args:
        model: with energies and a mapped form.
        path: of the file, usually with the ending .pt.
        precision: float64 or float32, of all arithmetic and of what the program that runs the file passes to it.
        log: gets a line about what is left out.

    Raises:
        ExportError: the model has no mapped form or no energies, or adds to another potential; or PyTorch or
            metatomic-torch is missing.
        OptionsError: the precision is unknown.
        FileError: the file cannot be written.

    """
    check_exportable(model)
    model.potential(precision)  # checks the precision, and warns if float32 is too coarse for this model
    check_libraries()
    from .metatomic import atomistic_model

    path = Path(path).expanduser()
    module = atomistic_model(model, path.stem, precision)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)  # metatomic's format is TorchScript
        module.save(temporary)
    if log is not None and model.error_bars:
        log("Left out of the file: error bars")


def check_exportable(model: Model) -> None:
    """Refuse a model that cannot be exported.

    Raises:
        ExportError: the message says why, and what to do.

    """
    if not model.scales:
        raise ExportError(
            f"the model predicts {' and '.join(model.tensors)} alone; only models with energies can be exported"
        )
    if model.baseline_potential is not None:
        raise ExportError(
            f"the model adds to {model.baseline_potential}, which cannot be exported: make a model without it with "
            "`wk-potential distil`"
        )
    if not model.is_mapped:
        if max(scale.order for scale in model.scales) > LARGEST_MAPPED_ORDER:
            raise ExportError(
                "only mapped forms are exported, and orders 5 and 6 have none: train a model with --order 4"
            )
        raise ExportError(
            "only mapped forms are exported, and the model has none: make one with "
            "`wk-potential map MODEL.wkp DATA -o MAPPED.wkp`"
        )


def check_libraries() -> None:
    """Refuse to export without the libraries.

    Raises:
        ExportError: PyTorch or metatomic-torch is missing.

    """
    for name in LIBRARIES:
        try:
            there = find_spec(name) is not None
        except ModuleNotFoundError:  # not even its parent is there
            there = False
        if not there:
            raise ExportError(f"{name} is missing: install it with `pip install 'wk-potential[torch]'`")
