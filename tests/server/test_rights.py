"""Users of Redis with the documented rights do all their work; with one right less, all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from client import JobStatus, Queue, QueueUnavailable, redis_settings
from client.arq import settings_at
from client.redis.url import server_address
from promptmill.cli.doctor.probe import probe
from promptmill.cli.stats import read_stats
from tests.acl import rights, set_user
from tests.conftest import Server, wait_until
from tests.engine.rig import Engines
from worker.context import Context

pytestmark = pytest.mark.plain("of users, whose patterns name the plain keys")


async def work(ctx: Context, word: str) -> str:
    return word


async def enqueued_and_answered(queue: Queue, name: str) -> None:
    job = await queue.enqueue("work", "hello", _job_id=f"a{name}", _tenant=name, _conversation=name)
    assert await job.result(timeout_s=10) == "hello"
    assert [event.kind async for event in job.stream()][-1] == "done"
    await queue.forget([job.id])


async def enqueued_together(queue: Queue, name: str) -> None:
    jobs = await queue.chat_many(["a", "b", "c"], job_ids=[f"c{at}{name}" for at in range(3)], defer_s=60)
    assert all(await asyncio.gather(*(job.abort() for job in jobs)))


async def taken_back(queue: Queue, name: str) -> None:
    job = await queue.enqueue("work", "later", _job_id=f"b{name}", _defer_s=60)
    assert (await job.info()).status.value == "deferred"
    assert await job.abort()


async def asked_why(queue: Queue, name: str) -> None:
    job = await queue.enqueue("work", "x", _job_id=f"p{name}", _tenant="paused")
    assert (await job.info()).waiting is not None
    assert await job.abort()


async def operated(queue: Queue, name: str) -> None:
    await queue.limits.set(f"tenant:{name}", concurrency=1, rpm=60)
    await queue.limits.pause(f"tenant:{name}")
    await queue.limits.list()
    await queue.limits.evict(f"tenant:{name}")
    await queue.limits.remove(f"tenant:{name}")
    await queue.dead.latest()
    await queue.dead.retry()
    await queue.dead.delete(["none"])
    await queue.costs()


VERBS = {
    "producer": [enqueued_and_answered, enqueued_together, taken_back, asked_why],
    "operator": [enqueued_and_answered, enqueued_together, taken_back, operated],
}


@pytest.fixture
async def engines(own_server: Server) -> AsyncIterator[Engines]:
    engines = Engines()
    yield engines
    await engines.close()


async def test_a_user_of_one_namespace_has_all_of_it_and_nothing_of_another(
    own_server: Server, engines: Engines
) -> None:
    urls = {role: set_user(own_server, role, namespace="a") for role in ("worker", *VERBS)}
    engine = engines.make(own_server, [work], redis_settings=settings_at(server_address(urls["worker"])))
    running = asyncio.create_task(engine.async_run())
    async with Queue.from_url(urls["operator"]) as queue:
        await queue.limits.pause("tenant:paused")
    for role, verbs in VERBS.items():
        async with Queue.from_url(urls[role]) as queue:
            for verb in verbs:
                await verb(queue, role)
    async with Queue.from_url(urls["operator"]) as queue:
        missing = (await probe(queue)).rights_missing or []
        assert not [
            rule for rule in missing if rule[0] in "~&"
        ]  # commands of a worker, no key and no channel
        assert (await read_stats(queue)).workers
    assert not running.done()
    async with Queue.from_url(urls["producer"].replace("namespace=a", "namespace=b")) as queue:
        with pytest.raises(QueueUnavailable, match=r"grant .* ~\{b\}:\* .* &\{b\}:\* "):
            await queue.enqueue("work", "x")
    with own_server.client() as client:
        assert [key for key in client.scan_iter() if not key.startswith(b"{a}:")] == []


@pytest.mark.parametrize("role", VERBS)
async def test_with_one_right_less_a_verb_works_or_changes_nothing_and_names_it(
    role: str, own_server: Server, own_queue: Queue, engines: Engines
) -> None:
    await own_queue.limits.set("tenant:paused", concurrency=1)
    await own_queue.limits.pause("tenant:paused")
    await engines.start(own_server, work)

    async def tries(number: int, right: str) -> list[str | None]:
        name = f"u{number}"
        url = set_user(own_server, role, without=[right], name=name)
        async with Queue.from_url(url) as queue:
            return [await _refusal(verb(queue, name)) for verb in VERBS[role]]

    tried = rights(role)
    refusals = await asyncio.gather(*(tries(number, right) for number, right in enumerate(["none", *tried])))
    assert refusals[0] == [None] * len(VERBS[role])
    for number, (right, refused) in enumerate(zip(tried, refusals[1:], strict=True), 1):
        assert all(sentence is None or right in sentence for sentence in refused), (right, refused)
        if refused[0] is not None:
            assert _jobs(own_server, f"u{number}") == set(), right
    assert sum(refused[0] is not None for refused in refusals) > 15


async def _refusal(doing: Awaitable[None]) -> str | None:
    try:
        await doing
    except QueueUnavailable as error:
        return str(error)
    return None


async def test_with_one_right_less_a_worker_works_or_ends_at_once_and_names_it(
    own_server: Server, own_queue: Queue, engines: Engines
) -> None:
    job = await own_queue.enqueue("work", "hello", _job_id="a", _tenant="t", _conversation="c")
    for right in rights("worker"):
        url = set_user(own_server, "worker", without=[right])
        engine = engines.make(Server(own_server.directory, ""), [work], redis_settings=redis_settings(url))
        running = asyncio.create_task(engine.async_run())
        done = asyncio.create_task(job.result(timeout_s=10))
        await asyncio.wait({running, done}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            with pytest.raises(QueueUnavailable) as refused:
                await running
            assert right in str(refused.value)
            await engine.close()
            assert await job.status() == JobStatus.queued, right
            done.cancel()
        else:
            assert await done == "hello"
            await engine.close()
            await own_queue.forget(["a"])
            await own_queue.enqueue("work", "hello", _job_id="a", _tenant="t", _conversation="c")


@pytest.mark.parametrize("right", ["+evalsha", "+zrem", "&mill:*", "~mill:*"])
async def test_a_right_that_is_taken_away_for_a_while_costs_no_answer_and_no_worker(
    right: str, own_server: Server, own_queue: Queue, engines: Engines
) -> None:
    go = asyncio.Event()

    async def waits(ctx: Context) -> str:
        await go.wait()
        return "paid"

    url = set_user(own_server, "worker")
    settings = redis_settings(url)
    engine = await engines.start(Server(own_server.directory, ""), waits, redis_settings=settings)
    job = await own_queue.enqueue("waits", _job_id="a")
    await wait_until(lambda: "a" in engine.runs, description="it runs")
    set_user(own_server, "worker", without=[right])
    go.set()
    await wait_until(lambda: engine._outage.lasting, description="the worker knows")
    set_user(own_server, "worker")
    assert await job.result(timeout_s=10) == "paid"
    assert await (await own_queue.enqueue("waits")).result(timeout_s=10) == "paid"


async def test_without_info_all_works_and_less_is_told(own_server: Server, own_queue: Queue) -> None:
    url = set_user(own_server, "operator", without=["+info", "+config|get"])
    async with Queue.from_url(url) as queue:
        found = await read_stats(queue)
        assert (found.memory_bytes, found.queued) == (None, 0)
        facts = await probe(queue)
    assert (facts.info, facts.config) == ({}, {})
    assert facts.rights_missing
    assert "+mget" in facts.rights_missing  # a worker's


def _jobs(server: Server, name: str) -> set[bytes]:
    """What there is of the job of that user."""
    with server.client() as client:
        return {key for kind in ("arq:*:", "mill:turns:*") for key in client.keys(f"{kind}a{name}")}
