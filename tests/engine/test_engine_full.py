"""A server that is full: it takes nothing new, workers drain it, and an operator can act."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from arq import cron

from client import JobAborted, Queue, QueueUnavailable
from client.wire.keys import KEYS
from promptmill.cli.stats import read_stats
from tests.conftest import AnyRedis, Server, wait_until
from tests.engine.rig import Engines
from worker.context import Context

PROMPT = "x" * 20_000
REFUSED = "Redis is out of memory: raise maxmemory"


async def answer(ctx: Context, prompt: str) -> str:
    return prompt[:10] * 100


async def fails(ctx: Context) -> None:
    raise RuntimeError("no")


async def holds_a_slot(ctx: Context) -> str:
    queue: Queue = ctx["queue"]
    async with queue.limits.slot("tool:search"):
        return "held"


async def fill(server: Server, queue: Queue, *, lane: str = "l") -> list[str]:
    """Fills the server with jobs until it takes no more. Their ids."""
    redis: AnyRedis = server.client()
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 3_000_000)
    ids: list[str] = []
    with pytest.raises(QueueUnavailable, match=REFUSED):
        await _enqueue_until_refused(queue, ids, lane)
    # what follows may free a little, and a full server would take it
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] - 500_000)
    return [id_ for id_ in ids if redis.exists(KEYS.job(id_))]


async def _enqueue_until_refused(queue: Queue, ids: list[str], lane: str) -> None:
    while len(ids) < 1_000:
        ids.append(f"{lane}{len(ids)}")
        await queue.enqueue("answer", PROMPT, _job_id=ids[-1], _lane=lane)


async def test_what_is_refused_has_changed_nothing(own_server: Server, own_queue: Queue) -> None:
    await fill(own_server, own_queue)
    before = _names(own_server)
    with pytest.raises(QueueUnavailable, match=REFUSED):
        await own_queue.enqueue("answer", "new", _job_id="new", _conversation="c", _lane="other")
    with pytest.raises(QueueUnavailable, match=REFUSED):
        await own_queue.chat_many(["a", "b"], conversation="c")
    assert _names(own_server) == before


async def test_workers_that_are_there_and_those_that_start_later_drain_it(
    own_server: Server, own_queue: Queue, engines: Engines
) -> None:
    ids = await fill(own_server, own_queue)
    for max_jobs, half in ((3, ids[: len(ids) // 2]), (50, ids)):
        engine = await engines.start(own_server, answer, max_jobs=max_jobs, keep_result=600)
        results = [own_queue.job(id_).result(timeout_s=10) for id_ in half]
        assert await asyncio.gather(*results) == [PROMPT[:10] * 100] * len(half)
        await engine.close()
    with own_server.client() as client:
        assert client.zcard(KEYS.lane("l")) == 0


async def test_running_jobs_renew_fail_retry_and_take_slots(
    own_server: Server, own_queue: Queue, engines: Engines
) -> None:
    gate = asyncio.Event()

    async def waits(ctx: Context) -> int:
        await gate.wait()
        return int(ctx["job_try"])

    jobs = [
        await own_queue.enqueue("waits", _tenant="t"),
        await own_queue.enqueue("fails"),
        await own_queue.enqueue("holds_a_slot"),
    ]
    await own_queue.limits.set("tool:search", concurrency=1)
    await fill(own_server, own_queue)
    engine = await engines.start(own_server, waits, fails, holds_a_slot, ctx={"queue": own_queue}, lease_s=1)
    with pytest.raises(Exception, match="no"):
        await jobs[1].result(timeout_s=10)
    assert await jobs[2].result(timeout_s=10) == "held"
    redis: AnyRedis = own_server.client()
    first = redis.zscore(KEYS.lane("tenant:t"), jobs[0].id)
    await wait_until(
        lambda: redis.zscore(KEYS.lane("tenant:t"), jobs[0].id) > first, description="the lease is renewed"
    )
    gate.set()
    assert await jobs[0].result(timeout_s=10) == 1
    assert not engine._outage.lasting


async def test_an_operator_can_act_on_it(own_server: Server, own_queue: Queue, engines: Engines) -> None:
    ids = await fill(own_server, own_queue)
    await own_queue.limits.pause("tenant:x")
    await own_queue.limits.set("model/m", concurrency=3)
    assert await own_queue.job(ids[0]).abort()
    with pytest.raises(JobAborted):
        await own_queue.job(ids[0]).result(timeout_s=5)
    redis: AnyRedis = own_server.client()
    redis.config_set("maxmemory", 0)
    redis.hset(KEYS.dead("d"), mapping={"job": redis.get(KEYS.job(ids[1])), "lane": KEYS.lane("l")})
    redis.expire(KEYS.dead("d"), 60)
    redis.zadd(KEYS.dead_letters, {"d": 1})
    redis.expire(KEYS.dead_letters, 60)
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] - 500_000)
    assert await own_queue.dead.retry(["d"]) == ["d"]
    engine = await engines.start(own_server, answer, health_check_interval=0.01)
    await wait_until(
        lambda: redis.exists(KEYS.health(KEYS.queue)) == 1, description="the worker has reported"
    )
    found = await read_stats(own_queue)
    assert found.workers
    assert found.memory_limit_bytes
    assert [state.key for state in await own_queue.limits.list("tenant:x")] == ["tenant:x"]
    await engine.close()


async def test_cron_jobs_wait_until_there_is_room(
    own_server: Server, own_queue: Queue, engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    async def tick(ctx: dict[str, Any]) -> None:
        ran.append(ctx["job_id"])

    caplog.set_level(logging.WARNING)
    await fill(own_server, own_queue)
    cron_job = cron(tick, hour=3, run_at_startup=True)
    engine = await engines.start(own_server, cron_jobs=[cron_job], max_jobs=1)
    await wait_until(lambda: "cron jobs wait" in caplog.text, description="it is said")
    assert ran == []
    redis: AnyRedis = own_server.client()
    redis.config_set("maxmemory", 0)
    await wait_until(lambda: len(ran) == 1, description="the cron job has run")
    assert not engine._outage.lasting


def _names(server: Server) -> set[bytes]:
    with server.client() as client:
        return set(client.keys())
