"""A queue with a name of its own is one queue of arq's: it keeps apart what it has, and refuses the rest."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from arq import create_pool
from arq.worker import Worker, func

from client import InvalidRequest, JobNotFound, Queue, SyncQueue, decode, encode, redis_settings
from client.errors import JobFailed
from tests.conftest import KEYS, Server
from tests.engine.rig import Engines

NAME = "staging"
Ctx = dict[str, Any]


@pytest.fixture
async def staging(server: Server) -> AsyncIterator[Queue]:
    async with Queue.from_url(server.url, name=NAME) as queue:
        yield queue


@pytest.fixture
async def engines(server: Server) -> AsyncIterator[Engines]:
    engines = Engines()
    yield engines
    await engines.close()
    with server.client() as client:
        client.delete(KEYS.lanes, KEYS.own_lanes(NAME))


async def say(ctx: Ctx) -> str:
    return str(ctx.get("said", "production"))


async def chat(ctx: Ctx, request: Any) -> str:
    return "never"


REFUSED: dict[str, Callable[[Queue], Any]] = {
    "chat": lambda queue: queue.chat("hi"),
    "chat_many": lambda queue: queue.chat_many(["hi"]),
    "embed": lambda queue: queue.embed("hi"),
    "embed_many": lambda queue: queue.embed_many(["hi"]),
    "a chat as a function": lambda queue: queue.enqueue("chat", {"messages": []}),
    "tenant": lambda queue: queue.enqueue("say", _tenant="acme"),
    "conversation": lambda queue: queue.enqueue("say", _conversation="1"),
    "limits": lambda queue: queue.enqueue("say", _limits=["gpu"]),
    "lane": lambda queue: queue.enqueue("say", _lane="bulk"),
    "costs": lambda queue: queue.costs(),
    "forget": lambda queue: queue.forget(["a"]),
    "dead letters": lambda queue: queue.dead.count(),
    "a limit": lambda queue: queue.limits.set("gpu", rpm=1),
    "a slot": lambda queue: queue.limits.slot("gpu").enter(),
    "a stream": lambda queue: anext(queue.job("a").stream()),
}


@pytest.mark.parametrize("verb", REFUSED)
async def test_what_a_name_does_not_keep_apart_is_refused(server: Server, staging: Queue, verb: str) -> None:
    with pytest.raises(InvalidRequest, match="for a queue with a name='staging'"):
        await REFUSED[verb](staging)
    with server.client() as client:
        assert client.keys() == []


async def test_its_jobs_are_run_by_workers_of_its_name_alone(
    engines: Engines, server: Server, queue: Queue, staging: Queue
) -> None:
    theirs = [await staging.enqueue("say"), await staging.enqueue("say", _priority="high")]
    ours = await queue.enqueue("say")
    await engines.burst(server, say)
    assert await ours.result(5) == "production"
    assert [await job.status() for job in theirs] == ["queued", "queued"]
    ours = await queue.enqueue("say")
    await engines.burst(server, say, queue_name=NAME, ctx={"said": "staging"})
    assert [await job.result(5) for job in theirs] == ["staging", "staging"]
    assert await ours.status() == "queued"


async def test_what_the_version_before_has_put_among_the_lanes_is_left_to_its_workers(
    engines: Engines, server: Server, staging: Queue
) -> None:
    job = await staging.enqueue("say")
    with server.client() as client:
        client.zadd(KEYS.lanes, {NAME: 1})
        await engines.burst(server, say)
        assert client.zscore(KEYS.lanes, NAME) is None
    assert await job.status() == "queued"
    await engines.burst(server, say, queue_name=NAME)
    assert await job.result(5) == "production"


@pytest.mark.plain("arq's own clients and workers know no namespace")
@pytest.mark.filterwarnings("ignore:Call to deprecated close")
async def test_a_stock_worker_of_the_name_runs_them(server: Server, staging: Queue) -> None:
    job = await staging.enqueue("say", _job_id="a")
    pool = await create_pool(redis_settings(server.url), job_serializer=encode, job_deserializer=decode)
    stock = Worker(
        [func(say, name="say")],
        redis_pool=pool,
        queue_name=NAME,
        burst=True,
        poll_delay=0.01,
        handle_signals=False,
        job_serializer=encode,
        job_deserializer=decode,
    )
    await stock.async_run()
    await stock.close()
    assert await job.result(5) == "production"
    with server.client() as client:
        assert client.exists(KEYS.lanes, KEYS.own_lanes(NAME)) == 0


async def test_a_call_that_somebody_put_there_fails_and_does_not_go_into_the_lanes_of_all(
    engines: Engines, server: Server, staging: Queue
) -> None:
    from worker.signals import Reroute  # what jobs of ours raise where they stand in arq's queue

    async def moves(ctx: Ctx) -> None:
        raise Reroute("openai/m")

    job = await staging.enqueue("moves")
    await engines.burst(server, moves, queue_name=NAME)
    with pytest.raises(JobFailed, match="run in lanes, which a queue of arq's with a name"):
        await job.result(5)
    with server.client() as client:
        assert client.exists(KEYS.lane("openai/m")) == 0


@pytest.mark.plain("arq's own clients and workers know no namespace")
async def test_jobs_of_other_queues_are_not_there_for_it(
    engines: Engines, server: Server, queue: Queue, staging: Queue
) -> None:
    await queue.enqueue("say", _job_id="waits", _defer_s=600)
    await queue.enqueue("say", _job_id="ended")
    plain = await create_pool(redis_settings(server.url), job_serializer=encode, job_deserializer=decode)
    await plain.enqueue_job("say", _job_id="plain", _defer_by=600)
    await plain.enqueue_job("say", _job_id="own", _queue_name=NAME, _defer_by=600)
    await plain.aclose(close_connection_pool=True)
    await engines.burst(server, say, max_burst_jobs=1)
    for job_id in ("waits", "ended", "plain"):
        job = staging.job(job_id)
        assert (await job.status(), await job.abort()) == ("not_found", False)
        with pytest.raises(JobNotFound):
            await job.info()
        with pytest.raises(InvalidRequest, match="that of a job in another queue"):
            await staging.enqueue("say", _job_id=job_id)
    with pytest.raises(JobNotFound):
        await staging.job("ended").result(5)
    assert await staging.job("own").status() == "deferred"
    assert await staging.job("own").abort() is True
    assert await queue.job("waits").abort() is True
    assert await queue.job("plain").abort() is True


async def test_the_same_id_twice_is_one_job(staging: Queue) -> None:
    jobs = [await staging.enqueue("say", _job_id="a") for _ in range(2)]
    assert [job.id for job in jobs] == ["a", "a"]
    assert await jobs[0].abort() is True


@pytest.mark.parametrize("name", ["", "a\nb", "mill:lanes", 7])
def test_a_name_that_cannot_be_one_is_refused(name: Any) -> None:
    with pytest.raises(InvalidRequest, match="The name of a queue"):
        Queue.from_url("redis://localhost", name=name)


async def test_the_name_of_arqs_queue_is_none_of_its_own(server: Server) -> None:
    async with Queue.from_url(server.url, name=KEYS.queue) as queue:
        assert await (await queue.chat("hi", job_id="a")).abort() is True


def test_the_blocking_queue_refuses_the_same(server: Server) -> None:
    with SyncQueue(server.url, name=NAME) as mill:
        for verb in (lambda: mill.chat("hi"), mill.dead.count, mill.limits.list, mill.costs):
            with pytest.raises(InvalidRequest, match="name='staging'"):
                verb()
        with pytest.raises(InvalidRequest, match="There are no streams"):
            next(mill.job("a").stream())
        job = mill.enqueue("say", _job_id="a")
        assert (job.status(), job.abort(), time.time() > 0) == ("queued", True, True)
