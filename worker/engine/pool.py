"""arq's settings, or its pool → where they lead."""

from __future__ import annotations

from dataclasses import fields

from arq import ArqRedis
from arq.connections import RedisSettings

from client.redis.url import ServerAddress

# redis-py's name → ours
_KWARGS = {name: name for name in ("host", "port", "username", "password", "namespace")}
_KWARGS |= {"path": "unix_socket_path", "db": "database"}


def address_of(given: RedisSettings | ArqRedis | None) -> ServerAddress:
    """Where arq's settings, or a pool that was handed to us, lead, so that the other rooms can go there too."""
    if isinstance(given, ArqRedis):
        at = given.connection_pool.connection_kwargs
        return ServerAddress(**{ours: at[theirs] for theirs, ours in _KWARGS.items() if theirs in at})
    names = (field.name for field in fields(ServerAddress) if hasattr(given, field.name))
    return ServerAddress(**{name: getattr(given, name) for name in names})
