"""The thread that runs the event loop of a SyncQueue.

Where gevent or eventlet has replaced threads, it is a green one, and shares the real thread of its callers. Then the
loop may block only in a select that lets the others run, and its marks on the thread are gone while they do.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import sys
import threading
from asyncio import events
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from types import BuiltinFunctionType
from typing import Any, TypeVar

from .errors import QueueUnavailable
from .forks import in_child
from .queue import Queue

T = TypeVar("T")

_AGAIN_S = (
    1.0  # until whoever has not ended is cancelled once more: a library may take one for its own timeout
)
_TRY_S = 0.01  # how long a select lasts in which another green thread is to run


class LoopThread:
    """An event loop in a thread of its own, and the Queue that lives on it. Raises QueueUnavailable."""

    def __init__(self, open_queue: Callable[[], Queue]) -> None:
        self._pid = os.getpid()
        self._awaited = set[Future[Any]]()
        self._began = Future[None]()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="promptmill", daemon=True)
        self._thread.start()
        self._began.result()
        self._queue = open_queue()
        in_child(self, LoopThread.disown)

    @property
    def is_usable(self) -> bool:
        """Whether it is this process's, and runs: a thread is alive for a moment after its loop has ended."""
        is_ours = self._pid == os.getpid() and not sys.is_finalizing()  # then Python lets no other thread run
        return is_ours and self._fault is None and self._thread.is_alive()

    def submit(self, verb: Callable[[Queue], Coroutine[Any, Any, T]]) -> Future[T]:
        async def run() -> T:  # all of it there, as what a queue has depends on the loop that runs
            return await verb(self._queue)

        awaited = run()
        try:
            future = asyncio.run_coroutine_threadsafe(awaited, self._loop)
        except RuntimeError:  # it has ended since it was asked for
            awaited.close()
            raise self._gone() from None
        self._awaited.add(future)
        future.add_done_callback(self._awaited.discard)
        if self._fault is not None:  # it may have ended before the future was among them
            self._fail_all()
        return future

    def close(self) -> None:
        """Without effect in a forked child, and while Python shuts down."""
        if not self.is_usable:
            return
        self.submit(self._end).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def disown(self) -> None:
        """In a forked child: what is freed here later must not touch the epoll that the parent uses."""
        if isinstance(self._selector, getattr(selectors, "EpollSelector", ())):
            with select.epoll() as ours:
                os.dup2(ours.fileno(), self._selector.fileno(), inheritable=False)

    def _live(self) -> None:
        try:
            # Made here: gevent's selector belongs to the thread in which it is made.
            self._selector = selectors.DefaultSelector()
            run = self._loop_beside(library) if (library := green_library()) else self._loop_alone()
        except BaseException as error:
            self._began.set_exception(error)
            return
        self._began.set_result(None)
        try:
            run()
        except BaseException as error:  # nobody may wait for ever
            self._fault = error
            self._fail_all()
            self._loop.close()
            raise

    def _fail_all(self) -> None:
        for future in list(self._awaited):
            if not future.done():
                future.set_exception(self._gone())

    def _gone(self) -> QueueUnavailable:
        return QueueUnavailable(f"The event loop of a SyncQueue has ended: {self._fault!r}.")

    def _loop_alone(self) -> Callable[[], None]:
        self._loop = asyncio.SelectorEventLoop(self._selector)
        return self._loop.run_forever

    def _loop_beside(self, library: str) -> Callable[[], None]:
        if not _lets_others_run(self._selector):
            self._selector.close()
            raise QueueUnavailable(
                f"A SyncQueue cannot work here: {library} has replaced threads, but select does not let them run. "
                "Have it replace both, as its patch of everything does, or neither."
            )
        shy: Any = _Shy(self._selector)
        self._loop = asyncio.SelectorEventLoop(shy)
        return partial(shy.run, self._loop.run_forever)

    @staticmethod
    async def _end(queue: Queue) -> None:
        """Nothing may be left on the loop: a thread that waits for it would wait for ever."""
        await queue.session.listener.close()
        while rest := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in rest:
                task.cancel()
            await asyncio.wait(rest, timeout=_AGAIN_S)
        # last, as redis-py fails oddly where a connection goes in the middle of a command
        await queue.close()


def green_library() -> str | None:
    """Who has replaced threads by something else, such as gevent; None for nobody."""
    for name in ("_start_joinable_thread", "_start_new_thread"):  # Python 3.13's, and that of those before
        start = getattr(threading, name, None)
        if start is not None and not isinstance(start, BuiltinFunctionType):
            return str(start.__module__).partition(".")[0]
    return None


def _lets_others_run(selector: selectors.BaseSelector) -> bool:
    ran: list[int] = []
    _start = getattr(threading, "_start_new_thread")  # noqa: B009  a green thread that nobody waits for
    _start(ran.append, (1,))
    selector.select(_TRY_S)
    return bool(ran)


class _Shy:
    """A selector of a loop that shares its real thread with others: they do not see, while it waits, that it runs."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._pid = os.getpid()
        self._theirs = _marks()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)

    def run(self, run: Callable[[], None]) -> None:
        """Runs it, and leaves the thread as it was."""
        self._theirs = _marks()
        _put((None, (None, None)))
        try:
            run()
        finally:
            _put(self._theirs)

    def select(self, timeout: float | None = None) -> Any:
        ours = _marks()
        _put(self._theirs)
        try:
            return self._selector.select(timeout)
        finally:
            self._theirs = _marks()
            _put(ours)
            if (
                os.getpid() != self._pid
            ):  # green threads live on after a fork; what came is the parent's to read
                raise SystemExit


def _marks() -> tuple[Any, Any]:
    """What a running loop sets for its whole thread."""
    return events._get_running_loop(), tuple(sys.get_asyncgen_hooks())


def _put(marks: tuple[Any, Any]) -> None:
    events._set_running_loop(marks[0])
    sys.set_asyncgen_hooks(*marks[1])
