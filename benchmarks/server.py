"""A private Valkey on a loopback port, nothing on disk, and what it says about itself."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from promptmill.cli.stack.child import ChildProcess, start_child
from promptmill.cli.stack.embedded import find_server

START_LIMIT_S = 20

_SCRIPTS = ("eval", "evalsha", "fcall")


@dataclass(frozen=True, slots=True)
class Reading:
    """The server's counters at one moment."""

    commands: int
    cpu_s: float
    memory_bytes: int  # in use, without the buffers of connections
    script_us: float  # microseconds spent in EVAL, EVALSHA and FCALL
    command_us: float  # microseconds spent in all other commands; EXEC's are those it ran


class Server:
    """A running server. `stop` ends it and forgets its data."""

    def __init__(self, child: ChildProcess, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._child = child
        self._redis = Redis(host="127.0.0.1", port=port)

    @classmethod
    async def start(cls, directory: Path) -> Server:
        """Raises StackError where there is no server to run or it does not start."""
        port = _free_port()
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(directory),
            "save": "",
            "appendonly": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        server = cls(start_child("server", [find_server(), *words], directory / "server.log"), port)
        try:
            await server._until_answering()
        except BaseException:
            await server.stop()
            raise
        return server

    async def reading(self) -> Reading:
        info: dict[str, Any] = await self._redis.info("everything")
        spent_us = {
            name.removeprefix("cmdstat_"): counts["usec"]
            for name, counts in info.items()
            if name.startswith("cmdstat_")
        }
        return Reading(
            info["total_commands_processed"],
            info["used_cpu_user"] + info["used_cpu_sys"],
            info["used_memory"] - info["mem_clients_normal"],
            sum(spent_us.get(name, 0) for name in _SCRIPTS),
            sum(us for name, us in spent_us.items() if name not in (*_SCRIPTS, "exec")),
        )

    async def stop(self) -> None:
        """Idempotent."""
        await self._redis.aclose()
        self._child.kill()

    async def _until_answering(self) -> None:
        deadline = monotonic() + START_LIMIT_S
        while True:
            try:
                await self._redis.ping()
                return
            except RedisConnectionError:
                if not self._child.alive or monotonic() > deadline:
                    raise self._child.obituary() from None
            await asyncio.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
