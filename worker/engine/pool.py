"""arq's pool and arq's settings, over the client's connections."""

from __future__ import annotations

from dataclasses import fields

from arq import ArqRedis
from arq.connections import RedisSettings

from client import decode, encode
from client.redis.connection import pool
from client.redis.url import ServerAddress

_NAMES = [field.name for field in fields(ServerAddress)]
# redis-py's name → ours
_KWARGS = {name: name for name in ("host", "port", "username", "password")}
_KWARGS |= {"path": "unix_socket_path", "db": "database"}


def arq_pool(address: ServerAddress) -> ArqRedis:
    """What jobs have as `ctx["redis"]`: it enqueues in our codec."""
    redis = ArqRedis(pool(address), job_serializer=encode, job_deserializer=decode)
    redis.auto_close_connection_pool = True
    return redis


def address_of(given: RedisSettings | ArqRedis | None) -> ServerAddress:
    """Where arq's settings, or a pool that was handed to us, lead, so that the other rooms can go there too."""
    if isinstance(given, ArqRedis):
        at = given.connection_pool.connection_kwargs
        return ServerAddress(**{ours: at[theirs] for theirs, ours in _KWARGS.items() if theirs in at})
    return ServerAddress(**{name: getattr(given, name) for name in _NAMES} if given else {})
