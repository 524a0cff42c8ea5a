"""Units, signs, names of files and runs of VASP, one function each. See `corpus.formats`."""

from pathlib import Path

import numpy as np
from ase import units

from corpus.formats import CASES, Case, Sample, case, words, xyz

BOHR, HARTREE, RYDBERG = 0.529177210903, 27.211386245988, 13.605693122994  # CODATA 2018


# --- units and signs ---


@case
def hartree_and_bohr(data):
    line = lambda s: f"energy={s.energy / HARTREE:.14g}"  # noqa: E731
    path = xyz("a.xyz", data, line, unit=HARTREE / BOHR)
    return Case(path, {"energy_unit": "Ha", "forces_unit": "Ha/bohr"}, lacks=("stress",))


@case
def atomic_units_throughout(data):
    line = lambda s: f'energy={s.energy / HARTREE:.14g} stress="{words(s.stress / HARTREE * BOHR**3)}"'  # noqa: E731
    path = xyz("a.xyz", data, line, unit=HARTREE / BOHR, length=BOHR)
    return Case(path, {"energy_unit": "Hartree", "length_unit": "bohr"})


@case
def rydberg(data):
    line = lambda s: f'energy={s.energy / RYDBERG:.14g} stress="{words(s.stress / RYDBERG * BOHR**3)}"'  # noqa: E731
    path = xyz("a.xyz", data, line, unit=RYDBERG / BOHR)
    return Case(path, {"energy_unit": "Ry", "forces_unit": "Ry/bohr", "stress_unit": "Ry/bohr^3"})


@case
def kilojoule_and_nanometre(data):
    kj = units.kJ / units.mol
    path = xyz("a.xyz", data, lambda s: f"energy={s.energy / kj:.14g}", unit=kj / 10, length=10)
    return Case(path, {"energy_unit": "kJ/mol", "length_unit": "nm"}, lacks=("stress",))


@case
def energies_alone_in_another_unit(data):
    path = xyz("a.xyz", data, lambda s: f"energy={s.energy * 1000:.14g}")
    return Case(path, {"energy_unit": "meV", "forces_unit": "eV/Angstrom"}, lacks=("stress",))


@case
def stress_in_gigapascal(data):
    path = xyz("a.xyz", data, lambda s: f'energy={s.energy} stress="{words(s.stress * 160.2176634)}"')
    return Case(path, {"stress_unit": "GPa"})


@case
def stress_as_vasp_prints_it(data):
    path = xyz("a.xyz", data, lambda s: f'energy={s.energy} stress="{words(-s.stress * 1602.176634)}"')
    return Case(path, {"stress_unit": "kbar", "positive_stress": "compression"})


@case
def virial_with_the_sign_of_a_stress(data):
    path = xyz("a.xyz", data, lambda s: f'energy={s.energy} virial="{words(-s.virial)}"')
    return Case(path, {"positive_stress": "tension"})


@case
def virial_in_hartree(data):
    line = lambda s: f'energy={s.energy / HARTREE:.14g} virial="{words(s.virial / HARTREE)}"'  # noqa: E731
    path = xyz("a.xyz", data, line, unit=HARTREE / BOHR)
    return Case(path, {"energy_unit": "Ha", "forces_unit": "Ha/bohr"})


@case
def unknown_unit_of_forces(data):
    path = xyz("a.xyz", data, lambda s: f"energy={s.energy}")
    return Case(path, {"forces_unit": "Ha/inch"}, refused="unknown --forces-unit 'Ha/inch': write eV/Angstrom or")


@case
def unit_of_stress_without_its_power(data):
    path = xyz("a.xyz", data, lambda s: f"energy={s.energy}")
    return Case(path, {"stress_unit": "eV/Angstrom"}, refused="unknown --stress-unit 'eV/Angstrom': write GPa, kbar")


@case
def unknown_unit_of_length(data):
    path = xyz("a.xyz", data, lambda s: f"energy={s.energy}")
    return Case(path, {"length_unit": "pm"}, refused="unknown --length-unit 'pm': choose one of Angstrom")


# --- what names files ---


@case
def frames_behind_an_at_sign(data):
    path = xyz("a.xyz", data, lambda s: f"energy={s.energy}")
    return Case(f"{path}@1:3", lacks=("stress",), chosen=slice(1, 3))


@case
def one_frame_behind_an_at_sign(data):
    path = xyz("a.xyz", data, lambda s: f"energy={s.energy}")
    return Case(f"{path}@-1", lacks=("stress",), chosen=slice(3, 4))


