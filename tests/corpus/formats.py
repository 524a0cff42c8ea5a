"""Training files of other packages, written as they write them, one function each: see `Case`.

What is written are alloy cells with energies, forces and stresses. A case either says how it is to be read, and the
labels come back, or what the refusal says.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.build import bulk

VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
BOHR, HARTREE, RYDBERG = 0.529177210903, 27.211386245988, 13.605693122994  # CODATA 2018


class Sample(NamedTuple):
    """A structure and its labels."""

    atoms: Atoms
    energy: float
    forces: np.ndarray  # (N, 3)
    stress: np.ndarray  # (3, 3), tension positive

    @property
    def virial(self) -> np.ndarray:
        return -self.stress * self.atoms.get_volume()


class Case(NamedTuple):
    """What a function of this module returns."""

    path: Any  # what is read
    reading: Mapping[str, Any] = MappingProxyType({})  # keywords of `read_frames`
    refused: str = ""  # regular expression of the message
    lacks: tuple[str, ...] = ()  # kinds of labels that the file does not hold
    chosen: slice = slice(None)  # of the samples
    warns: str = ""  # regular expression of a warning


CASES: dict[str, Callable[[list[Sample]], Case]] = {}


def case(function):
    CASES[function.__name__] = function
    return function


def samples(n: int = 4) -> list[Sample]:
    """Cells of copper and gold, with labels of no meaning."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(n):
        atoms = bulk("Cu", a=3.8, cubic=True)
        atoms.symbols[[1, 3]] = "Au"
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.1, (4, 3))
        stress = rng.normal(0, 0.02, (3, 3))
        found.append(Sample(atoms, rng.normal(-14, 1), rng.normal(size=(4, 3)), (stress + stress.T) / 2))
    return found


def words(array) -> str:
    return " ".join(f"{x:.12g}" for x in np.ravel(array))


def xyz(
    name: str, data: list[Sample], line: Callable[[Sample], str], column: str = "forces", unit: float = 1.0,
    length: float = 1.0, extra: str = "",
) -> str:  # fmt: skip
    """Extended XYZ with a second line of one's own, its forces and lengths divided by units."""
    text = ""
    for s in data:
        properties = "Properties=species:S:1:pos:R:3" + (f":{column}:R:3" if column else "")
        text += f'{len(s.atoms)}\nLattice="{words(s.atoms.cell.array / length)}" {properties} {line(s)}\n'
        for symbol, position, force in zip(s.atoms.symbols, s.atoms.positions, s.forces, strict=True):
            text += f"{symbol} {words(position / length)}" + (f" {words(force / unit)}" if column else "") + "\n"
    Path(name).write_text(text + extra)
    return name


# --- GAP and QUIP ---


@case
def gap(data):
    return Case(xyz("a.xyz", data, lambda s: f'dft_energy={s.energy} dft_virial="{words(s.virial)}"', "dft_force"))


@case
def gap_with_sigmas_and_plain_names(data):
    line = lambda s: f'energy={s.energy} virial="{words(s.virial)}" energy_sigma=0.001 config_type=bulk'  # noqa: E731
    return Case(xyz("a.xyz", data, line, "force"))


@case
def gap_with_two_sets_of_labels(data):
    """The plain energy is another potential's."""
    line = lambda s: f"dft_energy={s.energy} energy={s.energy + 1}"  # noqa: E731
    return Case(xyz("a.xyz", data, line, "dft_force"), lacks=("stress",), warns="'dft_energy' and 'energy' differ")


# --- MACE ---


@case
def mace(data):
    line = lambda s: f'REF_energy={s.energy} REF_stress="{words(s.stress)}" head=Default'  # noqa: E731
    return Case(xyz("a.xyz", data, line, "REF_forces"))


@case
def mace_with_virials(data):
    return Case(xyz("a.xyz", data, lambda s: f'REF_energy={s.energy} REF_virials="{words(s.virial)}"', "REF_forces"))


