"""Why a job waits, as one sentence made of numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from client.limits.explain import Found, Seen, blocked_by
from client.limits.why import Holder, explain

NOW = 1_767_225_600_000


def place(*keys: Seen, **known: Any) -> Found:
    return Found(
        **{
            "lane": "openai/gpt-4o|tenant:acme",
            "now_ms": NOW,
            "due_ms": NOW - 5,
            "ahead": 0,
            "tried": False,
            "worker": True,
            "keys": list(keys),
            **known,
        }
    )


def seen(key: str = "openai/gpt-4o", why: str = "", *numbers: float, lanes_ahead: int | None = None) -> Seen:
    gate_ms = None if lanes_ahead is None else NOW + 400
    blocked = blocked_by(why, *numbers) if why else None
    return Seen(key, lanes_ahead, gate_ms, blocked, [(b"j1", NOW + 9_000)])


def test_a_job_behind_a_full_limit() -> None:
    waiting = explain(place(seen("openai/gpt-4o", "slots", 50, 50, lanes_ahead=3), ahead=12))
    assert waiting.sentence == (
        "waits for openai/gpt-4o: 50 of 50 slots are in use; 12 jobs and 3 lanes are ahead; next look in 0.4 s."
    )
    assert (waiting.reason, waiting.key, waiting.position, waiting.lanes_ahead) == (
        "concurrency",
        "openai/gpt-4o",
        12,
        3,
    )
    assert waiting.holders == (Holder("j1", 9.0),)
    assert waiting.next_at == datetime(2026, 1, 1, 0, 0, 0, 400_000, UTC)
    assert waiting.lane == "openai/gpt-4o|tenant:acme"


def test_the_key_in_whose_queue_it_is_comes_before_another_that_is_full() -> None:
    both = [seen("openai/gpt-4o", "paused"), seen("tenant:acme", "slots", 1, 1, lanes_ahead=0)]
    assert explain(place(*both, ahead=1)).sentence == (
        "waits for tenant:acme: 1 of 1 slots are in use; 1 job is ahead; next look in 0.4 s."
    )
    assert explain(place(both[0])).sentence == "waits for openai/gpt-4o: it is paused."


@pytest.mark.parametrize(
    ("where", "keys", "reason", "sentence"),
    [
        (place(), [], "its turn", "waits for its turn: no limit holds it."),
        (
            place(ahead=2),
            [seen()],
            "its turn",
            "waits for its turn: no limit holds it; 2 jobs are ahead.",
        ),
        (
            place(),
            [seen(lanes_ahead=1)],
            "its turn",
            "waits for openai/gpt-4o, which has room: its turn comes at the next look; 1 lane is ahead.",
        ),
        (place(due_ms=None, ahead=None), [], "its turn", "waits for its turn: no limit holds it."),
        (
            place(worker=False),
            [seen("openai/gpt-4o", "paused")],
            "no worker",
            "waits for a worker: none has reported of late.",
        ),
        (
            place(due_ms=NOW + 3_600_000),
            [seen("openai/gpt-4o", "paused")],
            "deferred",
            "is deferred until 2026-01-01 01:00:00 UTC.",
        ),
        (
            place(due_ms=NOW + 1_000, tried=True, ahead=7),
            [],
            "retry",
            "waits for its next try at 2026-01-01 00:00:01 UTC.",
        ),
    ],
)
def test_each_reason_is_a_sentence(where: Found, keys: list[Seen], reason: str, sentence: str) -> None:
    waiting = explain(where._replace(keys=keys))
    assert (waiting.reason, waiting.sentence) == (reason, sentence)


def test_the_next_moment_of_a_deferred_job_is_its_own() -> None:
    waiting = explain(place(due_ms=NOW + 1_000))
    assert (waiting.position, waiting.next_at) == (None, datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC))
