"""The one connection that listens, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from client import Queue
from client.job import request_abort
from client.redis.url import server_address
from tests.conftest import KEYS, Server, wait_until
from worker.engine.wake import listen


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[list[str]]:
    """What was heard: 'wake', or the id to abort."""
    heard: list[str] = []
    settings = server_address(server.url)
    task = asyncio.create_task(listen(settings, wake=lambda: heard.append("wake"), abort=heard.append))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(heard: list[str], wanted: list[str]) -> None:
    await wait_until(lambda: heard == wanted, description=f"{wanted} to be heard, not {heard}")


async def test_the_worker_is_woken_once_it_listens(server: Server) -> None:
    async with listening(server) as heard:
        await _until(heard, ["wake"])
        with server.client() as raw:
            assert raw.pubsub_numsub(KEYS.wake_channel) == [(KEYS.wake_channel.encode(), 1)]


async def test_a_job_that_is_enqueued_wakes_it(server: Server, queue: Queue) -> None:
    async with listening(server) as heard:
        await _until(heard, ["wake"])
        await queue.enqueue("work", _job_id="a")
        await _until(heard, ["wake", "wake"])
    await request_abort(queue.session, "a")
    await queue.session.redis.delete(KEYS.lanes)


async def test_an_abort_names_its_job(server: Server) -> None:
    async with listening(server) as heard:
        await _until(heard, ["wake"])
        with server.client() as raw:
            raw.publish(KEYS.wake_channel, "Übung:1")
        await _until(heard, ["wake", "Übung:1"])


async def test_it_listens_again_after_a_restart_and_is_woken_once(own_server: Server) -> None:
    async with listening(own_server) as heard:
        await _until(heard, ["wake"])
        own_server.stop()
        own_server.start()
        await _until(heard, ["wake", "wake"])
        with own_server.client() as raw:
            raw.publish(KEYS.wake_channel, "a")
        await _until(heard, ["wake", "wake", "a"])


async def test_a_worker_that_starts_before_redis_listens_when_it_comes(own_server: Server) -> None:
    own_server.stop()
    async with listening(own_server) as heard:
        await asyncio.sleep(0)
        own_server.start()
        await _until(heard, ["wake"])
