"""Threads: one rule for how many, one way to use them.

Compiled functions release the interpreter's lock, so plain threads run them in parallel. No threading library is
needed, and no setting of the process changes.
"""

import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from numbers import Integral
from typing import TypeVar

from ..errors import OptionsError

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> set[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def thread_count(threads: int | None = None, cores: int | None = None) -> int:
    """Return the number of threads: the argument if given, else OMP_NUM_THREADS, else the cores available.

    Args:
        threads: as asked for.
        cores: the share of this process where several share the cores of a machine [all].

    Raises:
        OptionsError: the number asked for is not a positive integer.

    """
    if threads is not None:
        return _positive(threads, "threads")
    if asked := os.environ.get("OMP_NUM_THREADS", "").split(",")[0]:
        return _positive(int(asked) if asked.isascii() and asked.isdigit() else asked, "OMP_NUM_THREADS")
    return len(available_cores()) if cores is None else cores


def _positive(count: object, what: str) -> int:
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise OptionsError(f"{what} must be a positive integer, not {count!r}")
    return int(count)


@lru_cache(maxsize=4)
def _pool(size: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="wk")


def run_threads(work: Callable[[Task], Result], tasks: Collection[Task], threads: int) -> list[Result]:
    """Return [work(task) for task in tasks], at most `threads` at a time, tasks taken up as threads come free."""
    if threads == 1 or len(tasks) == 1:
        return [work(task) for task in tasks]
    # the process id is part of the key because threads do not survive a fork
    return list(_pool(threads, os.getpid()).map(work, tasks))
