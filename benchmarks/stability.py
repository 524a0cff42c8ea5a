"""Long dynamics with trained models: a nanosecond of ethanol, hot silicon, water; energy drift; no atom into another.

Radial distributions of a liquid are compared with those of its training frames.

What is there already (models, trajectories) is kept, and a run that was interrupted goes on.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import chemical_symbols
from ase.geometry.rdf import get_rdf
from ase.io import iread, read
from ase.neighborlist import natural_cutoffs, neighbor_list
from common import HERE, parser, show, thread_option, wk_potential

from wk_potential import Model, WKCalculator, read_frames
from wk_potential.errors import DynamicsError
from wk_potential.simulation.dynamics import run_md
from wk_potential.simulation.integrators import MDSettings

FRAMES = 2000  # of a trajectory, about
BIN = 0.05  # Angstrom, of radial distributions
BEYOND = {"H-H": 2.0, "H-O": 1.3, "O-O": 2.0}  # Angstrom: pairs that are closer belong to a molecule


@dataclass(frozen=True)
class System:
    """What is trained and run.

    Attributes:
        data: file of the training frames.
        training: options.
        temperature: K.
        hot: K, three times the temperature of the training frames.
        timestep: fs, at constant energy; twice as long with the thermostat.
        nvt, nve: ps.
        repeat: of the first training frame, or 0 for a crystal of 216 atoms.

    """

    data: str
    training: tuple[str, ...]
    temperature: float
    hot: float
    timestep: float
    nvt: float
    nve: float
    repeat: int = 1


# of Si the hottest training frames are a melt at twice the melting point
SYSTEMS = {
    "ethanol": System(
        "rmd17/ethanol_train.npz",
        ("--frames", ":50", "--energy-unit", "kcal/mol", "--map-tolerance", "1e-2"),
        300, 1500, 0.5, 1000, 50,
    ),
    "Si": System("mlearn/Si_train.xyz", (), 1500, 5000, 1.0, 200, 20, repeat=0),
    "water": System("water/train.xyz", (), 330, 990, 0.5, 100, 10),
}  # fmt: skip


def start(system: System, data: Path) -> Atoms:
    """Return the structure that the runs begin with."""
    if not system.repeat:
        return bulk("Si", cubic=True).repeat(3)
    options = dict(zip(system.training[::2], system.training[1::2], strict=True))
    frame = read_frames(data / system.data, "0", options.get("--energy-unit"))[0]
    return frame.to_atoms()


def trained(name: str, args) -> Path:
    """Return the model of a system, that of the project if there is one."""
    if (ready := HERE.parent / "models" / f"{name}.wkp").exists():
        return ready
    path = args.out / f"stability_{name}.wkp"
    if not path.exists():
        options = SYSTEMS[name].training
        wk_potential("train", args.data / SYSTEMS[name].data, "-o", path, *options, *thread_option(args.threads))
    return path


def run(atoms: Atoms, settings: MDSettings, path: Path) -> tuple[str, float | None]:
    """Make or finish a trajectory; returns how it ended and the drift, meV per atom and ps."""
    log = path.with_suffix(".log")
    if not path.exists() or not log.exists():
        path.unlink(missing_ok=True)
    try:
        summary = run_md(atoms, settings, path, log, restart=path.exists())
    except DynamicsError as error:
        if "long already" not in str(error):
            return str(error), None
        return "finished", None
    return "finished", 1e3 * summary.drift


def closest(model: Model, path: Path) -> float:
    """Smallest distance of two atoms, in outer radii of their repulsion (1: the repulsion begins)."""
    least = np.inf
    for atoms in iread(str(path)):
        i, j, d = neighbor_list("ijd", atoms, 3.0)
        index = model.species_of(atoms.numbers)
        least = min(least, float((d / model.repulsion.outer[index[i], index[j]]).min(initial=np.inf)))
    return least


def bonds_held(path: Path) -> str:
    """Tell whether the bonds of the first frame, up to 1.15 radii, are within 1.6 radii in all others."""
    first = None
    for n, atoms in enumerate(iread(str(path))):
        radii = natural_cutoffs(atoms)
        now = {s: set(zip(*neighbor_list("ij", atoms, [s * r for r in radii]), strict=True)) for s in (1.15, 1.6)}
        first = first or now[1.15]
        if not first <= now[1.6]:
            return f"no, frame {n}"
    return "yes"


def distributions(frames: list[Atoms]) -> dict[str, np.ndarray]:
    """Mean radial distribution of each pair of elements, in bins of 0.05 Angstrom."""
    bins = int(min(frames[0].cell.lengths()) / 2 / BIN)
    pairs = list(combinations_with_replacement(sorted(set(frames[0].numbers)), 2))
    return {
        "-".join(chemical_symbols[z] for z in pair): np.mean(
            [get_rdf(atoms, BIN * bins, bins, elements=pair, no_dists=True) for atoms in frames], axis=0
        )
        for pair in pairs
    }  # fmt: skip


def compared(data: Path, path: Path) -> list[list]:
    """Highest peaks beyond the molecule, of a run without its first twentieth and of the training frames."""
    run = list(iread(str(path)))
    found, known = distributions(run[len(run) // 20 :: 10]), distributions(read(data, ":"))
    rows = []
    for pair in known:
        inside = round(BEYOND[pair] / BIN)
        peaks = [(g[inside:].max(), BIN * (inside + g[inside:].argmax() + 0.5)) for g in (known[pair], found[pair])]
        rows.append([pair, *peaks[0], *peaks[1], float(np.sqrt(np.mean((known[pair] - found[pair])[inside:] ** 2)))])
    return rows


def main():
    p = parser(__doc__)
    p.add_argument("systems", nargs="*", default=list(SYSTEMS), help="of " + ", ".join(SYSTEMS))
    p.add_argument("--share", type=float, default=1.0, help="of the lengths of the runs")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.systems:
        system, rows = SYSTEMS[name], []
        model = Model.load(trained(name, args))
        atoms = start(system, args.data)
        atoms.calc = WKCalculator(model, threads=args.threads)
        runs = {
            "nvt": ("nvt-langevin", system.temperature, 2 * system.timestep, system.nvt),
            "nve": ("nve", system.temperature, system.timestep, system.nve),
            "hot": ("nvt-langevin", system.hot, system.timestep, system.nve / 2),
        }
        for kind, (ensemble, temperature, timestep, length) in runs.items():
            time = args.share * length
            every = max(round(1000 * time / timestep) // FRAMES, 1)
            settings = MDSettings(ensemble, temperature, timestep, time, interval=every, log_interval=10, seed=1)
            path = args.out / f"stability_{name}_{kind}.traj"
            end, drift = run(atoms, settings, path)
            held = bonds_held(path) if kind == "nvt" and name != "Si" else ""
            slope = "" if ensemble != "nve" or drift is None else drift
            near = closest(model, path) if model.repulsion is not None else ""
            rows.append([kind, time, temperature, timestep, end, slope, held, near])
            heads = ["run", "ps", "K", "fs", "end", "drift meV/atom/ps", "bonds held", "closest / outer"]
            show(name, heads, rows, args.out / f"stability_{name}.json")
        if name == "water":
            heads = ["pair", "peak, frames", "at, Å", "peak, run", "at, Å", "rms difference"]
            rows = compared(args.data / system.data, args.out / "stability_water_nvt.traj")
            show("Radial distributions", heads, rows, args.out / "stability_water_distributions.json")


if __name__ == "__main__":
    main()
