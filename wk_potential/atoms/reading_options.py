"""The options of how data are read: names, units and signs of labels."""

from typing import Literal

from pydantic import Field

from .validation import Options


class ReadingOptions(Options):
    """How data are read."""

    energy_unit: str | None = Field(
        None,
        description="Unit of the energies in the files: eV, meV, kcal/mol, kJ/mol, Ha or Ry; virials are in it too "
        "[default: eV]",
    )
    length_unit: str | None = Field(
        None, description="Unit of positions and cells, where ASE does not know it: Angstrom, bohr or nm [default: Å]"
    )
    forces_unit: str | None = Field(
        None, description="Unit of the forces, such as Ha/bohr [default: those of energy and length]"
    )
    stress_unit: str | None = Field(
        None, description="Unit of the stresses, such as GPa, kbar or Ha/bohr^3 [default: those of energy and length]"
    )
    positive_stress: Literal["tension", "compression"] | None = Field(
        None,
        description="What a positive stress or virial means in the files [default: tension, and compression for what "
        "is called virial]",
    )
    energy_key: str | None = Field(None, description="Name of the energies in the files [default: usual names]")
    forces_key: str | None = Field(None, description="Name of the forces in the files [default: usual names]")
    stress_key: str | None = Field(
        None, description="Name of the stresses, or of a virial, in the files [default: usual names]"
    )
    dipole_key: str | None = Field(None, description="Name of dipoles in the files, which are then used too")
    dipole_unit: str | None = Field(
        None, description="Unit of the dipoles: e*Angstrom, e*bohr or Debye [default: e*Angstrom]"
    )
    dipole_origin: Literal["coordinates", "mass"] | None = Field(
        None, description="Point that dipoles of charged frames refer to: origin of coordinates, or centre of mass"
    )
    charge: float | None = Field(
        None, description="Total charge of each frame, e [default: 'charge' of the frame, or 0]"
    )
    polarizability_key: str | None = Field(
        None, description="Name of polarisabilities in the files, which are then used too"
    )
    polarizability_unit: str | None = Field(
        None, description="Unit of the polarisabilities: Angstrom^3 or bohr^3 [default: Angstrom^3]"
    )
    type_map: list[str] | None = Field(
        None,
        description="Elements of the types 0, 1, 2, ... in files that number them: .cfg of MLIP, DeePMD without "
        "type_map.raw",
    )
    frames: str = Field(":", description="Python slice of the frames, such as :50 or -100: [default: all]")
