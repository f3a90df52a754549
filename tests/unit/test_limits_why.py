"""Why a job waits, as one sentence made of numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from client import Limit
from client.limits.rules.gauge import Gauge
from client.limits.why import Holder, LanePlace, Seen, estimate, explain

NOW = 1_767_225_600_000
PAYLOAD = b'{"n":90,"m":10,"t":null}'


def place(**known: Any) -> LanePlace:
    return LanePlace(
        **{
            "lane": "openai/gpt-4o|tenant:acme",
            "now_ms": NOW,
            "due_ms": NOW - 5,
            "ahead": 0,
            "tried": False,
            "worker": True,
            **known,
        }
    )


def seen(
    key: str = "openai/gpt-4o", *, in_use: int = 0, lanes_ahead: int | None = None, **limit: Any
) -> Seen:
    gate_ms = None if lanes_ahead is None else NOW + 400
    return Seen(key, Gauge(Limit(**limit), {}, in_use, NOW), lanes_ahead, gate_ms, [(b"j1", NOW + 9_000)])


def test_a_job_behind_a_full_limit() -> None:
    waiting = explain(place(ahead=12), [seen(concurrency=50, in_use=50, lanes_ahead=3)], PAYLOAD)
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
    both = [seen(paused=True), seen("tenant:acme", concurrency=1, in_use=1, lanes_ahead=0)]
    assert explain(place(ahead=1), both, PAYLOAD).sentence == (
        "waits for tenant:acme: 1 of 1 slots are in use; 1 job is ahead; next look in 0.4 s."
    )
    assert explain(place(), both[:1], PAYLOAD).sentence == "waits for openai/gpt-4o: it is paused."


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
            [seen(paused=True)],
            "no worker",
            "waits for a worker: none has reported of late.",
        ),
        (
            place(due_ms=NOW + 3_600_000),
            [seen(paused=True)],
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
def test_each_reason_is_a_sentence(where: LanePlace, keys: list[Seen], reason: str, sentence: str) -> None:
    waiting = explain(where, keys, PAYLOAD)
    assert (waiting.reason, waiting.sentence) == (reason, sentence)


def test_the_next_moment_of_a_deferred_job_is_its_own() -> None:
    waiting = explain(place(due_ms=NOW + 1_000), [], PAYLOAD)
    assert (waiting.position, waiting.next_at) == (None, datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("payload", "model", "tokens", "usd"),
    [
        (PAYLOAD, None, 100, 0),
        (PAYLOAD, {}, 100, None),
        (PAYLOAD, {"in_usd": 0.01, "out_usd": 0.02}, 100, 1.1),
        (PAYLOAD, {"unpriced": 1, "in_usd": 0.01}, 100, 0),
        (b'{"n":90,"m":0,', {"out": 40.2, "unpriced": 1}, 131, 0),
        (b'{"n":90,"m":-1,', {"out": 40.2, "unpriced": 1}, 90, 0),
        (b'{"t":null}', {}, 0, 0),
    ],
)
def test_a_job_is_reckoned_as_the_script_does(
    payload: bytes, model: dict[str, float] | None, tokens: int, usd: float | None
) -> None:
    assert estimate(payload, model) == (tokens, usd if usd is None else pytest.approx(usd))
