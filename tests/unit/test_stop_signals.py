"""Signals that tell a worker to stop: what is one gesture, and what is a second."""

from __future__ import annotations

from signal import SIGINT, SIGTERM, SIGUSR1, Signals

import pytest

from worker.engine import drain
from worker.engine.drain import StopSignals


@pytest.mark.parametrize(
    ("told", "news", "hurries"),
    [
        ([(0.0, SIGTERM)], [True], False),
        ([(0.0, SIGTERM), (0.0, SIGTERM)], [True, False], False),
        ([(0.0, SIGTERM), (0.4, SIGINT), (0.9, SIGTERM)], [True, False, False], False),
        ([(0.0, SIGINT), (0.9, SIGTERM), (1.1, SIGTERM)], [True, False, True], True),
        ([(0.0, SIGTERM), (30.0, SIGINT)], [True, True], True),
        ([(0.0, SIGUSR1)], [True], True),
        ([(0.0, SIGTERM), (0.1, SIGUSR1)], [True, True], True),
    ],
)
def test_signals_within_a_second_of_the_first_are_the_same_signal(
    monkeypatch: pytest.MonkeyPatch, told: list[tuple[float, Signals]], news: list[bool], hurries: bool
) -> None:
    signals, heard = StopSignals(), []
    for at_s, number in told:
        monkeypatch.setattr(drain, "monotonic", lambda at_s=at_s: 1_000.0 + at_s)
        heard.append(signals.hear(number))
    assert (heard, signals.stopping.is_set(), signals.hurry.is_set()) == (news, True, hurries)


def test_a_worker_that_runs_again_has_heard_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = StopSignals()
    assert signals.hear(SIGTERM)
    signals.forget()
    assert signals.hear(SIGTERM)
    assert not signals.hurry.is_set()
