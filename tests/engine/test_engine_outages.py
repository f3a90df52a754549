"""Redis that stops, hangs, refuses or forgets, with jobs in flight."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections import Counter
from typing import Any

import pytest

from client import JobNotFound, Queue
from tests.conftest import Server, forever, wait_until
from tests.engine.rig import Engines, Workers, nothing_left_in
from worker.engine import drain

TERM = signal.SIGTERM


async def endless(ctx: dict[str, Any]) -> None:
    await forever()


async def test_an_outage_loses_nothing_and_repeats_nothing(
    own_server: Server, workers: Workers, own_queue: Queue
) -> None:
    processes = await workers.start_all(own_server, 2, LEASE_S="2", MAX_JOBS="20")
    jobs = [await own_queue.enqueue("nap", 0.5 + n % 10 * 0.4) for n in range(40)]
    jobs += [await own_queue.enqueue("nap", 0.1) for _ in range(10)]
    await workers.started(40)
    own_server.stop()
    ended = len(workers.events("end"))
    await asyncio.sleep(3)  # how long it is away, and longer than the leases
    assert len(workers.events("end")) > ended  # calls in flight go on
    own_server.start()
    assert [await job.result(20) for job in jobs] == [1] * 50
    again = {id_: count for id_, count in Counter(e[1] for e in workers.events("start")).items() if count > 1}
    assert not again
    assert all(process.alive for process in processes)
    assert all("Traceback" not in process.text() for process in processes)


async def test_a_worker_gives_up_at_the_limit_and_says_what_is_lost(
    own_server: Server, workers: Workers, own_queue: Queue
) -> None:
    process = await workers.start(own_server, REDIS_OUTAGE_S="0.5")
    for seconds in (0.3, 60, 60):
        await own_queue.enqueue("nap", seconds)
    await workers.started(3)
    own_server.stop()
    assert await process.ended() == 1
    assert re.search(
        r"^Error: Redis has been away for 0.5 s .* 1 outcome that .* 2 runs", process.text(), re.M
    )
    assert "Traceback" not in process.text()
    own_server.start()


async def test_a_server_that_forgot_everything_is_told_of_once(
    server: Server, workers: Workers, queue: Queue
) -> None:
    process = await workers.start(server, LEASE_S="1")
    jobs = [await queue.enqueue("nap", 60) for _ in range(30)]
    await workers.started(30)
    with server.client() as client:
        client.flushall()
    with pytest.raises(JobNotFound):
        await jobs[0].result(10)
    await wait_until(lambda: len(workers.events("cancelled")) == 30, description="its runs are cancelled")
    assert await (await queue.enqueue("nap", 0)).result(5) == 1
    assert process.text().count("lost its data") == 1


async def test_a_worker_told_to_stop_during_an_outage_ends_and_says_what_is_lost(
    own_server: Server,
    engines: Engines,
    own_queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(drain, "COMMIT_LIMIT_S", 0.5)
    engine = await engines.start(own_server, endless, drain_s=0.1)
    for _ in range(3):
        await own_queue.enqueue("endless")
    await wait_until(lambda: len(engine.runs) == 3, description="they run")
    own_server.stop()
    await wait_until(lambda: "Redis is away" in caplog.text, description="it notices")
    engine.handle_sig(TERM)
    began = time.monotonic()
    assert engine.main_task is not None
    await asyncio.wait_for(engine.main_task, 5)
    await engine.close()
    assert time.monotonic() - began < 2.5
    assert "3 outcomes are lost" in caplog.text
    assert nothing_left_in(engine)


@pytest.mark.parametrize("max_jobs", [1, 10], ids=["full", "not full"])
async def test_an_outcome_is_written_soon_after_an_outage_however_seldom_the_worker_polls(
    own_server: Server, engines: Engines, own_queue: Queue, max_jobs: int
) -> None:
    release = asyncio.Event()

    async def answer(ctx: dict[str, Any]) -> str:
        await release.wait()
        return "kept"

    engine = await engines.start(own_server, answer, max_jobs=max_jobs, poll_delay=30)
    job = await own_queue.enqueue("answer")
    await wait_until(lambda: bool(engine.runs), description="it runs")
    own_server.stop()
    release.set()
    await wait_until(lambda: engine._outage.lasting, description="the outbox notices")
    own_server.start()
    assert await job.result(6) == "kept"


async def test_a_full_worker_notices_an_outage(
    own_server: Server, engines: Engines, own_queue: Queue
) -> None:
    engine = await engines.start(own_server, endless, max_jobs=1)
    await own_queue.enqueue("endless")
    await wait_until(lambda: len(engine.runs) == 1, description="it is full")
    own_server.stop()
    await wait_until(lambda: engine._outage.lasting, description="it notices")
    own_server.start()
    await wait_until(lambda: not engine._outage.lasting, description="it goes on")
    assert len(engine.runs) == 1


async def test_a_worker_told_to_stop_while_redis_hangs_ends(
    own_server: Server, engines: Engines, own_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "COMMIT_LIMIT_S", 0.5)
    engine = await engines.start(own_server, endless, drain_s=0.1)
    await own_queue.enqueue("endless")
    await wait_until(lambda: bool(engine.runs), description="it runs")
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(5):
            await engine.close()
    finally:
        own_server.process.send_signal(signal.SIGCONT)
    assert nothing_left_in(engine)


async def test_jobs_are_handed_back_when_redis_returns_during_the_drain(
    own_server: Server, workers: Workers, own_queue: Queue
) -> None:
    process = await workers.start(own_server, DRAIN_S="1")
    job = await own_queue.enqueue("nap", 60)
    await workers.started(1)
    own_server.stop()
    await process.wrote("Redis is away")
    process.send(TERM)
    own_server.start()
    assert await process.ended(6) == 0
    with own_server.client() as client:
        assert client.zscore("mill:lane:", job.id) < time.time() * 1000
        assert not client.exists(f"arq:in-progress:{job.id}")


async def test_a_server_that_is_not_there_is_one_sentence(workers: Workers) -> None:
    process = workers.launch(REDIS_URL=f"unix://{workers.directory}/nothing.sock")
    assert await process.ended() == 1
    assert re.match("Error: .*Redis cannot be reached", process.text().splitlines()[-1])
    assert "Traceback" not in process.text()


async def test_a_wrong_password_is_one_sentence(own_server: Server, workers: Workers) -> None:
    with own_server.client() as client:
        client.config_set("requirepass", "right")
    process = workers.launch(REDIS_URL=f"unix://:wrong@{own_server.socket}")
    assert await process.ended() == 1
    assert re.match("Error: .*Redis refused the user or the password", process.text().splitlines()[-1])
    assert "Traceback" not in process.text()
    assert "wrong" not in process.text()


async def test_an_outage_that_begins_during_the_drain_is_ridden_out(
    own_server: Server, engines: Engines, own_queue: Queue
) -> None:
    answered = asyncio.Event()

    async def answering(ctx: dict[str, Any]) -> int:
        await answered.wait()
        return 42

    engine = await engines.start(own_server, answering, drain_s=20)
    jobs = [await own_queue.enqueue("answering") for _ in range(2)]
    await wait_until(lambda: len(engine.runs) == 2, description="they run")
    engine.handle_sig(TERM)
    own_server.stop()
    answered.set()
    await wait_until(lambda: engine._outage.lasting, description="the outbox notices")
    own_server.start()
    assert engine.main_task is not None
    await asyncio.wait_for(engine.main_task, 10)
    assert [await job.result(5) for job in jobs] == [42, 42]
