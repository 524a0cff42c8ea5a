import time

import pytest

from wk_potential.demo.clock import LEAST_SHARE, PRIOR, Clock, overall

REFERENCE = {"read": 10.0, "fit": 60.0, "run": 30.0}


class Machine:
    """A machine of another pace, which does the stages one after the other."""

    def __init__(self, pace):
        self.time, self.pace = 100.0, pace
        self.clock = Clock(REFERENCE, lambda: self.time)

    def true_left(self):
        return self.pace * sum(REFERENCE.values()) - (self.time - 100.0)

    def work(self, stage, seconds, steps, quiet=False):
        for k in range(steps):
            if not quiet:
                self.clock.report(f"{stage}: something", k / steps)
            yield
            self.time += self.pace * seconds / steps


@pytest.mark.parametrize(
    ("pace", "quiet"), [(0.6, False), (1.0, False), (2.0, False), (3.0, False), (0.8, True), (1.0, True), (3.0, True)]
)
def test_time_left_is_right_within_a_third_from_the_middle_of_the_second_stage(pace, quiet):
    machine = Machine(pace)
    for stage, seconds in REFERENCE.items():
        machine.clock.report(stage, 0.0)
        for k, _ in enumerate(machine.work(stage, seconds, 10, quiet)):
            late = stage == "run" or (stage == "fit" and k >= 5)
            if late and machine.true_left() > 0.2 * machine.pace * REFERENCE["run"]:
                assert machine.clock.left() == pytest.approx(machine.true_left(), rel=1 / 3)


def test_before_anything_is_done_the_reference_counts():
    machine = Machine(1.0)
    assert machine.clock.left() == pytest.approx(100)
    assert machine.clock.fraction() == 0
    machine.time += 4
    assert machine.clock.left() == pytest.approx(96)
    assert machine.clock.fraction() == pytest.approx(0.04)


def test_the_pace_of_what_is_done_counts_for_what_is_not():
    machine = Machine(1.0)
    machine.time += 40
    machine.clock.report("fit", 0.0)
    assert machine.clock.left() == pytest.approx((PRIOR + 40) / (PRIOR + 10) * 90)


def test_a_stage_that_is_late_goes_on_for_a_while():
    machine = Machine(1.0)
    machine.time += 1000
    assert machine.clock.left() == pytest.approx(LEAST_SHARE * 10 + 90)


def test_other_stages_and_earlier_ones_do_not_count():
    machine = Machine(1.0)
    machine.clock.report("fit", 0.0)
    left = machine.clock.left()
    machine.clock.report("read", 0.9)
    machine.clock.report("something else", 0.9)
    assert machine.clock.left() == left
    assert machine.clock.stage == "fit"


def test_the_whole_is_told_also_while_no_stage_tells_anything(monkeypatch):
    monkeypatch.setattr("wk_potential.demo.clock.TICK", 0.01)
    told = []
    with overall(REFERENCE, lambda stage, fraction: told.append((stage, fraction))) as report:
        report("fit", 0.0)
        deadline = time.monotonic() + 10
        while len(told) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(told) >= 4
    assert told[-2][0] == "demo: fit"
    assert told[-1] == ("demo: done", 1.0)
    assert all(0 <= fraction < 1 for _, fraction in told[:-1])
