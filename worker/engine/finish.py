"""The outbox: outcomes that come together are written together, and none is given up while Redis is away. Nor are the
parts that a run has done: they are written before its outcome, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from redis.exceptions import RedisError

from client import words
from worker.unreachable import UNREACHABLE

from .outage import Outage
from .scripts import EngineScripts, Outcome, Parts

BATCH = 250  # outcomes a script: some 5 ms of the server's time at most
REFUSED_RETRY_S = 1.0

logger = words.logger("arq.worker")


class Outbox:
    """Outcomes and parts on their way to Redis, in order. `run` writes; whoever puts does not wait."""

    def __init__(
        self, scripts: EngineScripts, outage: Outage, on_written: Callable[[Outcome, bool], None]
    ) -> None:
        self._scripts = scripts
        self._outage = outage
        self._on_written = on_written
        self._waiting: deque[Outcome | Parts] = deque()
        self._kick = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """How many outcomes wait."""
        return sum(isinstance(ended, Outcome) for ended in self._waiting)

    def put(self, ended: Outcome | Parts) -> None:
        """Takes an outcome, or parts. They are written within the tick, or when Redis is back."""
        self._waiting.append(ended)
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
            batch = self._next()
            try:
                if not batch:
                    await self._keep()
                    continue
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

    def _next(self) -> list[Outcome]:
        """The outcomes before the next parts."""
        batch: list[Outcome] = []
        for ended in self._waiting:
            if not isinstance(ended, Outcome) or len(batch) == BATCH:
                break
            batch.append(ended)
        return batch

    async def _keep(self) -> None:
        """Writes the parts that are next; of a lost lease, they are its next holder's to do."""
        parts = self._waiting[0]
        assert isinstance(parts, Parts)
        try:
            await self._scripts.keep(parts)
        except UNREACHABLE:
            raise
        except RedisError as error:  # they can be had again, and others wait behind them
            logger.warning("%s: Redis refuses a part: %s", parts.lease.job_id, error)
        self._waiting.popleft()
