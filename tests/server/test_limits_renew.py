"""What renew.lua does with slots, and what follows when Redis has lost them, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import KEYS, Server
from tests.server.limits_room import MODEL, LimitsRoom, limited
from tests.server.test_engine_room import LEASE_MS, ids

LANE = f"{MODEL}|tenant:acme"


@pytest.fixture
async def room(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        room.limit(MODEL, concurrency=2)
        yield room


async def test_a_renewal_prolongs_every_slot(room: LimitsRoom) -> None:
    room.calls(2, LANE)
    jobs = (await room.claim()).jobs
    room.age(LEASE_MS - 1_000)
    assert await room.renew(*jobs) == [1, 1]
    room.age(LEASE_MS - 1_000)
    for key in (MODEL, "openai", "tenant:acme"):
        assert room.holders(key) == {"0", "1"}


async def test_a_slot_that_was_taken_away_is_told_to_its_holder_who_keeps_the_job(room: LimitsRoom) -> None:
    room.calls(3, LANE)
    first, second = (await room.claim()).jobs
    room.evict("tenant:acme", "0")
    assert await room.renew(first, second) == [2, 1]
    assert await room.renew(first, second) == [2, 1]
    assert (await room.claim()).jobs == []  # the holder's other slots are still its own
    assert await room.finish(first.lease, "back")
    assert ids(await room.claim()) == ["0"]
    assert room.holders("tenant:acme") == {"0", "1"}


async def test_an_evicted_holder_makes_room_for_the_next_at_once(room: LimitsRoom) -> None:
    room.calls(3, LANE)
    await room.claim()
    room.evict(MODEL, "0")
    assert ids(await room.claim()) == ["2"]
    assert room.holders(MODEL) == {"1", "2"}


async def test_a_lapsed_slot_is_taken_again_while_it_is_free(room: LimitsRoom) -> None:
    room.calls(2, LANE)
    jobs = (await room.claim()).jobs
    room.age(LEASE_MS + 1)
    assert room.holders(MODEL) == set()
    assert await room.renew(*jobs) == [1, 1]
    assert room.holders(MODEL) == {"0", "1"}
    assert (await room.claim()).jobs == []


async def test_lapsed_slots_that_others_have_by_now_are_lost(room: LimitsRoom) -> None:
    room.calls(2, LANE, "old")
    old = (await room.claim()).jobs
    room.calls(1, f"{MODEL}|tenant:new", "new")
    room.raw.zadd(KEYS.lanes, {KEYS.lane(LANE): room.now_ms() + 60_000})  # its jobs are not claimed again
    room.raw.delete(KEYS.returns)
    room.age(LEASE_MS + 1)
    room.raw.zadd(KEYS.lanes, {KEYS.lane(LANE): room.now_ms() + 60_000})
    assert ids(await room.claim()) == ["new0"]
    assert await room.renew(*old) == [1, 2]  # one of the two is free
    assert room.holders(MODEL) == {"new0", "old0"}


async def test_a_holder_beyond_a_lowered_limit_keeps_its_slot_until_it_lapses(room: LimitsRoom) -> None:
    room.calls(2, LANE)
    jobs = (await room.claim()).jobs
    room.limit(MODEL, concurrency=1)
    assert await room.renew(*jobs) == [1, 1]
    room.age(LEASE_MS + 1)
    assert await room.renew(*jobs) == [1, 2]


async def test_who_lost_the_job_does_not_touch_the_slots(room: LimitsRoom) -> None:
    room.calls(1, LANE)
    (late,) = (await room.claim()).jobs
    room.age(LEASE_MS + 1)
    (current,) = (await room.claim(worker="w2", lease_ms=5_000)).jobs
    ends_ms = room.score(KEYS.slots(MODEL), "0")
    assert await room.renew(late) == [0]
    assert room.score(KEYS.slots(MODEL), "0") == ends_ms
    assert await room.finish(current.lease)


async def test_who_has_finished_does_not_get_its_slots_back(room: LimitsRoom) -> None:
    room.calls(1, LANE)
    (job,) = (await room.claim()).jobs
    await room.finish(job.lease)
    assert await room.renew(job) == [-1]
    assert room.raw.keys(KEYS.slots("*")) == []


# -- Redis has lost its data -----------------------------------------------------------------------


async def test_a_new_server_is_claimed_from_at_once_and_its_epoch_stays(room: LimitsRoom) -> None:
    room.calls(5)
    first = await room.claim(1)
    assert first.epoch
    second = await room.claim(1, epoch=first.epoch)
    assert (len(second.jobs), second.epoch) == (1, first.epoch)
    assert 0 < room.raw.pttl(KEYS.epoch) <= 7 * 86_400_000


async def test_after_a_flush_nobody_claims_until_all_have_stopped_what_ran_under_lost_slots(
    room: LimitsRoom,
) -> None:
    before = (await room.claim()).epoch
    room.raw.flushdb()
    room.calls(2)
    told = await room.claim(worker="w1", epoch=before)
    assert (told.jobs, told.epoch != before) == ([], True)
    assert 1_900 < told.next_ms - told.now_ms <= 2_000
    other = await room.claim(worker="w2")  # it has just started, and waits as well
    assert (other.jobs, other.epoch, other.next_ms) == ([], told.epoch, told.next_ms)
    room.age(2_001)
    assert ids(await room.claim(1, worker="w1", epoch=told.epoch)) == ["0"]
    assert ids(await room.claim(1, worker="w3", epoch=before)) == ["1"]  # it is told once


async def test_a_worker_that_knows_of_the_lost_data_stops_the_others_though_a_new_one_came_first(
    room: LimitsRoom,
) -> None:
    before = (await room.claim()).epoch
    room.raw.flushdb()
    room.calls(2)
    fresh = await room.claim(1, worker="new")
    assert len(fresh.jobs) == 1
    assert (await room.claim(1, worker="old", epoch=before)).jobs == []
    assert (await room.claim(1, worker="new", epoch=fresh.epoch)).jobs == []
    assert await room.finish(fresh.jobs[0].lease)


async def test_a_worker_that_slept_has_its_slots_before_anybody_else_gets_them(room: LimitsRoom) -> None:
    room.calls(10)
    slept = (await room.claim(lease_ms=5_000)).jobs
    past_ms = room.now_ms() - 1
    for job in slept:
        room.lapse(job.lease)
        room.raw.zadd(KEYS.slots(MODEL), {job.lease.job_id: past_ms})
    room.deaths = 0  # nobody has died
    claim = await room.claim()
    assert (claim.jobs, [lease.job_id for lease in claim.mine]) == ([], ["0", "1"])
    assert room.holders(MODEL) == {"0", "1"}
    assert await room.renew(*slept) == [1, 1]
    assert await room.finish_all(slept) == [True] * 2
    assert ids(await room.claim()) == ["2", "3"]
