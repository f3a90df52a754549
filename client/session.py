"""The open connection to one queue's server: what Queue, Job and DeadLetters have in common."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, _get_running_loop
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Self, TypeAlias

from redis.asyncio import Redis

from .errors import InvalidRequest, QueueUnavailable
from .follow.listener import Listener
from .forks import in_child
from .job_scripts import Scripts
from .limits.admin import Tools
from .redis.connection import connect, drop, keys_at
from .redis.url import ServerAddress, server_address
from .wire.keys import Keys

Opened: TypeAlias = tuple[Redis, Redis]  # where commands go, and where signals come from

_NOT_HERE = (
    "This queue belongs to another event loop, or to the process before a fork: one that is made by "
    "Queue.from_url(…) works in all of them."
)


class Links:
    """What a queue has in one event loop. Connections are made when first needed."""

    def __init__(self, opened: Opened, name: str) -> None:
        self.redis, self.signals = opened
        self.scripts = Scripts(self.redis, name, keys_at(self.redis))
        self.listener = Listener(self.signals, self.scripts)
        self.limits = Tools(self.redis, self.signals)

    async def close(self) -> None:
        """Closes the connections. Whoever still waits for a result or a slot gets QueueUnavailable."""
        await self.listener.close()
        await self.limits.calls.close()
        await self.signals.aclose()
        await self.redis.aclose()

    def drop(self) -> None:
        """Ends the connections from outside of their event loop, which does not run any more."""
        drop(self.signals)
        drop(self.redis)


class Session:
    """Where commands go, and where signals come from: in each event loop that uses it, over links of its own.

    `name` is the key of arq's queue, and `reopen` makes the connections for another loop; without it, the
    session belongs to the first loop that uses it. After a fork, the child has new ones.
    """

    def __init__(
        self,
        redis: Redis,
        signals: Redis,
        *,
        name: str | None = None,
        reopen: Callable[[], Opened] | None = None,
    ) -> None:
        self.keys = keys_at(redis)
        self.name = _checked(name, self.keys)
        self.is_named = self.keys.is_named(self.name)
        self._reopen = reopen
        self._lock = Lock()
        # By their loops; those under None are the next loop's that comes.
        self._links: dict[AbstractEventLoop | None, Links] = {None: Links((redis, signals), self.name)}
        self._inherited: list[Links] = []  # of the parent process: freed, they would close what it uses
        in_child(self, Session._leave_to_parent)

    @classmethod
    def from_url(cls, url: str, *, ssl_cert_reqs: str | None = None, name: str | None = None) -> Self:
        """As Queue.from_url."""
        reopen = partial(_open, server_address(url, ssl_cert_reqs=ssl_cert_reqs))
        return cls(*reopen(), name=name, reopen=reopen)

    @property
    def here(self) -> Links:
        """The links of the running event loop; where none runs, the latest. Raises QueueUnavailable."""
        loop = _get_running_loop()
        return self._links.get(loop) or self._arrive(loop)

    @property
    def redis(self) -> Redis:
        return self.here.redis

    @property
    def signals(self) -> Redis:
        return self.here.signals

    @property
    def scripts(self) -> Scripts:
        return self.here.scripts

    @property
    def listener(self) -> Listener:
        return self.here.listener

    @property
    def limits(self) -> Tools:
        self.refuse_if_named("There are no limits")
        return self.here.limits

    def is_ours(self, lane: str) -> bool:
        """Whether jobs of that lane, by its key, are of this queue; without a name of its own, all are."""
        return not self.is_named or lane == self.name

    def refuse_if_named(self, what: str) -> None:
        """Raises InvalidRequest where a name sets the queue apart: `what` is not kept apart by it."""
        if self.is_named:
            name = self.name.removeprefix(self.keys.prefix)
            raise InvalidRequest(
                f"{what} for a queue with a name={name!r}: that is a queue of arq's, for jobs of your own "
                "without limits. Leave the name out, or keep installations apart by namespaces, as in "
                "redis://localhost:6379/?namespace=llm."
            )

    async def close(self) -> None:
        """Closes the connections. Whoever still waits for a result or a slot gets QueueUnavailable.

        Those of event loops that run in other threads are closed there, in a moment.
        """
        here, loop = self.here, _get_running_loop()
        with self._lock:
            others = [(at, self._links.pop(at)) for at in list(self._links) if at not in (loop, None)]
        for at, links in others:
            _end(at, links)
        await here.close()

    def _arrive(self, loop: AbstractEventLoop | None) -> Links:
        """A loop that is new to us: it takes the links that are still nobody's, or gets its own."""
        with self._lock:
            for closed in [at for at in self._links if at is not None and at.is_closed()]:
                self._links.pop(closed).drop()
            if loop is None and self._links:
                return list(self._links.values())[-1]
            links = self._links.pop(None, None)
            if links is None and self._reopen is None:
                raise QueueUnavailable(_NOT_HERE)
            self._links[loop] = links = links or Links(self._reopen(), self.name)  # type: ignore[misc]
            return links

    def _leave_to_parent(self) -> None:
        """In a forked child: the parent's connections stay the parent's alone."""
        self._lock = Lock()  # another thread may have held it
        self._inherited += self._links.values()
        self._links = {}


def _open(address: ServerAddress) -> Opened:
    return connect(address), connect(address, max_connections=2, retries=0)


def _end(loop: AbstractEventLoop | None, links: Links) -> None:
    if loop is not None and loop.is_running():  # in another thread
        asyncio.run_coroutine_threadsafe(links.close(), loop)
    else:
        links.drop()


def _checked(name: str | None, keys: Keys) -> str:
    """Raises InvalidRequest."""
    if name is None:
        return keys.queue
    if not isinstance(name, str) or not name or not name.isprintable() or not keys.is_free(keys.own(name)):
        raise InvalidRequest(
            f"The name of a queue is a text that can be printed, and no key of another kind, not {name!r}."
        )
    return keys.own(name)
