"""finish.lua, against a real server: what every ending leaves in Redis, to the last key."""

from __future__ import annotations

import pytest
from arq.jobs import Job as ArqJob

from client import Queue, decode
from tests.conftest import KEYS
from tests.server.given_outcomes import TTL_MS, lease_of, record
from tests.server.test_engine_room import OTHER_LANE, Room, ids, payload
from worker.engine.scripts import Verb

DEAD_TTL_S = 30 * 86_400


async def test_done_leaves_the_result_and_nothing_else(room: Room) -> None:
    lease = await lease_of(room)
    room.raw.zadd(KEYS.aborts, {"a": 1, "other": 1})
    assert await room.finish(lease, "done", record("a"), ttl_ms=TTL_MS)
    assert room.dump() == {KEYS.result("a"): record("a"), KEYS.aborts: ["other"]}
    assert TTL_MS - 1_000 < room.raw.pttl(KEYS.result("a")) <= TTL_MS


@pytest.mark.plain("arq's own clients and workers know no namespace")
async def test_a_result_is_read_by_our_client_and_by_arqs(room: Room, queue: Queue) -> None:
    lease = await lease_of(room)
    await room.finish(lease, "done", record("a", {"words": [1]}), ttl_ms=TTL_MS)
    assert await queue.job("a").result() == {"words": [1]}
    arqs = ArqJob("a", queue.session.redis, _deserializer=decode)
    assert await arqs.result(timeout=1) == {"words": [1]}


async def test_a_result_can_be_kept_for_ever(room: Room) -> None:
    await room.finish(await lease_of(room), "done", record("a"), ttl_ms=0)
    assert room.raw.ttl(KEYS.result("a")) == -1
    room.raw.delete(KEYS.result("a"))


@pytest.mark.parametrize(("verb", "kept"), [("done", 0), ("dead", 1), ("back", 1), ("retry", 1)])
async def test_the_parts_that_are_done_stay_for_whom_another_run_may_need_them(
    room: Room, verb: Verb, kept: int
) -> None:
    lease = await lease_of(room)
    room.raw.hset(KEYS.parts("a"), "0:name", b"numbers")
    room.raw.expire(KEYS.parts("a"), 60)
    assert await room.finish(lease, verb, record("a"), ttl_ms=TTL_MS)
    assert room.raw.exists(KEYS.parts("a")) == kept


async def test_an_empty_text_keeps_no_result(room: Room) -> None:
    assert await room.finish(await lease_of(room), "done", b"", ttl_ms=TTL_MS)
    assert room.dump() == {}


async def test_the_id_of_a_cron_job_is_held_back_for_a_while(room: Room) -> None:
    await room.finish(await lease_of(room), "done", b"", keep_ms=TTL_MS)
    assert room.dump() == {KEYS.in_progress("a"): b"ended"}
    assert TTL_MS - 1_000 < room.raw.pttl(KEYS.in_progress("a")) <= TTL_MS


async def test_dead_leaves_the_result_and_a_letter_with_the_whole_history(room: Room) -> None:
    lease = await lease_of(room, lane=OTHER_LANE)
    crashes = room.raw.lrange(KEYS.crashes("a"), 0, -1)
    room.raw.rpush(KEYS.attempts("a"), b'{"model":"n"}')
    assert len(crashes) == 1
    assert await room.finish(lease, "dead", record("a", "why", success=False), ttl_ms=TTL_MS)
    assert room.dump() == {
        KEYS.result("a"): record("a", "why", success=False),
        KEYS.dead_letters: ["a"],
        KEYS.dead("a"): {
            b"job": payload("a"),
            b"lane": OTHER_LANE.encode(),
            b"result": record("a", "why", success=False),
            b"crashes": crashes[0],
            b"attempts": b'[{"model":"m"},{"model":"n"}]',
        },
    }
    for key in (KEYS.dead_letters, KEYS.dead("a")):
        assert DEAD_TTL_S - 10 < room.raw.ttl(key) <= DEAD_TTL_S
    assert abs((room.score(KEYS.dead_letters, "a") or 0) - room.now_ms()) < 1_000


