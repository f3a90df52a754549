"""The server under the soak, behind what the faults need of it: one server today, a cluster some day."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from time import monotonic
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from promptmill.cli.stack.embedded import find_server
from tests.soak.processes import Process, start

START_LIMIT_S = 20


class Servers(Protocol):
    """What keeps the jobs. It loses nothing that it has said yes to."""

    @property
    def url(self) -> str: ...

    def client(self) -> Redis:
        """What sees every key. To be closed by the caller."""

    async def start(self) -> None:
        """Returns when it answers. Data of before are there."""

    async def stop(self) -> None:
        """In good order, as a deploy of it would."""

    def kill(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    async def cut(self) -> None:
        """Ends every connection."""

    def close(self) -> None:
        """Ends all that was started. Idempotent."""


class OneServer:
    """A server on a unix socket. Each write is on the disk before it is answered, so a kill loses none."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._directory}/redis.sock"

    def client(self) -> Redis:
        redis: Redis = Redis.from_url(self.url)
        return redis

    async def start(self) -> None:
        options = (
            f"--port 0 --unixsocket {self._directory}/redis.sock --dir {self._directory} "
            "--appendonly yes --appendfsync always --save"
        )
        command = [find_server(), *options.split(), ""]
        self._process = start(command, self._directory / "server.log", {})
        deadline_s = monotonic() + START_LIMIT_S
        async with self.client() as redis:
            while True:
                try:
                    await redis.ping()
                    return
                except RedisError:
                    if monotonic() > deadline_s or not self._process.alive:
                        raise
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self._process is not None:
            self._process.send(signal.SIGTERM)
            await self._process.ends(10)
            self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send(signal.SIGCONT)

    async def cut(self) -> None:
        async with self.client() as redis:
            for kind in ("normal", "pubsub"):
                await redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.kill()
