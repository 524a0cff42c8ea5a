"""Progress: a stage that comes again begins anew, with a time left of its own."""

import io

import pytest
from rich.console import Console

from wk_potential.cli import screen as module
from wk_potential.cli.screen import Screen


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_time_left_of_a_stage_that_comes_again(clock, monkeypatch):
    screen, lines = Screen(), []
    monkeypatch.setattr(screen, "warn", lambda text, label="": lines.append(text))
    with screen.progress() as show:
        for start in (0.0, 1000.0):
            for step in range(5):
                clock[0] = start + 20.0 * step
                show(f"fit: {start:g} K", step / 4)
            show("fit", 1.0)
    assert lines == [
        f"fit: {start} K: {100 * k // 4} %, {20 * (4 - k)} s left" for start in (0, 1000) for k in (1, 2, 3)
    ]


def test_a_thread_that_is_late_does_not_set_a_stage_back(clock, monkeypatch):
    screen, lines = Screen(), []
    monkeypatch.setattr(screen, "warn", lambda text, label="": lines.append(text))
    with screen.progress() as show:
        for clock[0], fraction in ((0.0, 0.0), (100.0, 1.0), (200.0, 0.9)):
            show("fit", fraction)
    assert lines == ["fit: 90 %, 22 s left"]


def test_bars_of_a_stage_that_comes_again():
    screen, text = Screen(), io.StringIO()
    screen.err = Console(file=text, force_terminal=True, width=100)
    with screen.progress() as show:
        show("fit", 0.5)
        show("fit", 1.0)
        show("fit", 0.25)
        assert screen._bars.tasks[0].completed == 0.25
        show("fit", 0.1)
        assert screen._bars.tasks[0].completed == 0.25
