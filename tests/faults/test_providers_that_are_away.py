"""Providers that take no connection: what was never sent is asked again, by the whole fleet, and ends with a word."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from client import Queue
from client.errors import ProviderUnreachable
from client.job import Job
from client.wire.keys import KEYS
from tests.conftest import Server, wait_until
from tests.faults.given_door import Door
from tests.worker.processes import Processes

SOON_S = 20
BACKLOG, AT_ONCE = 1_000, 20
MODEL, VECTORS = "openai/gpt-4o-mini", "openai/vectors"
TEXTS = [f"text {n}" for n in range(3)]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    await door.open()
    yield door
    await door.close()


@pytest.fixture
def settings(own_server: Server, door: Door) -> dict[str, str]:
    return {
        "REDIS_URL": own_server.url,
        "OPENAI_BASE_URL": door.url,
        "PROVIDERS__NOWHERE__BASE_URL": "http://127.0.0.1:9/v1",
        "LIMITS": f"{MODEL} concurrency={AT_ONCE}",
        "MAX_TRIES": "1",  # so that one try that is used up fails the job
        "UNREACHABLE_S": "6",
    }


async def test_a_provider_that_is_away_under_a_backlog_costs_no_job_and_few_calls(
    own_queue: Queue, processes: Processes, door: Door, settings: dict[str, str]
) -> None:
    workers = [processes.arq(**settings) for _ in range(2)]
    jobs: list[Job[Any]] = await own_queue.chat_many([f"p{n}" for n in range(BACKLOG)])
    await wait_until(lambda: len(door.calls) >= 100, description="the backlog is under way", timeout_s=SOON_S)
    await door.shut()
    elsewhere = await own_queue.chat("Hi", model="nowhere/m")

    async def asked_in_vain(times: int) -> bool:
        return await _cooled(own_queue, MODEL) >= times

    await wait_until(lambda: asked_in_vain(3), description="it is asked now and then", timeout_s=SOON_S)
    waiting = (await jobs[-1].info()).waiting
    assert waiting is not None
    assert waiting.reason == "cooldown", waiting.sentence
    jobs.append(await own_queue.embed(TEXTS, model=VECTORS, texts_per_call=1))
    await door.open()
    async with asyncio.timeout(SOON_S):
        answers = [await job.result() for job in jobs]
    assert set(door.calls.values()) == {1}
    in_vain = sum(len(answer.attempts) - 1 for answer in answers)
    assert in_vain <= 2 * AT_ONCE + 10  # what was under way when it went, and a probe now and then
    with pytest.raises(ProviderUnreachable):  # an address where nobody ever listens
        await elsewhere.result(SOON_S)
    assert await own_queue.dead.count() == 1
    assert all(worker.alive for worker in workers)


async def test_a_job_of_ones_own_and_an_embedding_ask_again_too(
    own_queue: Queue, processes: Processes, door: Door, settings: dict[str, str]
) -> None:
    worker = await processes.informed_worker(**settings)
    await door.shut()
    jobs: list[Job[Any]] = [
        await own_queue.enqueue("asks", "a", "b"),
        await own_queue.embed(TEXTS, model=VECTORS, texts_per_call=1),
    ]
    await wait_until(
        lambda: _cooling(own_queue, MODEL, VECTORS), description="both cool down", timeout_s=SOON_S
    )
    await door.open()
    for job in jobs:
        await job.result(SOON_S)
    assert door.calls == Counter(["a", "b", *TEXTS])
    assert worker.alive


async def _cooling(queue: Queue, *models: str) -> bool:
    return all([await _cooled(queue, model) >= 2 for model in models])


async def _cooled(queue: Queue, model: str) -> int:
    """How often it has been asked in vain, one time after the other."""
    redis: Any = queue.session.redis
    return int(await redis.hget(KEYS.flow(model), "cool_n") or 0)
