"""Redis away: calls in flight go on, outcomes wait, and claiming starts again after the renewal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from redis import exceptions as redis_errors

from client import words
from worker.unreachable import UNREACHABLE

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 0.5  # shorter than GRACE_S, so that every worker has renewed by then
GRACE_S = 1.0  # after an outage, for every worker to renew before anyone claims

logger = words.logger("arq.worker")


class RedisGone(Exception):
    """Redis stayed away for longer than REDIS_OUTAGE_S."""


class Outage:
    """One worker's view of whether Redis is there."""

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._there = asyncio.Event()
        self._there.set()
        self._away = asyncio.Event()
        self._past = asyncio.Event()
        self._past.set()

    @property
    def lasting(self) -> bool:
        """Whether nothing may be claimed: Redis is away, or not everybody has renewed yet."""
        return not self._past.is_set()

    def begin(self, error: BaseException) -> None:
        """Somebody could not reach Redis. Idempotent while it is away."""
        if self._there.is_set():
            logger.error(
                "Redis is away (%s): calls in flight go on and their answers are kept for %g s",
                error,
                self._limit_s,
            )
            self._there.clear()
            self._past.clear()
            self._away.set()

    async def begun(self) -> None:
        """Returns when Redis is away."""
        await self._away.wait()

    async def over(self) -> None:
        """Returns when Redis is there: outcomes may be written."""
        await self._there.wait()

    async def past(self) -> None:
        """Returns when everybody has had the time to renew: jobs may be claimed."""
        await self._past.wait()

    async def ride_out(
        self, ping: Callable[[], Awaitable[object]], renew: Callable[[], Awaitable[None]]
    ) -> None:
        """Waits until Redis answers, renews all leases, then ends the outage. Raises RedisGone at the limit."""
        loop = asyncio.get_running_loop()
        since_s, delay_s = loop.time(), FIRST_RETRY_S
        while True:
            try:
                await ping()
                await renew()
                break
            except (*UNREACHABLE, redis_errors.ResponseError) as error:  # MISCONF, LOADING refuse even a PING
                if loop.time() - since_s > self._limit_s:
                    raise RedisGone(f"Redis has been away for {self._limit_s:g} s ({error}).") from None
            await asyncio.sleep(delay_s)
            delay_s = min(LAST_RETRY_S, 2 * delay_s)
        logger.warning("Redis is back after %.1f s", loop.time() - since_s)
        self._away.clear()
        self._there.set()
        await asyncio.sleep(GRACE_S)
        if self._there.is_set():  # it has not gone away again
            self._past.set()
