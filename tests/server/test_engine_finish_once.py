"""finish.lua, against a real server: a job ends once, by whoever holds it, alone or in a batch, and is told of."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from tests.conftest import KEYS
from tests.server.given_outcomes import TTL_MS, lease_of, record
from tests.server.test_engine_room import OTHER_LANE, Room, return_of
from worker.engine.scripts import Lease, Outcome, Verb

VERBS: tuple[Verb, ...] = ("done", "dead", "retry", "throttled", "again", "back", "reroute")


def to(verb: str, lane: str = OTHER_LANE) -> str:
    """Where a job goes that moves; for the other verbs it would end a stream."""
    return lane if verb == "reroute" else ""


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
    assert not await room.finish(Lease("a", KEYS.queue, "mill:1:w1"), verb, b"x", ttl_ms=TTL_MS)
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
    assert room.dump() == {KEYS.result("a"): record("a", "1")}


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
    elsewhere = KEYS.lane("elsewhere")
    outcomes = [Outcome(leases[verb], verb, b"text", TTL_MS, 1_000, to=to(verb, elsewhere)) for verb in VERBS]
    assert await room.scripts.finish([Outcome(forged, "done"), *outcomes]) == [False] + len(VERBS) * [True]
    assert set(room.dump()) == {
        *(KEYS.result(verb) for verb in ("done", "dead")),
        *(KEYS.job(verb) for verb in ("retry", "throttled", "again", "back", "reroute")),
        *(KEYS.retry(verb) for verb in ("retry", "throttled", "again")),
        *(KEYS.last(verb) for verb in ("retry", "throttled", "again")),
        *(KEYS.dead_letters, KEYS.dead("dead"), OTHER_LANE, elsewhere, KEYS.lanes),
    }
    assert room.dump()[OTHER_LANE] == ["throttled", "back", "again", "retry"]  # as they came; those two later
    assert all(room.raw.zscore(KEYS.returns, return_of(leases[verb])) for verb in ("retry", "again"))
    assert room.dump()[elsewhere] == ["reroute"]


async def test_a_job_done_costs_five_commands(room: Room) -> None:
    room.put(*map(str, range(251)))
    jobs = (await room.claim(251)).jobs
    await room.finish(jobs.pop().lease)
    before = room.commands()
    done = [Outcome(job.lease, "done", b"answer", TTL_MS) for job in jobs]
    assert all(await room.scripts.finish(done))
    assert room.commands() - before <= 250 * 5 + 9


KIND: tuple[str | int, ...] = (KEYS.queue, "done", 1, 1, 0, "", 0)
OF_ANOTHER = ("2", "b", "t", "")  # a job


@pytest.mark.parametrize(
    ("kind", "job"),
    [
        ((KEYS.queue, "unknown", 1, 1, 0, "", 0), OF_ANOTHER),
        ((KEYS.queue, "done", "x", 1, 0, "", 0), OF_ANOTHER),
        ((KEYS.queue, "done", 1, "x", 0, "", 0), OF_ANOTHER),
        ((KEYS.queue, "done", 1, 1, "", "", 0), OF_ANOTHER),
        (KIND[:-1], OF_ANOTHER),
        (KIND, OF_ANOTHER[:-1]),
        (KIND, (*OF_ANOTHER, "one too many")),
        (KIND, ("3", *OF_ANOTHER[1:])),
        (("x",) * 7, ()),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_written(
    room: Room, kind: tuple[str | int, ...], job: tuple[str | int, ...]
) -> None:
    lease = await lease_of(room)
    before = room.dump()
    good = ("1", lease.job_id, lease.token, "")
    with pytest.raises(ResponseError, match="finish: "):
        await room.scripts._finish(args=[2, 4, *KIND, *kind, *good, *job])
    for width in (4, 5, 7, "x"):
        with pytest.raises(ResponseError, match="finish: "):
            await room.scripts._finish(args=[1, width, *KIND, *good, "one too many"])
    for nothing in ((), ("x", 4), (1, 4)):
        with pytest.raises(ResponseError, match="finish: "):
            await room.scripts._finish(args=nothing)
    assert room.dump() == before


# -- signals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "delay_ms", "channels"),
    [
        ("done", 0, [KEYS.done_channel("a").encode()]),
        ("dead", 0, [KEYS.done_channel("a").encode()]),
        ("retry", 0, [KEYS.wake_channel.encode()]),
        ("again", 0, [KEYS.wake_channel.encode()]),
        ("back", 1, [KEYS.wake_channel.encode()]),
        ("throttled", 1, [KEYS.wake_channel.encode()]),
        ("reroute", 1, [KEYS.wake_channel.encode()]),
        ("retry", 5_000, []),
    ],
)
async def test_whoever_waits_is_told(room: Room, verb: str, delay_ms: int, channels: list[bytes]) -> None:
    lease = await lease_of(room)
    with room.raw.pubsub() as heard:
        heard.psubscribe("*")
        heard.get_message(timeout=1)
        await room.finish(lease, verb, ttl_ms=TTL_MS, delay_ms=delay_ms, to=to(verb))
        room.raw.publish("end", "")
        messages = []
        while (message := heard.get_message(timeout=1))["channel"] != b"end":
            messages.append(message)
    assert [message["channel"] for message in messages] == channels
    assert all(message["data"] == b"" for message in messages)
