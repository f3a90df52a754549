"""arq's pool and arq's settings, over the client's connections."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from arq import ArqRedis
from arq.connections import RedisSettings
from arq.jobs import Job
from arq.utils import to_ms, to_unix_ms

from client import decode, encode
from client.job_scripts import Scripts
from client.redis.connection import keys_at, pool
from client.redis.url import ServerAddress
from client.tickets import JobTicket, note_of
from client.wire.record import now_ms

_NAMES = [field.name for field in fields(ServerAddress)]
# redis-py's name → ours
_KWARGS = {name: name for name in ("host", "port", "username", "password")}
_KWARGS |= {"path": "unix_socket_path", "db": "database"}


class OwnRedis(ArqRedis):
    """What jobs have as `ctx["redis"]`, and what enqueues cron jobs: arq's pool, in our codec.

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
        queue, keys = _queue_name or self.default_queue_name, keys_at(self)
        if queue != keys.queue:
            return await super().enqueue_job(
                function,
                *args,
                _job_id=_job_id,
                _queue_name=_queue_name,
                _defer_until=_defer_until,
                _defer_by=_defer_by,
                _expires=_expires,
                _job_try=_job_try,
                **kwargs,
            )
        if _defer_until and _defer_by:
            raise RuntimeError("use either 'defer_until' or 'defer_by' or neither, not both")
        defer_ms = to_ms(_defer_by) or 0
        if _defer_until is not None:
            defer_ms = to_unix_ms(_defer_until) - now_ms()
        life_ms = to_ms(_expires) or max(0, defer_ms) + self.expires_extra_ms
        job_id, lane = _job_id or uuid4().hex, keys.lane("")
        record = encode({"t": _job_try, "f": function, "a": args, "k": kwargs, "et": now_ms(), "q": lane})
        note = note_of(function, lane, (life_ms - max(0, defer_ms)) / 1000)
        ticket = JobTicket(job_id, lane, record, max(0, defer_ms), life_ms, note)
        (is_new,) = await Scripts(self, queue, keys).enqueue([ticket])
        return Job(job_id, self, _queue_name=queue, _deserializer=decode) if is_new else None


def arq_pool(address: ServerAddress) -> ArqRedis:
    """A pool over the client's connections."""
    redis = OwnRedis(pool(address), job_serializer=encode, job_deserializer=decode)
    redis.auto_close_connection_pool = True
    return redis


def address_of(given: RedisSettings | ArqRedis | None) -> ServerAddress:
    """Where arq's settings, or a pool that was handed to us, lead, so that the other rooms can go there too."""
    if isinstance(given, ArqRedis):
        at = given.connection_pool.connection_kwargs
        return ServerAddress(**{ours: at[theirs] for theirs, ours in _KWARGS.items() if theirs in at})
    return ServerAddress(**{name: getattr(given, name) for name in _NAMES} if given else {})
