"""What the header of a model file says: its fields, their types and their ranges.

`scales`, `tensors` and `uncertainty` describe how the arrays are laid out; `wk_potential.model.schema` compares them.
The other fields are for people and for later training. A file that was made by hand may lack them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST_MOMENTUM, LARGEST_ORDER, LARGEST_CUTOFF, LARGEST_SATURATION = 6, 6, 20.0, 100.0

Momentum = Annotated[int, Field(ge=0, le=LARGEST_MOMENTUM)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Text = Annotated[str, Field(max_length=10_000)]
Group = Annotated[tuple[Momentum, Momentum, Annotated[Count, Field(ge=1)]], Field(strict=False)]
# element, L, constant, channels, rank, groups of products
BlockEntry = Annotated[
    tuple[Count, Momentum, Annotated[int, Field(ge=0, le=1)], Count, Count, list[Group]], Field(strict=False)
]
Blocks = list[BlockEntry]
TensorName = Literal["dipole", "polarizability"]
# element, left block, right block, rows, columns
Coupling = Annotated[tuple[Count, Count, Count, Count, Count], Field(strict=False)]
Word = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]  # that is shown to people
Triple = Annotated[tuple[float, float, float], Field(strict=False)]
Errors = dict[Text, float | int | Text]


class _Part(BaseModel):
    """A part of the header. What is not known is left out: null is not allowed."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_null(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, dict) else ():
            if value is None:
                raise ValueError(f"{name} is null")
        return values


class _Fields(_Part):
    """Fields of the header that lay out arrays: no others are allowed."""

    model_config = ConfigDict(extra="forbid")


class _Remarks(_Part):
    """Fields of the header for people: others are allowed, those that the package reads have the right type."""

    model_config = ConfigDict(extra="allow")


class DensityEntry(_Fields):
    """A density; lengths in Angstrom."""

    lmax: Momentum
    cutoff: float = Field(gt=0.5, le=LARGEST_CUTOFF)
    saturation: float = Field(0.0, ge=0, le=LARGEST_SATURATION)


class TensorDensityEntry(DensityEntry):
    """A density of tensors, which is never saturated."""

    saturation: float = Field(0.0, ge=0, le=0)


class ScaleEntry(DensityEntry):
    """A length scale of the energy."""

    mapped_blocks: Blocks | None = None


class FormsEntry(_Fields):
    """Bilinear forms of one density."""

    blocks: Blocks
    couplings: list[Coupling]


class SpreadEntry(_Fields):
    """Error bars of a part of a tensor."""

    lmax: Momentum
    channels: Count
    forms: list[FormsEntry]


class PartEntry(_Fields):
    """The part of angular momentum L of a tensor."""

    momentum: Momentum
    forms: list[FormsEntry]
    spread: SpreadEntry | None = None


class TensorEntry(_Fields):
    """A dipole or polarisability."""

    densities: list[TensorDensityEntry] = Field(min_length=1)
    parts: list[PartEntry]


class UncertaintyEntry(_Fields):
    """Error bars of energies and forces."""

    lmax: Momentum
    channels: Count
    blocks: list[Blocks]


class Hyperparameters(_Remarks):
    """Hyperparameters that training chose."""

    order_weights: list[list[list[float]]] | None = None
    noise: dict[Text, float] = {}
    channels: list[Count] | None = None


class MethodEntry(_Fields):
    """A part of the potential to which the model adds: a method, a `calculator` of the user, or another `model`."""

    method: Word
    name: Word = ""  # of a calculator, or path of a model
    parameters: dict[Word, float | int | Word] = {}
    version: Word = ""


class CheckEntry(_Fields):
    """A structure (Angstrom) with the energy (eV) and forces (eV/Angstrom) that this potential gave it in training."""

    numbers: list[Annotated[int, Field(ge=1, le=118)]] = Field(min_length=1)
    positions: list[Triple]
    cell: Annotated[tuple[Triple, Triple, Triple], Field(strict=False)]
    pbc: Annotated[tuple[bool, bool, bool], Field(strict=False)]
    energy: float
    forces: list[Triple]


class Baseline(_Remarks):
    """Baseline: energies of the elements' atoms, eV, by symbol, and the potential to which the model adds."""

    origin: Text | None = None
    energies: dict[Text, float] | None = None
    methods: list[MethodEntry] = []
    check: CheckEntry | None = None

    @model_validator(mode="after")
    def _checked(self) -> "Baseline":
        if not self.methods:
            return self
        check = self.check
        if check is None or not len(check.numbers) == len(check.positions) == len(check.forces):
            raise ValueError("methods without a structure to check them with")
        return self


class RankRemarks(_Remarks):
    """How well a part of a tensor was learned."""

    leave_one_out_rmse: float
    order_weights: list[list[list[float]]]


class TensorRemarks(_Remarks):
    """How well a tensor was learned."""

    unit: Text
    ranks: dict[Text, RankRemarks]


class Training(_Remarks):
    """Summary of the training."""

    estimator: Text | None = None
    frames: Count | None = None
    atoms: Count | None = None
    labels: dict[Text, Count] = {}
    support_points: Count | None = None
    explicit_functions: Count | None = None
    errors: Errors = {}
    date: Text | None = None
    seconds: float | None = None
    data_hash: Text | None = None
    optimised_labels: Count | None = None
    tensors: dict[TensorName, TensorRemarks] = {}


class Mapping(_Remarks):
    """Summary of the mapping; eV/Angstrom, multiply-adds per atom."""

    tolerance: float
    largest_force_deviation: float
    rms_force_deviation: float
    largest_force_deviation_float32: float = 0.0
    multiply_adds: float = Field(gt=0)
    multiply_adds_direct: float = Field(gt=0)


class Header(_Remarks):
    """The header of a model file."""

    cutoff: float = Field(gt=0.5, le=LARGEST_CUTOFF)
    scales: list[ScaleEntry] = Field(max_length=10)
    tensors: dict[TensorName, TensorEntry] = {}
    uncertainty: UncertaintyEntry | None = None
    package_version: Text | None = None
    units: dict[Text, Text] | None = None
    elements: list[Text] | None = None
    hyperparameters: Hyperparameters | None = None
    options: dict[Text, Any] | None = None
    limits: dict[Text, Any] | None = None
    baseline: Baseline | None = None
    training: Training | None = None
    mapping: Mapping | None = None
