"""Writes what the runs of this worker say: one loop and one script call a tick, however many they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.exceptions import RedisError

from client import words
from client.errors import JobError
from client.redis.scripts import scripts
from client.wire.keys import Keys
from client.wire.token import claimed_us
from promptmill.dialects import Delta
from worker.context import Meter
from worker.unreachable import UNREACHABLE, as_unreachable

from .lines import Coalescer, Line, Row

BATCH = 500  # events a script: some 3 ms of the server's time
LIFE_MS = 2 * 86_400_000  # of a stream while its job runs; the end of the job sets another
RETRY_S = 0.1
LEAST_LIMIT_BYTES = 1024 * 1024  # proto-max-bulk-len cannot be lower
FLUSH_LIMIT_S = 1.0  # how long a run that has ended waits for its last words to be written

logger = words.logger("promptmill.streams")


class Relay:
    """The streams of one worker. Best effort: no answer is lost, delayed or failed by it."""

    def __init__(self, redis: Any, keys: Keys) -> None:
        (self._script,) = scripts(redis, __package__, keys, "relay")
        self._redis = redis
        self._coalescer = Coalescer(asyncio.get_running_loop().time)
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def line(self, job_id: str, token: str, meter: Meter) -> AsyncIterator[Callable[[Delta], None]]:
        """What takes the deltas of the run that holds this fencing token.

        When the block ends for good, all is written, unless Redis stays away. Where the job is to run again, or is
        cancelled, what waits is forgotten.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="promptmill relay")
        line, coalescer = Line(job_id, claimed_us(token)), self._coalescer
        meter.last_event_id = ""

        def add(delta: Delta) -> None:
            if coalescer.add(line, delta):
                self._kick.set()

        try:
            yield add
            await self._flush(line)
        except JobError:  # the end, and not another try
            await self._flush(line)
            raise
        except BaseException:
            coalescer.drop(line)
            raise
        meter.last_event_id = line.last_id

    async def close(self) -> None:
        """Gives up what is not written. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _flush(self, line: Line) -> None:
        self._coalescer.hurry(line)
        self._kick.set()
        line.waiter = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_LIMIT_S):
                await line.waiter

    async def _run(self) -> None:
        while True:
            wait_s = self._coalescer.wait_s()
            if wait_s != 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._kick.wait()
            self._kick.clear()
            lines, rows = self._coalescer.take()
            for start in range(0, len(rows), BATCH):
                await self._write(rows[start : start + BATCH])
            for line in lines:
                if line.waiter is not None and not line.waiter.done() and not line.has_more:
                    line.waiter.set_result(None)

    async def _write(self, rows: list[Row]) -> None:
        """Writes them all; by halves where they are not taken though the server is there, and so loses no more than
        the one that is at fault."""
        args: list[Any] = [LIFE_MS]
        for row in rows:
            args += row
        while True:
            try:
                with as_unreachable():
                    await self._script(args=args)
                return
            except (*UNREACHABLE, RedisError) as error:
                is_away = isinstance(error, UNREACHABLE) and not await self._hung_up_on(rows)
                if is_away:
                    logger.debug("streams wait, as Redis is away: %s", error)
                    await asyncio.sleep(RETRY_S)
                elif len(rows) == 1:
                    logger.error("%s: Redis refuses an event of its stream, lost now: %s", rows[0][0], error)
                    return
                else:
                    half = len(rows) // 2
                    await self._write(rows[:half])
                    await self._write(rows[half:])
                    return

    async def _hung_up_on(self, rows: list[Row]) -> bool:
        """Whether the server is there, and may have hung up because of an event's size."""
        if max(len(event) for _, event in rows) < LEAST_LIMIT_BYTES:
            return False
        try:
            await self._redis.ping()
        except (RedisError, OSError):
            return False
        return True
