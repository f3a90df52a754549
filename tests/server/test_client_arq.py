"""arq's own clients and ours read each other's jobs and results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from arq import ArqRedis, create_pool
from arq.jobs import Job as ArqJob
from arq.jobs import JobStatus as ArqStatus
from arq.jobs import ResultNotFound
from arq.worker import Worker, func

from client import Job, JobAborted, JobStatus, Queue, ResultTimeout, decode, encode, errors, redis_settings
from tests.conftest import KEYS, Server, wait_until
from tests.engine.rig import Engines

pytestmark = pytest.mark.plain("arq's own clients and workers know no namespace")


@pytest.fixture
async def arq(server: Server) -> AsyncIterator[ArqRedis]:
    """A pool as any arq program makes one, with our codec."""
    pool = await create_pool(redis_settings(server.url), job_serializer=encode, job_deserializer=decode)
    yield pool
    await pool.aclose(close_connection_pool=True)


async def add(ctx: dict[str, Any], number: int) -> int:
    return number + 1


async def arqs(queue: Queue, arq: ArqRedis, *args: Any, function: str = "chat") -> Job[Any]:
    """Our handle of a job that arq has enqueued."""
    sent = await arq.enqueue_job(function, *args)
    assert sent is not None
    return queue.job(sent.job_id)


async def work(server: Server) -> None:
    """A stock arq worker runs what is queued."""

    async def chat(ctx: dict[str, Any], request: dict[str, Any]) -> str:
        if "fail" in request:
            raise errors.RateLimited("Slow down.", status=429)
        return f"answer to {request['messages'][0]['content']}"

    worker = Worker(
        [func(chat, name="chat")],
        redis_settings=redis_settings(server.url),
        job_serializer=encode,
        job_deserializer=decode,
        burst=True,
        poll_delay=0.01,
        handle_signals=False,
    )
    await worker.async_run()
    await worker.pool.aclose(close_connection_pool=True)  # its close() calls a deprecated method


async def test_our_queue_reads_a_job_that_arq_enqueued(server: Server, queue: Queue, arq: ArqRedis) -> None:
    request = {"messages": [{"role": "user", "content": "hi"}]}
    sent = await arq.enqueue_job("chat", request, _job_id="a")
    assert sent is not None
    info = await queue.job("a").info()
    assert (info.status, info.function) == (JobStatus.queued, "chat")
    await work(server)
    assert await queue.job("a").result(5) == "answer to hi"
    info = await queue.job("a").info()
    assert (info.success, info.tries) == (True, 1)


async def test_arq_reads_a_job_that_we_enqueued(server: Server, queue: Queue, arq: ArqRedis) -> None:
    job = await queue.enqueue("add", 1)
    theirs = ArqJob(job.id, arq, _deserializer=decode)
    definition = await theirs.info()
    assert definition is not None
    assert (definition.function, await theirs.status()) == (
        "add",
        ArqStatus.deferred,
    )  # out of a stock worker's reach
    await Engines().burst(server, add)
    assert await theirs.result(timeout=5) == 2
    assert [result.job_id for result in await arq.all_job_results()] == [job.id]
    assert not await queue.session.redis.exists(KEYS.queue)


def test_the_words_for_the_state_of_a_job_are_arqs() -> None:
    ours, theirs = list[object](JobStatus), list[object](ArqStatus)
    assert ours == theirs
    assert list(map(str, ours)) == list(map(str, theirs))
    assert list(map(hash, ours)) == list(map(hash, theirs))


async def test_arq_reads_a_chat_in_its_lane(queue: Queue, arq: ArqRedis) -> None:
    job = await queue.chat("hi", model="openai/m", tenant="acme")
    theirs = ArqJob(job.id, arq, KEYS.lane("openai/m|tenant:acme"), decode)
    definition = await theirs.info()
    assert definition is not None
    assert (definition.function, await theirs.status()) == ("chat", ArqStatus.queued)
    assert [found.job_id for found in await arq.queued_jobs(queue_name=theirs._queue_name)] == [job.id]


async def test_arq_raises_our_typed_errors(server: Server, queue: Queue, arq: ArqRedis) -> None:
    job = await arqs(queue, arq, {"fail": True})
    await work(server)
    with pytest.raises(errors.RateLimited, match=r"Slow down\.") as raised:
        await ArqJob(job.id, arq, _deserializer=decode).result(timeout=5)
    assert raised.value.status == 429
    with pytest.raises(errors.RateLimited):
        await job.result(5)


async def test_arqs_own_endings_are_our_typed_errors(server: Server, queue: Queue, arq: ArqRedis) -> None:
    unknown = await arqs(queue, arq, function="no_such_function")
    await work(server)
    with pytest.raises(errors.UnknownFunction, match="JOB_MODULES"):
        await unknown.result(5)


async def test_arq_sees_our_abort_as_a_cancellation(queue: Queue, arq: ArqRedis) -> None:
    job = await queue.chat("hi")
    assert await job.abort()
    with pytest.raises(asyncio.CancelledError):
        await ArqJob(job.id, arq, _deserializer=decode).result(timeout=5)
    with pytest.raises(JobAborted):
        await job.result(5)
    with pytest.raises(ResultNotFound):
        await ArqJob("unknown", arq, _deserializer=decode).result(timeout=5)


async def test_an_id_that_arq_has_queued_is_not_queued_again(queue: Queue, arq: ArqRedis) -> None:
    await arq.enqueue_job("chat", {"messages": []}, _job_id="a", _defer_by=timedelta(seconds=60))
    await queue.chat("hi", job_id="a")
    assert await queue.job("a").status() == JobStatus.deferred
    await queue.chat("hi", job_id="b")
    assert await arq.enqueue_job("chat", {}, _job_id="b") is None


async def test_a_result_that_a_stock_worker_does_not_announce_is_found(
    server: Server, queue: Queue, arq: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.follow.sweep.EVERY_S", 0.01)
    job = await arqs(queue, arq, {"messages": [{"content": "hi"}]})
    with pytest.raises(ResultTimeout):
        await job.result(0)
    waiting = asyncio.create_task(job.result(10))
    await wait_until(lambda: bool(queue.session.listener._waiters), description="the waiter")
    await work(server)
    assert await waiting == "answer to hi"
