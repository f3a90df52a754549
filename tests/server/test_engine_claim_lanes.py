"""claim.lua, against a real server: lanes in their turn, the next look at them, and what a claim costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from arq import ArqRedis, create_pool

from client import decode, encode, redis_settings
from tests.conftest import KEYS, Server
from tests.server.test_engine_room import LEASE_MS, OTHER_LANE, Room, ids


@pytest.fixture
async def plain_arq(server: Server) -> AsyncIterator[ArqRedis]:
    """A client that knows nothing of lanes."""
    redis = await create_pool(redis_settings(server.url), job_serializer=encode, job_deserializer=decode)
    yield redis
    await redis.aclose()


# -- in turn ---------------------------------------------------------------------------------------


async def test_lanes_are_served_in_equal_parts(room: Room) -> None:
    for lane in "abc":
        room.put(*(f"{lane}{n}" for n in range(100)), lane=KEYS.lane(lane))
    claim = await room.claim(30)
    assert Counter(job.lease.lane for job in claim.jobs) == {KEYS.lane(lane): 10 for lane in "abc"}
    assert claim.more


async def test_what_one_lane_does_not_use_the_others_get(room: Room) -> None:
    room.put("a", lane=KEYS.lane("a"))
    room.put(*(f"b{n}" for n in range(100)), lane=KEYS.lane("b"))
    claim = await room.claim(30)
    assert Counter(job.lease.lane for job in claim.jobs) == {KEYS.lane("a"): 1, KEYS.lane("b"): 29}


async def test_lanes_take_turns_when_jobs_are_claimed_one_by_one(room: Room) -> None:
    for lane in "abc":
        room.put(*(f"{lane}{n}" for n in range(100)), lane=KEYS.lane(lane))
    served: Counter[str] = Counter()
    for _ in range(3):
        served[(await room.claim_one()).lease.lane] += 1
        room.tick()
    assert served == {KEYS.lane(lane): 1 for lane in "abc"}


async def test_a_long_lane_does_not_starve_short_ones(room: Room) -> None:
    room.put(*(f"long{n}" for n in range(10_000)), lane=KEYS.lane("a-long"))
    for lane in range(99):
        room.put(*(f"{lane}-{n}" for n in range(10)), lane=KEYS.lane(str(lane)))
    taken: Counter[str] = Counter()
    for _ in range(25):
        claim = await room.claim(50)
        assert len(claim.jobs) == 50
        taken.update(job.lease.lane for job in claim.jobs)
        room.tick()
    assert sum(taken.values()) - taken[KEYS.lane("a-long")] == 990
    assert taken[KEYS.lane("a-long")] == 1_250 - 990


async def test_more_lanes_than_one_claim_looks_at_are_all_served(room: Room) -> None:
    for lane in range(1_000):
        room.put(str(lane), lane=KEYS.lane(str(lane)))
    taken: list[str] = []
    for _ in range(16):
        claim = await room.claim(100)
        assert claim.more == (len(taken) + 64 <= 1_000)
        taken += ids(claim)
    assert sorted(taken, key=int) == [str(n) for n in range(1_000)]


# -- the next look ---------------------------------------------------------------------------------


async def test_an_emptied_lane_leaves_the_lanes(room: Room) -> None:
    room.put("a", lane=OTHER_LANE)
    room.raw.zrem(OTHER_LANE, "a")
    claim = await room.claim()
    assert (claim.jobs, claim.next_ms) == ([], -1)
    assert room.raw.zcard(KEYS.lanes) == 0


async def test_a_lane_that_only_runs_jobs_is_looked_at_when_its_first_lease_ends(room: Room) -> None:
    room.put("a", "b", lane=OTHER_LANE)
    first = await room.claim(1, lease_ms=5_000)
    claim = await room.claim(1, lease_ms=9_000)
    assert claim.next_ms == first.now_ms + 5_000 == room.score(KEYS.lanes, OTHER_LANE)


async def test_next_is_now_while_due_jobs_are_left_and_the_next_lease_end_after(room: Room) -> None:
    room.put("a", "b")
    claim = await room.claim(1)
    assert (claim.next_ms, claim.more) == (claim.now_ms, True)
    claim = await room.claim(1)
    assert claim.next_ms == room.score(KEYS.queue, "a")
    claim = await room.claim(1)
    assert not claim.more


async def test_nothing_queued_has_no_next_moment(room: Room) -> None:
    claim = await room.claim()
    assert (claim.jobs, claim.next_ms, claim.more, claim.aborts) == ([], -1, False, [])


@pytest.mark.plain("arq's own clients and workers know no namespace")
async def test_the_own_queue_is_found_though_no_lane_was_told(room: Room, plain_arq: ArqRedis) -> None:
    await plain_arq.enqueue_job("work", _job_id="a")
    room.tick()  # arq rounds now to the nearest ms
    assert ids(await room.claim()) == ["a"]


@pytest.mark.plain("arq's own clients and workers know no namespace")
async def test_a_job_that_a_plain_client_deferred_sets_the_next_moment(
    room: Room, plain_arq: ArqRedis
) -> None:
    await plain_arq.enqueue_job("work", _job_id="a", _defer_by=60)
    assert (await room.claim()).next_ms == room.score(KEYS.queue, "a")


@pytest.mark.plain("arq's own clients and workers know no namespace")
async def test_the_own_queue_has_a_name_of_its_own(room: Room) -> None:
    room.put("a", lane=f"{KEYS.prefix}arq:mine", told=False)
    assert ids(await room.claim(queue=f"{KEYS.prefix}arq:mine")) == ["a"]
    room.raw.delete(f"{KEYS.prefix}arq:mine")


# -- cost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("queued", "lanes"), [(11, 1), (10_000, 1), (10_000, 10), (10_000, 1_000)])
async def test_the_cost_of_a_claim_does_not_grow_with_what_waits(
    room: Room, queued: int, lanes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for lane in range(lanes):
        room.put(*(f"{lane}-{n}" for n in range(queued // lanes)), lane=KEYS.lane(str(lane)))
    await room.scripts.renew([(await room.claim_one()).lease], LEASE_MS)  # the script is loaded
    costs = {}
    for want in (1, 9):
        before = room.commands()
        assert len((await room.claim(want)).jobs) == want
        costs[want] = room.commands() - before - 1  # less INFO itself
    with capsys.disabled():
        print(
            f"\n  {queued:>6} queued in {lanes:>5} lanes: {costs} commands for so many jobs claimed", end=""
        )
    assert costs[1] <= 22
    assert costs[9] <= 15 + (7 * 9 if lanes > 1 else 7 + 8)


async def test_a_claim_of_many_costs_little_more_than_one_command_a_job(room: Room) -> None:
    room.put(*map(str, range(10_000)))
    await room.claim_one()
    before = room.commands()
    assert len((await room.claim(500)).jobs) == 500
    assert room.commands() - before <= 500 + 22


async def test_an_idle_claim_does_not_look_at_running_jobs(room: Room) -> None:
    for lane in range(1_000):
        room.put(*(f"{lane}-{n}" for n in range(5)), lane=KEYS.lane(str(lane)))
    while (await room.claim(500)).more:
        pass
    before = room.commands()
    claim = await room.claim(500)
    assert (claim.jobs, claim.more) == ([], False)
    assert room.commands() - before <= 14
