"""The body of a streamed response, chunk by chunk, with an eye on the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from promptmill.dialects import Delta
from promptmill.dialects.stream import ChatStream

from .transport import BodyTooLarge, body_of

END_S = 0.5  # what a host gets to end a response whose last event has come: then its connection is used again


class Patience:
    """Ends a time limit early where nothing is heard for `silence_s` seconds. A chunk costs no timer."""

    def __init__(self, limit: asyncio.Timeout, silence_s: float) -> None:
        self._limit, self._silence_s = limit, silence_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        self.is_over = False

    def hear(self) -> None:
        """Something has come."""
        self._heard_s = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._silence_s, self._look)

    def hurry(self) -> None:
        """Nothing of interest can come."""
        self._limit.reschedule(min(self._limit.when() or 0, self._loop.time() + END_S))

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        due_s = self._heard_s + self._silence_s
        if due_s > self._loop.time():
            self._timer = self._loop.call_at(due_s, self._look)
        elif not self._limit.expired():
            self.is_over = True
            self._limit.reschedule(self._loop.time())


async def read(
    stream: ChatStream,
    response: httpx.Response,
    on_delta: Callable[[Delta], None],
    patience: Patience,
    max_bytes: int,
) -> None:
    """Feeds the body to `stream` and its deltas to `on_delta`. Silence counts from the answer's first word on, as a
    model may think for long before; any byte ends it, such as those of a comment. Raises BodyTooLarge."""
    is_over, size = False, 0
    try:
        async for chunk in body_of(response):
            size += len(chunk)
            if size > max_bytes:
                raise BodyTooLarge(max_bytes)
            if is_over:
                continue
            for delta in stream.feed(chunk):
                on_delta(delta)
            stream.check()
            if stream.has_spoken:
                patience.hear()
            if stream.is_over:
                is_over = True
                patience.hurry()
    finally:
        patience.stop()
