"""Draw overview.png from the tables of docs/evidence: force errors from 50 frames, and time per atom and step."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
METHODS = ("wk_potential", "LE-ACE", "NequIP", "MACE", "Wigner kernels, paper")
FORCES = {  # meV/Angstrom, evidence/accuracy.md
    "aspirin": (41.5, 59.1, 52.0, 43.9, 50.2),
    "azobenzene": (20.2, 27.5, 20.0, 17.7, 25.6),
    "benzene": (1.03, 1.44, 2.9, 2.7, 1.31),
    "ethanol": (25.7, 32.0, 40.3, 32.6, 30.8),
    "malonaldehyde": (40.5, 50.9, 52.5, 43.3, 43.8),
    "naphthalene": (11.9, 13.9, 10.0, 9.2, 12.5),
    "paracetamol": (29.0, 45.1, 39.7, 31.5, 37.2),
    "salicylic acid": (26.0, 36.7, 35.0, 28.4, 31.9),
    "toluene": (12.3, 18.4, 15.1, 12.1, 16.4),
    "uracil": (21.1, 30.7, 40.1, 25.9, 27.8),
}
SPEED = {"wk_potential, float32": 14, "wk_potential": 19, "NEP": 62, "SNAP": 211, "GAP": 2275, "MACE": 3627}


def main():
    """Draw both panels."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(3, 2), layout="constrained")
    places = np.arange(len(FORCES))
    for k, (method, mark) in enumerate(zip(METHODS, "os^vD", strict=True)):
        values = [errors[k] for errors in FORCES.values()]
        left.plot(places, values, mark, ms=8 if k == 0 else 5, color=f"C{k}", label=method, zorder=3 if k == 0 else 2)
    left.set_xticks(places, FORCES, rotation=40, ha="right")
    left.set_ylabel("error of forces, meV/Å")
    left.set_ylim(0, 80)
    left.grid(axis="y", alpha=0.4)
    left.legend(fontsize=8, ncols=2)
    left.set_title("trained on 50 frames", fontsize=10)
    colours = ["C0" if name.startswith("wk") else "0.6" for name in SPEED]
    bars = right.barh(list(SPEED), SPEED.values(), color=colours, log=True)
    right.bar_label(bars, padding=3, fontsize=8)
    right.set_xlim(8, 12000)
    right.invert_yaxis()
    right.set_xlabel("µs per atom and step, one core")
    right.set_title("512 silicon atoms", fontsize=10)
    figure.savefig(HERE / "overview.png", dpi=110)


if __name__ == "__main__":
    main()
