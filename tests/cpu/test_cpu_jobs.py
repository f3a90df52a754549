"""`@job(cpu=True)` in running workers: who computes, what callers see, what happens to the processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from client import JobAborted, Queue, errors
from promptmill.cli.doctor.probe import probe
from promptmill.cli.stats import read_stats
from tests.conftest import Server, wait_until
from tests.cpu.conftest import Fleet, gone
from tests.worker.processes import READY

SOON_S = 10


async def ask(queue: Queue, function: str, *args: object, **kwargs: Any) -> object:
    return await (await queue.enqueue(function, *args, **kwargs)).result(SOON_S)


async def refused(queue: Queue, function: str, *args: object, **kwargs: Any) -> errors.JobError:
    with pytest.raises(errors.JobError) as raised:
        await ask(queue, function, *args, **kwargs)
    return raised.value


@pytest.mark.usefixtures("fleet")
async def test_a_job_that_computes_finds_its_worker_from_any_lane_and_straight(queue: Queue) -> None:
    lanes = [{}, {"_lane": "acme"}, {"_lane": "cpu"}, {"_lane": "cpu", "_priority": "high"}]
    assert await asyncio.gather(*(ask(queue, "crunch", 3, power=3, **lane) for lane in lanes)) == [27] * 4
    assert await ask(queue, "runs_again", _job_id="mine") == ["mine", 2]  # the way there used no try


async def test_jobs_that_compute_do_not_stall_jobs_that_wait(queue: Queue, fleet: Fleet) -> None:
    names, gate = ["one", "two", "three"], fleet.told / "gate"
    busy = [await queue.enqueue("spin_until", name, str(gate)) for name in names]

    def running() -> int:
        return sum((fleet.told / name).exists() for name in names)

    await wait_until(lambda: running() == 2, description="both processes are busy")
    await asyncio.gather(*(ask(queue, "waits") for _ in range(5)))
    assert running() == 2
    gate.touch()
    assert [await job.result(SOON_S) for job in busy] == names


async def test_what_a_function_raises_returns_and_prints(queue: Queue, fleet: Fleet) -> None:
    raised, unwritable, read = await asyncio.gather(
        refused(queue, "raises"), refused(queue, "not_json"), ask(queue, "prints_and_reads")
    )
    assert (type(raised), raised.details["error_type"]) == (errors.JobFailed, "LookupError")
    assert isinstance(unwritable, errors.Unserializable)
    assert read == ""
    assert len(str(await ask(queue, "repeat", "x" * 300_000, 10))) == 3_000_000
    assert fleet.cpu is not None
    await fleet.cpu.wrote("to the log")


@pytest.mark.usefixtures("fleet")
async def test_an_error_whose_words_are_no_text_is_no_crash(queue: Queue) -> None:
    assert isinstance(await refused(queue, "names_a_file_that_is_no_text"), errors.Unserializable)


@pytest.mark.usefixtures("fleet")
async def test_what_does_not_compute_is_refused_in_the_lane_of_what_does(queue: Queue) -> None:
    assert "@job(cpu=True)" in str(await refused(queue, "waits", _lane="cpu"))


async def test_a_job_that_runs_too_long_is_killed_and_its_process_replaced(
    queue: Queue, fleet: Fleet
) -> None:
    assert str(await refused(queue, "too-long", "late")) == "The job ran longer than its timeout of 0.2 s."
    await gone((await fleet.begun("late"))[0])
    assert await ask(queue, "crunch", 5) == 25


@pytest.mark.usefixtures("fleet")
async def test_a_crash_is_an_error_of_its_own_and_the_others_go_on(queue: Queue) -> None:
    exited, faulted, fine = await asyncio.gather(
        refused(queue, "exits"), refused(queue, "faults"), ask(queue, "crunch", 4)
    )
    assert (type(exited), type(faulted), fine) == (errors.ProcessDied, errors.ProcessDied, 16)
    assert "status 3" in str(exited)
    assert "SIGSEGV" in str(faulted)


async def test_an_abort_kills_the_function_and_what_it_has_started(queue: Queue, fleet: Fleet) -> None:
    spinning = await queue.enqueue("spin", "unwanted", 60)
    starting = await queue.enqueue("leaves_a_process", "grandchild")
    pids = [(await fleet.begun(name))[0] for name in ("unwanted", "grandchild")]
    for job in (spinning, starting):
        started_s = time.monotonic()
        assert await job.abort()
        assert time.monotonic() - started_s < 1
        with pytest.raises(JobAborted):
            await job.result(SOON_S)
    for pid in pids:
        await gone(pid)


async def test_the_watchdog_names_the_job_that_stops_the_loop_and_where(queue: Queue, fleet: Fleet) -> None:
    llm = fleet.llm
    assert llm is not None
    assert READY in llm.text()
    await ask(queue, "waits", 0.15)
    await ask(queue, "blocks", _job_id="culprit")
    await ask(queue, "blocks")  # once is enough
    await ask(queue, "blocks_in_a_task")
    await llm.wrote("a task of a job, sleeps (")
    warnings = [line for line in llm.text().splitlines() if "has stopped the event loop" in line]
    assert len(warnings) == 2
    assert "culprit:blocks has stopped the event loop for over 100 ms" in warnings[0]
    assert "given_cpu_jobs.py:" in warnings[0]
    assert "@job(cpu=True)" in warnings[0]


async def test_the_doctor_misses_a_worker_for_cpu_jobs_that_wait_and_the_stats_have_its_line(
    own_server: Server, fleet: Fleet
) -> None:
    async with Queue.from_url(own_server.url) as queue:
        job = await queue.enqueue("crunch", 3, _lane="cpu")
        facts = await probe(queue)
        assert (facts.workers_alive, facts.cpu_workers_alive, facts.cpu_jobs) == (False, False, True)

        worker = fleet.start("CpuWorkerSettings", own_server, CPU_PROCESSES="1")
        assert await job.result(SOON_S) == 9
        facts, stats = await probe(queue), await read_stats(queue)
        assert (facts.workers_alive, facts.cpu_workers_alive, facts.cpu_jobs) == (False, True, False)
        assert (len(stats.workers), len(stats.cpu_workers)) == (0, 1)
        worker.kill()


async def test_a_killed_worker_leaves_no_process_and_one_that_is_told_to_stop_drains(
    queue: Queue, fleet: Fleet, server: Server
) -> None:
    doomed, fleet.cpu = fleet.cpu, None
    assert doomed is not None
    job = await queue.enqueue("spin", "orphan", 0.4, _lane="cpu")
    pid, worker_pid = await fleet.begun("orphan")
    assert worker_pid == doomed.popen.pid
    doomed.kill()
    await gone(pid)

    (fleet.told / "orphan").unlink()
    heir = fleet.start("CpuWorkerSettings", server, CPU_PROCESSES="1")
    pid, _ = await fleet.begun("orphan")
    os.killpg(heir.popen.pid, signal.SIGTERM)  # as platforms do: to every process
    os.kill(pid, signal.SIGTERM)
    assert await job.result(SOON_S) == "orphan"
    assert await heir.ended() == 0, heir.text()
    await gone(pid)
    assert "Traceback" not in heir.text()
