"""Workers that are told to stop, with jobs in flight."""

from __future__ import annotations

import signal
import time

import pytest

from client import Queue
from client.wire.keys import KEYS
from tests.conftest import Server, wait_until
from tests.engine.rig import Workers
from worker.engine.drain import SAME_SIGNAL_S

TERM, INT = signal.SIGTERM, signal.SIGINT


async def test_what_ends_in_time_counts_and_the_rest_is_handed_back(
    server: Server, workers: Workers, queue: Queue
) -> None:
    gate = str(workers.directory / "gate")
    process = await workers.start(server, MAX_JOBS="6", DRAIN_S="1")
    quick = [await queue.enqueue("nap", 0.6) for _ in range(3)]
    slow = [await queue.enqueue("gated", gate, _job_id=f"slow{n}") for n in range(3)]
    await workers.started(6)
    waiting = [await queue.enqueue("gated", gate, _job_id=f"waiting{n}") for n in range(2)]
    process.send(TERM)
    assert await process.ended(4) == 0
    assert [await job.result(1) for job in quick] == [1, 1, 1]
    assert len(workers.events("start")) == 6  # no new ones
    with server.client() as client:
        order = [id_.decode() for id_ in client.zrangebyscore(KEYS.lane(""), "-inf", time.time() * 1000)]
        assert order == [job.id for job in (*slow, *waiting)]  # due at once, in their old places
        for job in slow:
            assert not client.exists(KEYS.in_progress(job.id), KEYS.retry(job.id), KEYS.crashes(job.id))
    (workers.directory / "gate").touch()
    await workers.start(server)
    assert [(await job.result(5))[1] for job in (*slow, *waiting)] == [1] * 5


@pytest.mark.parametrize("repeated", [(TERM, TERM), (INT, TERM), (TERM, INT, INT)], ids=str)
async def test_a_signal_that_is_repeated_at_once_is_one_signal(
    server: Server, workers: Workers, queue: Queue, repeated: tuple[signal.Signals, ...]
) -> None:
    process = await workers.start(server, DRAIN_S="60")
    jobs = [await queue.enqueue("nap", 1.2) for _ in range(5)]
    await workers.started(5)
    for number in repeated:
        process.send(number)
        await process.wrote("shutdown on")
    assert await process.ended(5) == 0
    assert [await job.result(1) for job in jobs] == [1] * 5
    assert len(workers.events("end")) == 5


@pytest.mark.parametrize(("first", "second"), [(TERM, TERM), (INT, TERM)], ids=["TERM", "INT and TERM"])
async def test_a_second_signal_ends_it_at_once_and_loses_nothing(
    server: Server, workers: Workers, queue: Queue, first: signal.Signals, second: signal.Signals
) -> None:
    process = await workers.start(server, DRAIN_S="60")
    jobs = [await queue.enqueue("nap", 60) for _ in range(20)]
    await workers.started(20)
    process.send(first)
    await process.wrote("shutdown on")
    told_s = time.monotonic()
    await wait_until(lambda: time.monotonic() > told_s + SAME_SIGNAL_S, description="it is another signal")
    process.send(second)
    assert await process.ended(2) == 0
    with server.client() as client:
        assert client.zcount(KEYS.lane(""), "-inf", time.time() * 1000) == 20
        assert not any(client.exists(KEYS.in_progress(job.id), KEYS.retry(job.id)) for job in jobs)
        assert all(client.exists(KEYS.job(job.id)) for job in jobs)


async def test_an_idle_worker_ends_within_a_second_and_takes_its_health_check_away(
    server: Server, workers: Workers, queue: Queue
) -> None:
    process = await workers.start(server)
    await wait_until(queue.workers_alive, description="the health check")
    process.send(TERM)
    assert await process.ended(1) == 0
    assert not await queue.workers_alive()


async def test_a_worker_told_to_stop_while_it_starts_ends_and_loses_nothing(
    server: Server, workers: Workers, queue: Queue
) -> None:
    job = await queue.enqueue("nap", 0)
    process = workers.launch(REDIS_URL=server.url)
    await process.wrote("Starting worker")
    process.send(TERM)
    assert await process.ended(3) == 0
    assert "Traceback" not in process.text()
    await workers.start(server)
    assert await job.result(5) == 1  # its first try


async def test_a_job_that_swallows_its_cancellation_does_not_hold_the_worker(
    server: Server, workers: Workers, queue: Queue
) -> None:
    process = await workers.start(server, DRAIN_S="0.1")
    job = await queue.enqueue("stubborn")
    await workers.started(1)
    process.send(TERM)
    assert await process.ended(4) == 0
    with server.client() as client:
        assert client.zscore(KEYS.lane(""), job.id) < time.time() * 1000
        assert not client.exists(KEYS.in_progress(job.id), KEYS.retry(job.id))


async def test_a_worker_that_starts_takes_over_at_once(
    server: Server, workers: Workers, queue: Queue
) -> None:
    old, _new = await workers.start_all(server, 2, DRAIN_S="0")
    jobs = [await queue.enqueue("gated", str(workers.directory / "gate")) for _ in range(30)]
    await workers.started(30)
    old.send(TERM)
    taken = len([1 for *_, pid, _ in workers.events("start") if pid == str(old.popen.pid)])
    await workers.started(30 + taken, timeout_s=2)
    (workers.directory / "gate").touch()
    assert all(job_try == 1 for _, job_try in [await job.result(5) for job in jobs])
    await wait_until(lambda: not old.alive, description="the old one has gone")
