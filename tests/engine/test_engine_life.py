"""What arq promises of a worker: hooks, bursts, health, queues, cron jobs, company."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest
from arq import ArqRedis, Retry, create_pool, cron
from arq.jobs import JobStatus
from arq.worker import FailedJobs, Worker, func

from client import Queue, decode, encode
from client.errors import JobFailed
from client.wire.keys import KEYS
from tests.conftest import Server, forever, wait_until
from tests.engine.rig import Engines, nothing_left_in

Ctx = dict[str, Any]


async def add(ctx: Ctx, a: int, b: int = 1) -> int:
    return a + b


async def test_hooks_are_called_in_order_with_their_context(
    engines: Engines, server: Server, queue: Queue
) -> None:
    called: list[tuple[str, Any, bool]] = []

    def hook(name: str) -> Any:
        async def note(ctx: Ctx) -> None:
            with server.client() as client:
                written = bool(client.exists(KEYS.result("hooked")))
            called.append((name, ctx.get("job_id"), written))
            assert ctx["redis"] is engine.pool

        return note

    names = ("on_startup", "on_job_start", "on_job_end", "after_job_end", "on_shutdown")
    engine = engines.make(server, [add], burst=True, **{name: hook(name) for name in names})
    await queue.enqueue("add", 1, _job_id="hooked")
    await engine.async_run()
    await engine.close()
    assert called == [
        ("on_startup", None, False),
        ("on_job_start", "hooked", False),
        ("on_job_end", "hooked", False),
        ("after_job_end", "hooked", True),
        ("on_shutdown", None, True),
    ]


@pytest.mark.parametrize("hook", ["on_job_start", "on_job_end", "after_job_end"])
async def test_a_hook_that_fails_harms_nothing_else(
    engines: Engines, server: Server, queue: Queue, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(ctx: Ctx) -> None:
        if ctx["job_id"] == "unlucky":
            raise RuntimeError("a broken hook")

    engine = await engines.start(server, add, **{hook: broken})
    unlucky = await queue.enqueue("add", 1, _job_id="unlucky")
    if hook == "on_job_start":
        with pytest.raises(JobFailed, match="a broken hook"):
            await unlucky.result(5)
    else:
        assert await unlucky.result(5) == 2
    assert await (await queue.enqueue("add", 2)).result(5) == 3
    await wait_until(lambda: nothing_left_in(engine), description="the hooks have ended")
    assert "a broken hook" in caplog.text


@pytest.mark.parametrize("hook", ["on_startup", "on_shutdown"])
async def test_a_failing_start_or_end_is_not_hidden(engines: Engines, server: Server, hook: str) -> None:
    async def broken(ctx: Ctx) -> None:
        raise RuntimeError("a broken hook")

    engine = engines.make(server, [add], burst=True, **{hook: broken})

    async def live() -> None:
        await engine.async_run()
        await engine.close()

    with pytest.raises(RuntimeError, match="a broken hook"):
        await live()
    engine.on_shutdown = None
    await engine.close()


async def test_an_answer_stands_though_its_hook_is_cancelled(
    engines: Engines, server: Server, queue: Queue
) -> None:
    hooked = asyncio.Event()

    async def endless(ctx: Ctx) -> None:
        hooked.set()
        await forever()

    engine = await engines.start(server, add, on_job_end=endless, drain_s=0)
    job = await queue.enqueue("add", 1)
    await hooked.wait()
    await engine.close()
    assert await job.result(5) == 2


async def test_a_burst_ends_when_all_lanes_are_empty(engines: Engines, server: Server, queue: Queue) -> None:
    for n in range(20):
        await queue.enqueue("add", n)
    began = time.monotonic()
    engine = await engines.burst(server, add, max_jobs=3)
    assert engine.jobs_complete == 20
    assert time.monotonic() - began < 3  # and not when the leases would have ended


async def test_a_burst_waits_for_deferred_jobs_and_retries(
    engines: Engines, server: Server, queue: Queue
) -> None:
    async def twice(ctx: Ctx) -> None:
        if ctx["job_try"] == 1:
            raise Retry(defer=0.2)

    await queue.enqueue("twice", _defer_s=0.2)
    assert (await engines.burst(server, twice)).jobs_complete == 1


async def test_a_burst_stops_at_its_limit_and_lets_its_jobs_end(
    engines: Engines, server: Server, queue: Queue
) -> None:
    async def nap(ctx: Ctx) -> None:
        await asyncio.sleep(0.3)

    for _ in range(5):
        await queue.enqueue("nap")
    engine = await engines.burst(server, nap, max_burst_jobs=3, drain_s=0)
    assert (engine.jobs_complete, engine.jobs_retried) == (3, 0)
    with server.client() as client:
        assert client.zcard(KEYS.lane("")) == client.zcard(KEYS.queue) == 2
    assert (await engines.burst(server, nap)).jobs_complete == 2


async def test_run_check_tells_of_failed_jobs(engines: Engines, server: Server, queue: Queue) -> None:
    await queue.enqueue("add", 1)
    assert await engines.make(server, [add], burst=True).run_check() == 1
    await queue.enqueue("add", "a word")
    with pytest.raises(FailedJobs):
        await engines.make(server, [add], burst=True).run_check()


async def test_health_is_recorded_and_taken_away(engines: Engines, server: Server, queue: Queue) -> None:
    engine = await engines.start(server, add, health_check_interval=5)
    await wait_until(lambda: _has(server, engine.health_check_key), description="the health check")
    assert await queue.workers_alive()
    with server.client() as client:
        assert re.search(rb"j_complete=0 .*queued=0", client.get(engine.health_check_key) or b"")
    await engine.close()
    assert not await queue.workers_alive()


async def test_a_queue_of_another_name_is_served_alone(
    engines: Engines, server: Server, plain: ArqRedis
) -> None:
    await engines.start(server, add, queue_name="other")
    default = await plain.enqueue_job("add", 1)
    other = await plain.enqueue_job("add", 1, _queue_name="other")
    assert default is not None
    assert other is not None
    assert await other.result(timeout=5, poll_delay=0.01) == 2
    assert await default.status() is JobStatus.queued


async def test_a_cron_job_runs_once_across_two_workers(engines: Engines, server: Server) -> None:
    ran = []

    async def tick(ctx: Ctx) -> None:
        ran.append(ctx["job_id"])

    for _ in range(2):
        await engines.start(server, cron_jobs=[cron(tick, second=set(range(60)))])
    await wait_until(lambda: len(ran) >= 2, description="two ticks")
    assert len(set(ran)) == len(ran)


async def test_a_cron_job_may_run_at_startup(engines: Engines, server: Server) -> None:
    ran = asyncio.Event()

    async def tick(ctx: Ctx) -> None:
        ran.set()

    await engines.start(server, cron_jobs=[cron(tick, run_at_startup=True, hour=1)])
    await asyncio.wait_for(ran.wait(), 5)


@pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning")  # arq's own
async def test_a_stock_worker_and_ours_share_a_queue(engines: Engines, server: Server, queue: Queue) -> None:
    ran: list[str] = []

    async def note(ctx: Ctx) -> None:
        ran.append(ctx["job_id"])
        await asyncio.sleep(0.02)

    ours = await engines.start(server, note, max_jobs=5)
    stock = Worker(
        [func(note, name="note")],
        redis_settings=ours.redis_settings,
        handle_signals=False,
        max_jobs=5,
        poll_delay=0.01,
        job_serializer=encode,
        job_deserializer=decode,
    )
    running = asyncio.create_task(stock.async_run())
    stock_pool = await create_pool(ours.redis_settings, job_serializer=encode, job_deserializer=decode)
    jobs = [str(n) for n in range(100)]
    for job_id in jobs:
        await stock_pool.enqueue_job("note", _job_id=job_id)
    await stock_pool.aclose(close_connection_pool=True)
    await wait_until(
        lambda: (
            ours.jobs_complete + stock.jobs_complete == 100
            and not ours.held
            and all(task.done() for task in stock.tasks.values())
        ),
        description="all have run",
    )
    await stock.close()
    await asyncio.gather(running, return_exceptions=True)
    assert sorted(ran) == sorted(jobs)
    assert ours.jobs_complete
    assert stock.jobs_complete


def _has(server: Server, key: str) -> bool:
    with server.client() as client:
        return bool(client.exists(key))
