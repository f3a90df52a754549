"""A plain installation and two namespaces on one server, with the same ids, lanes and limits: nothing crosses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from arq import ArqRedis, cron

from client import (
    Attempt,
    InvalidRedisURL,
    InvalidRequest,
    JobAborted,
    Limit,
    Queue,
    arq_pool,
    redis_settings,
)
from client.arq import settings_at
from client.errors import RateLimited
from client.redis.connection import keys_at
from client.redis.url import server_address
from client.wire.keys import Keys
from promptmill.cli.doctor.probe import probe
from promptmill.cli.stats import read_stats
from promptmill.dialects import Delta
from tests.conftest import Server, forever, wait_until
from tests.engine.rig import Engines
from worker.engine import Engine
from worker.jobs.totals import Totals
from worker.streams import Relay

NAMES = ("", "a", "a-b")
LANE: Any = {"_tenant": "acme", "_limits": ["gpu"], "_lane": "bulk"}
Ctx = dict[str, Any]


@dataclass
class Installation:
    """One of them: its client, and its worker."""

    name: str
    queue: Queue
    pool: ArqRedis
    engine: Engine

    @property
    def keys(self) -> Keys:
        return self.queue.session.keys


async def say(ctx: Ctx, words: str = "") -> str:
    return f"{ctx['said']}{words}"


async def run(ctx: Ctx) -> None:
    await forever()


async def fail(ctx: Ctx) -> None:
    raise RateLimited("Slow down.", status=429)


async def stream(ctx: Any) -> str:
    relay = Relay(ctx["redis"], keys_at(ctx["redis"]))
    async with relay.line(ctx.job_id, ctx.token, ctx.meter) as tell:
        tell(Delta(text=ctx["said"]))
    await relay.close()
    return str(ctx["said"])


async def pay(ctx: Any) -> None:
    totals = Totals(ctx["redis"])
    call = totals.begin("openai/m", "acme")
    usd = {"": 1.0, "a": 2.0, "a-b": 4.0}[ctx["said"]]
    told = Attempt(number=1, model="openai/m", started_at=datetime.now(UTC), duration_s=1, cost_usd=usd)
    totals.end(call, told)
    await totals.close()


async def tick(ctx: Ctx) -> None:
    ctx["ticks"].append(ctx["said"])


@pytest.fixture
def server(server: Server) -> Iterator[Server]:
    yield server
    with server.client() as client:
        client.flushall()


def url_of(server: Server, name: str) -> str:
    return f"{server.url}?namespace={name}" if name else server.url


def settings_of(server: Server, name: str) -> Any:
    return settings_at(server_address(url_of(server, name)))


@pytest.fixture
async def all_(server: Server) -> AsyncIterator[list[Installation]]:
    async with installations(server) as all_:
        yield all_


@asynccontextmanager
async def installations(server: Server, *crons: Any) -> AsyncIterator[list[Installation]]:
    """All three, each with a worker that is told which it is."""
    engines, found, functions = Engines(), list[Installation](), (say, run, fail, stream, pay)
    for name in NAMES:
        settings = settings_of(server, name)
        shared = {"said": name, "ticks": []}
        engine = engines.make(
            server,
            functions,
            redis_settings=settings,
            ctx=shared,
            cron_jobs=[cron(each, run_at_startup=True, hour=1) for each in crons],
            health_check_interval=5,
        )
        running = asyncio.create_task(engine.async_run())
        queue = Queue.from_url(url_of(server, name))
        found.append(Installation(name, queue, arq_pool(url_of(server, name)), engine))
        with server.client() as client:
            channel = found[-1].keys.wake_channel
            await wait_until(
                lambda done=running, at=channel: done.done() or client.pubsub_numsub(at)[0][1] > 0,  # type: ignore[misc]
                description=f"the worker of {name!r} listens",
            )
    try:
        yield found
    finally:
        for each in found:
            await each.queue.close()
            await each.pool.aclose()
        await engines.close()


async def test_the_same_ids_lanes_and_limits_are_three_jobs(all_: list[Installation], server: Server) -> None:
    for each in all_:
        await each.queue.limits.set("gpu", concurrency=1)
    jobs = [await each.queue.enqueue("say", _job_id="{b}:x", **LANE) for each in all_]
    assert [await job.result(5) for job in jobs] == list(NAMES)
    for each in all_:
        info = await each.queue.job("{b}:x").info()
        assert info.success
        await each.queue.forget(["{b}:x"])
        assert await each.queue.job("{b}:x").status() == "not_found"
        others = all_[all_.index(each) + 1 :]
        assert [await other.queue.job("{b}:x").status() for other in others] == ["complete"] * len(others)
    assert_every_key_has_its_own_prefix(server)


async def test_an_abort_ends_one_of_three(all_: list[Installation]) -> None:
    jobs = [await each.queue.enqueue("run", _job_id="a") for each in all_]
    await wait_until(lambda: all(each.engine.runs for each in all_), description="all run")
    for n, each in enumerate(all_):
        assert await jobs[n].abort(5) is True
        assert [list(other.engine.runs) for other in all_] == [[]] * (n + 1) + [["a"]] * (
            len(all_) - n - 1
        ), each
    with pytest.raises(JobAborted):
        await jobs[0].result(5)


async def test_each_reader_reads_its_own_stream(all_: list[Installation], server: Server) -> None:
    async def text(each: Installation) -> str:
        return "".join([event.text or "" async for event in each.queue.job("a").stream()])

    for each in all_[1:]:
        await each.queue.enqueue("stream", _job_id="a")
    reading = [asyncio.create_task(text(each)) for each in all_[1:]]
    await all_[0].queue.enqueue("stream", _job_id="a")
    async with asyncio.timeout(10):
        assert [await each for each in reading] == ["a", "a-b"]
        assert await text(all_[0]) == ""
    assert_every_key_has_its_own_prefix(server)


async def test_limits_slots_and_cooldowns_are_each_ones_own(all_: list[Installation]) -> None:
    one, other, third = (each.queue for each in all_)
    await one.limits.set("openai/m", concurrency=1, usd_total=5)
    await other.limits.set("openai/m", concurrency=1)
    held = [each.limits.slot("openai/m", wait_s=0) for each in (one, other, third)]
    for block in held:  # each has the one slot of its own limit
        await block.enter()
    waiting = asyncio.create_task(enter(other))
    await wait_until(lambda: each_listens(all_[1]), description="another waits for it")
    await held[0].leave(None)
    await held[2].leave(None)
    assert not waiting.done()
    await held[1].leave(None)
    assert await waiting == ("openai/m", "openai")
    with suppress(RateLimited):
        async with one.limits.slot("openai/m"):
            raise RateLimited("Slow down.", status=429, retry_after_s=60)
    states = [await each.limits.list("openai/m") for each in (one, other)]
    assert [bool(state.cooldown_s) for (state,) in states] == [True, False]
    assert [state.limit for state in await third.limits.list("openai/m")] == [Limit()]
    await one.limits.remove("openai/m")
    assert [state.limit.concurrency for state in await other.limits.list("openai/m")] == [1]


async def each_listens(of: Installation) -> bool:
    return bool(await of.queue.session.redis.pubsub_channels(of.keys.calls_channel("*")))


async def enter(queue: Queue) -> tuple[str, ...]:
    async with queue.limits.slot("openai/m", wait_s=5) as slot:
        return slot.keys


async def test_costs_dead_letters_and_the_tools_tell_of_one(all_: list[Installation], server: Server) -> None:
    paid = [await each.queue.enqueue("pay") for each in all_]
    for n, job in enumerate(paid):
        await job.result(5)
        assert [total.usd for total in await all_[n].queue.costs()] == [2.0**n]
    dying = all_[1].queue
    job = await dying.enqueue("fail", _job_id="a")
    with pytest.raises(RateLimited):
        await job.result(5)
    assert [await each.queue.dead.count() for each in all_] == [0, 1, 0]
    assert await all_[2].queue.dead.retry() == []
    assert (await dying.dead.get("a")).lane == all_[1].keys.lane("")
    await all_[2].queue.enqueue("say", _defer_s=600)
    await all_[0].queue.enqueue("run")
    await wait_until(lambda: bool(all_[0].engine.runs), description="it runs")
    stats = [await read_stats(each.queue) for each in all_]
    assert [(found.running, found.deferred) for found in stats] == [(1, 0), (0, 0), (0, 1)]
    assert all(found.workers for found in stats)
    await all_[1].engine.close()
    assert [(await probe(each.queue)).workers_alive for each in all_] == [True, False, True]
    assert [await each.queue.workers_alive() for each in all_] == [True, False, True]
    assert_every_key_has_its_own_prefix(server)


async def test_cron_jobs_are_each_ones_own(server: Server) -> None:
    async with installations(server, tick) as ticking:
        await wait_until(
            lambda: all(each.engine.ctx["ticks"] == [each.name] for each in ticking),
            description="each has run its cron job once",
        )


async def test_arqs_pool_and_its_jobs_are_each_ones_own(all_: list[Installation], server: Server) -> None:
    for each in all_:
        for pool in (each.pool, each.engine.pool):
            sent = await pool.enqueue_job("say", "!", _job_id=f"{id(pool)}")
            assert sent is not None
            assert await pool.enqueue_job("say", "!", _job_id=f"{id(pool)}") is None
            assert await sent.result(timeout=5, poll_delay=0.01) == f"{each.name}!"
            assert (await sent.status(), (await sent.info()).function) == ("complete", "say")  # type: ignore[union-attr]
        running = await each.pool.enqueue_job("run")
        assert running is not None
        await wait_until(lambda at=each: bool(at.engine.runs), description="it runs")  # type: ignore[misc]
        assert await running.abort(timeout=5, poll_delay=0.01) is True
    assert_every_key_has_its_own_prefix(server)


async def test_a_queue_with_a_name_of_its_own_is_within_the_namespace(server: Server) -> None:
    engines = Engines()
    jobs = []
    for name in NAMES:
        async with Queue.from_url(url_of(server, name), name="exports") as queue:
            jobs.append(await queue.enqueue("say", _job_id="a"))
            with pytest.raises(InvalidRequest, match="name='exports'"):
                await queue.chat("hi")
            settings = settings_of(server, name)
            await engines.burst(
                server, say, redis_settings=settings, queue_name="exports", ctx={"said": name}
            )
            assert await jobs[-1].result(5) == name
    await engines.close()
    assert_every_key_has_its_own_prefix(server)
    with pytest.raises(InvalidRequest, match="no key of another kind"):
        Queue.from_url(server.url, name="{a}:arq:queue")


def test_arqs_own_pool_is_refused_a_namespace() -> None:
    with pytest.raises(InvalidRedisURL, match=r"take client\.arq_pool\(url\)"):
        redis_settings("redis://h?namespace=a")


@pytest.mark.parametrize(
    "form", ["redis://h", "rediss://h", "unix:///s", "redis+sentinel://h/m", "rediss+sentinel://h/m"]
)
def test_every_form_of_url_takes_a_namespace(form: str) -> None:
    queue = Queue.from_url(f"{form}?db=3&namespace=a")
    assert queue.session.keys == keys_at(queue.session.signals) == Keys("{a}:", 3)
    assert keys_at(arq_pool(f"{form}?namespace=a")) == Keys("{a}:")


def assert_every_key_has_its_own_prefix(server: Server) -> None:
    """And none is of a shape that nobody knows."""
    starts = tuple(
        f"{{{name}}}:" if name else start for name in NAMES for start in ("arq:", "mill:", "exports")
    )
    with server.client() as client:
        assert [key for key in client.scan_iter() if not key.decode().startswith(starts)] == []
        assert {keys.epoch for keys in map(Keys, ("{a}:", "{a-b}:", ""))} & set(
            map(bytes.decode, client.keys())
        )
