"""Every exception and warning that the package raises on purpose.

`WKError` is the base of all of them. The command line shows a `WKError` in one line; any other exception is a fault of
the program.
"""


class WKError(Exception):
    """Base of all errors that the package raises on purpose; the message says what to do."""


class DataError(WKError, ValueError):
    """Training data that cannot be used; the message names the file, the frame and the remedy."""


class OptionsError(WKError, ValueError):
    """An option or argument with a value that is not allowed; the message names it."""


class OptionTypeError(OptionsError, TypeError):
    """An option or argument of a type that is not allowed; the message names it."""


class StructureError(WKError, ValueError):
    """A structure that cannot be read, written or evaluated; the message says why."""


class UnknownElementError(StructureError):
    """A structure holds an element that the model was not trained on."""


class ClashError(StructureError):
    """Two atoms, `args`, are closer than `wk_potential.atoms.kinds.MIN_DISTANCE`; an atom twice means its own image."""

    def __str__(self) -> str:
        first, second = self.args
        if first == second:
            return f"atom {first} is less than 0.1 Angstrom from its own periodic image"
        return f"atoms {first} and {second} are less than 0.1 Angstrom apart"


class ModelFileError(WKError, ValueError):
    """A file that cannot be read as a model; the message says why."""


class BaselineError(WKError, ValueError):
    """The baseline of a model is not there, fails, or is another one than in training; the message says what to do."""


class MappingError(WKError, ValueError):
    """A model that cannot be mapped; the message says why."""


class ExportError(WKError, ValueError):
    """A model that cannot be exported, or a library for it that is missing; the message says what to do."""


class UncertaintyError(WKError, ValueError):
    """A model without error bars is asked for them."""


class FileError(WKError, OSError):
    """A file that the operating system does not let us write, made as an `OSError`: errno, text, path."""


class NotEnoughMemoryError(WKError, MemoryError):
    """The predicted memory is more than the machine has free; the message says what to change."""


class DynamicsError(WKError, ValueError):
    """A run that cannot start or cannot go on; the message says why and what is kept."""


class FinishedError(DynamicsError):
    """A trajectory that is to be continued is as long as was asked for."""


class RelaxationError(WKError, ValueError):
    """A relaxation that cannot start or go on; the message says why."""


class ExtrapolationError(WKError, ValueError):
    """Atoms are in environments unlike those of the training set, and the run is to stop there."""


class SpectrumError(WKError, ValueError):
    """A trajectory without a spectrum; the message says why."""


class LammpsError(WKError, ValueError):
    """LAMMPS cannot be coupled to the model; the message says why."""


class ActiveLearningError(WKError, ValueError):
    """Active learning that cannot go on; the message says why and what is kept."""


class ReferenceFailed(WKError):
    """The reference calculator has raised an error, or its labels make no sense."""


class RanksDifferError(WKError, ValueError):
    """The MPI ranks of one calculation hold different atoms."""


class ChecksFailedError(WKError):
    """Physical checks of a model have failed; the message names them."""


class MPIError(WKError, ImportError):
    """MPI is needed, and mpi4py or an MPI library is missing; the message says what to install."""


class CompositionWarning(UserWarning):
    """The training set does not determine the energy baseline of a composition."""


class PrecisionWarning(UserWarning):
    """Rounding to float32 changes the forces of a model noticeably."""


class ExtrapolationWarning(UserWarning):
    """Atoms are in environments unlike those of the training set."""
