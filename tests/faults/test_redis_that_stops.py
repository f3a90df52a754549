"""Redis stopped and started again while jobs are in flight."""

from __future__ import annotations

from client import Queue
from client.wire.keys import KEYS
from tests.conftest import Server, wait_until
from tests.worker.processes import Processes, Provider

SOON_S = 30


async def test_answers_that_come_while_redis_is_away_are_kept_and_nothing_is_lost(
    own_server: Server, own_queue: Queue, processes: Processes, provider: Provider
) -> None:
    worker = await processes.worker(**provider.settings(), REDIS_URL=own_server.url, MAX_JOBS="20")
    await provider.configure(latency_s=0.7)
    jobs = await own_queue.chat_many([f"Prompt {n}" for n in range(60)])
    await provider.counted("open", 20)
    own_server.stop()
    await provider.counted("completed", 20)  # paid for, and nowhere to put them
    own_server.start()
    await provider.configure(latency_s=0)

    answers = [await job.result(SOON_S) for job in jobs]
    assert [f"Prompt {n}" in answer.text for n, answer in enumerate(answers)] == [True] * 60
    assert worker.alive, worker.text()
    stats = await provider.stats()
    assert stats["calls_per_request_id"] == {f"{job.id}:1": 1 for job in jobs}


async def test_a_worker_that_gave_up_on_redis_is_replaced_and_nothing_is_lost(
    own_server: Server, own_queue: Queue, processes: Processes, provider: Provider
) -> None:
    settings = {**provider.settings(), "REDIS_URL": own_server.url, "LEASE_S": "1"}
    worker = await processes.worker(**settings)
    await provider.configure(latency_s=60)
    jobs = await own_queue.chat_many([f"Prompt {n}" for n in range(20)])
    await provider.counted("open", 20)
    own_server.stop()
    worker.kill()
    own_server.start()

    await provider.configure(latency_s=0)
    await processes.worker(**settings)
    answers = [await job.result(SOON_S) for job in jobs]
    assert [f"Prompt {n}" in answer.text for n, answer in enumerate(answers)] == [True] * 20
    await wait_until(lambda: _all_done(own_queue), description="the queue is empty")


async def test_a_job_of_ones_own_waits_for_redis_between_its_calls_and_pays_for_each_once(
    own_server: Server, own_queue: Queue, processes: Processes, provider: Provider
) -> None:
    worker = await processes.informed_worker(**provider.settings(), REDIS_URL=own_server.url)
    await provider.configure(latency_s=0.7)
    job = await own_queue.enqueue("asks_in_turn", "First", "Second")
    await provider.counted("open", 1)
    own_server.stop()
    await provider.counted("completed", 1)
    await worker.wrote("Redis is away")
    own_server.start()
    first, second = await job.result(SOON_S)
    assert "First" in first
    assert "Second" in second
    assert sum((await provider.stats())["calls_per_request_id"].values()) == 2


async def _all_done(queue: Queue) -> bool:
    return bool(await queue.session.redis.zcard(KEYS.queue) == 0)
