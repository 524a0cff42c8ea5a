"""Train on strained crystals with stresses, then relax a cell and a (111) surface with the model.

ASE's EMT potential is the reference: the example needs no data, and its results can be checked. Takes half a minute.

    python examples/md/copper_surface.py [--frames 16]
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from wk_potential import Frame, TrainingOptions, WKCalculator, train


def labelled(atoms, rng):
    """Strain and rattle a structure and label it."""
    atoms = atoms.copy()
    if atoms.pbc.all():
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.rattle(0.08, rng=rng)
    atoms.calc = EMT()
    atoms.get_potential_energy()
    return Frame.from_atoms(atoms)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=16, help="half of them bulk, half slabs")
    args = parser.parse_args(arguments)

    rng = np.random.default_rng(0)
    crystal, slab = bulk("Cu", cubic=True), fcc111("Cu", (1, 1, 6), vacuum=8)
    half = args.frames // 2
    frames = [labelled(crystal, rng) for _ in range(half)] + [labelled(slab, rng) for _ in range(half)]
    options = TrainingOptions(cutoff=4.5, cutoff_width=3.0, order=3, estimator="sparse", support_points=60)
    model = train(frames, options, log=print)

    results = {}
    for name, calculator in (("reference", EMT()), ("model", WKCalculator(model))):
        cell = crystal.copy()
        cell.calc = calculator
        BFGS(FrechetCellFilter(cell), logfile=None).run(fmax=0.01, steps=100)
        surface = slab.copy()
        surface.calc = calculator
        BFGS(surface, logfile=None).run(fmax=0.02, steps=100)
        area = np.linalg.norm(np.cross(*surface.cell[:2]))
        excess = surface.get_potential_energy() - len(surface) * cell.get_potential_energy() / len(cell)
        results[name] = (cell.cell.lengths()[0], excess / (2 * area))
        heights = np.sort(surface.positions[:, 2])
        bulk_spacing = cell.cell.lengths()[0] / np.sqrt(3)
        plt.plot(100 * (np.diff(heights) / bulk_spacing - 1), "o-", label=name)
        print(f"{name:9s}: lattice constant {results[name][0]:.3f} Å, surface energy {results[name][1]:.4f} eV/Å^2")
    plt.xlabel("layer")
    plt.ylabel("change of spacing (%)")
    plt.legend()
    plt.savefig("copper_surface.png", dpi=150)
    plt.close()
    return results


if __name__ == "__main__":
    main()
