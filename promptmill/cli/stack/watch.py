"""A process that dies is noticed: the block that relies on it ends with a StackError."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from types import TracebackType
from typing import Self

from .child import ChildProcess
from .stack import StackError

WATCH_S = 0.1  # how often the processes are looked at
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 30.0
LASTING_S = 60  # a worker that lived this long starts over at the first backoff

Revive = Callable[[ChildProcess], Awaitable[bool]]


class Watch:
    """Cancels the block it guards when a process dies that `revive` cannot bring back.

    The cancellation leaves the block as a StackError with the process's last words, as a timeout's
    leaves `asyncio.timeout` as a TimeoutError.
    """

    def __init__(self, dead: Callable[[], ChildProcess | None], revive: Revive | None = None) -> None:
        self._dead = dead
        self._revive = revive
        self._failure: StackError | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._guarded = task
        self._cancelling_before = task.cancelling()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.cancel()  # from here on it cannot cancel us any more
        if self._failure is None:
            return
        if self._guarded.uncancel() <= self._cancelling_before and kind is asyncio.CancelledError:
            raise self._failure from None

    async def _watch(self) -> None:
        while self._failure is None:
            await asyncio.sleep(WATCH_S)
            child = self._dead()
            if child is None or (self._revive and await self._revive(child)):
                continue
            self._failure = child.obituary()
            self._guarded.cancel()


class Backoff:
    """Pauses of 1, 2, 4 … 30 s before a process is started again."""

    def __init__(self) -> None:
        self._next_s = FIRST_BACKOFF_S

    def after(self, child: ChildProcess) -> float:
        """The pause after the end of `child`, in seconds."""
        lasted = monotonic() - child.started_at_s > LASTING_S
        pause_s = FIRST_BACKOFF_S if lasted else self._next_s
        self._next_s = min(2 * pause_s, LONGEST_BACKOFF_S)
        return pause_s
