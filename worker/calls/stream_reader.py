"""The body of a streamed response, chunk by chunk, with an eye on the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx

from promptmill.dialects import Delta
from promptmill.dialects.stream import ChatStream

IDLE_S = 60.0  # how long a stream that has begun may be silent; keep-alive comments count as words
END_S = 0.5  # what a host gets to end a response whose last event has come: then its connection is used again


class Patience:
    """Ends a time limit early where nothing is heard for IDLE_S. A chunk costs no timer."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        self.is_over = False

    def hear(self) -> None:
        """Something has come."""
        self._heard_s = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(IDLE_S, self._look)

    def hurry(self) -> None:
        """Nothing of interest can come."""
        self._limit.reschedule(min(self._limit.when() or 0, self._loop.time() + END_S))

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        due_s = self._heard_s + IDLE_S
        if due_s > self._loop.time():
            self._timer = self._loop.call_at(due_s, self._look)
        elif not self._limit.expired():
            self.is_over = True
            self._limit.reschedule(self._loop.time())


async def read(
    stream: ChatStream, response: httpx.Response, on_delta: Callable[[Delta], None], patience: Patience
) -> None:
    """Feeds the body to `stream` and its deltas to `on_delta`."""
    is_over = False
    try:
        async for chunk in _chunks(response):
            patience.hear()
            for delta in () if is_over else stream.feed(chunk):
                on_delta(delta)
            if stream.is_over and not is_over:
                is_over = True
                patience.hurry()
    finally:
        patience.stop()


def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes; decoders, which most answers do not need, cost as much as reading."""
    return response.aiter_bytes() if "content-encoding" in response.headers else response.aiter_raw()
