"""The same verbs for Django, Flask and scripts: they block instead of being awaited.

One thread per process runs the event loop that a Queue needs, whatever the number of callers. It
starts with the first call, so a SyncQueue made before a fork works in every child.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from . import keys
from .engine import Engine
from .errors import QueueUnavailable
from .job import Job
from .listener import CLOSED
from .queue import Queue
from .url import redis_settings

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    verb: Callable[Concatenate[Job[T], P], Coroutine[Any, Any, Any]],
) -> Callable[Concatenate[SyncJob[T], P], Any]:
    @wraps(verb)
    def call(self: SyncJob[T], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self._queue.call(lambda queue: verb(queue.job(self.id), *args, **kwargs))

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


def _plain(
    verb: Callable[Concatenate[Queue, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncQueue, P], T]:
    @wraps(verb)
    def call(self: SyncQueue, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.call(lambda queue: verb(queue, *args, **kwargs))

    return call


class SyncJob(Generic[T]):
    """A Job whose verbs block the calling thread. Safe to use from many threads."""

    def __init__(self, job_id: str, queue: SyncQueue) -> None:
        self.id = job_id
        self._queue = queue

    def result(self, timeout_s: float | None = None) -> T:
        """As Job.result."""
        result: T = self._result(timeout_s)
        return result

    _result = _blocking(Job.result)
    status = _blocking(Job.status)
    info = _blocking(Job.info)
    abort = _blocking(Job.abort)

    def __repr__(self) -> str:
        return f"<SyncJob {self.id}>"


class SyncQueue:
    """A Queue whose verbs block the calling thread. Safe to use from many threads, and after a fork.

    One per process is enough: make it where the module is imported, or use `with`.
    """

    def __init__(self, url: str, *, ssl_cert_reqs: str | None = None, name: str = keys.QUEUE) -> None:
        redis_settings(url, ssl_cert_reqs=ssl_cert_reqs)  # a URL that cannot be used is refused here
        self._open = lambda: Queue.from_url(url, ssl_cert_reqs=ssl_cert_reqs, name=name)
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @classmethod
    def from_url(cls, url: str, *, ssl_cert_reqs: str | None = None, name: str = keys.QUEUE) -> Self:
        """As Queue.from_url. Raises InvalidRedisURL."""
        return cls(url, ssl_cert_reqs=ssl_cert_reqs, name=name)

    chat = _one(Queue.chat)
    embed = _one(Queue.embed)
    enqueue = _one(Queue.enqueue)
    chat_many = _many(Queue.chat_many)
    embed_many = _many(Queue.embed_many)
    forget = _plain(Queue.forget)
    ping = _plain(Queue.ping)
    workers_alive = _plain(Queue.workers_alive)

    def job(self, job_id: str) -> SyncJob[Any]:
        """As Queue.job."""
        return SyncJob(job_id, self)

    def call(self, verb: Callable[[Queue], Coroutine[Any, Any, T]]) -> T:
        """Runs `verb` on the queue's own loop and returns what it returns. Ctrl-C cancels it."""
        with self._lock:  # held while it is handed over, so that close() finds it
            if self._engine is None or self._engine.pid != os.getpid():
                self._engine = Engine(self._open)
            future = self._engine.submit(verb)
        try:
            return future.result()
        except CancelledError:
            raise QueueUnavailable(CLOSED) from None
        except BaseException:
            future.cancel()  # the caller was interrupted; without effect where the verb itself raised
            raise

    def close(self) -> None:
        """Closes the connections and ends the thread; whoever still waits gets QueueUnavailable.

        The next call opens them again.
        """
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None and engine.pid == os.getpid():
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
