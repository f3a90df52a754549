"""One connection that is subscribed on behalf of all who wait in this process, and what outlives its outages."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from ..errors import QueueUnavailable
from .connection import reachable

RECONNECT_S = 0.2
OUTAGE_S = 30.0  # how long all who wait are kept while the server is away
READ_TIMEOUT_S = 0.5  # how late a cancellation is seen that came together with a message
CLOSED = "The queue has been closed: open another."


class Subscriber(ABC):
    """Listens while anybody waits. Belongs to one event loop."""

    def __init__(self, signals: Redis) -> None:
        self._signals = signals
        self._work = asyncio.Event()  # wakes the loop that writes
        self._task: asyncio.Task[None] | None = None
        self._down_since_s: float | None = None
        self._listening = self._closed = False

    @abstractmethod
    def _is_wanted(self) -> bool:
        """Whether anybody waits."""

    @abstractmethod
    async def _hear(self, pubsub: PubSub) -> None:
        """Subscribes over a new connection, and runs the loops that read and write (`_side_by_side`)."""

    @abstractmethod
    def _fail(self, error: Exception) -> None:
        """Raises it for all who wait."""

    async def close(self) -> None:
        """Stops listening. Whoever still waits gets QueueUnavailable."""
        self._closed = True
        self._fail(QueueUnavailable(CLOSED))
        self._stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _listen(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"promptmill {type(self).__name__.lower()}")

    async def _run(self) -> None:
        """Ends when it is closed, or when the connection ends while nobody waits."""
        while True:
            pubsub = self._signals.pubsub()
            try:
                await self._hear(pubsub)
            except* (redis_errors.RedisError, OSError) as group:
                self._suffer(group.exceptions[0])
            except* Exception as group:  # a fault of ours must not leave anybody waiting for ever
                self._fail(group.exceptions[0])
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            if self._closed or not self._is_wanted():
                self._down_since_s = None
                return
            await asyncio.sleep(RECONNECT_S)

    def _suffer(self, error: BaseException) -> None:
        """An outage is waited out for OUTAGE_S; a refusal, such as a wrong password, is not."""
        now_s = asyncio.get_running_loop().time()
        self._down_since_s = self._down_since_s or now_s
        outage = isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError | OSError)
        refused = isinstance(error, redis_errors.AuthenticationError)
        if outage and not refused and now_s - self._down_since_s < OUTAGE_S:
            return
        try:
            with reachable():
                raise error
        except QueueUnavailable as unavailable:
            self._fail(unavailable)

    async def _side_by_side(self, *loops: Coroutine[Any, Any, None]) -> None:
        """Runs loops that go on while `_listening`. All end when one ends or fails."""
        self._listening = not self._closed
        async with asyncio.TaskGroup() as tasks:
            for loop in loops:
                tasks.create_task(loop).add_done_callback(lambda _: self._stop())

    def _stop(self) -> None:
        """Tells the loops what a cancellation may not: Python 3.11's wait_for and TaskGroup lose one that
        comes together with a result or a failure."""
        self._listening = False
        self._work.set()
