"""finish.lua, against a real server: a run's attempts come with its outcome, under its fencing token, or not at all."""

from __future__ import annotations

import pytest

from client.wire.keys import ATTEMPTS_TTL_S, MAX_ATTEMPTS
from tests.conftest import KEYS
from tests.server.given_outcomes import TTL_MS
from tests.server.test_engine_room import OTHER_LANE, Room
from worker.engine.scripts import Lease, Outcome

WAITS = ["retry", "throttled", "again", "back", "reroute"]
ROWS = b'{"number":1,"error":"a \\n b"}\n{"number":2}'


async def a_run(room: Room) -> Lease:
    room.put("a")
    return (await room.claim_one()).lease


@pytest.mark.parametrize("verb", WAITS)
async def test_what_a_run_came_to_is_there_for_the_next(room: Room, verb: str) -> None:
    lease = await a_run(room)
    assert await room.finish(lease, verb, ttl_ms=TTL_MS, to=OTHER_LANE, attempts=ROWS)
    assert room.raw.lrange(KEYS.attempts("a"), 0, -1) == ROWS.split(b"\n")
    assert 0 < room.raw.ttl(KEYS.attempts("a")) <= ATTEMPTS_TTL_S
    assert room.raw.get(KEYS.retry("a")) == (b"1" if verb == "retry" else b"0")
    again = await room.claim_one()
    assert (again.has_run, again.tries_used, again.crashes) == (True, int(verb == "retry"), 0)


@pytest.mark.parametrize("verb", [*WAITS, "done", "dead"])
async def test_a_run_whose_job_is_anothers_by_now_tells_nothing(room: Room, verb: str) -> None:
    late = await a_run(room)
    room.lapse(late)
    current = (await room.claim_one(worker="w2")).lease
    before = room.dump()
    assert not await room.finish(late, verb, ttl_ms=TTL_MS, to=OTHER_LANE, attempts=ROWS)
    assert room.dump() == before
    assert await room.finish(current, "done", ttl_ms=TTL_MS)
    assert not await room.finish(late, verb, ttl_ms=TTL_MS, to=OTHER_LANE, attempts=ROWS)
    assert not room.raw.exists(KEYS.attempts("a"))


async def test_they_are_told_once_though_their_outcome_is_sent_twice(room: Room) -> None:
    lease = await a_run(room)
    outcome = Outcome(lease, "retry", ttl_ms=TTL_MS, attempts=ROWS)
    assert await room.scripts.finish([outcome]) == [True]
    assert await room.scripts.finish([outcome]) == [False]  # its reply was lost
    assert room.raw.llen(KEYS.attempts("a")) == 2


async def test_a_dead_letter_takes_those_of_its_last_run_along(room: Room) -> None:
    lease = await a_run(room)
    assert await room.finish(lease, "dead", b"result", ttl_ms=TTL_MS, attempts=ROWS)
    assert room.raw.hget(KEYS.dead("a"), "attempts") == b"[" + ROWS.replace(b"\n", b",") + b"]"
    assert not room.raw.exists(KEYS.attempts("a"))


async def test_the_latest_are_kept(room: Room) -> None:
    for first in range(3):
        lease = await a_run(room) if not first else (await room.claim_one()).lease
        rows = b"\n".join(
            b"%d" % number for number in range(MAX_ATTEMPTS // 2 * first, MAX_ATTEMPTS // 2 * (first + 1))
        )
        await room.finish(lease, "throttled", ttl_ms=TTL_MS, attempts=rows)
    kept = room.raw.lrange(KEYS.attempts("a"), 0, -1)
    assert (len(kept), kept[0], kept[-1]) == (MAX_ATTEMPTS, b"100", b"299")