@case
def no_frame_behind_an_at_sign(data):
    path = xyz("a.xyz", data, lambda s: f"energy={s.energy}")
    return Case(f"{path}@9:", refused=r"a\.xyz@'9:' selects nothing: there are 4 frames")


@case
def pattern(data):
    for n, s in enumerate(data):
        Path(f"run{n}").mkdir()
        xyz(f"run{n}/out.xyz", [s], lambda s: f"energy={s.energy}")
    return Case("run*/out.xyz", lacks=("stress",))


@case
def pattern_of_nothing(data):
    return Case("run*/out.xyz", refused=r"run\*/out\.xyz: no file has such a name")


@case
def folder_of_files(data):
    Path("data/deep").mkdir(parents=True)
    xyz("data/a.xyz", data[:2], lambda s: f"energy={s.energy}")
    xyz("data/deep/b.extxyz", data[2:], lambda s: f"energy={s.energy}")
    Path("data/notes.txt").write_text("nothing to read")
    return Case("data", lacks=("stress",))


@case
def folder_without_data(data):
    Path("data").mkdir()
    Path("data/notes.txt").write_text("nothing to read")
    return Case("data", refused="data: no training data in this folder")


# --- files of other kinds ---


def refused_by_name(name: str, what: str) -> None:
    def function(data):
        Path(name).write_bytes(b"\x80\x04 something")
        return Case(name, refused=f"{name}: {what}, which is not read; convert it to extended XYZ")

    CASES[name] = function


refused_by_name("data.pckl.gzip", "a pickled table of pacemaker")
refused_by_name("data.pkl", "a pickle")
refused_by_name("data.h5", "an HDF5 file")
refused_by_name("data.aselmdb", "an LMDB data base")
refused_by_name("input.data", "data of n2p2 or RuNNer, in bohr and Hartree")


# --- VASP ---


def vasprun(data: list[Sample], unconverged: tuple[int, ...] = (), name: str = "vasprun.xml") -> str:
    """As much of a run as ASE reads, each step with up to three electronic steps (NELM)."""

    def rows(tag: str, array: np.ndarray) -> str:
        return f'<varray name="{tag}">' + "".join(f"<v> {words(row)} </v>" for row in array) + "</varray>"

    def structure(s: Sample) -> str:
        scaled = s.atoms.get_scaled_positions(wrap=False)
        return (
            f"<structure><crystal>{rows('basis', s.atoms.cell.array)}</crystal>{rows('positions', scaled)}</structure>"
        )

    def energies(energy: float) -> str:
        names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
        return "<energy>" + "".join(f'<i name="{name}">{energy:.10f}</i>' for name in names) + "</energy>"

    text = '<?xml version="1.0"?><modeling><kpoints><varray name="kpointlist"><v>0 0 0</v></varray>'
    text += '<varray name="weights"><v>1</v></varray></kpoints><parameters><separator name="electronic">'
    text += '<i type="int" name="NELM">3</i><i name="EDIFF">0.0001</i></separator></parameters>'
    text += f"<atominfo><atoms>{len(data[0].atoms)}</atoms><types>2</types>"
    text += '<array name="atoms"><dimension dim="1">ion</dimension><field type="string">element</field>'
    text += '<field type="int">atomtype</field><set>'
    text += "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in data[0].atoms.symbols)
    text += "</set></array></atominfo>" + structure(data[0]).replace("<structure>", '<structure name="initialpos">')
    for n, s in enumerate(data):
        text += "<calculation>"
        steps = [s.energy + 1, s.energy + 0.1, s.energy + 0.01] if n in unconverged else [s.energy, s.energy]
        for energy in steps:
            text += f"<scstep>{energies(energy)}</scstep>"
        text += structure(s) + rows("forces", s.forces) + rows("stress", -s.stress * 1602.1766208)
        text += f"{energies(s.energy)}</calculation>"
    Path(name).write_text(text + "</modeling>")
    return name


@case
def vasp(data):
    return Case(vasprun(data))


@case
def vasp_with_steps_that_did_not_converge(data):
    path = vasprun(data, unconverged=(0,))
    return Case(path, chosen=slice(1, None), warns=r"did not converge in 1 steps, which are left out: frames 0")


@case
def vasp_that_never_converged(data):
    return Case(vasprun(data, (0, 1, 2, 3)), refused=r"vasprun\.xml: the electronic self-consistency converged in no")


@case
def vasp_in_a_folder_with_its_outcar(data):
    """The same run is not read twice."""
    Path("run").mkdir()
    vasprun(data, name="run/vasprun.xml")
    Path("run/OUTCAR").write_text("unreadable")
    return Case("run")
