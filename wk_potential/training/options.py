"""The options of training: one typed, documented list for the command line, the TOML file and Python."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from ..atoms.kinds import WEIGHTS_FROM, WEIGHTS_TO
from ..atoms.reading_options import ReadingOptions
from ..errors import OptionsError

SHORT_CUTOFF_WIDTH = 2 / 3  # of the short cutoff
LARGEST = 2**63 - 1  # integer of TOML
LEAST_CUTOFF = 0.5  # Angstrom


class DensityShape(NamedTuple):
    """Cutoff, width of the cutoff function, Gaussian width C at the centre and its growth length, all in Angstrom."""

    cutoff: float
    cutoff_width: float
    width: float
    growth: float


class TrainingOptions(ReadingOptions):
    """What can be set in training. The defaults are meant to be good; length in Angstrom, energy in eV."""

    # the density
    cutoff: float = Field(
        6.0,
        gt=LEAST_CUTOFF,
        le=20,
        description="Cutoff radius, Angstrom. Training tries 8 as well where frames are periodic, and the sparse "
        "estimator 5, and 4 where there are energies alone",
    )
    cutoff_width: float = Field(
        5.0,
        gt=0,
        description="Width of the region below the cutoff where neighbours fade out, Angstrom. It changes with the "
        "cutoffs that are tried",
    )
    density_width: float = Field(
        0.3,
        gt=0.02,
        le=2,
        description="Width of the Gaussian that stands for a neighbour close to the centre, Angstrom",
    )
    density_growth: float = Field(
        4.0, gt=0.3, description="Distance over which the width of the Gaussians grows by a factor e, Angstrom"
    )
    short_cutoff: float = Field(
        3.0, ge=0, le=20, description="Cutoff of a second, sharper density of the full estimator, Angstrom; 0 for none"
    )
    short_density_width: float = Field(
        0.2, gt=0.02, le=2, description="Width of the Gaussians of the second density, Angstrom"
    )
    angular_weight: float = Field(
        0.6,
        ge=-2,
        le=2,
        description="Exponent p of the weight (2l+1)^p of angular momentum l in the density. The sparse estimator "
        "tries 0 as well",
    )
    saturation: float | None = Field(
        None,
        ge=0,
        le=100,
        description="Constant b of the factor sqrt((1 + b) / (1 + b |c|^2)) by which large coefficients c of the "
        "density are reduced, for energies; 0 for no factor [default: chosen in training]",
    )
    element_weights: dict[str, float] = Field(
        {}, description="Weight of an element's atoms in the density [default: covalent radius in Angstrom]"
    )
    element_mixing: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Similarity of neighbours of different elements, for energies: 0 is none, 1 is that of the same "
        "element [default: chosen in training]",
    )
    radial_tolerance: float = Field(1e-5, gt=0, lt=0.1, description="Part of the radial kernel that may be neglected")
    channel_tolerance: float = Field(
        1e-4,
        ge=0,
        lt=0.3,
        description="Relative size below which channels of the density are neglected. The sparse estimator tries "
        "larger ones, 0.001 to 0.01, where there are several elements",
    )

    # the kernel
    lmax: int = Field(
        3,
        ge=0,
        le=6,
        description="Largest angular momentum. Where frames are periodic, the sparse estimator tries 4 with order 3",
    )
    order: int = Field(4, ge=1, le=6, description="Correlation order of the kernel, which is the body order less one")
    order_weights: list[float] | None = Field(
        None,
        description="Weights of the correlation orders 1, 2, ... in the kernel; for the sparse estimator only their "
        "ratios matter [default: chosen in training]",
    )

    # the fit
    estimator: Literal["auto", "full", "sparse"] = Field(
        "auto",
        description="Way to fit: full is exact Gaussian process regression, sparse is for many frames and uses support "
        "points, auto chooses by the number of labels",
    )
    support_points: int | None = Field(
        None,
        ge=1,
        le=LARGEST,
        description="Number of support points of the sparse estimator: training environments that "
        "others are compared with [default: 3000, and up to 8000 as far as five minutes of one core suffice]",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        le=1e5,
        description="Minutes that the sparse fit may take, as predicted, which set the number of support points; the "
        "trials before it and the mapped form after it are not in them",
    )
    energy_noise: float | None = Field(
        None,
        gt=0,
        le=1e4,
        description="Expected error of the energies, eV per sqrt(atom) [default: chosen in training]",
    )
    forces_noise: float | None = Field(
        None, gt=0, le=1e4, description="Expected error of the forces, eV/Angstrom [default: chosen in training]"
    )
    stress_noise: float | None = Field(
        None, gt=0, le=1e4, description="Expected error of the virials, eV per sqrt(atom) [default: chosen in training]"
    )
    config_weights: dict[str, float] = Field(
        {},
        description="Weight of the squared errors of frames of a config_type, times the weight or config_weight that "
        "a frame has itself [default: 1]",
    )
    use_energy: bool = Field(True, description="Train on energies, forces and stresses if there are any")
    use_stress: bool = Field(True, description="Train on stresses if there are any")
    baseline: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Potential to which the model adds, so that it learns the difference: gfn1-xtb, gfn2-xtb, "
        "d3(FUNCTIONAL), d4(FUNCTIONAL), MODEL.wkp, a calculator as FILE.py:NAME or MODULE:NAME, or a sum of them "
        "with + between",
    )
    isolated_atoms: dict[str, float] | None = Field(
        None,
        description="Energy of an isolated atom, eV, which replaces the fitted baseline; on the command line also a "
        "file of isolated atoms",
    )
    repulsion: bool = Field(True, description="Add a repulsion of atoms that come closer than in the training frames")
    optimise: bool = Field(False, description="Search the best hyperparameters of the density")
    optimise_minutes: float = Field(15.0, gt=0, description="Longest time of that search, minutes")
    map: bool = Field(
        True, description="Add the mapped form to the model: quadratic forms, which are faster than support points"
    )
    map_tolerance: float | None = Field(
        None,
        ge=0,
        description="Largest change of a force by the mapped form, eV/Angstrom; 0 for none [default: a "
        "quarter of the expected rms error of forces, from 1e-4 to 1e-2]",
    )
    valid_fraction: float = Field(
        0.0, ge=0, le=0.9, description="Fraction of the frames, at random, on which the model is validated, not trained"
    )
    uncertainty: bool = Field(True, description="Add error bars to the model, calibrated on left-out frames")
    seed: int = Field(0, ge=0, le=LARGEST, description="Seed of the random choices")

    @field_validator("short_cutoff")
    @classmethod
    def _none_or_some(cls, value: float) -> float:
        if 0 < value < LEAST_CUTOFF:
            raise ValueError(f"must be 0, for none, or at least {LEAST_CUTOFF} Angstrom")
        return value

    @field_validator("order_weights")
    @classmethod
    def _not_all_zero(cls, values: list[float] | None) -> list[float] | None:
        if values is not None and not (all(0 <= x <= 1e30 for x in values) and any(x >= 1e-30 for x in values)):
            raise ValueError("must be numbers from 0 to 1e30, at least one of them above 0")
        return values

    @field_validator("element_weights")
    @classmethod
    def _moderate(cls, values: dict[str, float]) -> dict[str, float]:
        from ase.data import atomic_numbers  # takes long to import

        for symbol, weight in values.items():
            if symbol not in atomic_numbers or not 1e-3 <= weight <= 1e3:
                raise ValueError(f"{symbol} = {weight:g}, expected a chemical symbol and a number from 0.001 to 1000")
        return values

    @field_validator("config_weights")
    @classmethod
    def _positive(cls, values: dict[str, float]) -> dict[str, float]:
        for name, weight in values.items():
            if not WEIGHTS_FROM <= weight <= WEIGHTS_TO:
                raise ValueError(f"{name} = {weight:g}, expected a number from {WEIGHTS_FROM:g} to {WEIGHTS_TO:g}")
        return values

    @field_validator("baseline")
    @classmethod
    def _known_methods(cls, value: str | None) -> str | None:
        if value is not None:
            from ..baselines.potential import check_text  # imports ASE

            check_text(value)
        return value

    @field_validator("isolated_atoms")
    @classmethod
    def _energies(cls, values: dict[str, float] | None) -> dict[str, float] | None:
        from ase.data import atomic_numbers

        for symbol, energy in (values or {}).items():
            if symbol not in atomic_numbers or not abs(energy) <= 1e7:
                raise ValueError(
                    f"{symbol} = {energy:g}, expected a chemical symbol and an energy up to 1e7 eV in size"
                )
        return values

    @model_validator(mode="after")
    def _one_dial(self) -> "TrainingOptions":
        if self.minutes is not None and self.support_points is not None:
            raise ValueError("minutes and support_points exclude each other: both set the number of support points")
        return self

    @property
    def given_noise(self) -> tuple[float | None, float | None, float | None]:
        """Noise of energies, forces and stresses, None where training chooses it."""
        return self.energy_noise, self.forces_noise, self.stress_noise

    @property
    def reading(self) -> dict[str, Any]:
        """Keywords of `read_frames`."""
        return {name: getattr(self, name) for name in ReadingOptions.model_fields}

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
