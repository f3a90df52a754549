"""What the tests of streams share: a worker without an engine, whose jobs say what the test says, and readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from client import Queue, StreamEvent
from promptmill.dialects import Delta
from tests.conftest import KEYS, Server, wait_until
from tests.server.test_engine_room import Room, opened
from tests.unit.given_llm import ANSWER
from worker.engine.run import Policy, Run, failed, succeeded
from worker.streams import Relay

POLICY = Policy(
    timeout_s=10, max_tries=5, keep_result_s=60, keep_result_forever=False, stream_ttl_s=30, retry_jobs=True
)
Tell = Callable[[str], None]


class Worker:
    """A worker without its loop: it claims when it is told to, and its jobs say what the test says."""

    def __init__(self, room: Room, relay: Relay) -> None:
        self.room, self.relay = room, relay

    @asynccontextmanager
    async def run(self, job_id: str = "a", *, ends: Exception | None = None) -> AsyncIterator[Tell]:
        """A run of a job that was enqueued; it ends well at the end of the block, or as its exception says."""
        (claimed,) = (await self.room.claim(1)).jobs
        assert claimed.lease.job_id == job_id
        current = Run(claimed, function="chat", enqueued_ms=1, started_ms=1)
        try:
            async with self.relay.line(job_id, claimed.lease.token, current.meter) as tell:
                yield lambda text: tell(Delta(text=text))
                if ends is not None:
                    raise ends
        except Exception as error:
            ended = failed(current, error, None, POLICY)
        else:
            ended = succeeded(current, {"text": ANSWER.text}, _FUNCTION, POLICY)
        assert (await self.room.scripts.finish([ended.outcome])) == [True]


@asynccontextmanager
async def hired(server: Server) -> AsyncIterator[Worker]:
    """A worker on this server."""
    async with opened(server) as room:
        relay = Relay(room.pool, KEYS)
        try:
            yield Worker(room, relay)
        finally:
            await relay.close()


class Reader:
    """Somebody who follows a job."""

    def __init__(self, queue: Queue, job_id: str = "a", after: str | None = None) -> None:
        self.seen: list[StreamEvent] = []
        self.task = asyncio.create_task(self._read(queue, job_id, after))

    async def _read(self, queue: Queue, job_id: str, after: str | None) -> list[str]:
        async for event in queue.job(job_id).stream(after):
            self.seen.append(event)
        return self.words()

    def words(self) -> list[str]:
        return [event.text or event.kind for event in self.seen]

    async def has(self, *words: str) -> None:
        await wait_until(lambda: self.words() == list(words), description=f"{words}, not {self.words()}")

    async def ends(self) -> list[str]:
        async with asyncio.timeout(10):
            return await self.task


async def somebody_follows(queue: Queue) -> None:
    async def somebody() -> bool:
        return bool(await queue.session.redis.pubsub_channels(KEYS.events_channel("*")))

    await wait_until(somebody, description="a subscription")


async def nobody_follows(queue: Queue) -> None:
    async def nobody() -> bool:
        return not await queue.session.redis.pubsub_channels(KEYS.events_channel("*"))

    assert not queue.session.listener.followers
    await wait_until(nobody, description="no subscription is left")


class _Function:
    keep_result_s = keep_result_forever = None


_FUNCTION: Any = _Function()
