"""The totals of every physical call: kept in memory, written together ten times a second.

A call is counted when it begins, as one of unknown use, and that is corrected when it ends. So a call that never
ends, since its worker was killed, is counted; and one whose worker only stood still is counted once. (A worker of a
version before counts its calls as they end: those of one that is killed in a deploy are missing.)

Never in the way of an answer: a Redis that is away costs nothing but memory, a few numbers for each model and tenant.
What is lost is what a killed worker had not written yet, FLUSH_S of beginnings and endings. Each writing has a number,
so one that is sent again, as its reply was lost, counts once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError

from client import words
from client.costs import KEPT_DAYS, NO_TENANT, WHATS
from client.limits.rules.lanes import model_key
from client.redis.connection import keys_at
from client.redis.scripts import scripts
from client.wire.schemas import Attempt, Usage

FLUSH_S = 0.1  # what a killed worker loses at most
AGAIN_S = 1.0  # after a flush that failed
CLOSE_S = 1.0  # for the last flush
TTL_S = KEPT_DAYS * 86_400  # of a day's totals

_Days: TypeAlias = defaultdict[tuple[str, str], float]  # day and field → what is added

logger = words.logger("promptmill.ledger")


class Counted(NamedTuple):
    """A call that has begun: what it is counted by until it ends."""

    day: str
    of: str


class Totals:
    """The totals that this process has not written yet. Belongs to one event loop."""

    def __init__(self, redis: Redis) -> None:
        (self._count,) = scripts(redis, __package__, keys_at(redis), "count")
        self._name = uuid4().hex
        self._new: _Days = defaultdict(int)
        self._sent: _Days = defaultdict(int)  # not known to have arrived
        self._writing = 0
        self._dirty = asyncio.Event()
        self._lock = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    def begin(self, model: str, tenant: str = NO_TENANT) -> Counted:
        """Counts a call, as one of which nothing is known. Returns at once; it is in Redis within FLUSH_S."""
        call = Counted(f"{datetime.now(UTC):%Y-%m-%d}", f"{model_key(model)}|{tenant}")
        self._add(call, _BEGUN)
        return call

    def end(self, call: Counted, attempt: Attempt | None) -> None:
        """Counts what it came to, on the day on which it began. None: it was not made after all."""
        self._add(call, _BEGUN, -1)
        if attempt is not None:
            self._add(call, numbers(attempt))

    async def flush(self) -> None:
        """Writes all there is, in one round trip. Raises RedisError or OSError, and then has it still."""
        async with self._lock:
            if self._sent:  # with its number: it may have arrived
                await self._send()
            if self._new:
                self._sent, self._new, self._writing = self._new, defaultdict(int), self._writing + 1
                await self._send()

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

    def _add(self, call: Counted, told: Iterable[tuple[str, float]], sign: int = 1) -> None:
        for what, number in told:
            self._new[call.day, f"{call.of}|{what}"] += sign * number
        self._dirty.set()
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="promptmill ledger")

    async def _send(self) -> None:
        args: list[str | bytes | float] = [self._name, self._writing, TTL_S * 1000]
        for (day, field), number in self._sent.items():
            if number or isinstance(number, float):  # a cost of 0 is known
                args += (day, field.encode(errors="replace"), number)
        if left_out := await self._count(args=args):
            logger.warning(
                "%s of totals cannot be added, and are left out", words.counted(left_out, "number")
            )
        self._sent = defaultdict(int)

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


_BEGUN = (("calls", 1), ("unknown", 1))


def tenant_of(lane: str) -> str:
    """The tenant that a lane's name tells."""
    parts = (part for part in lane.split("|") if part.startswith("tenant:"))
    return next(parts, NO_TENANT).removeprefix("tenant:")
