"""Ethanol from few frames: alone, on top of xTB, and distilled back to a fast model.

Three models of the same DFT frames (PBE): one from scratch, one that learns the difference to GFN2-xTB, and a student
that learns the second one on its own dynamics. The figure shows errors of forces on other DFT frames against the time
of a step.

    pip install 'wk_potential[xtb]'
    python examples/md/ethanol_on_xtb.py [--frames 50] [--labels 400]
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
from ase.io import read

import wk_potential
from wk_potential import Frame, TrainingOptions, WKCalculator, evaluate, train
from wk_potential.active.distil import Distillation, DistilSettings

QUICK = {"order": 2, "lmax": 1, "short_cutoff": 0.0, "saturation": 0.0, "element_mixing": 0.0}
FRAMES = Path(wk_potential.__file__).parent / "demo" / "ethanol.xyz"


def seconds_per_step(model, frames):
    """Time of energy and forces, averaged over some frames."""
    calculator = WKCalculator(model, threads=1)
    calculator.get_forces(frames[0].copy())
    start = time.perf_counter()
    for atoms in frames:
        calculator.get_forces(atoms.copy())
    return (time.perf_counter() - start) / len(frames)


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--frames", type=int, default=50, help="DFT frames to train on")
    p.add_argument("--labels", type=int, default=400, help="frames that the student's teacher labels")
    p.add_argument("--temperature", type=float, default=500.0, help="of the student's dynamics, K")
    p.add_argument("--quick", action="store_true", help="a small kernel, to see that all runs")
    args = p.parse_args(arguments)
    frames = read(FRAMES, ":")
    known, unseen = frames[: args.frames], frames[args.frames :]
    options = TrainingOptions(**QUICK) if args.quick else TrainingOptions()
    alone = train(known, options, log=print)
    on_xtb = train(known, options, baseline="gfn2-xtb", log=print)
    on_xtb.save("ethanol_on_xtb.wkp")
    starts = known[:: max(1, len(known) // 4)][:4]
    settings = DistilSettings((args.temperature,), frames=args.labels)
    distillation = Distillation(
        starts, WKCalculator(on_xtb), "ethanol_student.wkp", settings, options,
        [Frame.from_atoms(atoms) for atoms in known], log=print,
    )  # fmt: skip
    print("Distillation:", distillation.run())
    models = {"from scratch": alone, "on GFN2-xTB": on_xtb, "student of it": distillation.model}
    found = {}
    for name, model in models.items():
        table = evaluate(model, unseen)
        energy, forces = 1e3 * table["energy_mae"], 1e3 * table["forces_mae"]
        found[name] = energy, forces, 1e3 * seconds_per_step(model, unseen[:20])
        print(f"{name:14s} energy {energy:6.2f} meV  forces {forces:6.2f} meV/Å  {found[name][2]:.2f} ms a step")
    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for name, (_, forces, step) in found.items():
        axes.plot(step, forces, "o")
        axes.annotate(name, (step, forces), textcoords="offset points", xytext=(6, 6))
    axes.set(
        xscale="log", xlabel="time of a step / ms", ylabel="error of the forces (MAE) / meV/Å",
        title=f"ethanol, {args.frames} DFT frames",
    )  # fmt: skip
    axes.set_ylim(0, None)
    axes.margins(x=0.4)
    figure.savefig("ethanol_on_xtb.png", dpi=150)
    return found


if __name__ == "__main__":
    main()
