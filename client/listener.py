"""One connection that wakes all who wait for a result, or follow a stream, in this process.

A waiter's channel is subscribed to. The confirmation, and every message after it, make us look at the
job, many in one round trip; a new connection subscribes and so looks again. Therefore a result is seen
at once whether it came before, during or after the subscription. A slow sweep over the waiters is the
safety net for signals that never came (a stock arq worker sends none). Streams: followers.py.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from arq import ArqRedis
from redis import exceptions as redis_errors
from redis.asyncio.client import PubSub

from . import keys
from .connection import reachable
from .errors import QueueUnavailable
from .followers import Followers
from .scripts import Scripts, Unfinished, absence
from .sweep import Sweep

BATCH = 500  # jobs a command: well under a millisecond of the server's time
RECONNECT_S = 0.2
OUTAGE_S = 30.0  # how long waiters are kept while the server is away
READ_TIMEOUT_S = 0.5  # how late a cancellation is seen that came together with a message
CLOSED = "The queue has been closed: open another."

_IDS = dict[str, None]  # a set that keeps its order
_ALWAYS = keys.done_channel("")  # a subscription of our own, so that there is always something to read


class Listener:
    """Waits for results on behalf of everybody in this process. Belongs to one event loop."""

    def __init__(self, signals: ArqRedis, scripts: Scripts) -> None:
        self._signals = signals
        self._scripts = scripts
        self._waiters: dict[str, set[asyncio.Future[bytes]]] = {}
        self._join: _IDS = {}
        self._leave: _IDS = {}
        self._look: _IDS = {}
        self._sweep = Sweep()
        self._work = asyncio.Event()
        self.followers = Followers(scripts.read_streams, self._work.set)
        self._down_since_s: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._listening = self._closed = False

    async def wait(self, job_id: str) -> bytes:
        """The job's result record, as soon as it is there.

        Raises JobNotFound where the id is unknown, and QueueUnavailable where Redis refuses us or
        stays away for OUTAGE_S. Cancelling leaves nothing behind.
        """
        if self._closed:
            raise QueueUnavailable(CLOSED)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        known = job_id in self._waiters
        self._waiters.setdefault(job_id, set()).add(future)
        (self._look if known else self._join)[job_id] = None
        self._leave.pop(job_id, None)
        self._work.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="promptmill listener")
        try:
            return await future
        finally:
            self._drop(job_id, future)

    async def look(self, job_id: str) -> bytes:
        """The job's result record if it is there now, else TimeoutError. Otherwise as `wait`."""
        with reachable():
            [seen] = await self._scripts.look([job_id])
        if isinstance(seen, bytes):
            return seen
        raise TimeoutError if seen == "waits or runs" else absence(job_id, seen)

    async def close(self) -> None:
        """Stops listening. Whoever still waits gets QueueUnavailable."""
        self._fail(QueueUnavailable(CLOSED))
        self._closed = True
        self._stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _drop(self, job_id: str, future: asyncio.Future[bytes]) -> None:
        if future.done() and not future.cancelled():
            future.exception()  # a waiter cancelled in the same moment has left it unread
        waiting = self._waiters[job_id]
        waiting.remove(future)
        if not waiting:
            del self._waiters[job_id]
            if self._join.pop(job_id, self) is self:  # it has been, or is being, subscribed to
                self._leave[job_id] = None
                self._work.set()

    def _fail(self, error: Exception) -> None:
        self.followers.fail(error)
        for waiting in self._waiters.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(error)

    async def _run(self) -> None:
        """Ends when it is closed, or when the connection breaks while nobody waits."""
        while True:
            pubsub = self._signals.pubsub()
            try:
                await self._listen(pubsub)
            except* (redis_errors.RedisError, OSError) as group:
                self._suffer(group.exceptions[0])
            except* Exception as group:  # a fault of ours must not leave anybody waiting for ever
                self._fail(group.exceptions[0])
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            if self._closed or not (self._waiters or self.followers):
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

    async def _listen(self, pubsub: PubSub) -> None:
        await pubsub.subscribe(_ALWAYS)
        self._leave.clear()
        self._join = dict.fromkeys(self._waiters)
        self.followers.reconnect()
        self._work.set()
        self._listening = not self._closed
        async with asyncio.TaskGroup() as tasks:
            for loop in (self._read(pubsub), self._write(pubsub)):
                tasks.create_task(loop).add_done_callback(lambda _: self._stop())

    def _stop(self) -> None:
        """Tells the loops what a cancellation may not: Python 3.11's wait_for and TaskGroup lose one that
        comes together with a result or a failure."""
        self._listening = False
        self._work.set()

    async def _read(self, pubsub: PubSub) -> None:
        while self._listening:
            message = await pubsub.get_message(timeout=READ_TIMEOUT_S)
            if message and keys.is_events(message["channel"]):
                self.followers.take(message)
            elif message and message["type"] in ("message", "subscribe"):
                job_id = keys.job_id_of(message["channel"])
                if job_id in self._waiters:
                    self._look[job_id] = None
                    self._work.set()

    async def _write(self, pubsub: PubSub) -> None:
        while self._listening:
            await self._wait_for_work()
            while joining := _take(self._join):
                await pubsub.subscribe(*map(keys.done_channel, joining))
            while leaving := _take(self._leave):
                await pubsub.unsubscribe(*map(keys.done_channel, leaving))
            await self._look_at(self._look)
            await self.followers.work(pubsub)

    async def _wait_for_work(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._sweep.due_at_s if self._waiters else None):
                await self._work.wait()
        self._work.clear()
        now_s = asyncio.get_running_loop().time()
        self._look.update(dict.fromkeys(self._sweep.turn(now_s, self._waiters)))

    async def _look_at(self, ids: _IDS) -> None:
        while batch := _take(ids):
            for job_id, seen in zip(batch, await self._scripts.look(batch), strict=True):
                if seen != "waits or runs":
                    self._deliver(job_id, seen)
            self._down_since_s = None

    def _deliver(self, job_id: str, seen: bytes | Unfinished) -> None:
        for future in self._waiters.get(job_id, ()):
            if future.done():
                continue
            if isinstance(seen, bytes):
                future.set_result(seen)
            else:
                future.set_exception(absence(job_id, seen))


def _take(ids: _IDS) -> list[str]:
    """Takes up to BATCH ids out."""
    batch = [id_ for id_, _ in zip(ids, range(BATCH), strict=False)]
    for id_ in batch:
        del ids[id_]
    return batch
