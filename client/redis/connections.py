"""redis-py's connections and pools, with the quirks mended that we met.

- It sends every command in a task of its own where there is a socket timeout: a fifth of a command's
  cost, and a cancellation that Python 3.11 can lose. Here the timeout is a timer.
- It packs a command by copying what it has so far for every argument. Here all are joined once.
- It hands a large command to its transport as a whole. Here it goes out piece by piece.
- A connection that it gives up in the middle of a command stays open until the server has read the rest.
  Here the rest is dropped.
- On a unix socket it greets the server as a part of connecting, and so keeps open what was refused.
- Its sentinel pool refuses at its limit, where its blocking pool waits; and it never closes the
  sentinels' own connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import (
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

PIECE_BYTES = 1024 * 1024
LARGE_BYTES = 16 * 1024  # an argument that is not copied


class _OurConnection(AbstractConnection):
    def __init__(self, *, namespace: str = "", **options: Any) -> None:
        """`namespace` is for whoever asks the pool (connection.py's `keys_at`); the server knows none."""
        super().__init__(**options)

    def pack_command(self, *args: Any) -> list[bytes]:
        name = args[0].encode() if isinstance(args[0], str) else args[0]
        words = name.split()  # 'CONFIG GET' are two
        packed: list[bytes] = []
        parts: list[bytes] = [b"*%d\r\n" % (len(words) + len(args) - 1)]
        encode: Callable[[Any], bytes] = self.encoder.encode
        for arg in (*words, *args[1:]):
            data = arg if type(arg) is bytes else encode(arg)
            if len(data) > LARGE_BYTES:
                packed += (b"".join((*parts, b"$%d\r\n" % len(data))), data)
                parts = [b"\r\n"]
            else:
                parts += (b"$%d\r\n" % len(data), data, b"\r\n")
        packed.append(b"".join(parts))
        return packed

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                for piece in _pieces(command):
                    await super().send_packed_command(piece, check_health)
                    check_health = False  # in the middle of a command, a PING would be a part of it
        except TimeoutError:
            raise redis_errors.TimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = limit_s

    async def disconnect(self, nowait: bool = False, **why: Any) -> None:  # redis-py 7 says why
        if nowait and self._writer is not None:
            self._writer.transport.abort()
        await super().disconnect(nowait, **why)


def _pieces(command: bytes | str | Iterable[bytes]) -> Iterator[bytes | str | Iterable[bytes]]:
    """asyncio's transports copy what they cannot send at once three times, in one go: 200 ms for 80 MB."""
    parts = [command] if isinstance(command, bytes) else command
    if not isinstance(parts, list) or sum(map(len, parts)) <= PIECE_BYTES:
        yield command
        return
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(part), PIECE_BYTES):
            yield [bytes(view[start : start + PIECE_BYTES])]


class TCPConnection(_OurConnection, Connection):
    """Over TCP."""


class TLSConnection(_OurConnection, SSLConnection):
    """Over TLS."""


class UnixConnection(_OurConnection, UnixDomainSocketConnection):
    """Over a unix socket."""

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            self._reader, self._writer = await asyncio.open_unix_connection(self.path)


class SentinelConnection(_OurConnection, SentinelManagedConnection):
    """Over TCP, to the primary that the sentinels name."""


class SentinelTLSConnection(_OurConnection, SentinelManagedSSLConnection):
    """Over TLS, to the primary that the sentinels name."""


class SentinelPool(BlockingConnectionPool, SentinelConnectionPool):
    """Connections to the primary; whoever finds them all in use waits."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:  # the end; the sentinels have connections of their own
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()