@case
def capitals(data):
    return Case(xyz("a.xyz", data, lambda s: f'Energy={s.energy} Virial="{words(s.virial)}"', "Forces"))


# --- NEP and GPUMD ---


@case
def nep(data):
    return Case(xyz("train.xyz", data, lambda s: f'energy={s.energy} virial="{words(s.virial)}"', "force"))


@case
def nep_with_stress(data):
    line = lambda s: f'energy={s.energy} stress="{words(s.stress)}" weight=1.0 pbc="T T T"'  # noqa: E731
    return Case(xyz("train.xyz", data, line, "force"))


@case
def nep_in_lower_case(data):
    """ASE overlooks the cell."""
    text = Path(xyz("train.xyz", data, lambda s: f"energy={s.energy}", "force")).read_text()
    Path("train.xyz").write_text(text.replace("Lattice", "lattice"))
    return Case("train.xyz", refused=r"train\.xyz, frame 0: 'lattice' .* 'Lattice'")


@case
def properties_in_lower_case(data):
    """ASE overlooks the forces."""
    text = Path(xyz("train.xyz", data, lambda s: f"energy={s.energy}", "force")).read_text()
    Path("train.xyz").write_text(text.replace("Properties", "properties"))
    return Case("train.xyz", refused=r"train\.xyz, frame 0: 'properties' .* 'Properties'")


@case
def boundaries_in_capitals(data):
    """ASE takes a slab for a crystal."""
    return Case(xyz("train.xyz", data, lambda s: f'energy={s.energy} PBC="T T F"'), refused=r"frame 0: 'PBC' .* 'pbc'")


# --- MLIP: moment tensor potentials ---


def cfg(
    data: list[Sample], name: str = "train.cfg", scaled: bool = False, vectors: int = 3, stress: bool = True
) -> str:
    text = ""
    types = {"Au": 0, "Cu": 1}
    for s in data:
        text += f"BEGIN_CFG\n Size\n    {len(s.atoms)}\n"
        if vectors:
            text += " Supercell\n" + "".join(f"    {words(v)}\n" for v in s.atoms.cell.array[:vectors])
        columns = "direct_x direct_y direct_z" if scaled else "cartes_x cartes_y cartes_z"
        text += f" AtomData:  id type       {columns}           fx          fy          fz\n"
        places = s.atoms.get_scaled_positions(wrap=False) if scaled else s.atoms.positions
        for k, (symbol, place, force) in enumerate(zip(s.atoms.symbols, places, s.forces, strict=True)):
            text += f"    {k + 1}  {types[symbol]}  {words(place)}  {words(force)}\n"
        text += f" Energy\n    {s.energy:.12g}\n"
        if stress:
            virial = [s.virial[i, j] for i, j in VOIGT]
            text += (
                f" PlusStress:  xx          yy          zz          yz          xz          xy\n    {words(virial)}\n"
            )
        text += " Feature   EFS_by       VASP\nEND_CFG\n\n"
    Path(name).write_text(text)
    return name


@case
def mtp(data):
    return Case(cfg(data), {"type_map": ["Au", "Cu"]})


@case
def mtp_with_scaled_coordinates(data):
    return Case(cfg(data, scaled=True), {"type_map": ["Au", "Cu"]})


@case
def mtp_of_slabs(data):
    return Case(cfg(data, vectors=2), {"type_map": ["Au", "Cu"]}, lacks=("stress", "cell"))


@case
def mtp_of_molecules(data):
    return Case(cfg(data, vectors=0, stress=False), {"type_map": ["Au", "Cu"]}, lacks=("stress", "cell"))


@case
def mtp_by_another_name(data):
    return Case(cfg(data, "train.txt"), {"type_map": ["Au", "Cu"]})


@case
def mtp_without_elements(data):
    return Case(cfg(data), refused=r"train\.cfg, frame 0: its atoms have the types 0, 1 and no elements; .*--type-map")


