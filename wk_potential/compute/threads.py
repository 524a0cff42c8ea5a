"""Threads: one rule for how many, one way to use them.

Compiled functions release the interpreter's lock, so plain threads run them side by side; no threading layer has
to be found on the machine, and no setting of the process is changed.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache


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
        ValueError: the number asked for is not a positive integer.

    """
    asked = threads if threads is not None else os.environ.get("OMP_NUM_THREADS", "").split(",")[0] or None
    if asked is None:
        return len(available_cores()) if cores is None else cores
    try:
        count = int(asked)
    except ValueError:
        count = 0
    if count < 1:
        raise ValueError(f"the number of threads must be a positive integer, not {asked!r}")
    return count


@lru_cache(maxsize=4)
def _pool(size: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="wk")


def run_threads(work: Callable, tasks: Sequence, threads: int) -> list:
    """Return [work(task) for task in tasks], at most `threads` at a time, tasks taken up as threads come free."""
    if threads == 1 or len(tasks) == 1:
        return [work(task) for task in tasks]
    # the process id is part of the key because threads do not survive a fork
    return list(_pool(threads, os.getpid()).map(work, tasks))