async def test_a_letter_of_a_job_without_history_says_so(room: Room) -> None:
    room.put("a")
    job = await room.claim_one()
    room.raw.delete(KEYS.job("a"))
    await room.finish(job.lease, "dead", b"", ttl_ms=TTL_MS)
    letter = {b"job": b"", b"lane": KEYS.queue.encode(), b"result": b"", b"crashes": b"", b"attempts": b"[]"}
    assert room.dump() == {KEYS.dead_letters: ["a"], KEYS.dead("a"): letter}


async def test_of_the_dead_ten_thousand_are_kept_with_their_letters(room: Room) -> None:
    room.raw.zadd(KEYS.dead_letters, {f"old{n}": room.now_ms() - 20_000 + n for n in range(10_000)})
    for n in (0, 1):
        room.raw.hset(KEYS.dead(f"old{n}"), "job", "{}")
        room.raw.expire(KEYS.dead(f"old{n}"), 60)
    await room.finish(await lease_of(room), "dead", b"", ttl_ms=TTL_MS)
    assert room.raw.zcard(KEYS.dead_letters) == 10_000
    assert room.raw.zrange(KEYS.dead_letters, 0, 0) == [b"old1"]
    assert room.raw.exists(KEYS.dead("old0"), KEYS.dead("old1")) == 1


async def test_the_dead_whose_letters_have_expired_are_not_counted(room: Room) -> None:
    room.raw.zadd(KEYS.dead_letters, {"expired": room.now_ms() - DEAD_TTL_S * 1000 - 1})
    await room.finish(await lease_of(room), "dead", b"", ttl_ms=TTL_MS)
    assert room.raw.zrange(KEYS.dead_letters, 0, -1) == [b"a"]


@pytest.mark.parametrize(("verb", "used"), [("retry", b"2"), ("again", b"1")])
async def test_a_job_to_be_run_again_waits_in_its_lane(room: Room, verb: str, used: bytes) -> None:
    lease = await lease_of(room, lane=OTHER_LANE)
    before = room.dump()
    assert await room.finish(lease, verb, ttl_ms=TTL_MS, delay_ms=5_000)
    changed = {KEYS.retry("a"): used}
    del before[KEYS.in_progress("a")], before[KEYS.slots("other")]
    assert room.dump() == before | changed
    assert TTL_MS - 1_000 < room.raw.pttl(KEYS.retry("a")) <= TTL_MS
    due_ms = room.score(OTHER_LANE, "a") or 0
    assert 4_000 < due_ms - room.now_ms() <= 5_000
    assert room.score(KEYS.lanes, OTHER_LANE) == due_ms


async def test_the_first_again_leaves_a_count_of_no_tries(room: Room) -> None:
    room.put("a")
    await room.finish((await room.claim_one()).lease, "again", ttl_ms=TTL_MS)
    assert room.raw.get(KEYS.retry("a")) == b"0"


async def test_back_leaves_the_job_as_it_was_and_due(room: Room) -> None:
    room.put("a", lane=OTHER_LANE)
    room.raw.delete(KEYS.crashes("a"))
    before, score = room.dump(), room.score(OTHER_LANE, "a")
    job = await room.claim_one()
    assert await room.finish(job.lease, "back")
    assert room.dump() == before
    assert room.score(OTHER_LANE, "a") == score


async def test_a_job_handed_back_does_not_put_its_lane_before_others(room: Room) -> None:
    room.put("a", in_ms=-3_600_000)
    job = await room.claim_one()
    room.put("b", lane=OTHER_LANE)
    await room.finish(job.lease, "back")
    assert ids(await room.claim(1)) == ["b"]


async def test_the_last_job_of_a_lane_takes_the_lane_with_it(room: Room) -> None:
    room.put("a", "b", lane=OTHER_LANE)
    first, second = (await room.claim()).jobs
    await room.finish(first.lease)
    assert room.raw.zcard(KEYS.lanes) == 1
    await room.finish(second.lease)
    assert room.dump() == {}
