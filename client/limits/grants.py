"""Calls of this process that wait for their slots. One connection listens for all of them, while any waits.

Whoever has to wait stands in Redis's queue and is told on the process's channel. A call whose process does
not listen is passed over, so after every subscription all that wait ask again, and keep their place. Nobody
polls: a key that opens with time (a rate, a cooldown, a lease that lapses) has a moment, at which the
process has it opened for everybody. All asking again, now and then, is the safety net.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from ..errors import QueueUnavailable, SlotTimeout
from ..redis.subscriber import CLOSED, READ_TIMEOUT_S, Subscriber
from .batches import BATCH, Batches
from .calls import CallScripts, Grant, Release, Standing, Ticket, heard
from .holds import Hold, Holds

SAFETY_S = 5.0  # between two times that all who wait ask again
SOON_S = 0.02  # the shortest time between two looks at the keys that are due
JITTER_S = 0.02  # so that not all processes look at once
IDLE_S = 10.0  # how long the connection is kept when nobody waits


@dataclass(slots=True, eq=False)
class _Waiter:
    ticket: Ticket
    granted: asyncio.Future[Grant]
    waits_for: str  # a limit key
    asked: asyncio.Future[None] | None = None
    since: str = ""  # empty until the first answer


class Grants(Subscriber):
    """All calls of this process that want slots. Belongs to one event loop."""

    def __init__(self, scripts: CallScripts, signals: Redis, holds: Holds, channel: str) -> None:
        super().__init__(signals)
        self._scripts = scripts
        self._holds = holds
        self._channel = channel
        self._waiting: dict[str, _Waiter] = {}
        self._asks = Batches(self._ask)
        self._look_at_s: float | None = None
        self._ask_all_at_s = 0.0
        self._idle_since_s = 0.0

    async def take(self, hold: Hold, wait_s: float | None) -> None:
        """Returns when the call has its slots, which are renewed from then on.

        Raises SlotTimeout, or QueueUnavailable where Redis refuses us or stays away for OUTAGE_S. Failing or
        cancelled, it leaves nothing behind: what may be left is released in the background.
        """
        if self._closed:
            raise QueueUnavailable(CLOSED)
        loop = asyncio.get_running_loop()
        end_s = None if wait_s is None else loop.time() + wait_s
        waiter = _Waiter(hold.ticket, loop.create_future(), hold.ticket.keys[0])
        self._waiting[hold.ticket.id] = waiter
        waiter.asked = self._asks.put(waiter)
        try:
            await asyncio.shield(waiter.asked)
            if not waiter.granted.done():
                self._listen()
                await self._until(waiter, end_s, wait_s)
            hold.grant = waiter.granted.result()
            self._holds.add(hold)
        except BaseException:
            self._drop(waiter)
            raise
        finally:
            del self._waiting[hold.ticket.id]
            self._idle_since_s = loop.time()

    async def close(self) -> None:
        """Stops listening. Whoever still waits gets QueueUnavailable."""
        left = [waiter.ticket for waiter in self._waiting.values()]
        await super().close()
        await self._asks.close()
        for ticket in left:
            self._holds.release_soon(Release(ticket))

    async def _until(self, waiter: _Waiter, end_s: float | None, wait_s: float | None) -> None:
        try:
            async with asyncio.timeout_at(end_s) as limit:
                await waiter.granted
        except TimeoutError:
            if not limit.expired():
                raise
            raise SlotTimeout(await self._sentence(waiter, wait_s or 0), key=waiter.waits_for) from None

    async def _sentence(self, waiter: _Waiter, wait_s: float) -> str:
        key, why = waiter.waits_for, "Redis does not say why"
        with suppress(redis_errors.RedisError, OSError):
            why = await self._scripts.blocked(waiter.ticket, key)
        return (
            f"No slot of {waiter.ticket.keys[0]} within {wait_s:g} s: the call waits for {key}, {why}. Raise its "
            "limit, or wait_s."
        )

    def _drop(self, waiter: _Waiter) -> None:
        """What it may have, or may yet get by an ask under way, is released."""
        if waiter.granted.done() and not waiter.granted.cancelled():
            waiter.granted.exception()
        if waiter.asked is not None and not self._closed:
            waiter.asked.add_done_callback(lambda _: self._holds.release_soon(Release(waiter.ticket)))

    # -- asking --------------------------------------------------------------------------------------

    async def _ask(self, waiters: list[_Waiter]) -> None:
        answers = await self._acquire([(waiter.ticket, waiter.since) for waiter in waiters])
        for waiter, answer in zip(waiters, answers, strict=True):
            self._heed(waiter, answer)

    async def _acquire(self, asks: list[tuple[Ticket, str]]) -> list[Standing]:
        answers = await self._scripts.acquire(asks, self._holds.epoch)
        if self._holds.epoch not in ("", answers.epoch):
            await self._holds.renew()  # Redis has lost its data: what is held is taken back first
        self._holds.epoch = answers.epoch
        now_s = asyncio.get_running_loop().time()
        if answers.look_in_s is not None:
            delay_s = max(SOON_S, answers.look_in_s) + random.random() * JITTER_S  # noqa: S311
            self._look_at_s = now_s + delay_s
        else:
            self._look_at_s = None
        self._work.set()
        return answers.calls

    def _heed(self, waiter: _Waiter, answer: Standing) -> None:
        waiter.since = answer.since
        waiter.waits_for = answer.waits_for or waiter.waits_for
        if waiter.ticket.id in self._waiting:
            if not answer.waits_for and not waiter.granted.done():
                waiter.granted.set_result(answer.grant)
        elif waiter.ticket.id not in self._holds and not self._closed:  # it has gone while it asked
            self._holds.release_soon(Release(waiter.ticket))

    def _fail(self, error: Exception) -> None:
        for waiter in self._waiting.values():
            if not waiter.granted.done():
                waiter.granted.set_exception(error)

    # -- listening -----------------------------------------------------------------------------------

    def _is_wanted(self) -> bool:
        return bool(self._waiting)

    async def _hear(self, pubsub: PubSub) -> None:
        await pubsub.subscribe(self._channel)
        await self._side_by_side(self._read(pubsub), self._look())

    async def _read(self, pubsub: PubSub) -> None:
        while self._listening and not self._is_idle():
            message = await pubsub.get_message(timeout=READ_TIMEOUT_S)
            if message and message["type"] == "subscribe":
                self._ask_all_at_s = 0.0
                self._work.set()
            elif message and message["type"] == "message":
                self._told(message["data"])

    def _told(self, message: bytes) -> None:
        try:
            id_, grant = heard(message)
        except ValueError:  # a stranger's
            return
        waiter = self._waiting.get(id_)
        if waiter is not None and not waiter.granted.done():
            waiter.granted.set_result(grant)

    def _is_idle(self) -> bool:
        return not self._waiting and asyncio.get_running_loop().time() - self._idle_since_s >= IDLE_S

    async def _look(self) -> None:
        """Has the keys that are due opened, and lets all who wait ask again when it is time."""
        while self._listening:
            self._work.clear()
            now_s = asyncio.get_running_loop().time()
            if self._waiting and now_s >= self._ask_all_at_s:
                self._ask_all_at_s = now_s + SAFETY_S
                await self._ask_again()
                self._down_since_s = None
            elif self._waiting and self._look_at_s is not None and now_s >= self._look_at_s:
                await self._acquire([])
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._next_s()):
                    await self._work.wait()

    def _next_s(self) -> float | None:
        if not self._waiting:
            return None
        return min(self._ask_all_at_s, self._look_at_s or self._ask_all_at_s)

    async def _ask_again(self) -> None:
        asking = [waiter for waiter in self._waiting.values() if waiter.since]
        for at in range(0, len(asking), BATCH):
            await self._ask(asking[at : at + BATCH])
