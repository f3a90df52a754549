"""The same verbs for Django, Flask and scripts: they block instead of being awaited.

One thread per process runs the event loop that a Queue needs, whatever the number of callers. It
starts with the first call, so a SyncQueue made before a fork works in every child.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from .dead import DeadLetters
from .errors import MillError, QueueUnavailable
from .forks import in_child
from .job import Job
from .limits.admin import Limits
from .limits.slots import LEASE_S, Slot, SlotBlock
from .loop_thread import LoopThread
from .queue import Queue
from .redis.subscriber import CLOSED
from .redis.url import server_address
from .requests import unicode_id
from .wire.events import StreamEvent

P = ParamSpec("P")
T = TypeVar("T")
On = TypeVar("On")


class _Blocking(Generic[On]):
    """What has verbs of an `On`, which is found by way of the Queue and lives on its loop."""

    def __init__(self, queue: SyncQueue, find: Callable[[Queue], On]) -> None:
        self._queue, self._find = queue, find

    def _run(self, verb: Callable[[On], Coroutine[Any, Any, T]]) -> T:
        """Runs `verb` there and returns what it returns."""
        return self._queue.call(lambda queue: verb(self._find(queue)))


def _blocking(
    verb: Callable[Concatenate[On, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[_Blocking[On], P], T]:
    @wraps(verb)
    def call(self: _Blocking[On], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(lambda on: verb(on, *args, **kwargs))

    return call


def _one(
    verb: Callable[Concatenate[Queue, P], Coroutine[Any, Any, Job[T]]],
) -> Callable[Concatenate[SyncQueue, P], SyncJob[T]]:
    @wraps(verb)
    def call(self: SyncQueue, /, *args: P.args, **kwargs: P.kwargs) -> SyncJob[T]:
        return SyncJob(self.call(lambda queue: verb(queue, *args, **kwargs)).id, self)

    return call


def _many(
    verb: Callable[Concatenate[Queue, P], Coroutine[Any, Any, list[Job[T]]]],
) -> Callable[Concatenate[SyncQueue, P], list[SyncJob[T]]]:
    @wraps(verb)
    def call(self: SyncQueue, /, *args: P.args, **kwargs: P.kwargs) -> list[SyncJob[T]]:
        jobs = self.call(lambda queue: verb(queue, *args, **kwargs))
        return [SyncJob(job.id, self) for job in jobs]

    return call


class SyncJob(_Blocking[Job[T]], Generic[T]):
    """A Job whose verbs block the calling thread. Safe to use from many threads."""

    def __init__(self, job_id: str, queue: SyncQueue) -> None:
        super().__init__(queue, lambda queue: queue.job(job_id))
        self.id = job_id

    result = _blocking(Job.result)
    status = _blocking(Job.status)
    info = _blocking(Job.info)
    abort = _blocking(Job.abort)

    def stream(self, after: str | None = None) -> Iterator[StreamEvent]:
        """As Job.stream."""

        async def begin(queue: Queue) -> AsyncGenerator[StreamEvent, None]:
            return queue.job(self.id).stream(after)

        async def following(_: Queue) -> StreamEvent | None:
            return await anext(events, None)

        events = self._queue.call(begin)
        try:
            while (event := self._queue.call(following)) is not None:
                yield event
        finally:
            self._queue.call(lambda _: events.aclose())

    def __repr__(self) -> str:
        return f"<SyncJob {self.id}>"


class SyncLimits(_Blocking[Limits]):
    """Limits whose verbs block the calling thread."""

    set = _blocking(Limits.set)
    remove = _blocking(Limits.remove)
    pause = _blocking(Limits.pause)
    resume = _blocking(Limits.resume)
    reset = _blocking(Limits.reset)
    evict = _blocking(Limits.evict)
    list = _blocking(Limits.list)

    def slot(
        self, key: str, /, *more: str, tokens: int = 0, wait_s: float | None = None, lease_s: float = LEASE_S
    ) -> SyncSlotBlock:
        """As Limits.slot, for `with`. As a thread cannot be cancelled, SlotLost is raised at the block's end."""

        async def block(queue: Queue) -> SlotBlock:
            return queue.limits.slot(key, *more, tokens=tokens, wait_s=wait_s, lease_s=lease_s)

        return SyncSlotBlock(self._queue, block)


