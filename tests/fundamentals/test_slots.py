"""Calls of a job's own take a slot each; none waits for another while it holds one."""

from __future__ import annotations

import asyncio
from typing import Any

from client import Queue
from tests.conftest import Server
from tests.engine.rig import Engines

MODEL = "openai/gpt-4o"


async def test_a_job_that_calls_a_model_five_times_under_a_limit_of_one_completes(
    server: Server, queue: Queue, engines: Engines
) -> None:
    now = most = 0

    async def analyse(ctx: dict[str, Any]) -> int:
        async def call() -> None:
            nonlocal now, most
            async with queue.limits.slot(MODEL, tokens=900, wait_s=5):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.005)
                now -= 1

        await asyncio.gather(*(call() for _ in range(5)))
        return most

    await queue.limits.set(MODEL, concurrency=1)
    job = await queue.enqueue("analyse")
    await engines.burst(server, analyse)

    assert await job.result(timeout_s=1) == 1


async def test_a_job_in_the_lane_of_its_model_does_not_wait_for_itself(
    server: Server, queue: Queue, engines: Engines
) -> None:
    async def work(ctx: dict[str, Any]) -> list[str]:
        limits = queue.limits.under(ctx["limit_keys"])
        async with limits.slot(MODEL, "gpu-box", wait_s=5) as slot:
            return list(slot.keys)

    await queue.limits.set(MODEL, concurrency=1)
    job = await queue.enqueue("work", _limits=[MODEL])
    await engines.burst(server, work)

    assert await job.result(timeout_s=1) == ["gpu-box"]
