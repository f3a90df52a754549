"""The documented users of Redis: everything that a producer, a worker and an operator do."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from client import JobAborted, Queue
from tests.acl import ROLES, set_user
from tests.conftest import AnyRedis, Server, wait_until
from tests.worker.processes import Processes, Provider, environment

CRON = """
from arq import cron
from worker import cron as every, job


@every(second=set(range(60)))
async def tick(ctx):
    await ctx["redis"].set("mill:ticked", 1, px=60_000)
"""


async def test_the_documented_users_have_all_their_work_done(
    own_server: Server, processes: Processes, provider: Provider
) -> None:
    urls = {role: set_user(own_server, role) for role in ROLES}
    (processes.directory / "ticking.py").write_text(CRON)
    settings = {"JOB_MODULES": "ticking", "LIMITS": "tenant:x concurrency=1", **provider.settings()}
    worker = await processes.worker(REDIS_URL=urls["worker"], **settings)
    async with Queue.from_url(urls["producer"]) as queue:
        job = await queue.chat("hi", tenant="x", conversation="c", stream=True)
        assert [event.kind async for event in job.stream()][-1] == "done"
        assert (await job.result(timeout_s=10)).text
        assert len((await (await queue.embed(["a", "b"])).result(timeout_s=10)).vectors) == 2
        async with queue.limits.slot("tool:search", wait_s=5):
            pass
        await provider.configure(latency_s=30)
        running = await queue.chat("slow")
        await provider.counted("open", 1)
        assert await running.abort()
        with pytest.raises(JobAborted):
            await running.result(timeout_s=5)
    async with Queue.from_url(urls["operator"]) as queue:
        assert {state.key for state in await queue.limits.list()} >= {"tenant:x"}
        redis: AnyRedis = own_server.client()

        async def counted() -> bool:
            return sum(cost.calls for cost in await queue.costs()) == 3

        await wait_until(counted, description="the totals are written")
        await wait_until(lambda: redis.exists("mill:ticked") == 1, description="the cron job has run")
    for command in ("stats", "doctor"):
        code, out = await _mill(processes, command, "--json", REDIS_URL=urls["operator"])
        assert code in (0, 1), out
        assert json.loads(out)
    worker.terminate()
    assert await worker.ended() == 0
    assert "Traceback" not in worker.text()


async def test_a_worker_with_a_right_less_ends_with_one_sentence(
    own_server: Server, processes: Processes, provider: Provider
) -> None:
    url = set_user(own_server, "worker", without=["&mill:*"])
    worker = processes.arq(REDIS_URL=url, **provider.settings())
    assert await worker.ended(20) == 1
    assert "&mill:*" in worker.text()
    assert "Traceback" not in worker.text()


async def _mill(processes: Processes, *words: str, **env: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "promptmill", *words, env=environment() | env, cwd=processes.directory,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()
