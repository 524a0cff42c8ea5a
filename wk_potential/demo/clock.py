"""The time that the demonstration has left, over all its stages."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Lock, Thread

PRIOR = 3.0  # seconds of the reference run that count as measured on this machine before anything is
LEAST_SHARE = 0.1  # of a stage's expected time, that it still takes if it is late
TICK = 1.0  # seconds between reports


class Clock:
    """Expects every stage to take as long as in a reference run, times the pace of this machine so far.

    Args:
        reference: seconds of each stage in the reference run, in order. Other stages are not counted.
        now: the time in seconds.

    """

    def __init__(self, reference: Mapping[str, float], now: Callable[[], float] = time.monotonic) -> None:
        self._reference, self._names, self._now = reference, list(reference), now
        self._begin = self._stage_begin = now()
        self._current, self._fraction = 0, 0.0
        self._lock = Lock()

    @property
    def stage(self) -> str:
        """Name of the current stage."""
        return self._names[self._current]

    def report(self, stage: str, fraction: float) -> None:
        """Take up how much of a stage is done; earlier stages are over then."""
        name = stage.partition(":")[0]
        with self._lock:
            place = self._names.index(name) if name in self._reference else -1
            if place > self._current:
                self._current, self._fraction, self._stage_begin = place, 0.0, self._now()
            if place == self._current:
                self._fraction = max(self._fraction, fraction)

    def left(self) -> float:
        """Return the seconds left."""
        with self._lock:
            seconds = list(self._reference.values())
            over = sum(seconds[: self._current])
            pace = (PRIOR + self._stage_begin - self._begin) / (PRIOR + over)
            spent, expected = self._now() - self._stage_begin, pace * seconds[self._current]
            here, done = max(expected - spent, LEAST_SHARE * expected), self._fraction
            if done > 0:  # the more is done, the more the pace of the stage itself tells; it may begin with compiling
                here = (1 - done**2) * here + done * (1 - done) * spent
            return here + pace * sum(seconds[self._current + 1 :])

    def fraction(self) -> float:
        """Return the fraction of the whole time that has passed."""
        passed = self._now() - self._begin
        return passed / (passed + self.left())


@contextmanager
def overall(
    reference: Mapping[str, float], progress: Callable[[str, float], None] | None
) -> Iterator[Callable[[str, float], None]]:
    """Yield a function that receives the progress of stages; `progress` receives that of the whole every second."""
    clock, over = Clock(reference), Event()

    def tell() -> None:
        while progress is not None and not over.wait(TICK):
            progress(f"demo: {clock.stage}", clock.fraction())

    teller = Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield clock.report
    finally:
        over.set()
        teller.join()
    if progress is not None:
        progress("demo: done", 1.0)
