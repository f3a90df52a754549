"""What calls cost whose worker was killed, stood still, or could not reach anybody: each counts once."""

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
    nowhere = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "MAX_TRIES": "1"}
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