@case
def mtp_with_too_few_elements(data):
    return Case(cfg(data), {"type_map": ["Au"]}, refused=r"an atom of type 1, but the type map has 1 elements \(Au\)")


@case
def mtp_with_an_unknown_element(data):
    return Case(cfg(data), {"type_map": ["Au", "Xq"]}, refused="'Xq' in the type map is no chemical symbol")


@case
def mtp_without_stress(data):
    return Case(cfg(data, stress=False), {"type_map": ["Au", "Cu"]}, lacks=("stress",))


@case
def mtp_with_a_stress_of_unknown_sign(data):
    path = Path(cfg(data))
    path.write_text(path.read_text().replace("PlusStress", "Stress"))
    return Case(str(path), {"type_map": ["Au", "Cu"]}, refused=r"train\.cfg, frame 0: Stress: is of an old version")


@case
def mtp_cut_off(data):
    path = Path(cfg(data))
    path.write_text(path.read_text().removesuffix("END_CFG\n\n"))
    return Case(str(path), {"type_map": ["Au", "Cu"]}, refused=r"train\.cfg, frame 3: END_CFG is missing")


# --- DeePMD ---


def deepmd(data: list[Sample], sets: int = 1, mixed: bool = False) -> Path:
    folder = Path("system")
    folder.mkdir()
    types = {"Cu": 0, "Au": 1}
    own = np.array([[types[symbol] for symbol in s.atoms.symbols] for s in data])
    np.savetxt(folder / "type.raw", np.zeros(4, int) if mixed else own[0], fmt="%d")
    (folder / "type_map.raw").write_text("Cu\nAu\n")
    for n, part in enumerate(np.array_split(np.arange(len(data)), sets)):
        of_set = folder / f"set.{n:03d}"
        of_set.mkdir()
        few = [data[k] for k in part]
        arrays = {
            "coord": [s.atoms.positions.ravel() for s in few],
            "box": [s.atoms.cell.array.ravel() for s in few],
            "energy": [s.energy for s in few],
            "force": [s.forces.ravel() for s in few],
            "virial": [s.virial.ravel() for s in few],
        }
        if mixed:
            arrays["real_atom_types"] = own[part]
        for name, array in arrays.items():
            np.save(of_set / f"{name}.npy", np.array(array))
    return folder


@case
def deepmd_system(data):
    return Case(deepmd(data))


@case
def deepmd_in_several_sets(data):
    return Case(deepmd(data, sets=3))


@case
def deepmd_of_mixed_types(data):
    return Case(deepmd(data, mixed=True))


@case
def deepmd_not_periodic(data):
    folder = deepmd(data)
    (folder / "nopbc").touch()
    return Case(folder, lacks=("stress", "cell"))


@case
def deepmd_in_a_folder_of_systems(data):
    Path("all").mkdir()
    deepmd(data).rename("all/system")
    return Case("all")


@case
def deepmd_without_elements(data):
    folder = deepmd(data)
    (folder / "type_map.raw").unlink()
    return Case(folder, refused="system, frame 0: its atoms have the types 0, 1 and no elements")


@case
def deepmd_with_elements_that_are_given(data):
    folder = deepmd(data)
    (folder / "type_map.raw").unlink()
    return Case(folder, {"type_map": ["Cu", "Au"]})


@case
def deepmd_without_sets(data):
    folder = deepmd(data)
    (folder / "set.000").rename("elsewhere")
    return Case(folder, refused=r"system: a DeePMD system without set\.\* folders")


@case
def deepmd_without_boxes(data):
    folder = deepmd(data)
    (folder / "set.000" / "box.npy").unlink()
    return Case(folder, refused=r"set\.000: box\.npy is missing")


@case
def deepmd_of_unequal_lengths(data):
    folder = deepmd(data)
    np.save(folder / "set.000" / "energy.npy", np.zeros(3))
    return Case(folder, refused=r"set\.000: energy\.npy has 3 rows, coord\.npy has 4")


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
