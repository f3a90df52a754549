"""Two databases of one server: publish and subscribe knows none, and yet nothing crosses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from arq import ArqRedis, create_pool
from redis.asyncio import Redis

from client import Queue, decode, encode, redis_settings
from client.redis.connection import keys_at
from client.session import Session
from client.wire.keys import KEYS, Keys
from tests.conftest import Server, forever, wait_until
from tests.engine.rig import Engines

ONE = Keys(database=1)
Ctx = dict[str, Any]


@pytest.fixture
def server(server: Server) -> Iterator[Server]:
    yield server
    with server.client() as client:
        client.flushall()


@pytest.fixture
async def in_one(server: Server) -> AsyncIterator[Queue]:
    """An open queue in database 1."""
    async with Queue.from_url(f"{server.url}?db=1") as queue:
        yield queue


async def run(ctx: Ctx) -> None:
    await forever()


async def start_in_one(engines: Engines, server: Server, *functions: Any) -> Any:
    settings = redis_settings(f"{server.url}?db=1")
    engine = engines.make(server, functions, redis_settings=settings)
    running = asyncio.create_task(engine.async_run())
    with server.client() as client:
        await wait_until(
            lambda: running.done() or client.pubsub_numsub(ONE.wake_channel)[0][1] > 0,
            description="the engine in database 1 listens",
        )
    return engine


async def test_an_abort_in_one_database_ends_no_job_of_the_other(
    engines: Engines, server: Server, queue: Queue, in_one: Queue
) -> None:
    zero, one = await engines.start(server, run), await start_in_one(engines, server, run)
    jobs = [await each.enqueue("run", _job_id="both") for each in (queue, in_one)]
    await wait_until(lambda: bool(zero.runs and one.runs), description="both run")
    assert await jobs[1].abort() is True
    assert list(zero.runs) == ["both"]
    assert await jobs[0].abort() is True


@pytest.mark.parametrize("database", [0, 1])
async def test_an_abort_that_only_a_channel_tells_of_is_none(
    engines: Engines, server: Server, queue: Queue, in_one: Queue, database: int
) -> None:
    """As a client of the version before sends it in any database."""
    start, mine = [(engines.start, queue), (start_in_one, in_one)][database]
    engine = await (start(server, run) if start == engines.start else start_in_one(engines, server, run))
    await mine.enqueue("run", _job_id="a")
    await wait_until(lambda: bool(engine.runs), description="it runs")
    current = engine.runs["a"]
    with server.client() as client:
        for channel in (KEYS.wake_channel, ONE.wake_channel):
            client.publish(channel, "a")
    engine._hear_abort("a")
    await wait_until(lambda: not engine._background, description="Redis was asked")
    assert current.stop is None
    assert await mine.job("a").abort() is True


async def test_an_abort_of_a_client_whose_clock_is_slow_is_heard(
    engines: Engines, server: Server, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job was enqueued by a clock that is ahead of the server's."""
    engine = await engines.start(server, run)
    monkeypatch.setattr("client.wire.record.time_ns", lambda: 9_999_999_999_999 * 1_000_000)
    job = await queue.enqueue("run")
    monkeypatch.undo()
    await wait_until(lambda: bool(engine.runs), description="it runs")
    assert await job.abort(5) is True


async def test_readers_hear_nothing_of_the_other_database(
    engines: Engines, server: Server, queue: Queue, in_one: Queue
) -> None:
    async def say(ctx: Ctx) -> str:
        with (
            server.client() as client
        ):  # what a worker of the version before says in database 1, and one of now in 0
            client.publish(KEYS.events_channel("a"), '7-1 {"k":"delta","t":"theirs"}')
            client.publish(KEYS.done_channel("a"), "")
        return "zero"

    await engines.start(server, say)
    waiting = await in_one.enqueue("say", _job_id="a")
    result = asyncio.create_task(waiting.result())
    heard: list[str] = []

    async def follow() -> None:
        async for event in waiting.stream():
            heard.append(event.kind)

    reader = asyncio.create_task(follow())
    with server.client() as client:
        await wait_until(
            lambda: client.pubsub_numsub(ONE.events_channel("a"))[0][1] == 1, description="the reader listens"
        )
    assert await (await queue.enqueue("say", _job_id="a")).result(5) == "zero"
    assert not heard
    assert not result.done()
    assert await waiting.abort() is True
    with suppress(Exception):
        await result
    await reader
    assert heard == ["error"]


async def test_a_call_that_waits_in_another_database_gets_its_slot(in_one: Queue) -> None:
    await in_one.limits.set("gpu", concurrency=1)
    first = in_one.limits.slot("gpu")
    await first.enter()
    try:
        waiting = asyncio.create_task(_enter(in_one))
        redis = in_one.session.redis

        async def stands() -> bool:
            return bool(await redis.pubsub_channels(ONE.calls_channel("*")))

        await wait_until(stands, description="it listens")
    finally:
        await first.leave(None)
    assert await asyncio.wait_for(waiting, 5) == ("gpu",)


async def _enter(queue: Queue) -> tuple[str, ...]:
    async with queue.limits.slot("gpu") as slot:
        return slot.keys


async def test_the_database_is_that_of_the_connection_however_it_is_made(server: Server) -> None:
    pool: ArqRedis = await create_pool(
        redis_settings(f"{server.url}?db=3"), job_serializer=encode, job_deserializer=decode
    )
    handed_in = Redis(unix_socket_path=str(server.socket), db=2)
    session = Session(handed_in, handed_in)
    assert (keys_at(pool).database, session.keys.database, Session.from_url(server.url).keys.database) == (
        *(3, 2, 0),
    )
    await pool.aclose(close_connection_pool=True)
    await session.close()
    assert keys_at(Session.from_url("redis+sentinel://h:1/m/4").redis).database == 4
