"""Engines in this process and workers as real ones, each ended with its test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arq.worker import Function, func

from client import decode, encode
from client.arq import settings_at
from client.redis.url import server_address
from tests.conftest import KEYS, Server, wait_until
from tests.worker.processes import READY, Process
from worker.engine import Engine

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Engines:
    """Starts engines in this process, and closes them all."""

    def __init__(self) -> None:
        self._all: list[Engine] = []

    def make(self, server: Server, functions: Iterable[Any], **settings: Any) -> Engine:
        defaults = {
            "redis_settings": settings_at(server_address(server.url)),
            "handle_signals": False,
            "job_serializer": encode,
            "job_deserializer": decode,
            "allow_abort_jobs": True,
            "poll_delay": 0.05,
        }
        named = [f if isinstance(f, Function) else func(f, name=f.__name__) for f in functions]
        self._all.append(Engine(named, **{**defaults, **settings}))
        return self._all[-1]

    async def start(self, server: Server, *functions: Any, **settings: Any) -> Engine:
        """An engine that serves, and hears every signal."""
        engine = self.make(server, functions, **settings)
        running = asyncio.create_task(engine.async_run())
        with server.client() as client:
            heard = client.pubsub_numsub(KEYS.wake_channel)[0][1]
            await wait_until(
                lambda: running.done() or client.pubsub_numsub(KEYS.wake_channel)[0][1] > heard,
                description="the engine listens",
            )
        if running.done():
            await running
        return engine

    async def burst(self, server: Server, *functions: Any, **settings: Any) -> Engine:
        """An engine that has run all there was, and is closed."""
        engine = self.make(server, functions, burst=True, **settings)
        async with asyncio.timeout(10):
            await engine.async_run()
        await engine.close()
        return engine

    async def close(self) -> None:
        for engine in self._all:
            await engine.close()


def nothing_left_in(engine: Engine) -> bool:
    """Whether it holds no run, lease, task or hook."""
    return not (engine.runs or engine.held or engine.tasks or engine._afterwards or engine._background)


@dataclass
class Workers:
    """Starts `arq worker.WorkerSettings` and kills what is left of it. `ran` is where its jobs write."""

    directory: Path
    _all: list[Process] = field(default_factory=list)

    @property
    def ran(self) -> Path:
        return self.directory / "ran"

    def events(self, kind: str) -> list[list[str]]:
        """(kind, job id, pid, try) of all `start`, `end` or `cancelled` there have been."""
        lines = self.ran.read_text().splitlines() if self.ran.exists() else []
        return [words for line in lines if (words := line.split())[0] == kind]

    async def started(self, count: int, *, timeout_s: float = 10) -> None:
        await wait_until(
            lambda: len(self.events("start")) >= count,
            description=f"{count} jobs have started",
            timeout_s=timeout_s,
        )

    def launch(self, *arguments: str, named: str = "worker.WorkerSettings", **settings: str) -> Process:
        """A worker with these settings as its environment, ready or not."""
        path = os.pathsep.join(map(str, (ROOT, HERE, self.directory)))
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        env |= {"JOB_MODULES": "given_engine_jobs", "RAN_FILE": str(self.ran)} | settings
        log = self.directory / f"worker{len(self._all)}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", "arq", named, *arguments],
                cwd=self.directory,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._all.append(Process(popen, log))
        return self._all[-1]

    async def start(self, server: Server, *arguments: str, **settings: str) -> Process:
        """A worker that has said it is ready."""
        process = self.launch(*arguments, REDIS_URL=server.url, **settings)
        await process.wrote(READY)
        return process

    async def start_all(self, server: Server, count: int, **settings: str) -> list[Process]:
        """Workers that start at the same time, ready."""
        processes = [self.launch(REDIS_URL=server.url, **settings) for _ in range(count)]
        for process in processes:
            await process.wrote(READY)
        return processes

    def end(self) -> None:
        for process in self._all:
            if process.alive:
                process.popen.kill()
            process.popen.wait(10)
