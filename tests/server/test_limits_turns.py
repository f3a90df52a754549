"""Who goes first where not all can: lanes in turn, weights, and nobody overtaken, against a real server."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from client.limits.calls import CallScripts
from tests.conftest import KEYS, Server
from tests.server.limits_room import MODEL, LimitsRoom, limited
from tests.server.test_engine_room import ids


@pytest.fixture
async def room(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        yield room


async def served(room: LimitsRoom, claims: int, *, release: int) -> Counter[str]:
    """Jobs claimed of each tenant while `release` slots of the full key become free at a time."""
    taken: Counter[str] = Counter()
    running = (await room.claim()).jobs
    for _ in range(claims):
        await room.finish_all(running[:release])
        room.tick()
        claim = await room.claim()
        running = running[release:] + claim.jobs
        taken.update(job.lease.lane.rpartition(":")[2] for job in claim.jobs)
    assert sum(taken.values()) == claims * release
    return taken


@pytest.mark.parametrize(("slots", "release"), [(1, 1), (4, 1), (10, 10), (50, 7)])
async def test_lanes_that_wait_for_one_key_are_served_in_equal_parts(
    room: LimitsRoom, slots: int, release: int
) -> None:
    room.limit(MODEL, concurrency=slots)
    for tenant in "abcde":
        room.calls(400, f"{MODEL}|tenant:{tenant}", tenant)
    taken = await served(room, 50, release=release)
    fair = sum(taken.values()) / 5
    assert all(abs(taken[tenant] - fair) <= 0.1 * fair + 2 for tenant in "abcde"), taken


@pytest.mark.parametrize(("slots", "release"), [(4, 1), (10, 10), (50, 7)])
async def test_a_weight_of_three_gets_three_times_the_turns(
    room: LimitsRoom, slots: int, release: int
) -> None:
    room.limit(MODEL, concurrency=slots)
    room.limit("tenant:a", weight=3)
    for tenant in "abcd":
        room.calls(600, f"{MODEL}|tenant:{tenant}", tenant)
    taken = await served(room, 90, release=release)
    others = (taken["b"] + taken["c"] + taken["d"]) / 3
    assert 0.8 <= taken["a"] / others / 3 <= 1.2, taken


async def test_weights_count_though_no_limit_is_full(room: LimitsRoom) -> None:
    room.limit("tenant:a", weight=3)
    for tenant in "ab":
        room.calls(400, f"tenant:{tenant}", tenant)
    taken: Counter[str] = Counter()
    for _ in range(20):
        taken.update(job_id[0] for job_id in ids(await room.claim(8)))
        room.tick()
    assert 0.8 <= taken["a"] / taken["b"] / 3 <= 1.2, taken


async def test_a_lane_is_first_come_first_served_under_a_limit(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=3)
    names = room.calls(40)
    taken: list[str] = []
    while len(taken) < 40:
        claim = await room.claim()
        taken += ids(claim)
        await room.finish_all(claim.jobs)
    assert taken == names


async def test_a_large_call_is_not_overtaken_by_small_ones_that_keep_coming(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=60_000)  # a bucket of 6,000; a thousand a second
    room.call("first", f"{MODEL}|tenant:small", tokens=5_000)
    await room.claim()
    room.call("large", f"{MODEL}|tenant:large", tokens=5_000)
    passed: list[str] = []
    for step in range(20):
        room.tick()
        for n in range(3):
            room.call(f"{step}-{n}", f"{MODEL}|tenant:small{n}", tokens=400)
        passed += ids(await room.claim())
        if passed:
            break
        room.age(500)
    assert passed[0] == "large"
    assert step <= 8


async def test_a_large_call_keeps_its_place_when_a_release_lets_all_look_again(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=60_000, concurrency=50)
    room.call("first", f"{MODEL}|tenant:small", tokens=5_900)
    (first,) = (await room.claim()).jobs
    room.call("large", f"{MODEL}|tenant:large", tokens=5_000)
    await room.claim()
    room.call("small", f"{MODEL}|tenant:small", tokens=10)
    await room.claim()
    await room.finish(first.lease)
    assert (await room.claim()).jobs == []
    room.age(5_000)
    assert ids(await room.claim())[:1] == ["large"]


async def test_the_oldest_of_those_who_wait_goes_first_whatever_comes_after(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=1)
    room.calls(1, f"{MODEL}|tenant:first", "first")
    (job,) = (await room.claim()).jobs
    for n in range(5):
        room.calls(2, f"{MODEL}|tenant:{n}", f"{n}-")
        room.tick()
        await room.claim()
    order: list[str] = []
    for _ in range(5):
        await room.finish(job.lease)
        room.calls(1, f"{MODEL}|tenant:late{len(order)}", f"late{len(order)}")
        room.tick()
        (job,) = (await room.claim()).jobs
        order.append(job.lease.job_id)
    assert order == ["0-0", "1-0", "2-0", "3-0", "4-0"]


async def test_a_key_that_waits_for_another_holds_nobody_back(room: LimitsRoom) -> None:
    room.limit("openai", concurrency=10)
    room.limit("tenant:a", concurrency=1)
    room.calls(50, "openai/m|tenant:a", "a")
    room.calls(50, "openai/m|tenant:b", "b")
    taken = Counter(job_id[0] for job_id in ids(await room.claim()))
    assert taken == {"a": 1, "b": 9}


async def test_a_lane_whose_jobs_were_withdrawn_lets_the_next_go(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=1)
    room.calls(1, f"{MODEL}|tenant:a", "a")
    (job,) = (await room.claim()).jobs
    for tenant in "bc":
        room.calls(1, f"{MODEL}|tenant:{tenant}", tenant)
        room.tick()
        await room.claim()
    room.raw.zrem(KEYS.lane(f"{MODEL}|tenant:b"), "b0")
    await room.finish(job.lease)
    assert ids(await room.claim()) == ["c0"]


async def test_a_large_job_is_not_overtaken_by_small_calls_of_their_own(room: LimitsRoom) -> None:
    acquire = CallScripts(room.pool, KEYS)._acquire
    room.limit(MODEL, tpm=60_000)
    room.call("first", tokens=5_000)
    await room.claim()
    room.call("large", f"{MODEL}|tenant:large", tokens=5_000)
    await room.claim()
    room.tick()
    with room.raw.pubsub() as listener:
        listener.subscribe(KEYS.calls_channel("test"))
        listener.get_message(timeout=1)
        for step in range(20):
            ticket = f"!{step}|15000|mill:calls:test|400|-1|{MODEL}"
            await acquire(args=["", ticket, ""])
            if ids(await room.claim()) == ["large"]:
                break
            room.age(500)
    assert step <= 9
