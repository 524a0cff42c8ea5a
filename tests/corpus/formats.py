"""Training files of other packages, written as they write them, one function each: see `Case`.

What is written are alloy cells with energies, forces and stresses. A case either says how it is to be read, and the
labels come back, or what the refusal says.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.build import bulk

VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


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
