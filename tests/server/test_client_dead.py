"""Dead letters, as the client sees them."""

from __future__ import annotations

import asyncio

import pytest

from client import JobNotFound, Queue, SyncQueue, encode
from client.errors import JobCrashed
from client.wire.schemas import Attempt
from tests.conftest import KEYS, AnyRedis, Server

RECORD = {"t": 1, "f": "nap", "a": [1], "k": {}, "et": 1, "s": False, "st": 1, "ft": 2, "q": "q", "id": "x"}
RESULT = encode(RECORD | {"r": JobCrashed("It took three workers with it.")})
CALL = Attempt(number=1, model="a/b", started_at=0, duration_s=1, error="ServerError", status=500)


async def bury(queue: Queue, job_id: str, *, died_ms: int = 1_000, lane: str | None = None) -> None:
    """What the finish script leaves of a job that died."""
    letter = {
        "job": encode({"t": None, "f": "nap", "a": [1], "k": {"b": 2}, "et": 1}),
        "lane": lane or queue.session.name,
        "result": RESULT,
        "crashes": "1700000000000 mill:1:w\n1700000001000 mill:2:w",
        "attempts": b"[" + CALL.model_dump_json().encode() + b"]",
    }
    redis: AnyRedis = queue.session.redis
    await redis.hset(KEYS.dead(job_id), mapping=letter)
    await redis.pexpire(KEYS.dead(job_id), 60_000)
    await queue.session.redis.zadd(KEYS.dead_letters, {job_id: died_ms})
    await queue.session.redis.pexpire(KEYS.dead_letters, 60_000)
    await queue.session.redis.set(KEYS.result(job_id), RESULT, px=60_000)


async def test_the_latest_come_first_with_their_history(any_queue: Queue) -> None:
    for n in range(3):
        await bury(any_queue, f"j{n}", died_ms=1_000 * n)
    assert await any_queue.dead.count() == 3
    latest, before = await any_queue.dead.latest(limit=2)
    assert (latest.job_id, before.job_id) == ("j2", "j1")
    assert (latest.function, latest.args, latest.kwargs) == ("nap", [1], {"b": 2})
    assert (latest.error_type, latest.error) == ("JobCrashed", "It took three workers with it.")
    assert [moment.timestamp() for moment in latest.crashed_at] == [1_700_000_000, 1_700_000_001]
    assert latest.attempts == [CALL]
    assert [letter.job_id for letter in await any_queue.dead.latest(offset=2)] == ["j0"]
    assert "b" not in repr(latest).partition("kwargs")[2]  # a log shows no arguments


async def test_one_that_is_not_there_is_not_found(any_queue: Queue) -> None:
    with pytest.raises(JobNotFound, match="promptmill dead list"):
        await any_queue.dead.get("nobody")


async def test_those_named_are_queued_again_and_their_old_result_is_gone(any_queue: Queue) -> None:
    await bury(any_queue, "a", lane=KEYS.lane("tenant"))
    await bury(any_queue, "b")
    assert await any_queue.dead.retry(["a", "nobody"]) == ["a"]
    assert await any_queue.session.redis.zscore(KEYS.lane("tenant"), "a") is not None
    assert await any_queue.session.redis.zscore(KEYS.lanes, KEYS.lane("tenant")) is not None
    assert 0 < await any_queue.session.redis.pttl(KEYS.job("a")) <= 86_400_000
    assert not await any_queue.session.redis.exists(KEYS.result("a"), KEYS.dead("a"))
    assert [letter.job_id for letter in await any_queue.dead.latest()] == ["b"]


async def test_all_of_them_can_be_staggered(any_queue: Queue) -> None:
    for n in range(4):
        await bury(any_queue, f"j{n}", died_ms=1_000 * n)
    assert await any_queue.dead.retry(spread_s=40) == ["j0", "j1", "j2", "j3"]
    due_ms = [await any_queue.session.redis.zscore(any_queue.session.name, f"j{n}") for n in range(4)]
    assert [round(due - due_ms[0]) for due in due_ms] == [0, 10_000, 20_000, 30_000]


@pytest.mark.parametrize("newer", ["job", "in_progress", "result"])
async def test_a_newer_job_of_the_same_id_is_left_alone(any_queue: Queue, newer: str) -> None:
    await bury(any_queue, "a")
    await any_queue.session.redis.set(getattr(KEYS, newer)("a"), b"newer", px=60_000)
    assert await any_queue.dead.retry(["a"]) == []
    assert await any_queue.dead.count() == 1
    assert await any_queue.session.redis.get(getattr(KEYS, newer)("a")) == b"newer"


async def test_they_are_deleted_for_good(any_queue: Queue) -> None:
    for n in range(3):
        await bury(any_queue, f"j{n}")
    assert await any_queue.dead.delete(["j1", "nobody"]) == 1
    assert await any_queue.dead.delete() == 2
    assert await any_queue.dead.count() == 0
    assert not await any_queue.session.redis.exists(*(KEYS.dead(f"j{n}") for n in range(3)))


async def test_the_verbs_block_without_await(server: Server, queue: Queue) -> None:
    for id_ in "ab":
        await bury(queue, id_)

    def work() -> None:
        with SyncQueue(server.url) as mill:
            assert mill.dead.count() == 2
            assert {letter.job_id for letter in mill.dead.latest(limit=5)} == {"a", "b"}
            assert mill.dead.get("a").function == "nap"
            assert mill.dead.retry(["a"]) == ["a"]
            assert mill.dead.delete() == 1
            with pytest.raises(JobNotFound):
                mill.dead.get("a")

    await asyncio.to_thread(work)
