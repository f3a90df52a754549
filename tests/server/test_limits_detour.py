"""Jobs that have another model to go on to are not kept by one that takes no calls for long, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from client.wire.reservation import FALLBACK_AFTER_MS, FALLBACK_LIFE_SHARE, reserving
from tests.conftest import KEYS, Server
from tests.server.limits_room import MODEL, REFUSED, LimitsRoom, limited, used
from tests.server.test_engine_room import LIFE_MS, ids, payload


@pytest.fixture
async def room(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        yield room


def chats(room: LimitsRoom, *names: str, lane: str = MODEL, life_ms: int = LIFE_MS, tokens: int = 1) -> None:
    """Queues calls that can go on to one more model."""
    room.put(*names, lane=KEYS.lane(lane))
    for name in names:
        room.raw.set(KEYS.job(name), reserving(payload(name), tokens, 0, 1), px=life_ms)


async def refuse(room: LimitsRoom, use: str = REFUSED) -> None:
    """Has the model turn away whoever may ask it."""
    for job in (await room.claim(1)).jobs:
        assert not job.shut
        assert await room.finish(job.lease, "throttled", ttl_ms=LIFE_MS, use=use)


async def passed(room: LimitsRoom) -> dict[str, str]:
    """Who is handed out without a slot, and why."""
    jobs = (await room.claim()).jobs
    assert all(not job.lease.limit_keys and job.payload for job in jobs if job.shut)
    return {job.lease.job_id: job.shut for job in jobs if job.shut}


async def test_a_long_retry_after_lets_all_of_them_go_at_once_and_nobody_else(room: LimitsRoom) -> None:
    room.calls(1, prefix="plain")
    chats(room, "a", "b", "c")
    room.calls(1, prefix="last")
    await refuse(room, used(signal="refused", wait_ms=60_000))
    assert await passed(room) == dict.fromkeys("abc", f"{MODEL} cooldown")
    assert room.holders(MODEL) == set()
    assert await passed(room) == {}
    assert {"plain0", "last0"} <= {name.decode() for name in room.raw.zrange(KEYS.lane(MODEL), 0, -1)}


async def test_one_that_refuses_for_long_lets_them_go_and_one_that_does_so_for_a_moment_does_not(
    room: LimitsRoom,
) -> None:
    chats(room, "a", "b")
    for _ in range(FALLBACK_AFTER_MS // 3_000 - 1):
        await refuse(room)
        assert await passed(room) == {}
        room.age(3_000)
    await refuse(room)
    room.age(3_000)
    await refuse(room)
    assert set(await passed(room)) == {"a", "b"}


async def test_a_short_life_is_not_spent_on_waiting(room: LimitsRoom) -> None:
    life_ms = 8_000
    chats(room, "long")
    chats(room, "short", life_ms=life_ms)
    await refuse(room, used(signal="refused", wait_ms=life_ms // (FALLBACK_LIFE_SHARE - 1) + 100))
    assert set(await passed(room)) == {"short"}


@pytest.mark.parametrize("limit", [{"paused": True}, {"concurrency": 0}])
@pytest.mark.parametrize("key", [MODEL, "openai"])
async def test_a_model_that_is_paused_keeps_them_for_a_while(
    room: LimitsRoom, limit: dict[str, int], key: str
) -> None:
    room.limit(key, **limit)
    chats(room, "a")
    claim = await room.claim()
    assert (claim.jobs, claim.next_ms <= claim.now_ms + 1_000) == ([], True)
    room.age(FALLBACK_AFTER_MS + 100)
    assert await passed(room) == {"a": f"{key} {'paused' if 'paused' in limit else 'closed'}"}


@pytest.mark.parametrize(
    ("limit", "why"),
    [({"tpd": 5}, "tpd"), ({"usd_total": 0.5}, "usd_total"), ({"usd_per_day": 0.5}, "usd_per_day")],
)
async def test_a_budget_that_is_spent_lets_them_go_at_once(
    room: LimitsRoom, limit: dict[str, float], why: str
) -> None:
    room.limit(MODEL, **limit)
    room.set_flow(MODEL, day=room.now_ms() // 86_400_000, day_tok=5, usd=1, day_usd=1, in_usd=1, out_usd=1)
    chats(room, "a", "b")
    assert await passed(room) == dict.fromkeys("ab", f"{MODEL} {why}")


async def test_another_model_is_no_help_where_it_is_the_tenant_who_has_no_room(room: LimitsRoom) -> None:
    room.limit("tenant:t", usd_total=0.5)
    room.set_flow("tenant:t", usd=1)
    room.set_flow(MODEL, in_usd=1, out_usd=1)
    chats(room, "a", lane=f"{MODEL}|tenant:t")
    assert (await room.claim()).jobs == []
    room.age(FALLBACK_AFTER_MS * 10)
    assert (await room.claim()).jobs == []


async def test_one_that_only_has_all_its_slots_taken_keeps_them(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=1)
    chats(room, "a", "b")
    assert ids(await room.claim()) == ["a"]
    room.age(1_000)
    assert (await room.claim()).jobs == []


async def test_a_lane_without_such_jobs_is_looked_at_no_more_often(room: LimitsRoom) -> None:
    room.limit(MODEL, paused=True)
    room.calls(2)
    claim = await room.claim()
    assert claim.next_ms > claim.now_ms + 30_000


async def test_they_are_found_behind_many_that_have_no_other_way(room: LimitsRoom) -> None:
    room.calls(1_200)
    chats(room, "a")
    await refuse(room, used(signal="refused", wait_ms=600_000))
    for _ in range(100):
        room.raw.zadd(KEYS.lanes, {KEYS.lane(MODEL): room.now_ms()})
        if await passed(room) == {"a": f"{MODEL} cooldown"}:
            return
    raise AssertionError("it is not found")


async def test_no_more_are_handed_out_than_were_asked_for(room: LimitsRoom) -> None:
    chats(room, *"abcde")
    await refuse(room, used(signal="refused", wait_ms=60_000))
    assert len((await room.claim(2)).jobs) == 2
    claim = await room.claim(2)
    if not claim.jobs:  # after a second at most
        room.age(1_000)
        claim = await room.claim(2)
    assert len(claim.jobs) == 2
