"""Where arq meets the client, for producers that have arq; the one module of the client that needs it.

create_pool(redis_settings(url), job_serializer=encode, job_deserializer=decode)
arq_pool(url)  # the same; where the URL names a namespace, it alone, as arq's names are constants
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import uuid4

from arq import ArqRedis
from arq.connections import RedisSettings
from arq.jobs import Job
from arq.utils import to_ms, to_unix_ms

from .errors import InvalidRedisURL
from .job_scripts import Scripts
from .redis.connection import keys_at, pool
from .redis.url import ServerAddress, server_address
from .tickets import JobTicket, note_of
from .wire.codec import decode, encode
from .wire.keys import Keys
from .wire.record import now_ms


@dataclass
class NamespaceSettings(RedisSettings):
    """arq's RedisSettings, and the namespace, which arq does not know."""

    namespace: str = ""


def redis_settings(url: str, *, ssl_cert_reqs: str | None = None) -> RedisSettings:
    """The RedisSettings of a URL, whose forms are those of Queue.from_url. Raises InvalidRedisURL."""
    address = server_address(url, ssl_cert_reqs=ssl_cert_reqs)
    if address.namespace:
        raise InvalidRedisURL(
            "The Redis URL cannot be used: arq's own pools know no namespace, so take client.arq_pool(url)."
        )
    return settings_at(address)


def settings_at(address: ServerAddress) -> RedisSettings:
    """As `redis_settings`, for our own worker."""
    return NamespaceSettings(**asdict(address))


def arq_pool(url: str, *, ssl_cert_reqs: str | None = None) -> ArqRedis:
    """What arq's create_pool gives, in our codec, for a URL whose forms are those of Queue.from_url. It connects when
    it is first used. Raises InvalidRedisURL.
    """
    return pool_at(server_address(url, ssl_cert_reqs=ssl_cert_reqs))


def pool_at(address: ServerAddress) -> ArqRedis:
    """A pool over the client's connections."""
    redis = OwnRedis(pool(address), job_serializer=encode, job_deserializer=decode)
    redis.default_queue_name = address.keys.queue
    redis.auto_close_connection_pool = True
    return redis


class OwnRedis(ArqRedis):
    """What jobs have as `ctx["redis"]`, and what enqueues cron jobs: arq's pool, in our codec and with our names.

    A job for the default queue goes where those of client.Queue go, out of reach of a stock worker that reads
    pickle, and is told to our workers at once.
    """

    async def enqueue_job(  # arq's signature
        self,
        function: str,
        *args: Any,
        _job_id: str | None = None,
        _queue_name: str | None = None,
        _defer_until: datetime | None = None,
        _defer_by: int | float | timedelta | None = None,
        _expires: int | float | timedelta | None = None,
        _job_try: int | None = None,
        **kwargs: Any,
    ) -> Job | None:
        """As arq's."""
        keys = keys_at(self)
        queue = keys.own(_queue_name or self.default_queue_name)
        if _defer_until and _defer_by:
            raise RuntimeError("use either 'defer_until' or 'defer_by' or neither, not both")
        defer_ms = to_ms(_defer_by) or 0
        if _defer_until is not None:
            defer_ms = to_unix_ms(_defer_until) - now_ms()
        life_ms = to_ms(_expires) or max(0, defer_ms) + self.expires_extra_ms
        job_id, lane = _job_id or uuid4().hex, keys.lane("") if queue == keys.queue else queue
        record = encode({"t": _job_try, "f": function, "a": args, "k": kwargs, "et": now_ms(), "q": lane})
        note = note_of(function, lane, (life_ms - max(0, defer_ms)) / 1000)
        ticket = JobTicket(job_id, lane, record, max(0, defer_ms), life_ms, note)
        (is_new,) = await Scripts(self, queue, keys).enqueue([ticket])
        return Job(job_id, _Named(self, keys), queue, decode) if is_new else None  # type: ignore[arg-type]


class _Named:
    """What arq's Job asks of Redis, a key each time, under our names: arq's are constants."""

    def __init__(self, redis: Any, keys: Keys) -> None:
        self._redis, self._keys = redis, keys

    def pipeline(self, transaction: bool = True) -> _Named:
        return _Named(self._redis.pipeline(transaction), self._keys)

    async def __aenter__(self) -> Self:
        await self._redis.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._redis.__aexit__(*error)

    def execute(self) -> Awaitable[list[Any]]:
        replies: Awaitable[list[Any]] = self._redis.execute()
        return replies

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        return lambda key, *args: getattr(self._redis, verb)(self._keys.own(key), *args)
