"""The outbox: outcomes that come together are written together, and none is given up while Redis is away. Nor are the
parts that a run has done: they are written before its outcome, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import zip_longest
from math import inf
from typing import Any

from redis import exceptions as redis_errors
from redis.exceptions import RedisError

from client import words
from worker.unreachable import UNREACHABLE

from .outage import Outage
from .scripts import EngineScripts, Outcome, Parts
from .too_large import LEAST_LIMIT_BYTES, refused, size_of

BATCH = 250  # outcomes a script: some 5 ms of the server's time at most
BATCH_BYTES = 16_000_000  # of them together: Redis reads a command whole before it runs it
REFUSED_RETRY_S = 1.0
FAILURES = 3  # of one outcome, alone, while the server answers: then it is at fault
REFUSES_ALL = (redis_errors.ReadOnlyError, redis_errors.OutOfMemoryError, redis_errors.NoPermissionError)

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
        self._most = BATCH  # fewer after a failure
        self._failures = 0  # of the first, alone
        self._refused_bytes = inf  # of the smallest on which the server has hung up, as often as that
        self._uncertain = 0  # so many of the first may have arrived
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
        while self._waiting:
            batch = self._next()
            try:
                if isinstance(batch[0], Parts):
                    await self._scripts.keep(batch[0])
                    self._passed(batch, [])
                else:
                    self._passed(batch, await self._scripts.finish(batch))
            except (*UNREACHABLE, RedisError) as error:
                await self._recover(batch, error)

    def _next(self) -> list[Any]:
        """The outcomes before the next parts, or these: what one script takes."""
        batch: list[Outcome | Parts] = []
        size_bytes = 0
        for ended in self._waiting:
            size_bytes += size_of(ended)
            if batch and (len(batch) >= self._most or size_bytes > BATCH_BYTES or isinstance(ended, Parts)):
                break
            batch.append(ended)
            if isinstance(ended, Parts):
                break
        return batch

    def _passed(self, batch: Sequence[Any], accepted: Sequence[bool]) -> None:
        for ended, ok in zip_longest(batch, accepted):
            self._waiting.popleft()
            self._uncertain, was_uncertain = max(0, self._uncertain - 1), self._uncertain > 0
            if isinstance(ended, Outcome):
                if not ok and not was_uncertain:
                    logger.warning("%s: not accepted, its lease was lost", ended.lease.job_id)
                self._on_written(ended, ok)
        self._most, self._failures = min(BATCH, 2 * self._most), 0

    # -- what is not taken ---------------------------------------------------------------------------

    async def _recover(self, batch: Sequence[Any], error: Exception) -> None:
        """An outage is waited out. Where the server is there, what was written may be at fault: then it is tried by
        halves, until the one that is not taken stands alone."""
        is_broken = isinstance(error, UNREACHABLE)
        if is_broken:
            self._uncertain = max(
                self._uncertain, len(batch)
            )  # it may have arrived, though its reply did not
        if is_broken and not (_may_break(batch, error) and await self._answers()):
            self._outage.begin(error)
            await self._outage.over()
        elif len(batch) > 1:
            self._most = len(batch) // 2
        elif await self._is_at_fault(batch[0], is_broken):
            if is_broken:
                self._refused_bytes = min(self._refused_bytes, size_of(batch[0]))
            await self._give_up(batch[0], error)
        else:  # an answer that was paid for is not dropped for a server's refusal
            logger.error("Redis refuses the outcome of %s; it is kept: %s", batch[0].lease.job_id, error)
            await asyncio.sleep(REFUSED_RETRY_S)

    async def _is_at_fault(self, ended: Outcome | Parts, is_broken: bool) -> bool:
        """A part that is refused is; anything else if it fails often, alone, or is as large as one that did. Only
        while the server answers."""
        self._failures += 1
        if isinstance(ended, Parts) and not is_broken:
            return await self._answers()
        if is_broken and size_of(ended) >= self._refused_bytes:
            return True
        return self._failures >= FAILURES and (is_broken or await self._answers())

    async def _answers(self) -> bool:
        try:
            await self._scripts.ping()
        except (RedisError, OSError):
            return False
        return True

    async def _give_up(self, ended: Outcome | Parts, error: Exception) -> None:
        """Parts can be had again, and others wait behind them. An outcome gives way to a small one that is taken."""
        self._failures = 0
        if isinstance(ended, Parts):
            logger.warning("%s: Redis refuses a part: %s", ended.lease.job_id, error)
            self._passed([ended], [])
            return
        small = refused(ended, f"and Redis does not take it ({error})")
        with suppress(RedisError, OSError):
            self._passed([small], await self._scripts.finish([small]))


def _may_break(batch: Sequence[Outcome | Parts], error: Exception) -> bool:
    """Whether a server that is there may have hung up because of what was written."""
    return not isinstance(error, REFUSES_ALL) and max(map(size_of, batch)) >= LEAST_LIMIT_BYTES
