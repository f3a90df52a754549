"""Calls whose worker was killed, stood still, ended or could not reach anybody: each is told of, none paid in vain."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from client import Queue
from client.errors import ProviderUnreachable
from client.job import Job
from tests.conftest import Server, wait_until
from tests.worker.processes import Processes, Provider
from worker.jobs.totals import FLUSH_S

SOON_S = 20
TEXTS = [f"text {n}" for n in range(3)]


@pytest.fixture
def settings(own_server: Server, provider: Provider) -> dict[str, str]:
    return {**provider.settings(), "REDIS_URL": own_server.url, "LEASE_S": "1"}


async def counted(queue: Queue, calls: int, unknown: int) -> None:
    """Returns once `promptmill cost` tells so many calls, and of so many of them not what they used."""

    async def told() -> bool:
        totals = await queue.costs()
        return (sum(t.calls for t in totals), sum(t.unknown_calls for t in totals)) == (calls, unknown)

    await wait_until(told, description=f"{calls} calls, {unknown} of unknown use", timeout_s=5 + FLUSH_S)


async def seven_calls(queue: Queue, provider: Provider) -> list[Job[Any]]:
    """A chat, an embedding of three parts and a job that asks three times, all of them in flight."""
    await provider.configure(latency_s=60)
    jobs: list[Job[Any]] = [
        await queue.chat("Hi"),
        await queue.embed(TEXTS, texts_per_call=1),
        await queue.enqueue("asks", "a", "b", "c"),
    ]
    await provider.counted("open", 7)
    return jobs


async def test_each_call_that_was_in_flight_when_a_worker_was_killed_counts_once(
    own_queue: Queue, processes: Processes, provider: Provider, settings: dict[str, str]
) -> None:
    doomed = await processes.informed_worker(**settings)
    jobs = await seven_calls(own_queue, provider)
    await counted(own_queue, 7, 7)
    doomed.kill()
    await provider.configure(latency_s=0)
    await processes.informed_worker(**settings)
    for job in jobs:
        await job.result(SOON_S)
    await counted(own_queue, 14, 7)
    assert sum((await provider.stats())["calls_per_request_id"].values()) == 14


async def test_a_worker_that_stood_still_counts_its_calls_once(
    own_queue: Queue, processes: Processes, provider: Provider, settings: dict[str, str]
) -> None:
    sleeper = await processes.informed_worker(**settings)
    jobs = await seven_calls(own_queue, provider)
    await counted(own_queue, 7, 7)
    os.kill(sleeper.popen.pid, signal.SIGSTOP)
    try:
        await provider.configure(latency_s=0)
        await processes.informed_worker(**settings)
        for job in jobs:
            await job.result(SOON_S)
    finally:
        os.kill(sleeper.popen.pid, signal.SIGCONT)
    await sleeper.wrote("the leases of 3 jobs were lost")
    await counted(own_queue, 14, 7)


async def test_connections_that_were_refused_are_no_calls(
    own_queue: Queue, processes: Processes, settings: dict[str, str]
) -> None:
    nowhere = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "MAX_TRIES": "1", "UNREACHABLE_S": "0.2"}
    await processes.informed_worker(**settings | nowhere)
    jobs: list[Job[Any]] = [
        await own_queue.chat("Hi"),
        await own_queue.enqueue("asks", "a"),
        await own_queue.embed(TEXTS, texts_per_call=1),
    ]
    for job in jobs:
        with pytest.raises(ProviderUnreachable):
            await job.result(SOON_S)
    await counted(own_queue, 0, 0)


ONE_BY_ONE = {"LIMITS": "openai/text-embedding-3-small concurrency=1"}


async def two_of_three_parts(queue: Queue, provider: Provider, **third: Any) -> Job[Any]:
    """An embedding of which two parts are answered, and the third is in flight, for 1.5 s."""
    await provider.configure(latency_s=0.5, latency_sigma=0)
    job: Job[Any] = await queue.embed(TEXTS, texts_per_call=1)
    await provider.counted("requests", 2)
    await provider.counted("open", 1)  # the second is in flight: its latency and its fate are settled
    await provider.configure(latency_s=1.5, **third)
    await provider.counted("completed", 2)
    await provider.counted("open", 1)
    return job


async def test_what_a_drain_has_finished_of_an_embedding_is_not_paid_again(
    own_queue: Queue, processes: Processes, provider: Provider, settings: dict[str, str]
) -> None:
    first = await processes.worker(**settings, **ONE_BY_ONE, DRAIN_S="0")
    job = await two_of_three_parts(own_queue, provider)
    first.terminate()
    assert await first.ended() == 0
    await processes.worker(**settings, **ONE_BY_ONE)
    answer = await job.result(SOON_S)
    assert [(attempt.part, attempt.error) for attempt in answer.attempts] == [
        (0, None),
        (1, None),
        (2, "CancelledError"),
        (2, None),
    ]
    assert sum((await provider.stats())["calls_per_request_id"].values()) == 4


async def test_what_fails_while_redis_is_away_loses_neither_its_attempts_nor_its_parts(
    own_server: Server, own_queue: Queue, processes: Processes, provider: Provider, settings: dict[str, str]
) -> None:
    worker = await processes.worker(**settings | {"LEASE_S": "5"}, **ONE_BY_ONE)
    job = await two_of_three_parts(own_queue, provider, fault_reset=1)
    own_server.stop()
    await worker.wrote("Redis is away")
    await wait_until(lambda: _none_open(provider), description="the third call has ended")
    await provider.configure(fault_reset=0, latency_s=0)
    own_server.start()
    answer = await job.result(SOON_S)
    assert [(attempt.part, attempt.error) for attempt in answer.attempts] == [
        (0, None),
        (1, None),
        (2, "ProviderUnreachable"),
        (2, None),
    ]
    assert sum((await provider.stats())["calls_per_request_id"].values()) == 4


async def _none_open(provider: Provider) -> bool:
    return bool((await provider.stats())["open"] == 0)
