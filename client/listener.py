"""One connection that wakes all who wait for a result in this process.

A waiter's channel is subscribed to. The confirmation, and every message after it, make us look at the
job, many jobs in one round trip; a new connection subscribes again and so looks again. Therefore a
result is seen at once whether it came before, during or after the subscription, and nothing is asked
while nothing happens. A slow sweep over the waiters is the safety net for signals that never came (a
stock arq worker sends none).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from arq import ArqRedis
from redis import exceptions as redis_errors
from redis.asyncio.client import PubSub

from . import keys
from .connection import reachable
from .errors import JobNotFound, QueueUnavailable
from .scripts import Scripts

BATCH = 500  # jobs a command: well under a millisecond of the server's time
SWEEP_EVERY_S = 2.0
SWEEP_JOBS = 1_000  # at most so many waiters are looked at a sweep, in turn
RECONNECT_S = 0.2
OUTAGE_S = 30.0  # how long waiters are kept while the server is away
READ_TIMEOUT_S = 0.5  # how late a cancellation is seen that came together with a message

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
        self._sweep: list[str] = []
        self._work = asyncio.Event()
        self._down_since_s: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self, job_id: str) -> bytes:
        """The job's result record, as soon as it is there.

        Raises JobNotFound where the id is unknown, and QueueUnavailable where Redis refuses us or
        stays away for OUTAGE_S. Cancelling leaves nothing behind.
        """
        if self._closed:
            raise QueueUnavailable("The queue has been closed: open another.")
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

    async def close(self) -> None:
        """Stops listening. Whoever still waits gets QueueUnavailable."""
        self._fail(QueueUnavailable("The queue was closed while a result was awaited."))
        # Python 3.11's wait_for (in redis-py) and TaskGroup lose a cancellation that comes together
        # with a result or a failure, so the loops are also told.
        self._closed = True
        self._work.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _drop(self, job_id: str, future: asyncio.Future[bytes]) -> None:
        waiting = self._waiters[job_id]
        waiting.remove(future)
        if not waiting:
            del self._waiters[job_id]
            if self._join.pop(job_id, self) is self:  # it has been, or is being, subscribed to
                self._leave[job_id] = None
                self._work.set()

    def _fail(self, error: Exception) -> None:
        for waiting in self._waiters.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(error)

    async def _run(self) -> None:
        while not self._closed:
            pubsub = self._signals.pubsub()
            try:
                await self._listen(pubsub)
            except* (redis_errors.RedisError, OSError) as group:
                self._suffer(group.exceptions[0])
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
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
        self._work.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(pubsub))
            tasks.create_task(self._write(pubsub))

    async def _read(self, pubsub: PubSub) -> None:
        while not self._closed:
            message = await pubsub.get_message(timeout=READ_TIMEOUT_S)
            if message and message["type"] in ("message", "subscribe"):
                job_id = keys.job_id_of(message["channel"])
                if job_id in self._waiters:
                    self._look[job_id] = None
                    self._work.set()

    async def _write(self, pubsub: PubSub) -> None:
        while not self._closed:
            await self._wait_for_work()
            while joining := _take(self._join):
                await pubsub.subscribe(*map(keys.done_channel, joining))
            while leaving := _take(self._leave):
                await pubsub.unsubscribe(*map(keys.done_channel, leaving))
            await self._look_at(self._look)

    async def _wait_for_work(self) -> None:
        try:
            async with asyncio.timeout(SWEEP_EVERY_S if self._waiters else None):
                await self._work.wait()
        except TimeoutError:
            self._plan_sweep()
        self._work.clear()

    async def _look_at(self, ids: _IDS) -> None:
        while batch := _take(ids):
            for job_id, seen in zip(batch, await self._scripts.look(batch), strict=True):
                if seen is not True:
                    self._deliver(job_id, seen)
            self._down_since_s = None

    def _deliver(self, job_id: str, record: bytes | bool) -> None:
        for future in self._waiters.get(job_id, ()):
            if future.done():
                continue
            if isinstance(record, bytes):
                future.set_result(record)
            else:
                future.set_exception(
                    JobNotFound(f"There is no job {job_id!r}: the id is wrong or its result has expired.")
                )

    def _plan_sweep(self) -> None:
        if not self._sweep:
            self._sweep = list(self._waiters)
        turn, self._sweep = self._sweep[:SWEEP_JOBS], self._sweep[SWEEP_JOBS:]
        self._look.update(dict.fromkeys(id_ for id_ in turn if id_ in self._waiters))


def _take(ids: _IDS) -> list[str]:
    """Takes up to BATCH ids out."""
    batch = [id_ for id_, _ in zip(ids, range(BATCH), strict=False)]
    for id_ in batch:
        del ids[id_]
    return batch
