"""What arq promises of a job, kept by the engine."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from arq import ArqRedis, Retry
from arq.jobs import JobStatus
from arq.worker import func

from client import JobStatus as OurStatus
from client import Queue
from client.errors import JobExpired, JobFailed, JobTimedOut, TriesExhausted
from client.wire.keys import KEYS
from client.wire.schemas import Attempt
from tests.conftest import Server, forever, wait_until
from tests.engine.rig import Engines
from worker.signals import Throttled

Ctx = dict[str, Any]


async def add(ctx: Ctx, a: int, b: int = 1) -> int:
    return a + b


async def tell(ctx: Ctx) -> dict[str, Any]:
    told = {name: ctx[name] for name in ("job_id", "job_try", "score")}
    return told | {"enqueue_time": ctx["enqueue_time"].isoformat()}


async def test_a_job_gets_its_arguments_and_its_context(
    engines: Engines, server: Server, queue: Queue
) -> None:
    await engines.start(server, add, tell)
    assert await (await queue.enqueue("add", 1, b=2)).result(5) == 3
    told = await (await queue.enqueue("tell", _job_id="mine")).result(5)
    assert told["job_id"] == "mine"
    assert told["job_try"] == 1
    enqueued_at = datetime.fromisoformat(told["enqueue_time"])
    assert abs((datetime.now(UTC) - enqueued_at).total_seconds()) < 5
    assert told["score"] / 1000 <= enqueued_at.timestamp() + 1  # less its priority's head start


async def test_a_plain_arq_client_enqueues_waits_and_reads_the_state(
    engines: Engines, server: Server, plain: ArqRedis
) -> None:
    await engines.start(server, add)
    job = await plain.enqueue_job("add", 40, b=2)
    assert job is not None
    assert await job.result(timeout=5, poll_delay=0.01) == 42
    assert await job.status() is JobStatus.complete


async def test_a_deferred_job_starts_no_sooner_than_it_may(
    engines: Engines, server: Server, queue: Queue, plain: ArqRedis
) -> None:
    await engines.start(server, add)
    began = time.monotonic()
    ours = await queue.enqueue("add", 1, _defer_s=0.3)
    theirs = await plain.enqueue_job("add", 1, _defer_by=0.3)
    assert theirs is not None
    assert await ours.status() == OurStatus.deferred
    await ours.result(5)
    assert time.monotonic() - began >= 0.3
    await theirs.result(timeout=5, poll_delay=0.01)
    assert 0.3 <= time.monotonic() - began < 1


async def test_an_id_runs_once_until_its_result_is_forgotten(
    engines: Engines, server: Server, queue: Queue, plain: ArqRedis
) -> None:
    ran = []

    async def note(ctx: Ctx, n: int) -> None:
        ran.append(n)

    await engines.start(server, note)
    for n in (1, 2):
        await (await queue.enqueue("note", n, _job_id="same")).result(5)
    assert await plain.enqueue_job("note", 3, _job_id="same") is None
    await queue.forget(["same"])
    await (await queue.enqueue("note", 4, _job_id="same")).result(5)
    assert ran == [1, 4]


async def test_a_job_whose_deadline_has_passed_is_not_started(
    engines: Engines, server: Server, queue: Queue, plain: ArqRedis
) -> None:
    job = await plain.enqueue_job("add", 1, _expires=0.01)
    assert job is not None
    with server.client() as client:
        await wait_until(lambda: not client.exists(KEYS.job(job.job_id)), description="it expires")
    await engines.start(server, add)
    await wait_until(lambda: _has(server, KEYS.result(job.job_id)), description="it is given up")
    with pytest.raises(JobExpired):
        await queue.job(job.job_id).result(5)


async def test_a_job_that_expired_before_it_ran_tells_its_function_and_where_it_waited(
    engines: Engines, server: Server, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "arq.worker")
    own = await queue.enqueue("add", 1, _job_id="own", _tenant="acme", _deadline_s=0.01)
    chat = await queue.chat("hi", job_id="llm", model="a/m", deadline_s=0.01)
    with server.client() as client:
        await wait_until(
            lambda: not client.exists(KEYS.job(own.id), KEYS.job(chat.id)), description="they expire"
        )
    await engines.start(server, add)
    for job, function, lane in ((own, "add", "tenant:acme"), (chat, "chat", "a/m")):
        with pytest.raises(JobExpired, match=rf" It waited in the lane {lane}\.$") as expiry:
            await job.result(5)
        await wait_until(partial(_has, server, KEYS.result(job.id)), description="a worker has said so")
        assert expiry.value.details == {"function": function, "lane": lane}
        info = await job.info()
        assert (info.function, info.error) == (function, str(expiry.value))
        assert f"{job.id}:{function} failed, JobExpired: " in caplog.text
        with server.client() as client:
            assert not client.exists(KEYS.last(job.id))


@pytest.mark.parametrize("signal", [Retry, Throttled])
async def test_a_job_that_ran_until_its_deadline_tells_of_its_last_run(
    engines: Engines, server: Server, queue: Queue, caplog: pytest.LogCaptureFixture, signal: type[Retry]
) -> None:
    async def refused(ctx: Ctx) -> None:
        call = Attempt(number=7, model="a/m", started_at=datetime.now(UTC), duration_s=1, error="Overloaded")
        ctx.meter.attempts.append(call)  # type: ignore[attr-defined]  # as jobs that call models do
        again = signal(defer=0.3)
        again.add_note("The provider is overloaded.")
        raise again

    caplog.set_level(logging.INFO, "arq.worker")
    await engines.start(server, refused)
    job = await queue.enqueue("refused", _job_id="late", _deadline_s=0.2)
    with pytest.raises(
        JobExpired, match=r"in 7 attempts\. The last error: The provider is overloaded\."
    ) as expiry:
        await job.result(10)
    assert expiry.value.details["attempts"] == 7
    info = await job.info()
    assert (info.function, info.error) == ("refused", str(expiry.value))
    assert "late:refused runs again in 0.30 s: The provider is overloaded." in caplog.text
    assert "late:refused failed, JobExpired: " in caplog.text
    with server.client() as client:
        assert not client.exists(KEYS.last("late"))


async def test_a_job_that_keeps_its_place_is_logged_without_a_moment_for_a_delay(
    engines: Engines, server: Server, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    async def once(ctx: Ctx) -> int:
        if not ctx["has_run"]:
            raise Throttled
        return 1

    caplog.set_level(logging.INFO, "arq.worker")
    await engines.start(server, once)
    assert await (await queue.enqueue("once", _job_id="a")).result(5) == 1
    assert "a:once runs again in its turn: Throttled" in caplog.text


async def test_retry_waits_for_its_delay_and_counts_tries(
    engines: Engines, server: Server, queue: Queue
) -> None:
    began: list[float] = []

    async def thrice(ctx: Ctx) -> int:
        began.append(time.monotonic())
        if ctx["job_try"] < 3:
            raise Retry(defer=0.2)
        return int(ctx["job_try"])

    await engines.start(server, thrice)
    assert await (await queue.enqueue("thrice")).result(5) == 3
    assert all(0.2 <= later - earlier < 0.6 for earlier, later in pairwise(began))


async def test_tries_run_out(engines: Engines, server: Server, queue: Queue) -> None:
    tries = []

    async def never(ctx: Ctx) -> None:
        tries.append(ctx["job_try"])
        raise Retry

    await engines.start(server, func(never, name="never", max_tries=2))
    with pytest.raises(TriesExhausted):
        await (await queue.enqueue("never")).result(5)
    assert tries == [1, 2]


async def test_without_retry_jobs_a_retry_is_a_failure(
    engines: Engines, server: Server, queue: Queue
) -> None:
    async def again(ctx: Ctx) -> None:
        raise Retry

    engine = await engines.start(server, again, retry_jobs=False)
    with pytest.raises(JobFailed):
        await (await queue.enqueue("again")).result(5)
    assert (engine.jobs_failed, engine.jobs_retried) == (1, 0)


async def test_a_timeout_ends_the_job_and_says_so(engines: Engines, server: Server, queue: Queue) -> None:
    cancelled = asyncio.Event()

    async def slow(ctx: Ctx) -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await engines.start(server, func(slow, name="slow", timeout=0.1))
    with pytest.raises(JobTimedOut):
        await (await queue.enqueue("slow")).result(5)
    assert cancelled.is_set()


async def test_a_job_uses_redis_and_awaits_another_job(
    engines: Engines, server: Server, queue: Queue
) -> None:
    async def outer(ctx: Ctx, a: int) -> int:
        inner = await ctx["redis"].enqueue_job("add", a)
        return int(await inner.result(timeout=5, poll_delay=0.01)) * 10

    await engines.start(server, add, outer)
    assert await (await queue.enqueue("outer", 1)).result(5) == 20


def _has(server: Server, key: str) -> bool:
    with server.client() as client:
        return bool(client.exists(key))
