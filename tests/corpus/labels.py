"""Labels that are missing, make no sense, or are of another unit. See `corpus.cases`."""

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from corpus.cases import TRAIN, case, frames, relabelled, save


@case
def no_labels():
    save([atoms.copy() for atoms in [Atoms(a.symbols, a.positions, cell=a.cell, pbc=True) for a in frames()]])
    return TRAIN, [r"data\.xyz: no energy, forces or stress", "--energy-key"]


@case
def labels_by_another_name():
    images = []
    for atoms in frames():
        copy = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        copy.info["my_energy"] = atoms.get_potential_energy()
        images.append(copy)
    save(images)
    return TRAIN, ["no energy, forces or stress", "keys found: .*my_energy"]


@case
def a_key_that_is_nowhere():
    save(frames())
    return [*TRAIN, "--forces-key", "REF_forces"], ["--forces-key 'REF_forces' is in no frame", "keys found"]


@case
def energy_not_a_number():
    images = frames()
    images[3] = relabelled(images[3], energy=np.nan)
    save(images)
    return TRAIN, [r"data\.xyz, frame 3: energy .* is NaN or infinite"]


@case
def force_not_a_number():
    images = frames()
    forces = images[1].get_forces()
    forces[2, 1] = np.nan
    images[1] = relabelled(images[1], forces=forces)
    save(images)
    return TRAIN, [r"data\.xyz, frame 1, atom 2 \(Cu\): forces .* is NaN or infinite"]


@case
def infinite_stress():
    images = frames()
    images[0] = relabelled(images[0], stress=np.full(6, np.inf))
    save(images)
    return TRAIN, [r"data\.xyz, frame 0: stress .* is NaN or infinite"]


@case
def energy_that_is_text():
    images = frames()
    for atoms in images:
        atoms.calc.results["energy"] = 0.0
        atoms.info["REF_energy"] = "converged"
    save(images)
    return [*TRAIN, "--energy-key", "REF_energy"], [r"data\.xyz, frame 0: 'REF_energy' is no energy", "--energy-key"]


@case
def unknown_unit():
    save(frames())
    return [*TRAIN, "--energy-unit", "erg"], ["--energy-unit 'erg'", "kcal/mol"]


@case
def a_slice_beyond_the_file():
    save(frames())
    return [*TRAIN, "--frames", "100:"], ["--frames '100:' selects nothing", "5 frames"]


@case
def a_slice_that_is_none():
    save(frames())
    return [*TRAIN, "--frames", "first"], ["--frames 'first'", ":50"]


def in_units(factor, forces=None):
    images = []
    for seed in range(4):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        energy = factor * (-2079.0 + atoms.get_potential_energy())  # of all electrons
        images.append(relabelled(atoms, energy=energy, forces=(forces or factor) * atoms.get_forces()))
    save(images)
    return TRAIN


@case
def warn_kcal_per_mol():
    return in_units(23.06), ["energies are .* look like kcal/mol", "--energy-unit"]


@case
def warn_hartree():
    return in_units(1 / 27.2114), ["energies are .* look like Hartree", "--energy-unit"]


@case
def warn_hartree_converted_twice():
    return in_units(27.2114), ["look like eV that was converted from Hartree"]


@case
def warn_forces_in_another_unit():
    return in_units(1.0, forces=100.0), ["forces are .* eV/Å .* smaller unit", "--energy-unit"]


@case
def warn_two_energies_that_differ():
    images = frames()
    for atoms in images:
        atoms.info["REF_energy"] = atoms.get_potential_energy() + 1.0
    save(images)
    return TRAIN, ["'REF_energy' and 'energy' differ", r"in 5 frames", "--energy-key"]


@case
def warn_duplicates():
    images = frames()
    save([*images, images[1], images[2]])
    return TRAIN, ["2 frames repeat an earlier one", r"data\.xyz, frame 1 and data\.xyz, frame 5"]


@case
def warn_forces_zeroed_by_constraints():
    images = []
    for atoms in frames():
        atoms.set_constraint(FixAtoms([0]))
        images.append(relabelled(atoms, forces=atoms.get_forces(apply_constraint=True)))
        images[-1].set_constraint()
    save(images)
    return TRAIN, [r"forces of 1 atom are exactly zero in data\.xyz, frame 0", "5 such frames", "constraints"]


@case
def warn_stress_of_the_wrong_sign():
    # no doubt arises before energies and forces say what the stress should be
    save([relabelled(atoms, stress=-atoms.get_stress()) for atoms in frames(16)])
    finer = ["--lmax", "3", "--order", "4", "--density-width", "0.3"]
    return [*TRAIN, *finer], ["stresses .* opposite sign", "tension is positive", "--no-use-stress"]


@case
def warn_stress_in_gigapascal():
    save([relabelled(atoms, stress=160.2177 * atoms.get_stress()) for atoms in frames(8)])
    return TRAIN, [r"stresses are .* eV/Å\^3 .* look like GPa or kbar"]


@case
def warn_forces_in_hartree_per_bohr():
    """Energies of this size could be in eV; the slope of one by the other says that they are not."""
    unit = 27.211386
    images = frames(24, strain=0)
    save([
        relabelled(a, energy=a.get_potential_energy() / unit, forces=a.get_forces() / unit * 0.52917721, stress=None)
        for a in images
    ])  # fmt: skip
    return TRAIN, [r"energies change 1\.\d+ times as much as the forces imply, as if they were in Ha and .* in Ha/bohr"]


@case
def warn_gradients():
    save([relabelled(a, forces=-a.get_forces(), stress=None) for a in frames(12, strain=0)])
    return TRAIN, ["the forces have the opposite sign of what the energies imply"]


@case
def warn_energies_of_few_frames():
    save([relabelled(a, **({} if n < 3 else {"energy": None})) for n, a in enumerate(frames(10))])
    return TRAIN, ["only 3 of 10 frames have energy"]


@case
def warn_stresses_of_zero():
    save([relabelled(a, stress=np.zeros(6) if n < 2 else a.get_stress()) for n, a in enumerate(frames(8))])
    return TRAIN, [r"the stress of 2 frames is exactly zero, first data\.xyz, frame 0"]


@case
def dipoles_of_zero():
    images = frames(6)
    for atoms in images:
        atoms.info["mu"] = np.zeros(3)
    save(images)
    return [*TRAIN, "--dipole-key", "mu"], ["the dipole is exactly zero in all 6 frames that have it"]


@case
def file_of_isolated_atoms_that_are_none():
    save(frames())
    return [*TRAIN, "--isolated-atoms", "data.xyz"], [r"data\.xyz, frame 0: no isolated atom with an energy"]


@case
def file_of_isolated_atoms_that_is_not_there():
    save(frames())
    return [*TRAIN, "--isolated-atoms", "none.xyz"], [r"none\.xyz: file not found"]


@case
def warn_validation_on_training_frames():
    save(frames(8))
    return [*TRAIN, "--valid", "data.xyz"], ["some frames are both trained on and validated on"]


@case
def validation_twice():
    save(frames(8))
    save(frames(2, seed=1), "valid.xyz")
    return [*TRAIN, "--valid", "valid.xyz", "--valid-fraction", "0.2"], ["valid and valid_fraction exclude each other"]
