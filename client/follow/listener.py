"""One connection that wakes all who wait for a result, or follow a stream, in this process.

A waiter's channel is subscribed to. The confirmation, and every message after it, make us look at the
job, many in one round trip; a new connection subscribes and so looks again. Therefore a result is seen
at once whether it came before, during or after the subscription. A slow sweep over the waiters is the
safety net for signals that never came (a stock arq worker sends none). Streams: followers.py.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from ..errors import JobError, QueueUnavailable
from ..job_scripts import Scripts
from ..redis.connection import reachable
from ..redis.subscriber import CLOSED, READ_TIMEOUT_S, Subscriber
from .followers import Followers, take_out
from .sweep import Sweep

BATCH = 500  # jobs a command: well under a millisecond of the server's time

_IDS = dict[str, None]  # a set that keeps its order


class Listener(Subscriber):
    """Waits for results on behalf of everybody in this process. Belongs to one event loop."""

    def __init__(self, signals: Redis, scripts: Scripts) -> None:
        super().__init__(signals)
        self._scripts, self._keys = scripts, scripts.keys
        self._waiters: dict[str, set[asyncio.Future[bytes]]] = {}
        self._join: _IDS = {}
        self._leave: _IDS = {}
        self._look: _IDS = {}
        self._sweep = Sweep()
        self.followers = Followers(scripts.read_streams, self._work.set, scripts.keys)

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
        self._listen()
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
            absence = None if seen == "waits or runs" else await self._scripts.absence(job_id, seen)
        raise absence or TimeoutError

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

    def _is_wanted(self) -> bool:
        return bool(self._waiters or self.followers)

    async def _hear(self, pubsub: PubSub) -> None:
        await pubsub.subscribe(self._keys.done_channel(""))  # so that there is always something to read
        self._leave.clear()
        self._join = dict.fromkeys(self._waiters)
        self.followers.reconnect()
        self._work.set()
        await self._side_by_side(self._read(pubsub), self._write(pubsub))

    async def _read(self, pubsub: PubSub) -> None:
        while self._listening:
            message = await pubsub.get_message(timeout=READ_TIMEOUT_S)
            if message and self._keys.is_events(message["channel"]):
                self.followers.take(message)
            elif message and message["type"] in ("message", "subscribe"):
                job_id = self._keys.job_id_of(message["channel"])
                if job_id in self._waiters:
                    self._look[job_id] = None
                    self._work.set()

    async def _write(self, pubsub: PubSub) -> None:
        while self._listening:
            await self._wait_for_work()
            while joining := take_out(self._join, BATCH):
                await pubsub.subscribe(*map(self._keys.done_channel, joining))
            while leaving := take_out(self._leave, BATCH):
                await pubsub.unsubscribe(*map(self._keys.done_channel, leaving))
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
        while batch := take_out(ids, BATCH):
            for job_id, seen in zip(batch, await self._scripts.look(batch), strict=True):
                if isinstance(seen, bytes):
                    self._deliver(job_id, seen)
                elif seen != "waits or runs":
                    self._deliver(job_id, await self._scripts.absence(job_id, seen))
            self._down_since_s = None

    def _deliver(self, job_id: str, seen: bytes | JobError) -> None:
        for future in self._waiters.get(job_id, ()):
            if future.done():
                continue
            if isinstance(seen, bytes):
                future.set_result(seen)
            else:
                future.set_exception(seen)
