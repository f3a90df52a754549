"""The totals of every physical attempt: kept in memory, written together ten times a second.

Best effort, and never in the way of an answer: a Redis that is away costs nothing but memory, a few numbers
for each model and tenant, and what a killed worker had not written yet, FLUSH_S of totals, is lost. A
connection that breaks in the middle of a flush may have it counted twice.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from client import words
from client.costs import KEPT_DAYS, NO_TENANT, WHATS
from client.limits.rules.lanes import model_key
from client.wire.keys import KEYS
from client.wire.schemas import Attempt, Usage

FLUSH_S = 0.1  # what a killed worker loses at most
AGAIN_S = 1.0  # after a flush that failed
CLOSE_S = 1.0  # for the last flush
TTL_S = KEPT_DAYS * 86_400  # of a day's totals

logger = words.logger("promptmill.ledger")


class Totals:
    """The totals that this process has not written yet. Belongs to one event loop."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._days: dict[str, dict[str, float]] = {}
        self._dirty = asyncio.Event()
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    def add(self, attempt: Attempt, tenant: str = NO_TENANT) -> None:
        """Takes an attempt down. Returns at once; it is in Redis within FLUSH_S."""
        day = self._days.setdefault(f"{datetime.now(UTC):%Y-%m-%d}", defaultdict(int))
        of = f"{model_key(attempt.model)}|{tenant}"
        for what, number in numbers(attempt):
            day[f"{of}|{what}"] += number
        self._dirty.set()
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="promptmill ledger")

    async def flush(self) -> None:
        """Writes all there is, in one round trip. Raises RedisError or OSError, and then has it still."""
        async with self._writing:
            days, self._days = self._days, {}
            try:
                await self._send(days)
            except BaseException:  # cancelled, too
                self._put_back(days)
                raise

    async def close(self) -> None:
        """Writes what is left, and says so where it cannot. Idempotent."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.flush()
        except (RedisError, OSError) as error:  # TimeoutError is one
            logger.warning("the totals of the last calls are lost: %s", str(error) or "Redis does not answer")
        if self._writer is not None:  # now that it is not in the middle of writing
            self._writer.cancel()
            await asyncio.wait([self._writer])
            self._writer = None

    async def _send(self, days: dict[str, dict[str, float]]) -> None:
        if not days:
            return
        async with self._redis.pipeline(transaction=True) as pipe:
            for day, totals in days.items():
                key = KEYS.cost(day)
                for field, number in totals.items():
                    if isinstance(number, int):
                        pipe.hincrby(key, field, number)
                    else:
                        pipe.hincrbyfloat(key, field, number)
                pipe.expire(key, TTL_S)
            await pipe.execute()

    async def _write(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(FLUSH_S)
            self._dirty.clear()
            try:
                await self.flush()
            except (RedisError, OSError) as error:
                logger.debug("totals cannot be written, and are kept: %s", error)
                self._dirty.set()
                await asyncio.sleep(AGAIN_S)

    def _put_back(self, days: dict[str, dict[str, float]]) -> None:
        for day, totals in days.items():
            mine = self._days.setdefault(day, defaultdict(int))
            for field, number in totals.items():
                mine[field] += number


def numbers(attempt: Attempt) -> Iterator[tuple[str, float]]:
    """What an attempt adds to the totals, by name. What is not known adds nothing, but to a count of its own."""
    usage, usd = attempt.usage or Usage(), attempt.cost_usd
    yield "calls", 1
    if attempt.error is not None:
        yield "errors", 1
    for what, name in WHATS.items():
        if tokens := getattr(usage, name, None):  # calls and errors are no part of it
            yield what, tokens
    if usd is not None:
        yield "usd", float(usd)
    elif usage.input_tokens is None or usage.output_tokens is None:
        yield "unknown", 1
    else:
        yield "unpriced", 1


def tenant_of(lane: str) -> str:
    """The tenant that a lane's name tells."""
    parts = (part for part in lane.split("|") if part.startswith("tenant:"))
    return next(parts, NO_TENANT).removeprefix("tenant:")
