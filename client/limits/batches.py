"""What is put in while a round trip is under way goes out together in the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ..errors import QueueUnavailable
from ..redis.connection import reachable

BATCH = 200  # items a round trip
CLOSE_LIMIT_S = 2.0  # for what is under way when the process ends

T = TypeVar("T")


class Batches(Generic[T]):
    """Sends in the order of `put`, whoever is cancelled meanwhile. Belongs to one event loop."""

    def __init__(self, send: Callable[[list[T]], Awaitable[None]]) -> None:
        self._send = send
        self._items: deque[tuple[T, asyncio.Future[None]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, item: T) -> asyncio.Future[None]:
        """Done when the item has been sent; raises what sending raised, QueueUnavailable where Redis is away."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_look_at)
        self._items.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="promptmill batches")
        return future

    async def close(self) -> None:
        """Waits a moment for what is under way, then gives up."""
        if self._task is None or self._task.done():
            return
        await asyncio.wait([self._task], timeout=CLOSE_LIMIT_S)
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._items:
            batch = [self._items.popleft() for _ in range(min(BATCH, len(self._items)))]
            error: Exception | None = QueueUnavailable("The queue was closed before Redis had answered.")
            try:
                with reachable():
                    await self._send([item for item, _ in batch])
                error = None
            except Exception as caught:
                error = caught
            finally:
                for _, future in batch:
                    _resolve(future, error)


def _resolve(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _look_at(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()  # nobody may be left to read it
