"""The thread that runs the event loop of a SyncQueue."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar
from weakref import WeakSet

from .queue import Queue

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, and the Queue that lives on it."""

    def __init__(self, open_queue: Callable[[], Queue]) -> None:
        self.pid = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._thread = threading.Thread(target=self._loop.run_forever, name="promptmill", daemon=True)
        self._thread.start()
        self._queue = open_queue()
        _engines.add(self)

    def submit(self, verb: Callable[[Queue], Coroutine[Any, Any, T]]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(verb(self._queue), self._loop)

    def close(self) -> None:
        self.submit(self._end).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def disown(self) -> None:
        """In a forked child: what is freed here later must not touch the epoll that the parent uses."""
        if isinstance(self._selector, getattr(selectors, "EpollSelector", ())):
            with select.epoll() as ours:
                os.dup2(ours.fileno(), self._selector.fileno(), inheritable=False)

    @staticmethod
    async def _end(queue: Queue) -> None:
        """Nothing may be left on the loop: a thread that waits for it would wait for ever."""
        await queue.session.listener.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        # last, as redis-py fails oddly where a connection goes in the middle of a command
        await queue.close()


_engines: WeakSet[LoopThread] = WeakSet()


def _after_fork_in_child() -> None:
    for engine in _engines:
        engine.disown()
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
