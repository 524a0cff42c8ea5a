"""Communication between MPI ranks: sums, shared work, common errors."""

import atexit
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from ..errors import MPIError, OptionTypeError, RanksDifferError
from .threads import Task, available_cores, run_threads

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm, Request

T = TypeVar("T")
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
FAREWELL = 32_123  # tag of the message that a rank sends when its program ends
PATIENCE = 5.0  # s between this message and the conclusion that the rank is missed
FORWARDING = 1.0  # s: mpiexec loses output that it has not read when a rank aborts


def import_mpi() -> Any:
    """Return `mpi4py.MPI`.

    Raises:
        MPIError: mpi4py is not installed, or finds no MPI; the message says what to install.

    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MPIError(f"MPI needs mpi4py and an MPI library: pip install 'wk-potential[mpi]' ({error})") from error
    return MPI


def abort_on_error(comm: "Intracomm") -> None:
    """Make an uncaught exception end all ranks, with its traceback and a non-zero exit code.

    Otherwise the failed rank would wait for the others at its end, and they would wait for it in the next reduction.
    """
    if getattr(sys.excepthook, "ends_all_ranks", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        report = "".join(traceback.format_exception(kind, error, trace))
        end_all_ranks(comm, report, INTERRUPTED if issubclass(kind, KeyboardInterrupt) else 1)

    hook.ends_all_ranks = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def end_all_ranks(comm: "Intracomm", report: str, code: int = 1) -> NoReturn:
    """Print a report on stderr and end the processes of all ranks."""
    sys.stderr.write(f"rank {comm.Get_rank()} of {comm.Get_size()}: {report.rstrip()}\n")
    abort(comm, code)


def abort(comm: "Intracomm", code: int = 1) -> NoReturn:
    """End the processes of all ranks, once mpiexec has had time to take what they have written."""
    sys.stdout.flush()
    sys.stderr.flush()
    if comm.Get_size() == 1:
        os._exit(code)  # MPI would add a line of its own
    time.sleep(FORWARDING)
    comm.Abort(code)
    os._exit(code)  # not reached


def launched_ranks() -> "Communicator":
    """Return the ranks that mpiexec (or srun) has started this program on, one if there is no such thing.

    Raises:
        MPIError: there are several, but no mpi4py.

    """
    names = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MPI_LOCALNRANKS")  # MPICH, Open MPI, others
    if all(os.environ.get(name, "1") == "1" for name in names):
        return Communicator()
    return MPICommunicator(import_mpi().COMM_WORLD)


class Communicator:
    """One process; `MPICommunicator` has the same methods for many.

    Attributes:
        rank, size: number of this process, and how many there are.

    """

    rank, size = 0, 1

    @property
    def cores(self) -> int | None:
        """Share of the cores of this machine, None for all."""
        return None

    def together(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function."""
        return function(*args)

    def first(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function."""
        return function(*args)

    def each(self, work: Callable[[Task], T], tasks: Sequence[Task], threads: int = 1) -> list[T]:
        """Return [work(task) for task in tasks]."""
        return run_threads(work, tasks, threads)

    def total(self, array: np.ndarray) -> np.ndarray:
        """Return the array."""
        return array

    def share(self, value: T, owner: int) -> T:
        """Return the value."""
        return value

    def to_first(self, array: np.ndarray, owner: int) -> np.ndarray:
        """Return the array."""
        return array


class MPICommunicator(Communicator):
    """The ranks of an MPI communicator.

    Args:
        comm: of mpi4py; all its ranks make this object, and call its methods in the same order.

    Attributes:
        mpi: the communicator of mpi4py.

    Raises:
        OptionTypeError: `comm` is something else.

    """

    def __init__(self, comm: "Intracomm") -> None:
        self._mpi = import_mpi()
        if not isinstance(comm, self._mpi.Intracomm):
            raise OptionTypeError(f"comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, not {comm!r}")
        self.mpi = comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        if self.size > 1:
            abort_on_error(comm)
            _say_farewell(comm)

    @cached_property
    def cores(self) -> int:
        """Cores for each rank where those on one machine share its cores evenly, at least 1."""
        node = self.mpi.Split_type(self._mpi.COMM_TYPE_SHARED)
        everyones: set[int] = set().union(*node.allgather(available_cores()))
        share = max(1, len(everyones) // node.Get_size())
        node.Free()
        return min(share, len(available_cores()))

    def together(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function on every rank; if it fails on any, all raise the error of the first that failed.

        The function must not communicate.
        """
        error: Exception | None = None
        value: Any = None
        try:
            value = function(*args)
        except Exception as e:
            error = e
        if self.maximum(error is not None)[0] == 0:
            return value
        errors = self.mpi.allgather(_portable(error))
        first = next(rank for rank, e in enumerate(errors) if e is not None)
        raise (error if first == self.rank and error is not None else errors[first]) from None

    def first(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function on the first rank; all return what it returns, or raise what it raises."""
        return self.mpi.bcast(self.together(function if self.rank == 0 else lambda *args: None, *args))

    def each(self, work: Callable[[Task], T], tasks: Sequence[Task], threads: int = 1) -> list[T]:
        """Return [work(task) for task in tasks] on all ranks; rank r of n does the tasks r, r + n, r + 2n, ...

        The function must not communicate.
        """
        own = self.together(run_threads, work, tasks[self.rank :: self.size], threads)
        out: list[Any] = [None] * len(tasks)
        for rank, part in enumerate(self.mpi.allgather(own)):
            out[rank :: self.size] = part
        return out

    def share(self, value: T, owner: int) -> T:
        """Return the value of one rank on all ranks."""
        return self.mpi.bcast(value, owner)

    def to_first(self, array: np.ndarray, owner: int) -> np.ndarray:
        """Return the contiguous array of the owner, on the first rank in the place of its own.

        Only these two call it.
        """
        if self.rank == owner > 0:
            self.mpi.Send(array, 0)
        elif owner > 0:
            self.mpi.Recv(array, owner)
        return array

    def maximum(self, *values: int) -> np.ndarray:
        """Largest of each integer over the ranks."""
        out = np.array(values, np.int64)
        request = self.mpi.Iallreduce(self._mpi.IN_PLACE, out, self._mpi.MAX)
        self._wait(request)
        return out

    def _wait(self, request: "Request") -> None:
        """Wait for the other ranks, unless one of them has ended its program: then end all."""
        seen: float | None = None
        while not request.Test():
            if seen is None and self.mpi.Iprobe(tag=FAREWELL):
                seen = time.monotonic()  # of a rank that is done with this, perhaps
            if seen is not None and time.monotonic() - seen > PATIENCE:
                status = self._mpi.Status()
                self.mpi.Iprobe(tag=FAREWELL, status=status)
                text = f"rank {status.Get_source()} has left the program, and the others wait for it"
                end_all_ranks(self.mpi, f"{text}; all ranks must take the same steps and end together")

    def check_same(self, checksum: int, what: str) -> None:
        """Raise `RanksDifferError` on all ranks unless all have the same checksum of something."""
        largest, smallest = self.maximum(checksum, -checksum)
        if largest != -smallest:
            raise RanksDifferError(
                f"{what} are not the same on all ranks: every rank must make the same structure and take the same "
                "steps (give random generators the same seed on all ranks)"
            )

    def total(self, array: np.ndarray) -> np.ndarray:
        """Sum of an array over the ranks, the same on all of them to the last bit.

        Each part of the sum is formed on one rank and sent to the others.
        """
        part = -(-array.size // self.size)
        mine, out = np.zeros(part), np.zeros(part * self.size)
        out[: array.size] = array.ravel()
        self.mpi.Reduce_scatter_block(out, mine, self._mpi.SUM)
        self.mpi.Allgather(mine, out)
        return out[: array.size].reshape(array.shape)

    def total_counts(self, array: np.ndarray) -> np.ndarray:
        """Sum of integers (n,) over the ranks, in place."""
        self.mpi.Allreduce(self._mpi.IN_PLACE, array, self._mpi.SUM)
        return array


_parting: dict[int, "Intracomm"] = {}  # communicators whose ranks hear of the end of this one, by their handles


def _say_farewell(comm: "Intracomm") -> None:
    """Tell the other ranks when this program ends: `sys.exit` on one rank is no error that a hook would see."""
    if not _parting:
        atexit.register(_part_from_others)
    _parting[comm.handle] = comm


def _part_from_others() -> None:
    """Say farewell, and wait for the others to do so, as MPI would at its end."""
    for comm in () if import_mpi().Is_finalized() else _parting.values():
        if not comm:  # freed
            continue
        others = [rank for rank in range(comm.Get_size()) if rank != comm.Get_rank()]
        requests = [comm.Isend(bytearray(), rank, FAREWELL) for rank in others]
        for rank in others:
            while not comm.Iprobe(rank, FAREWELL):
                time.sleep(0.01)
            comm.Recv(bytearray(), rank, FAREWELL)
        for request in requests:
            request.Wait()


def _portable(error: Exception | None) -> Exception | None:
    """Return an error that can be sent, or None."""
    import pickle

    if error is None:
        return None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
