"""The pool by itself, and what a CPU worker says when it cannot be of use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from client.errors import JobTimedOut, ProcessDied
from settings import Settings
from tests.conftest import wait_until
from tests.cpu.conftest import MODULE, gone
from worker import registry
from worker.cpu.app import cpu_worker_settings
from worker.cpu.child import can_limit_memory
from worker.cpu.pool import Pool
from worker.cpu.process import ChildUnusable

CTX = {"job_id": "1", "job_try": 1}


def calling(function: str, *args: object) -> dict[str, object]:
    return {"f": function, "a": args, "k": {}, "ctx": CTX}


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    monkeypatch.syspath_prepend(str(MODULE.parent))
    pool = Pool([MODULE.stem], processes=1, memory_mb=256)
    await pool.open()
    yield pool
    await pool.close()


@pytest.mark.skipif(not can_limit_memory(), reason="this system cannot limit a process's memory")
async def test_a_job_that_needs_too_much_memory_fails_and_the_next_has_its_own(pool: Pool) -> None:
    with pytest.raises(ProcessDied, match="CPU_MEMORY_MB is 256") as raised:
        await pool.run(calling("grows", 300), limit_s=10)
    assert raised.value.error_type == "MemoryError"
    assert await pool.run(calling("grows", 20), limit_s=10) == 20 * 2**20
    (child,) = pool._children
    await pool.close()
    await gone(child.pid)


async def test_a_pool_whose_processes_cannot_start_says_so(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ChildUnusable, match="ended itself with status 1"):
        await Pool(["nowhere_at_all"], processes=2).open()
    assert "JOB_MODULES names nowhere_at_all" in capfd.readouterr().err


async def test_what_is_cancelled_or_late_is_killed_and_replaced(pool: Pool) -> None:
    (first,) = pool._children
    with pytest.raises(JobTimedOut, match=r"its timeout of 0\.05 s"):
        await pool.run(calling("sleep", 60), limit_s=0.05)
    running = asyncio.create_task(pool.run(calling("sleep", 60), limit_s=60))
    await wait_until(
        lambda: pool._children.isdisjoint({first}) and len(pool._children) == 1, description="a new one"
    )
    (second,) = pool._children
    await wait_until(lambda: not second.usable, description="it has the job")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await gone(first.pid)
    await gone(second.pid)


async def test_a_worker_without_jobs_that_compute_waits_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    made: Any = cpu_worker_settings(Settings(_env_file=None, redis_url="redis://nowhere", job_modules=()))
    await made.on_startup({})
    assert "no job of JOB_MODULES is marked with @job(cpu=True)" in caplog.text
    await made.on_shutdown({})
