"""The options of training: one typed, documented list for the command line, the TOML file and Python."""

import difflib
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import OptionsError

READING = (  # options of how data are read
    "frames", "energy_unit", "energy_key", "forces_key", "stress_key", "dipole_key", "dipole_unit",
    "polarizability_key", "polarizability_unit", "charge", "dipole_origin",
)  # fmt: skip
SHORT_CUTOFF_WIDTH = 2 / 3  # of the short cutoff
SHOWN = 5  # problems in a message, at most
LARGEST = 2**63 - 1  # integer of TOML


class _Short(reprlib.Repr):
    """Short texts of values that may be long or nested deeply."""

    def repr_int(self, x: int, level: int) -> str:
        """Return a number; Python refuses to write those of thousands of digits."""
        return super().repr_int(x, level) if x.bit_length() < 1000 else "an integer of hundreds of digits"


_short = _Short()
_short.maxstring = _short.maxother = 60


class DensityShape(NamedTuple):
    """Cutoff, width of the cutoff function, Gaussian width C at the centre and its growth length, all in Angstrom."""

    cutoff: float
    cutoff_width: float
    width: float
    growth: float


class TrainingOptions(BaseModel):
    """What can be set in training. The defaults are meant to be good; length in Angstrom, energy in eV."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    if not TYPE_CHECKING:  # type checkers see the fields

        def __init__(self, **values: Any):
            """Validate options, naming what is wrong.

            Raises:
                OptionsError: an unknown name (with the nearest known one) or a value that is not allowed.

            """
            if unknown := next((name for name in values if name not in type(self).model_fields), None):
                close = difflib.get_close_matches(unknown, type(self).model_fields, 1, 0.4)
                raise OptionsError(f"unknown option {unknown!r}{f'; did you mean {close[0]!r}?' if close else ''}")
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise OptionsError(_problems(error)) from None

    # how the data are read
    energy_unit: str | None = Field(None, description="energy unit of the files; forces per Angstrom [eV]")
    energy_key: str | None = Field(None, description="name of the energies in the files")
    forces_key: str | None = Field(None, description="name of the forces in the files")
    stress_key: str | None = Field(None, description="name of the stresses (or of a virial) in the files")
    dipole_key: str | None = Field(None, description="name of dipoles in the files, to be trained")
    dipole_unit: str | None = Field(None, description="e*bohr or Debye [e*Angstrom]")
    dipole_origin: Literal["coordinates", "mass"] | None = Field(
        None, description="what dipoles of charged frames are relative to: origin of coordinates or centre of mass"
    )
    charge: float | None = Field(None, description="total charge of the frames, e [info 'charge', else 0]")
    polarizability_key: str | None = Field(None, description="name of polarisabilities in the files, to be trained")
    polarizability_unit: str | None = Field(None, description="bohr^3 [Angstrom^3]")
    frames: str = Field(":", description="Python slice of the frames to train on, e.g. ':50'")

    # the density
    cutoff: float = Field(6.0, gt=0.5, le=20, description="cutoff radius, Angstrom; sparse: 5 is tried too")
    cutoff_width: float = Field(5.0, gt=0, description="width of the smooth cutoff, Angstrom; sparse: 2 is tried too")
    density_width: float = Field(0.3, gt=0.02, le=2, description="Gaussian width C at the centre, Angstrom")
    density_growth: float = Field(4.0, gt=0.3, description="length over which the width grows by e, Angstrom")
    short_cutoff: float = Field(
        3.0, ge=0, le=20, description="cutoff of a second, sharper density (full estimator), Angstrom; 0: none"
    )
    short_density_width: float = Field(0.2, gt=0.02, le=2, description="Gaussian width C of that density, Angstrom")
    angular_weight: float = Field(
        0.6, ge=-2, le=2, description="p in the factor (2l+1)^p of angular momentum l; sparse: 0 is tried too"
    )
    saturation: float | None = Field(
        None, ge=0, le=100, description="b in sqrt((1 + b) / (1 + b |c|^2)), the factor that bounds density "
        "coefficients c of energies; 0: none [chosen]"
    )  # fmt: skip
    element_weights: dict[str, float] = Field(
        {}, description="weight of an element's atoms in the density [covalent radius in Angstrom]"
    )
    element_mixing: float | None = Field(
        None, ge=0, lt=1, description="kernel between neighbours of different elements (1 between the same), for "
        "energies; 0: they have nothing in common [chosen]"
    )  # fmt: skip
    radial_tolerance: float = Field(1e-5, gt=0, lt=0.1, description="part of the radial kernel neglected")
    channel_tolerance: float = Field(1e-4, ge=0, lt=0.3, description="size of the density channels neglected")

    # the kernel
    lmax: int = Field(3, ge=0, le=6, description="largest angular momentum")
    order: int = Field(4, ge=1, le=6, description="correlation order nu (body order less one)")
    order_weights: list[float] | None = Field(None, description="a_1, a_2, ...; sparse: up to a common factor [chosen]")

    # the fit
    estimator: Literal["auto", "full", "sparse"] = Field("auto", description="full: exact; sparse: support points")
    support_points: int = Field(1000, ge=1, le=LARGEST, description="support points of the sparse estimator")
    energy_noise: float | None = Field(None, gt=0, description="eV per sqrt(atom) [chosen]")
    forces_noise: float | None = Field(None, gt=0, description="eV/Angstrom [chosen]")
    stress_noise: float | None = Field(None, gt=0, description="virial, eV per sqrt(atom) [chosen]")
    use_energy: bool = Field(True, description="train on energies, forces and stresses if there are any")
    use_stress: bool = Field(True, description="train on stresses if there are any")
    isolated_atoms: dict[str, float] | None = Field(
        None, description="energies of the isolated atoms, eV, instead of a fitted baseline"
    )
    repulsion: bool = Field(True, description="repel atoms that come closer than in the training frames")
    optimise: bool = Field(False, description="search the parameters of the density on the training frames")
    optimise_minutes: float = Field(15.0, gt=0, description="time for that search at most, minutes")
    map: bool = Field(True, description="add the mapped form, which is faster, to the model")
    map_tolerance: float | None = Field(
        None, ge=0, description="largest deviation of forces of that form, eV/Angstrom; 0: exact [0.03 of the expected "
        "rms error of forces, from 1e-4 to 5e-3]"
    )  # fmt: skip
    uncertainty: bool = Field(True, description="add error bars, calibrated on left-out frames, to the model")
    seed: int = Field(0, ge=0, le=LARGEST, description="of the random choices")

    @property
    def reading(self) -> dict[str, Any]:
        """Keywords of `read_frames`."""
        return {name: getattr(self, name) for name in READING}

    @property
    def long(self) -> DensityShape:
        """Shape of the density."""
        width = min(self.cutoff_width, self.cutoff)
        return DensityShape(self.cutoff, width, self.density_width, self.density_growth)

    @property
    def short(self) -> DensityShape | None:
        """Shape of the second density, if there is one."""
        if not 0 < self.short_cutoff < self.cutoff:
            return None
        return DensityShape(
            self.short_cutoff, SHORT_CUTOFF_WIDTH * self.short_cutoff, self.short_density_width, self.density_growth
        )

    @classmethod
    def checked(cls, values: dict[str, Any], source: str = "options") -> "TrainingOptions":
        """Return the options, with where they come from in the message of an error.

        Raises:
            OptionsError: an unknown name (with the nearest known one) or a value that is not allowed.

        """
        try:
            return cls(**values)
        except OptionsError as error:
            raise OptionsError(f"{source}: {error}") from None

    @classmethod
    def from_toml(cls, path: str | Path, **overrides: Any) -> "TrainingOptions":
        """Read options from a TOML file; keyword arguments win.

        Raises:
            OptionsError: as in `checked`, or the file cannot be read.

        """
        return cls.checked({**_read_toml(Path(path)), **overrides}, str(path))


def _problems(error: ValidationError) -> str:
    """Return the first problems that pydantic has found, in one line."""
    found = error.errors(include_url=False)
    texts = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {_short.repr(e['input'])})" for e in found[:SHOWN]]
    return "; ".join(texts) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def _read_toml(path: Path) -> dict[str, Any]:
    """Return what is in a TOML file.

    Raises:
        OptionsError: there is no such file, it is not UTF-8, or it is no TOML.

    """
    try:
        import tomllib  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # type: ignore[import-not-found,no-redef,unused-ignore]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OptionsError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise OptionsError(f"{path}: cannot be read as TOML (line {line} is not UTF-8 text)") from None
    except RecursionError:
        raise OptionsError(f"{path}: cannot be read as TOML (brackets are nested too deeply)") from None
    except tomllib.TOMLDecodeError as error:
        raise OptionsError(f"{path}: cannot be read as TOML ({error})") from None
    except ValueError:
        raise OptionsError(f"{path}: cannot be read as TOML (an integer has thousands of digits)") from None
