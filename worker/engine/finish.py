"""The outbox: outcomes that come together are written together, and none is given up while Redis is away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice

from redis.exceptions import RedisError

from client import words
from worker.unreachable import UNREACHABLE

from .outage import Outage
from .scripts import EngineScripts, Outcome

BATCH = 250  # outcomes a script: some 5 ms of the server's time at most
REFUSED_RETRY_S = 1.0

logger = words.logger("arq.worker")


class Outbox:
    """Outcomes on their way to Redis, in order. `run` writes; whoever puts does not wait."""

    def __init__(
        self, scripts: EngineScripts, outage: Outage, on_written: Callable[[Outcome, bool], None]
    ) -> None:
        self._scripts = scripts
        self._outage = outage
        self._on_written = on_written
        self._waiting: deque[Outcome] = deque()
        self._kick = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, outcome: Outcome) -> None:
        """Takes an outcome. It is written within the tick, or when Redis is back."""
        self._waiting.append(outcome)
        self._empty.clear()
        self._kick.set()

    async def emptied(self) -> None:
        """Returns when everything put so far is written."""
        await self._empty.wait()

    async def run(self) -> None:
        """Writes until cancelled. What is being written when Redis goes away is written again."""
        while True:
            await self._kick.wait()
            self._kick.clear()
            await asyncio.sleep(0)  # the jobs that end in this tick share a script
            await self._write()
            self._empty.set()

    async def _write(self) -> None:
        """Returns when nothing waits, and keeps no outcome: one may have a hundred megabytes."""
        uncertain = False  # the last batch may have arrived, though its reply did not
        while self._waiting:
            batch = list(islice(self._waiting, BATCH))
            try:
                accepted = await self._scripts.finish(batch)
            except UNREACHABLE as error:
                uncertain = True
                self._outage.begin(error)
                await self._outage.over()
                continue
            except RedisError:  # an answer that was paid for is not dropped for a server's refusal
                logger.exception(
                    "Redis refuses %s kept", words.counted(len(batch), "outcome; it is", "outcomes; they are")
                )
                await asyncio.sleep(REFUSED_RETRY_S)
                continue
            for outcome, ok in zip(batch, accepted, strict=True):
                self._waiting.popleft()
                if not ok and not uncertain:
                    logger.warning("%s: not accepted, its lease was lost", outcome.lease.job_id)
                self._on_written(outcome, ok)
            uncertain = False
