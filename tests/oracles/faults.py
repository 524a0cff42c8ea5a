"""A set of sound frames of an alloy, and the same with ten faults that people make."""

from dataclasses import replace

import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT

from wk_potential import Frame

KCAL, HARTREE = units.kcal / units.mol, units.Hartree
NAME = "alloy.xyz"


def alloy_frames(n: int, seed: int = 0, name: str = NAME) -> list[Frame]:
    """Rattled and strained cells of eight atoms of copper and gold in changing shares, labelled by EMT."""
    rng, frames = np.random.default_rng(seed), []
    for k in range(n):
        atoms = bulk("Cu", a=3.75, cubic=True).repeat((2, 1, 1))
        atoms.numbers[rng.permutation(8)[: 2 + k % 4]] = 79
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.015, (3, 3))), scale_atoms=True)
        atoms.rattle(0.08, rng=rng)
        atoms.calc = EMT()
        atoms.get_stress()
        # totals of a DFT code are far from zero, unlike those of EMT
        frame = Frame.from_atoms(atoms, f"{name}, frame {k}")
        shift = float(np.where(atoms.numbers == 79, -900.0, -1500.0).sum())
        frames.append(replace(frame, energy=frame.energy + shift))
    return frames


def with_faults(frames: list[Frame], seed: int = 1) -> tuple[list[Frame], dict[int, str]]:
    """The frames with ten faults, and by the index of each frame what is wrong with it."""
    frames, rng = list(frames), np.random.default_rng(seed)
    e, f, s = ([getattr(frame, kind) for frame in frames] for kind in ("energy", "forces", "stress"))
    exchanged = f[31].copy()
    far = np.linalg.norm(exchanged[:, None] - exchanged[None], axis=2)
    i, j = np.unravel_index(far.argmax(), far.shape)
    exchanged[[i, j]] = exchanged[[j, i]]
    noise = rng.normal(0, 0.2, f[38].shape)
    noise -= noise.mean(axis=0)  # so that the forces still add up to zero
    faults = {
        3: ("energy in Ha", {"energy": e[3] / HARTREE}),
        11: ("all in kcal/mol", {"energy": e[11] / KCAL, "forces": f[11] / KCAL}),
        17: ("forces in Ha/bohr", {"forces": f[17] / HARTREE * units.Bohr}),
        24: ("energy off by 1 eV", {"energy": e[24] + 1.0}),
        31: ("forces of two atoms exchanged", {"forces": exchanged}),
        38: ("noisy forces", {"forces": f[38] + noise}),
        45: ("gradients for forces", {"forces": -f[45]}),
        52: ("stress in GPa", {"stress": s[52] / units.GPa}),
    }
    for k, (_, labels) in faults.items():
        frames[k] = replace(frames[k], **labels)
    source = frames[50].source
    frames[50] = replace(frames[20], source=source)
    source = frames[57].source
    frames[57] = replace(frames[33], source=source, energy=e[33] - 0.5)
    found = {k: what for k, (what, _) in faults.items()}
    return frames, found | {50: "repeats 20", 57: "repeats 33 with another energy"}
