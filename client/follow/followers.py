"""Those who follow streams in this process, over the one connection that listens.

A follower's channel is subscribed to. The confirmation makes us read the stream from its place on, many in one
round trip; from then on the messages carry the events themselves. What comes during the reading is held and
put behind it, so there are no gaps; a new connection subscribes, and so reads, again. A follower that does not
keep up loses what is held for it, and reads the stream again when it comes back: it costs nothing meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from redis.asyncio.client import PubSub

from ..errors import InvalidRequest
from ..wire.events import Position, position, text_of
from ..wire.keys import Keys

PAGE = 200  # events a follower reads at once
READERS = 50  # followers a round trip
HELD_BYTES = 64 * 1024  # for one follower that does not keep up

Entry = tuple[Position, bytes]
# Reads streams: for each (job id, first id), at most PAGE entries
ReadStreams = Callable[[Sequence[tuple[str, str]], int], Awaitable[list[list[Entry]]]]


class Follower:
    """One reader's place in one stream, and what has come since that it has not taken."""

    def __init__(self, job_id: str, after: Position) -> None:
        self.job_id = job_id
        self.taken = after
        self.confirmed = False  # its channel is subscribed to
        self.wants: Callable[[Follower], None] = lambda _: None
        self._last = after  # the last in `_held`
        self._held: deque[Entry] = deque()
        self._bytes = 0
        self._behind = True  # the stream has, or may have, more behind `_last` than `_held`
        self._ahead: list[Entry] | None = None  # what comes while the stream is read
        self._missed = self._ended = False
        self._error: BaseException | None = None
        self._stir = asyncio.Event()

    async def next(self) -> Entry | None:
        """The next event. None where the job has ended and the stream has no more."""
        while not self._held:
            if self._error is not None:
                raise self._error
            if self._behind and self.confirmed and self._ahead is None:
                self.wants(self)
            elif self._ended and not self._behind:
                return None
            self._stir.clear()
            await self._stir.wait()
        at, data = self._held.popleft()
        self._bytes -= len(data)
        self.taken = at
        return at, data

    def confirm(self) -> None:
        """From now on no message is missed; what came before is to be read."""
        self.confirmed = self._behind = True
        self._stir.set()

    def disconnect(self) -> None:
        self.confirmed, self._ahead = False, None

    def end(self) -> None:
        """The job has ended: when all has been read, nothing follows."""
        self._ended = self._behind = True
        self._missed = True  # by a reading that is under way
        self._stir.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._stir.set()

    def push(self, at: Position, data: bytes) -> None:
        """Takes a message."""
        if self._ahead is not None:
            self._ahead.append((at, data))
            if len(self._ahead) > PAGE:
                self._ahead, self._missed = [], True
        elif not self._behind:
            self._hold(at, data)
            if self._bytes > HELD_BYTES:
                self._held.clear()
                self._bytes, self._last, self._behind = 0, self.taken, True
            else:
                self._stir.set()

    def start_reading(self) -> tuple[str, str]:
        """The job id, and the first id that is of interest."""
        self._ahead, self._missed = [], False
        return self.job_id, text_of((self._last[0], self._last[1] + 1))

    def read(self, entries: Sequence[Entry]) -> None:
        """Takes what the stream had."""
        if self._ahead is None:  # read over a connection that is no more
            return
        self._behind = self._missed or len(entries) == PAGE
        for at, data in entries if self._behind else (*entries, *self._ahead):
            self._hold(at, data)
        self._ahead = None
        self._stir.set()

    def _hold(self, at: Position, data: bytes) -> None:
        if at > self._last:  # a message may tell what has been read
            self._last = at
            self._held.append((at, data))
            self._bytes += len(data)


class Followers:
    """All followers of a process. The listener moves them."""

    def __init__(self, read: ReadStreams, kick: Callable[[], None], keys: Keys) -> None:
        self._read_streams = read
        self._kick = kick
        self._keys = keys
        self._all: dict[str, set[Follower]] = {}
        self._confirmed: set[str] = set()
        self._join: dict[str, None] = {}
        self._leave: dict[str, None] = {}
        self._wanting: dict[Follower, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, follower: Follower) -> None:
        job_id = follower.job_id
        follower.wants = self._want
        known = job_id in self._all
        self._all.setdefault(job_id, set()).add(follower)
        if not known:
            self._join[job_id] = None
        elif job_id in self._confirmed:
            follower.confirm()
        self._leave.pop(job_id, None)
        self._kick()

    def remove(self, follower: Follower) -> None:
        """Idempotent."""
        self._wanting.pop(follower, None)
        following = self._all.get(follower.job_id, set())
        following.discard(follower)
        if not following and self._all.pop(follower.job_id, None) is not None:
            self._confirmed.discard(follower.job_id)
            if self._join.pop(follower.job_id, self) is self:
                self._leave[follower.job_id] = None
                self._kick()

    def fail(self, error: BaseException) -> None:
        for following in self._all.values():
            for follower in following:
                follower.fail(error)

    def reconnect(self) -> None:
        """There is a new connection, which is subscribed to nothing."""
        self._leave.clear()
        self._wanting.clear()
        self._confirmed.clear()
        self._join = dict.fromkeys(self._all)
        for following in self._all.values():
            for follower in following:
                follower.disconnect()

    def take(self, message: dict[str, Any]) -> None:
        """A message or a confirmation of one of our channels."""
        job_id = self._keys.job_id_of_events(message["channel"])
        following = self._all.get(job_id)
        if not following:
            return
        if message["type"] == "subscribe":
            self._confirmed.add(job_id)
            for follower in following:
                follower.confirm()
        elif message["type"] == "message":
            id_, _, data = message["data"].partition(b" ")
            with suppress(InvalidRequest):  # a stranger's: it is no event
                at = position(id_)
                for follower in following:
                    follower.push(at, data)

    async def work(self, pubsub: PubSub) -> None:
        """Subscribes, unsubscribes and reads what is wanted."""
        while joining := take_out(self._join, 500):
            await pubsub.subscribe(*map(self._keys.events_channel, joining))
        while leaving := take_out(self._leave, 500):
            await pubsub.unsubscribe(*map(self._keys.events_channel, leaving))
        while reading := take_out(self._wanting, READERS):
            places = [follower.start_reading() for follower in reading]
            for follower, entries in zip(reading, await self._read_streams(places, PAGE), strict=True):
                follower.read(entries)

    def _want(self, follower: Follower) -> None:
        self._wanting[follower] = None
        self._kick()


def take_out(waiting: dict[Any, None], count: int) -> list[Any]:
    """Up to `count` of those that wait, in their order."""
    batch = list(islice(waiting, count))
    for each in batch:
        del waiting[each]
    return batch
