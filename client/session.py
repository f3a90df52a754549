"""The open connection to one queue's server: what Queue, Job and DeadLetters have in common."""

from __future__ import annotations

from typing import Self

from redis.asyncio import Redis

from .follow.listener import Listener
from .job_scripts import Scripts
from .redis.connection import connect
from .redis.url import server_address
from .wire.keys import KEYS


class Session:
    """Where commands go, and where signals come from. Belongs to one event loop.

    `name` is the key of the default queue. Connections are made when first needed.
    """

    def __init__(self, redis: Redis, signals: Redis, *, name: str = KEYS.queue) -> None:
        self.redis, self.signals = redis, signals
        self.name = name
        self.scripts = Scripts(redis, name, KEYS)
        self.listener = Listener(signals, self.scripts)

    @classmethod
    def from_url(cls, url: str, *, ssl_cert_reqs: str | None = None, name: str = KEYS.queue) -> Self:
        """As Queue.from_url."""
        address = server_address(url, ssl_cert_reqs=ssl_cert_reqs)
        return cls(connect(address), connect(address, max_connections=2, retries=0), name=name)

    async def close(self) -> None:
        """Closes the connections. Whoever still waits for a result gets QueueUnavailable."""
        await self.listener.close()
        await self.signals.aclose()
        await self.redis.aclose()
