"""Workers told to stop, or killed, with jobs in flight; and two that share one queue."""

from __future__ import annotations

import pytest

from client import Queue
from client.wire.keys import KEYS
from tests.conftest import Server, wait_until
from tests.worker.processes import READY, Processes, Provider

SOON_S = 20


@pytest.fixture
def settings(own_server: Server, provider: Provider) -> dict[str, str]:
    return {**provider.settings(), "REDIS_URL": own_server.url}


async def nothing_left_but_results(queue: Queue) -> None:
    left = {key async for key in queue.session.redis.scan_iter()} - {b"arq:queue:health-check"}
    kept = (
        b"arq:result:",
        b"mill:epoch",
        b"mill:aliases",
        b"mill:flow:",
        b"mill:cost:",
        b"mill:counted:",
    )  # of no single job
    leases = {b"mill:returns"}  # when they would have ended; a claim then takes that away
    assert [key for key in left - leases if not key.startswith(kept)] == []
    assert [key for key in left - leases if await queue.session.redis.ttl(key) < 0] == []


async def test_a_worker_told_to_stop_finishes_what_it_can_and_another_runs_the_rest(
    own_queue: Queue, processes: Processes, provider: Provider, settings: dict[str, str]
) -> None:
    first = await processes.worker(**settings, DRAIN_S="2")
    await provider.configure(latency_s=1.2)
    short = await own_queue.chat_many([f"Short {n}" for n in range(5)])
    await provider.counted("open", 5)
    await provider.configure(latency_s=60)
    long = await own_queue.chat_many([f"Long {n}" for n in range(5)])
    await provider.counted("open", 10)

    await provider.configure(latency_s=0)  # for calls to come; those in flight go on as they began
    first.terminate()
    await first.wrote("shutdown on SIGTERM")
    late = await own_queue.chat("Late")  # it picks no more
    processes.arq(**settings)
    answers = [await job.result(SOON_S) for job in (*short, *long, late)]
    assert await first.ended() == 0, first.text()
    assert first.finished() == 5
    told = [[attempt.error for attempt in answer.attempts] for answer in answers]
    assert told == [[None]] * 5 + [["CancelledError", None]] * 5 + [[None]]  # what was cut off may be charged
    stats = await provider.stats()
    calls = [f"{job.id}:1" for job in (*short, *long, late)] + [f"{job.id}:2" for job in long]
    assert stats["calls_per_request_id"] == dict.fromkeys(calls, 1)
    assert set(stats["answers_per_request_id"].values()) == {1}
    await wait_until(lambda: _all_done(own_queue), description="the queue is empty")
    await nothing_left_but_results(own_queue)


async def test_what_a_killed_worker_was_doing_is_done_by_another(
    own_queue: Queue, processes: Processes, provider: Provider, settings: dict[str, str]
) -> None:
    doomed = await processes.worker(**settings, LEASE_S="1")
    await provider.configure(latency_s=60)
    jobs = await own_queue.chat_many([f"Prompt {n}" for n in range(20)])
    await provider.counted("open", 20)
    doomed.kill()
    await provider.counted("cancelled", 20)

    await provider.configure(latency_s=0)
    heir = await processes.worker(**settings, LEASE_S="1")
    answers = [await job.result(SOON_S) for job in jobs]
    assert [f"Prompt {n}" in answer.text for n, answer in enumerate(answers)] == [True] * 20
    stats = await provider.stats()
    assert stats["calls_per_request_id"] == {f"{job.id}:{number}": 1 for job in jobs for number in (1, 2)}
    assert set(stats["answers_per_request_id"]) == {f"{job.id}:2" for job in jobs}
    assert heir.text().count("was running on a worker that died") == 20
    for answer in answers:  # it says that it may have been paid for twice
        assert [(attempt.number, attempt.error) for attempt in answer.attempts] == [
            (1, "JobCrashed"),
            (2, None),
        ]
        assert answer.attempts[0].cost_usd is None
    await wait_until(lambda: _all_done(own_queue), description="the queue is empty")
    await nothing_left_but_results(own_queue)


async def test_two_workers_share_a_queue_and_no_job_runs_twice(
    own_queue: Queue, processes: Processes, provider: Provider, settings: dict[str, str]
) -> None:
    await provider.configure(latency_s=0.1)
    workers = [processes.arq(**settings, MAX_JOBS="20") for _ in range(2)]
    for worker in workers:
        await worker.wrote(READY)
    jobs = await own_queue.chat_many([f"Prompt {n}" for n in range(80)])
    for job in jobs:
        await job.result(SOON_S)
    assert (await provider.stats())["calls_per_request_id"] == {f"{job.id}:1": 1 for job in jobs}
    done = [worker.finished() for worker in workers]
    assert min(done) > 0
    assert sum(done) == 80


async def test_a_job_that_was_aborted_while_nobody_worked_is_not_run(
    own_queue: Queue, processes: Processes, provider: Provider, settings: dict[str, str]
) -> None:
    unwanted, wanted = await own_queue.chat_many(["Unwanted", "Wanted"])
    assert await unwanted.abort()
    await processes.worker(**settings)
    assert "Wanted" in (await wanted.result(SOON_S)).text
    assert (await provider.stats())["calls_per_request_id"] == {f"{wanted.id}:1": 1}


async def _all_done(queue: Queue) -> bool:
    return bool(await queue.session.redis.zcard(KEYS.queue) == 0)
