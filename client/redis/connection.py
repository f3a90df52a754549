"""A server's address → a client of bounded connections, and what Redis's refusals mean.

A client process holds at most four connections, whatever its load: two for commands, one that listens for
results, and one for slots while any call waits for one.
"""

from __future__ import annotations

from contextlib import suppress
from socket import SHUT_RDWR
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff, NoBackoff

from ..errors import QueueUnavailable
from ..wire.keys import Keys, prefix_of
from .connections import (
    SentinelConnection,
    SentinelPool,
    SentinelTLSConnection,
    TCPConnection,
    TLSConnection,
    UnixConnection,
)
from .rights import refused_rights
from .url import ServerAddress

COMMAND_CONNECTIONS = 2
SOCKET_TIMEOUT_S = 20  # no command of ours takes longer on a healthy server
RETRIES = 3  # after 0.1, 0.2 and 0.4 s: every command we send may be sent twice

# Not OSError's TimeoutError: a server that takes no connection within the limit is not tried again.
_BROKEN = (redis_errors.ConnectionError, redis_errors.TimeoutError)


_STRANGE = (
    "Redis holds something else in the place of a record of promptmill's: see 'Records that cannot be read' in "
    "docs/operations.md."
)


def connect(
    address: ServerAddress, *, max_connections: int = COMMAND_CONNECTIONS, retries: int = RETRIES
) -> Redis:
    """A client over at most `max_connections`, which are opened when needed.

    A coroutine that finds them all in use waits for one; it is never refused. A command that meets a
    broken connection is sent again, up to `retries` times.
    """
    return from_pool(pool(address, max_connections=max_connections, retries=retries))


def from_pool(pool: ConnectionPool) -> Redis:
    """A client over a pool of one's own; closing it closes the pool."""
    redis = Redis(connection_pool=pool)
    redis.auto_close_connection_pool = True
    return redis


def pool(
    address: ServerAddress, *, max_connections: int = COMMAND_CONNECTIONS, retries: int = RETRIES
) -> BlockingConnectionPool:
    """The connections of `connect`, for a client of another class."""
    common: dict[str, Any] = {
        "protocol": 2,  # redis-py 8 would speak RESP3, in which replies have other types
        "db": address.database,
        "namespace": address.namespace,
        "username": address.username,
        "password": address.password,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": address.conn_timeout,
        # A ping before a command is retried by redis-py inside itself, without end where a password is
        # missing; a command that meets a dead connection is sent again anyhow. A listener is not.
        "health_check_interval": 0 if retries else 30,
        "retry": Retry(ExponentialBackoff(cap=1, base=0.05), retries, _BROKEN),
        "retry_on_error": list(_BROKEN) if retries else [],
    }
    pool_class = SentinelPool if address.sentinel else BlockingConnectionPool
    return pool_class(max_connections=max_connections, timeout=None, **_where(address), **common)


def keys_at(redis: Redis) -> Keys:
    """The names of keys and channels in the namespace and the database that the client is connected to."""
    at = redis.connection_pool.connection_kwargs
    return Keys(prefix_of(at.get("namespace", "")), int(at.get("db") or 0))


def drop(redis: Redis) -> None:
    """Ends the client's connections without awaiting anything, as their event loop runs no more."""
    pool = redis.connection_pool
    for connection in (*pool._available_connections, *pool._in_use_connections):
        writer, connection._reader, connection._writer = connection._writer, None, None
        with suppress(OSError, TypeError):  # uvloop's sockets cannot be shut down from here
            if writer is not None and (sock := writer.get_extra_info("socket")) is not None:
                sock.shutdown(SHUT_RDWR)


class reachable:  # a generator would take three times as long
    """Turns every failure to reach Redis inside it into QueueUnavailable, with what to do about it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (redis_errors.RedisError, OSError)):
            raise QueueUnavailable(_sentence(error)) from error


def _sentence(error: BaseException) -> str:
    words = f"{error} {error.__cause__ or ''}"
    if (refused := _of_the_user(error, words)) is not None:
        return refused
    if "CERTIFICATE_VERIFY_FAILED" in words or "certificate verify failed" in words:
        return (
            "Redis shows a certificate that cannot be verified. If it is self-signed, as on Heroku: "
            "REDIS_SSL_CERT_REQS=none for workers and commands, ?ssl_cert_reqs=none at the end of the URL elsewhere."
        )
    if "Timeout connecting" in words:
        return "Redis takes no connection: check its address in REDIS_URL, and rediss:// only if it has TLS."
    if "closed by server" in words or "Connection reset" in words:
        return "Redis closed the connection: use rediss:// in REDIS_URL if it wants TLS, else see its log."
    if "SSL" in words or "WRONG_VERSION_NUMBER" in words:
        return "Redis does not speak TLS there, or wants it: use redis:// for plain, rediss:// for TLS."
    if isinstance(error, redis_errors.ReadOnlyError):
        return "Redis is a read-only replica: point REDIS_URL at the primary."
    if isinstance(error, redis_errors.BusyLoadingError):
        return "Redis is still loading its data: try again in a moment."
    if isinstance(error, redis_errors.OutOfMemoryError) or "'maxmemory'" in words:
        return (
            "Redis is out of memory: raise maxmemory or let results expire sooner (RESULT_TTL_S). "
            "Workers go on with what is queued."
        )
    if isinstance(error, redis_errors.ResponseError):
        return f"Redis refused a command: {error}." if "WRONGTYPE" not in words else _STRANGE
    return "Redis cannot be reached: check REDIS_URL and that the server is up."


def _of_the_user(error: BaseException, words: str) -> str | None:
    if (rights := refused_rights(error)) is not None:
        return (
            f"Redis does not allow its user all that is needed: grant {rights} (docs/operations.md, Rights)."
        )
    if isinstance(error, redis_errors.AuthenticationError) or "NOAUTH" in words or "WRONGPASS" in words:
        return "Redis refused the user or the password: check the credentials in REDIS_URL."
    return None


def _where(address: ServerAddress) -> dict[str, Any]:
    tls = _tls(address) if address.ssl else {}
    if address.sentinel:
        return {
            "connection_class": SentinelTLSConnection if tls else SentinelConnection,
            "service_name": address.sentinel_master,
            "sentinel_manager": _sentinel(address),
            **tls,
        }
    if address.unix_socket_path:
        return {"connection_class": UnixConnection, "path": address.unix_socket_path}
    kind = TLSConnection if tls else TCPConnection
    return {"connection_class": kind, "host": address.host, "port": address.port, **tls}


def _sentinel(address: ServerAddress) -> Sentinel:
    # from redis-py 6 on, a sentinel that is not there would be asked ten times, with pauses
    once = {"socket_timeout": address.conn_timeout, "retry": Retry(NoBackoff(), 0), "protocol": 2}
    return Sentinel(address.host, sentinel_kwargs=once)  # type: ignore[no-untyped-call]


def _tls(address: ServerAddress) -> dict[str, Any]:
    names = ("cert_reqs", "ca_certs", "certfile", "keyfile", "check_hostname")
    return {f"ssl_{name}": getattr(address, f"ssl_{name}") for name in names}