class SyncDeadLetters(_Blocking[DeadLetters]):
    """DeadLetters whose verbs block the calling thread."""

    count = _blocking(DeadLetters.count)
    latest = _blocking(DeadLetters.latest)
    get = _blocking(DeadLetters.get)
    retry = _blocking(DeadLetters.retry)
    delete = _blocking(DeadLetters.delete)


class SyncSlotBlock:
    """What `queue.limits.slot(…)` returns, for one `with`."""

    def __init__(self, queue: SyncQueue, make: Callable[[Queue], Coroutine[Any, Any, SlotBlock]]) -> None:
        self._queue = queue
        self._block = queue.call(make)

    def __enter__(self) -> Slot:
        self._block.check()
        try:
            slot = self._queue.call(lambda _: self._block.enter())
        except MillError:
            raise
        except BaseException as interrupt:  # it may have its slots by now
            self._leave(interrupt)
            raise
        self._block.begin()
        return slot

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.end()
        self._leave(error)
        if error is None:
            self._block.raise_lost()

    def _leave(self, error: BaseException | None) -> None:
        self._queue.call(lambda _: self._block.leave(error))


class SyncQueue(_Blocking[Queue]):
    """A Queue whose verbs block the calling thread. Safe to use from many threads, and after a fork.

    One per process is enough: make it where the module is imported, or use `with`.
    """

    def __init__(self, url: str, *, ssl_cert_reqs: str | None = None, name: str | None = None) -> None:
        server_address(url, ssl_cert_reqs=ssl_cert_reqs)  # a URL that cannot be used is refused here
        self._open = lambda: Queue.from_url(url, ssl_cert_reqs=ssl_cert_reqs, name=name)
        self._lock = threading.Lock()
        self._engine: LoopThread | None = None
        in_child(self, SyncQueue._unlock)
        self.limits = SyncLimits(self, lambda queue: queue.limits)
        self.dead = SyncDeadLetters(self, lambda queue: queue.dead)

    @classmethod
    def from_url(cls, url: str, *, ssl_cert_reqs: str | None = None, name: str | None = None) -> Self:
        """As Queue.from_url. Raises InvalidRedisURL."""
        return cls(url, ssl_cert_reqs=ssl_cert_reqs, name=name)

    chat = _one(Queue.chat)
    embed = _one(Queue.embed)
    enqueue = _one(Queue.enqueue)
    chat_many = _many(Queue.chat_many)
    embed_many = _many(Queue.embed_many)
    forget = _blocking(Queue.forget)
    ping = _blocking(Queue.ping)
    costs = _blocking(Queue.costs)
    workers_alive = _blocking(Queue.workers_alive)

    def job(self, job_id: str) -> SyncJob[Any]:
        """As Queue.job."""
        return SyncJob(unicode_id(job_id), self)

    def call(self, verb: Callable[[Queue], Coroutine[Any, Any, T]]) -> T:
        """Runs `verb` on the queue's own loop and returns what it returns. Ctrl-C cancels it."""
        if sys.is_finalizing():  # threads such as the loop's run no more
            raise QueueUnavailable("Python is shutting down: a SyncQueue cannot be used any more.")
        with self._lock:  # held while it is handed over, so that close() finds it
            if self._engine is None or not self._engine.is_usable:
                self._engine = LoopThread(self._open)
            future = self._engine.submit(verb)
        try:
            return future.result()
        except CancelledError:
            raise QueueUnavailable(CLOSED) from None
        except BaseException:
            future.cancel()  # the caller was interrupted; without effect where the verb itself raised
            raise

    _run = call

    def _unlock(self) -> None:
        """In a forked child: who has the lock may be a thread that is not there."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the connections and ends the thread; whoever still waits gets QueueUnavailable.

        The next call opens them again.
        """
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
