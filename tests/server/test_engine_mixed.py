"""A stock arq worker and our claims share one queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from arq import Retry, func

from client import decode, encode
from client.arq import pool_at as arq_pool
from client.redis.url import server_address
from tests.conftest import KEYS, wait_until
from tests.server.test_engine_room import Room
from worker.engine import Engine
from worker.engine.scripts import Claimed, Outcome

# arq.worker.Worker may have been bound to Engine by now.
StockWorker: Any = next(each for each in Engine.__mro__ if each.__module__ == "arq.worker")
JOBS = 500

pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning"),  # by arq
    pytest.mark.plain("arq's own clients and workers know no namespace"),
]


async def test_a_stock_worker_and_ours_run_each_job_once_and_lose_none(room: Room) -> None:
    room.put(*map(str, range(JOBS)), told=False)
    ran_there: Counter[str] = Counter()
    ran_here: Counter[str] = Counter()

    async def work(ctx: dict[str, Any], job_id: str) -> str:
        if _first_try_fails(job_id) and ctx["job_try"] == 1:
            raise Retry
        await asyncio.sleep(0.001)
        ran_there[job_id] += 1
        return job_id

    stock = stock_worker(room, work)
    there = asyncio.create_task(stock.async_run())
    await wait_until(lambda: bool(ran_there), description="the stock worker to run its first job")
    while not there.done():
        jobs = (await room.claim(3)).jobs
        if jobs:
            outcomes = [_run(job, ran_here) for job in jobs]
            assert all(await room.scripts.finish(outcomes))
        await asyncio.sleep(0)
    await there
    await stock.close()

    assert ran_there
    assert ran_here
    assert ran_there + ran_here == Counter(map(str, range(JOBS)))
    assert None not in room.raw.mget([KEYS.result(str(n)) for n in range(JOBS)])
    assert room.raw.zcard(KEYS.queue) == 0
    assert {key for key in room.dump() if not key.startswith(KEYS.result(""))} == set()


async def test_a_stock_worker_leaves_our_running_jobs_alone(room: Room) -> None:
    room.put("ours", told=False)
    job = await room.claim_one()
    ran: list[str] = []

    async def work(ctx: dict[str, Any], job_id: str) -> None:
        ran.append(job_id)

    stock = stock_worker(room, work)
    running = asyncio.create_task(stock.async_run())
    room.lapse(job.lease)  # and even then, for as long as our token is there
    room.put("theirs", told=False)
    await wait_until(lambda: bool(ran), description="the stock worker to run its own job")
    assert await room.finish(job.lease)
    await running
    await stock.close()
    assert ran == ["theirs"]


def stock_worker(room: Room, work: Any) -> Any:
    return StockWorker(
        functions=[func(work, name="work")],
        redis_pool=arq_pool(server_address(room.server.url)),
        burst=True,
        handle_signals=False,
        max_jobs=20,
        poll_delay=0.01,
        job_serializer=encode,
        job_deserializer=decode,
    )


def _first_try_fails(job_id: str) -> bool:
    return int(job_id) % 10 == 0


def _run(job: Claimed, ran: Counter[str]) -> Outcome:
    assert job.payload is not None
    assert job.crashes == 0
    (job_id,) = decode(job.payload)["a"]
    if _first_try_fails(job_id) and job.tries_used == 0:
        return Outcome(job.lease, "retry", ttl_ms=60_000)
    ran[job_id] += 1
    return Outcome(job.lease, "done", encode({"r": job_id}), ttl_ms=60_000)
