"""finish.lua, against a real server: what every ending leaves in Redis, to the last key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from arq.jobs import Job as ArqJob
from redis.exceptions import ResponseError

from client import Queue, decode, encode, keys
from tests.conftest import Server
from tests.server.test_engine_room import OTHER_LANE, Room, ids, opened, payload
from worker.engine.scripts import DEAD_TTL_S, Lease, Outcome

TTL_MS = 60_000
VERBS = ("done", "dead", "retry", "away", "again", "back", "move")


@pytest.fixture
async def room(server: Server) -> AsyncIterator[Room]:
    async with opened(server) as room:
        yield room


def record(job_id: str, value: Any = "answer", *, success: bool = True) -> bytes:
    fields = {"t": 1, "f": "work", "a": [job_id], "k": {}, "et": 1, "s": success, "r": value}
    return encode(fields | {"st": 2, "ft": 3, "q": keys.QUEUE, "id": job_id})


def to(verb: str, lane: str = OTHER_LANE) -> str:
    """Where a job goes that moves; for the other verbs it would end a stream."""
    return lane if verb == "move" else ""


async def lease_of(room: Room, job_id: str = "a", *, lane: str = keys.QUEUE) -> Lease:
    """A claimed job with everything that a job can have in Redis."""
    room.put(job_id, lane=lane)
    room.lapse((await room.claim_one()).lease)
    lease = (await room.claim_one()).lease
    room.raw.set(keys.retry(job_id), 1, px=TTL_MS)
    room.raw.rpush(keys.attempts(job_id), b'{"model":"m"}')
    room.raw.expire(keys.attempts(job_id), 60)
    return lease


# -- the seven endings ------------------------------------------------------------------------------


async def test_done_leaves_the_result_and_nothing_else(room: Room) -> None:
    lease = await lease_of(room)
    room.raw.zadd(keys.ABORTS, {"a": 1, "other": 1})
    assert await room.finish(lease, "done", record("a"), ttl_ms=TTL_MS)
    assert room.dump() == {keys.result("a"): record("a"), keys.ABORTS: ["other"]}
    assert TTL_MS - 1_000 < room.raw.pttl(keys.result("a")) <= TTL_MS


async def test_a_result_is_read_by_our_client_and_by_arqs(room: Room, queue: Queue) -> None:
    lease = await lease_of(room)
    await room.finish(lease, "done", record("a", {"words": [1]}), ttl_ms=TTL_MS)
    assert await queue.job("a").result() == {"words": [1]}
    arqs = ArqJob("a", queue.redis, _deserializer=decode)
    assert await arqs.result(timeout=1) == {"words": [1]}


async def test_a_result_can_be_kept_for_ever(room: Room) -> None:
    await room.finish(await lease_of(room), "done", record("a"), ttl_ms=0)
    assert room.raw.ttl(keys.result("a")) == -1
    room.raw.delete(keys.result("a"))


async def test_an_empty_text_keeps_no_result(room: Room) -> None:
    assert await room.finish(await lease_of(room), "done", b"", ttl_ms=TTL_MS)
    assert room.dump() == {}


async def test_the_id_of_a_cron_job_is_held_back_for_a_while(room: Room) -> None:
    await room.finish(await lease_of(room), "done", b"", keep_ms=TTL_MS)
    assert room.dump() == {keys.in_progress("a"): b"ended"}
    assert TTL_MS - 1_000 < room.raw.pttl(keys.in_progress("a")) <= TTL_MS


async def test_dead_leaves_the_result_and_a_letter_with_the_whole_history(room: Room) -> None:
    lease = await lease_of(room, lane=OTHER_LANE)
    crashes = room.raw.lrange(keys.crashes("a"), 0, -1)
    room.raw.rpush(keys.attempts("a"), b'{"model":"n"}')
    assert len(crashes) == 1
    assert await room.finish(lease, "dead", record("a", "why", success=False), ttl_ms=TTL_MS)
    assert room.dump() == {
        keys.result("a"): record("a", "why", success=False),
        keys.DEAD: ["a"],
        keys.dead("a"): {
            b"job": payload("a"),
            b"lane": OTHER_LANE.encode(),
            b"result": record("a", "why", success=False),
            b"crashes": crashes[0],
            b"attempts": b'[{"model":"m"},{"model":"n"}]',
        },
    }
    for key in (keys.DEAD, keys.dead("a")):
        assert DEAD_TTL_S - 10 < room.raw.ttl(key) <= DEAD_TTL_S
    assert abs((room.score(keys.DEAD, "a") or 0) - room.now_ms()) < 1_000


async def test_a_letter_of_a_job_without_history_says_so(room: Room) -> None:
    room.put("a")
    job = await room.claim_one()
    room.raw.delete(keys.job("a"))
    await room.finish(job.lease, "dead", b"", ttl_ms=TTL_MS)
    letter = {b"job": b"", b"lane": b"arq:queue", b"result": b"", b"crashes": b"", b"attempts": b"[]"}
    assert room.dump() == {keys.DEAD: ["a"], keys.dead("a"): letter}


async def test_of_the_dead_ten_thousand_are_kept_with_their_letters(room: Room) -> None:
    room.raw.zadd(keys.DEAD, {f"old{n}": room.now_ms() - 20_000 + n for n in range(10_000)})
    for n in (0, 1):
        room.raw.hset(keys.dead(f"old{n}"), "job", "{}")
        room.raw.expire(keys.dead(f"old{n}"), 60)
    await room.finish(await lease_of(room), "dead", b"", ttl_ms=TTL_MS)
    assert room.raw.zcard(keys.DEAD) == 10_000
    assert room.raw.zrange(keys.DEAD, 0, 0) == [b"old1"]
    assert room.raw.exists(keys.dead("old0"), keys.dead("old1")) == 1


async def test_the_dead_whose_letters_have_expired_are_not_counted(room: Room) -> None:
    room.raw.zadd(keys.DEAD, {"expired": room.now_ms() - DEAD_TTL_S * 1000 - 1})
    await room.finish(await lease_of(room), "dead", b"", ttl_ms=TTL_MS)
    assert room.raw.zrange(keys.DEAD, 0, -1) == [b"a"]


@pytest.mark.parametrize(("verb", "used"), [("retry", b"2"), ("again", b"1")])
async def test_a_job_to_be_run_again_waits_in_its_lane(room: Room, verb: str, used: bytes) -> None:
    lease = await lease_of(room, lane=OTHER_LANE)
    before = room.dump()
    assert await room.finish(lease, verb, ttl_ms=TTL_MS, moment_ms=5_000)
    changed = {keys.retry("a"): used}
    del before[keys.in_progress("a")], before[keys.slots("other")]
    assert room.dump() == before | changed
    assert TTL_MS - 1_000 < room.raw.pttl(keys.retry("a")) <= TTL_MS
    due_ms = room.score(OTHER_LANE, "a") or 0
    assert 4_000 < due_ms - room.now_ms() <= 5_000
    assert room.score(keys.LANES, OTHER_LANE) == due_ms


async def test_the_first_again_leaves_a_count_of_no_tries(room: Room) -> None:
    room.put("a")
    await room.finish((await room.claim_one()).lease, "again", ttl_ms=TTL_MS)
    assert room.raw.get(keys.retry("a")) == b"0"


async def test_back_leaves_the_job_as_it_was_and_due(room: Room) -> None:
    room.put("a", lane=OTHER_LANE)
    room.raw.delete(keys.crashes("a"))
    before, score = room.dump(), room.score(OTHER_LANE, "a")
    job = await room.claim_one()
    assert await room.finish(job.lease, "back", moment_ms=job.score_ms)
    assert room.dump() == before
    assert room.score(OTHER_LANE, "a") == score


async def test_a_job_handed_back_does_not_put_its_lane_before_others(room: Room) -> None:
    room.put("a", in_ms=-3_600_000)
    job = await room.claim_one()
    room.put("b", lane=OTHER_LANE)
    await room.finish(job.lease, "back", moment_ms=job.score_ms)
    assert ids(await room.claim(1)) == ["b"]


async def test_the_last_job_of_a_lane_takes_the_lane_with_it(room: Room) -> None:
    room.put("a", "b", lane=OTHER_LANE)
    first, second = (await room.claim()).jobs
    await room.finish(first.lease)
    assert room.raw.zcard(keys.LANES) == 1
    await room.finish(second.lease)
    assert room.dump() == {}


# -- signals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "delay_ms", "channels"),
    [
        ("done", 0, [b"mill:done:a"]),
        ("dead", 0, [b"mill:done:a"]),
        ("retry", 0, [b"mill:wake"]),
        ("again", 0, [b"mill:wake"]),
        ("back", 1, [b"mill:wake"]),
        ("away", 1, [b"mill:wake"]),
        ("move", 1, [b"mill:wake"]),
        ("retry", 5_000, []),
    ],
)
async def test_whoever_waits_is_told(room: Room, verb: str, delay_ms: int, channels: list[bytes]) -> None:
    lease = await lease_of(room)
    with room.raw.pubsub() as heard:
        heard.psubscribe("*")
        heard.get_message(timeout=1)
        await room.finish(lease, verb, ttl_ms=TTL_MS, moment_ms=delay_ms, to=to(verb))
        room.raw.publish("end", "")
        messages = []
        while (message := heard.get_message(timeout=1))["channel"] != b"end":
            messages.append(message)
    assert [message["channel"] for message in messages] == channels
    assert all(message["data"] == b"" for message in messages)


# -- the fencing token -----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
async def test_another_token_than_the_holders_writes_nothing(room: Room, verb: str) -> None:
    lease = await lease_of(room)
    before = room.dump()
    forged = Lease("a", lease.lane, lease.token + "x")
    assert not await room.finish(forged, verb, record("a"), ttl_ms=TTL_MS)
    assert room.dump() == before


@pytest.mark.parametrize("verb", VERBS)
async def test_a_job_that_does_not_exist_is_not_finished(room: Room, verb: str) -> None:
    assert not await room.finish(Lease("a", keys.QUEUE, "mill:1:w1"), verb, b"x", ttl_ms=TTL_MS)
    assert room.dump() == {}


@pytest.mark.parametrize("first", VERBS)
@pytest.mark.parametrize("second", VERBS)
async def test_a_job_ends_once(room: Room, first: str, second: str) -> None:
    lease = await lease_of(room)
    assert await room.finish(lease, first, record("a"), ttl_ms=TTL_MS, to=to(first))
    before = room.dump()
    assert not await room.finish(lease, second, record("a", "another"), ttl_ms=TTL_MS, to=OTHER_LANE)
    assert room.dump() == before


async def test_a_job_ends_once_within_one_batch(room: Room) -> None:
    lease = await lease_of(room)
    both = [Outcome(lease, "done", record("a", value), ttl_ms=TTL_MS) for value in "12"]
    assert await room.scripts.finish(both) == [True, False]
    assert room.dump() == {keys.result("a"): record("a", "1")}


async def test_a_late_finish_is_refused_once_the_lapsed_lease_was_claimed(room: Room) -> None:
    late = await lease_of(room)
    room.lapse(late)
    current = (await room.claim_one(worker="w2")).lease
    before = room.dump()
    assert not await room.finish(late, "done", record("a"), ttl_ms=TTL_MS)
    assert room.dump() == before
    assert await room.finish(current, "done", record("a"), ttl_ms=TTL_MS)


async def test_a_late_finish_is_accepted_while_nobody_has_claimed_the_job(room: Room) -> None:
    lease = await lease_of(room)
    room.lapse(lease)
    assert await room.finish(lease, "done", record("a"), ttl_ms=TTL_MS)
    assert (await room.claim()).jobs == []


# -- batches ---------------------------------------------------------------------------------------


async def test_one_batch_holds_all_verbs(room: Room) -> None:
    room.put(*VERBS, lane=OTHER_LANE)
    leases = {job.lease.job_id: job.lease for job in (await room.claim()).jobs}
    forged = Lease("done", OTHER_LANE, "mill:1:w9")
    elsewhere = keys.lane("elsewhere")
    outcomes = [
        Outcome(lease, verb, b"text", TTL_MS, 1_000, to=to(verb, elsewhere)) for verb, lease in leases.items()
    ]  # type: ignore[arg-type]
    assert await room.scripts.finish([Outcome(forged, "done"), *outcomes]) == [False] + len(VERBS) * [True]
    assert set(room.dump()) == {
        *(keys.result(verb) for verb in ("done", "dead")),
        *(keys.job(verb) for verb in ("retry", "away", "again", "back", "move")),
        *(keys.retry(verb) for verb in ("retry", "away", "again")),
        *(keys.DEAD, keys.dead("dead"), OTHER_LANE, elsewhere, keys.LANES),
    }
    assert room.dump()[OTHER_LANE][:2] == ["away", "back"]
    assert room.dump()[elsewhere] == ["move"]


async def test_a_job_done_costs_five_commands(room: Room) -> None:
    room.put(*map(str, range(251)))
    jobs = (await room.claim(251)).jobs
    await room.finish(jobs.pop().lease)
    before = room.commands()
    done = [Outcome(job.lease, "done", b"answer", TTL_MS) for job in jobs]
    assert all(await room.scripts.finish(done))
    assert room.commands() - before <= 250 * 5 + 8


@pytest.mark.parametrize(
    "job",
    [
        ("b", keys.QUEUE, "t", "unknown", "", 1, 1, 0, "", "", ""),
        ("b", keys.QUEUE, "t", "done", "", "x", 1, 0, "", "", ""),
        ("b", keys.QUEUE, "t", "done", "", 1, "x", 0, "", "", ""),
        ("b", keys.QUEUE, "t", "done", "", 1, 1, "", "", "", ""),
        ("b", keys.QUEUE, "t", "done", "", 1, 1, 0),
        (),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_written(
    room: Room, job: tuple[str | int, ...]
) -> None:
    lease = await lease_of(room)
    before = room.dump()
    fixed: list[str | int] = [keys.in_progress(""), *map(str, range(8)), 60_000]
    good = (lease.job_id, lease.lane, lease.token, "done", "", 1, 1, 0, "", "", "") if job else ()
    with pytest.raises(ResponseError, match="finish: "):
        await room.scripts._finish([keys.ABORTS, keys.DEAD], [*fixed, *good, *job])
    with pytest.raises(ResponseError, match="finish: two keys"):
        await room.scripts._finish([keys.ABORTS], [*fixed, *good])
    assert room.dump() == before
