"""Workers that die, or stand still for longer than their leases."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from time import time
from typing import Any

import pytest

from client import Queue
from client.errors import JobCrashed
from client.wire.keys import KEYS
from tests.conftest import Server, forever, wait_until
from tests.engine.rig import Engines, Workers, nothing_left_in

LEASE_S = 1.0


async def test_the_jobs_of_a_killed_worker_run_elsewhere_soon_and_once(
    server: Server, workers: Workers, queue: Queue
) -> None:
    killed = await workers.start(server, LEASE_S="1", MAX_JOBS="100")
    gate = workers.directory / "gate"
    jobs = [await queue.enqueue("gated", str(gate)) for _ in range(50)]
    await workers.started(50)
    other = await workers.start(server, LEASE_S="1", MAX_JOBS="100")
    assert len(workers.events("start")) == 50
    killed.send(signal.SIGKILL)
    await workers.started(100, timeout_s=LEASE_S + 2)
    gate.touch()
    assert [await job.result(5) for job in jobs] == [[other.popen.pid, 1]] * 50
    assert Counter(id_ for _, id_, *_ in workers.events("end")) == Counter(job.id for job in jobs)


async def test_a_job_that_kills_three_workers_is_a_dead_letter(
    server: Server, workers: Workers, queue: Queue
) -> None:
    processes = await workers.start_all(server, 4, LEASE_S="1")
    job = await queue.enqueue("die", _job_id="deadly")
    with pytest.raises(JobCrashed, match="3 workers"):
        await job.result(15)
    assert sorted(p.popen.poll() or 0 for p in processes) == [0, 3, 3, 3]
    assert len(workers.events("start")) == 3
    assert await (await queue.enqueue("nap", 0)).result(5) == 1  # the fourth lives
    with server.client() as client:
        assert client.zrange(KEYS.dead_letters, 0, -1) == [b"deadly"]
        letter = client.hgetall(KEYS.dead("deadly"))
        assert len(letter[b"crashes"].splitlines()) == 3
        assert b"die" in letter[b"job"]
        assert not client.exists(KEYS.in_progress("deadly"), KEYS.crashes("deadly"))


async def test_a_worker_that_slept_keeps_what_nobody_else_has_begun(
    server: Server, workers: Workers, queue: Queue
) -> None:
    sleeper = await workers.start(server, LEASE_S="1", LIMITS="gpu concurrency=2")
    gate = workers.directory / "gate"
    jobs = [await queue.enqueue("gated", str(gate), _limits=["gpu"]) for _ in range(4)]
    await workers.started(2)
    with server.client() as client:
        for _ in range(3):  # as many as make a dead letter of a job whose workers die
            sleeper.send(signal.SIGSTOP)
            await wait_until(lambda: _has_lapsed(client, jobs[0].id), description="its leases have ended")
            sleeper.send(signal.SIGCONT)
            await wait_until(lambda: not _has_lapsed(client, jobs[0].id), description="it renews them")
    gate.touch()
    assert [(await job.result(5))[1] for job in jobs] == [1] * 4
    assert len(workers.events("start")) == 4
    assert "was running on a worker that died" not in sleeper.text()


def _has_lapsed(client: Any, job_id: str) -> bool:
    (lane,) = client.scan_iter("mill:lane:*")
    return bool(client.zscore(lane, job_id) < time() * 1000)


async def test_a_worker_that_stood_still_gives_up_what_it_lost(
    server: Server, workers: Workers, queue: Queue
) -> None:
    frozen = await workers.start(server, LEASE_S="1")
    first, second = workers.directory / "first", workers.directory / "second"
    ended = [await queue.enqueue("gated", str(first)) for _ in range(5)]
    running = [await queue.enqueue("gated", str(second)) for _ in range(5)]
    await workers.started(10)
    other = await workers.start(server, LEASE_S="1")
    frozen.send(signal.SIGSTOP)
    await workers.started(20, timeout_s=LEASE_S + 2)
    first.touch()
    assert [await job.result(5) for job in ended] == [[other.popen.pid, 1]] * 5
    first.unlink()
    frozen.send(signal.SIGCONT)
    await wait_until(lambda: len(workers.events("cancelled")) == 10, description="its runs are cancelled")
    second.touch()
    assert [await job.result(5) for job in running] == [[other.popen.pid, 1]] * 5
    assert {pid for _, _, pid, _ in workers.events("end")} == {str(other.popen.pid)}
    await frozen.wrote("leases of 5 jobs were lost; they run elsewhere")
    await frozen.wrote("leases of 5 jobs were lost; they have ended elsewhere")
    assert "lost its data" not in frozen.text()


async def test_a_job_that_waits_elsewhere_for_another_run_is_not_taken_for_lost_data(
    engines: Engines, server: Server, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait(ctx: dict[str, Any]) -> None:
        await forever()

    engine = await engines.start(server, wait)
    job = await queue.enqueue("wait")
    await wait_until(lambda: job.id in engine.runs, description="it runs")
    with server.client() as client:  # another worker has taken it over, and put it back for later
        client.zadd(KEYS.queue, {job.id: (time() + 60) * 1000})
        client.delete(KEYS.in_progress(job.id))
        await engine._renewer.renew_now()
        await wait_until(lambda: "ended elsewhere, or wait there" in caplog.text, description="it is told")
        assert "lost its data" not in caplog.text
        client.delete(KEYS.job(job.id))
        client.zrem(KEYS.queue, job.id)


async def test_the_outcome_of_a_lost_lease_is_refused(engines: Engines, server: Server, queue: Queue) -> None:
    release = asyncio.Event()

    async def wait(ctx: dict[str, Any]) -> str:
        await release.wait()
        return "too late"

    engine = await engines.start(server, wait)
    job = await queue.enqueue("wait")
    await wait_until(lambda: job.id in engine.runs, description="it runs")
    with server.client() as client:
        client.set(KEYS.in_progress(job.id), "mill:somebody else", px=60_000)
        release.set()
        await wait_until(lambda: nothing_left_in(engine), description="it has ended")
        assert not client.exists(KEYS.result(job.id))
        assert client.exists(KEYS.job(job.id))


async def test_a_busy_loop_loses_no_lease(server: Server, workers: Workers, queue: Queue) -> None:
    await workers.start_all(server, 2, LEASE_S="1")
    naps = [await queue.enqueue("nap", 1) for _ in range(10)]
    await workers.started(10)
    blocks = [await queue.enqueue("block", 1.6) for _ in range(2)]  # a loop, or both, stand still
    assert [await job.result(20) for job in (*naps, *blocks)] == [1] * 12
    assert len(workers.events("start")) == 12
