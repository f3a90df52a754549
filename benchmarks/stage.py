"""One system on a server of its own: started, watched, and cleared away whatever happens."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from promptmill.cli.stack.child import ChildProcess, start_child

from . import proc
from .server import Reading, Server
from .system import CONCURRENCY_VARIABLE, URL_VARIABLE, Client, System, Work
from .tally import PATH_VARIABLE, Tally

WORKER_START_LIMIT_S = 30
LOOK_EVERY_S = 0.005
REST_CPU_S = 0.03  # what a worker at rest may use in a second

_ROOT = Path(__file__).parent.parent


class Stuck(Exception):
    """The system did not do what was waited for. One sentence."""


class Worker:
    """A worker process and its descendants."""

    def __init__(self, child: ChildProcess) -> None:
        self._child = child

    def cpu_s(self) -> float:
        return proc.cpu_s(self._child.pid)

    def rss_bytes(self) -> int:
        return proc.rss_bytes(self._child.pid)

    def kill(self) -> None:
        """kill -9, descendants too. Idempotent."""
        self._child.kill()

    def raise_if_ended(self) -> None:
        if not self._child.alive:
            raise self._child.obituary()

    def has_written(self, words: str) -> bool:
        """Whether `words` are in the end of its log."""
        return words in self._child.log_text()

    def last_words(self) -> str:
        lines = [line.strip() for line in self._child.log_text().splitlines() if line.strip()]
        return lines[-1][:200] if lines else "it wrote nothing"


class Stage:
    """A server, a client in this process, and the tally; workers are started when asked for."""

    def __init__(self, system: System, server: Server, client: Client, tally: Tally, directory: Path) -> None:
        self.system = system
        self.server = server
        self.client = client
        self.tally = tally
        self.workers: list[Worker] = []
        self._directory = directory
        self._started = 0  # workers ever started: two that live never share a log

    def start_worker(self, concurrency: int) -> Worker:
        system, url = self.system, self.server.url
        environment = os.environ | {
            URL_VARIABLE: url,
            CONCURRENCY_VARIABLE: str(concurrency),
            PATH_VARIABLE: str(self.tally.path),
            "PYTHONPATH": str(_ROOT),
        }
        environment |= system.environment(concurrency, url)
        command = [sys.executable, "-m", *system.worker(concurrency, url)]
        log = self._directory / f"worker-{self._started}.log"
        self._started += 1
        worker = Worker(start_child(f"worker of {system.name}", command, log, env=environment))
        self.workers.append(worker)
        return worker

    async def until(self, holds: Callable[[], bool], limit_s: float) -> bool:
        """Whether it held within `limit_s`. Raises StackError where a worker ends meanwhile."""
        deadline = monotonic() + limit_s
        while not holds():
            if monotonic() > deadline:
                return False
            for worker in self.workers:
                worker.raise_if_ended()
            await asyncio.sleep(LOOK_EVERY_S)
        return True

    async def until_first_start(self) -> tuple[float, Reading]:
        """Waits for a worker's first job. Returns the workers' CPU seconds and the server's reading just before.

        Raises Stuck where no job starts.
        """
        deadline = monotonic() + WORKER_START_LIMIT_S
        while True:
            before = sum(worker.cpu_s() for worker in self.workers), await self.server.reading()
            if self.tally.started():
                return before
            for worker in self.workers:
                worker.raise_if_ended()
            if monotonic() > deadline:
                raise Stuck(
                    f"No job has started within {WORKER_START_LIMIT_S} s: {self.workers[0].last_words()}"
                )
            await asyncio.sleep(LOOK_EVERY_S)

    async def warm(self, number: int) -> None:
        """Returns when a worker has done job `number`: it is up."""
        await self.client.enqueue_one(Work(number))
        if not await self.until(lambda: self.tally.ends[number] > 0, WORKER_START_LIMIT_S):
            raise Stuck(f"The worker has done nothing: {self.workers[-1].last_words()}")

    async def at_rest(self) -> None:
        """Returns when the workers together use next to no CPU: they have started and have nothing to do."""
        deadline, before_s = monotonic() + WORKER_START_LIMIT_S, -math.inf
        while monotonic() < deadline:
            cpu_s = sum(worker.cpu_s() for worker in self.workers)
            if cpu_s - before_s < REST_CPU_S * len(self.workers):
                return
            before_s = cpu_s
            await asyncio.sleep(1)


@asynccontextmanager
async def stage(system: System, jobs: int) -> AsyncIterator[Stage]:
    """A stage for `jobs` jobs, numbered from 0. Everything it started is ended on the way out."""
    with TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        server = await Server.start(directory)
        try:
            client = await system.connect(server.url)
            scene = Stage(system, server, client, Tally.create(directory / "tally", jobs), directory)
            try:
                yield scene
            finally:
                for worker in scene.workers:
                    worker.kill()
                await client.close()
        finally:
            await server.stop()
