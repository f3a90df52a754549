"""Results that are too large fail their own jobs, at once and with a type."""

from __future__ import annotations

import asyncio

import pytest

from client import Queue
from client.errors import Unserializable
from tests.conftest import Server
from tests.engine.rig import Engines
from worker.context import Context


async def large(ctx: Context, size: int) -> str:
    return "x" * size


async def breaks(ctx: Context, size: int) -> None:
    raise RuntimeError("x" * size)


async def test_a_result_above_the_limit_fails_its_job_and_not_its_neighbours(
    engines: Engines, server: Server, queue: Queue
) -> None:
    engine = await engines.start(server, large, breaks, max_result_bytes=10_000)
    fits = [await queue.enqueue("large", 9_000) for _ in range(3)]
    too_large = [await queue.enqueue("large", 20_000), await queue.enqueue("breaks", 20_000)]
    for job in too_large:
        with pytest.raises(Unserializable, match="MAX_RESULT_MB"):
            await job.result(timeout_s=10)
        info = await job.info()
        assert (info.success, info.function) == (False, "large" if job is too_large[0] else "breaks")
    assert [len(text) for text in await asyncio.gather(*(job.result(10) for job in fits))] == [9_000] * 3
    assert (engine.jobs_complete, engine.jobs_failed) == (3, 2)
