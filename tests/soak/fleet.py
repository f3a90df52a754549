"""The workers, each with a key of its own by which the provider knows it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from time import monotonic

from tests.soak.plan import DRAIN_S, LEASE_S, LIMITS, MAX_JOBS, WORKERS
from tests.soak.processes import Process, start
from tests.soak.record import Record, Span, WorkerLife

READY = " jobs at once; "  # what a worker writes before it looks into the queue
END_LIMIT_S = 20.0


class Fleet:
    """Always WORKERS of them: one that is killed or told to end is replaced at once."""

    def __init__(self, record: Record, directory: Path, redis_url: str, base_url: str) -> None:
        self._record, self._directory = record, directory
        self._settings = {
            "REDIS_URL": redis_url,
            "PROVIDERS__SOAK__BASE_URL": base_url,
            "DEFAULT_MODEL": "soak/alpha",
            "LIMITS": LIMITS,
            "LEASE_S": str(LEASE_S),
            "DRAIN_S": str(DRAIN_S),
            "MAX_JOBS": str(MAX_JOBS),
            "REQUEST_TIMEOUT_S": "30",
            "REDIS_OUTAGE_S": "120",
            "JOB_MODULES": "tests.soak.jobs",
            "LOOP_LAG_WARN_MS": "0",  # the machine may be busy
        }
        self._all: dict[str, Process] = {}
        self._ending: list[asyncio.Task[None]] = []
        self._stopped: set[str] = set()

    def start(self) -> str:
        name = f"worker-{len(self._all)}"
        self._record.workers[name] = WorkerLife(name, monotonic())
        command = [sys.executable, "-m", "arq", "worker.WorkerSettings"]
        settings = self._settings | {"PROVIDERS__SOAK__API_KEY": name}
        self._all[name] = start(command, self._directory / f"{name}.log", settings)
        return name

    async def start_all(self) -> None:
        names = [self.start() for _ in range(WORKERS)]
        async with asyncio.timeout(60):
            while not all(self._is_ready(name) for name in names):  # noqa: ASYNC110  another process
                await asyncio.sleep(0.05)

    def healthy(self) -> list[str]:
        """Those that serve: ready, not stopped, not told to end. One that has ended by itself is replaced."""
        for name, process in list(self._all.items()):
            life = self._record.workers[name]
            if not process.alive and not self._was_ended(name) and not life.ended_by_itself:
                life.ended_by_itself, life.killed_s = True, monotonic()
                self.start()
        return [name for name in self._all if self._is_ready(name)]

    def kill(self, name: str) -> None:
        self._record.workers[name].killed_s = monotonic()
        self._all[name].kill()
        self.start()

    def tell_to_end(self, name: str, *, replaced: bool = True) -> None:
        self._record.workers[name].told_s = monotonic()
        self._all[name].send(signal.SIGTERM)
        self._ending.append(asyncio.create_task(self._ended(name)))
        if replaced:
            self.start()

    async def stop(self, name: str, lasts_s: float) -> None:
        """Stopped, and let go on after `lasts_s` seconds."""
        span = Span("stop a worker", monotonic())
        self._record.workers[name].stops.append(span)
        self._stopped.add(name)
        self._all[name].send(signal.SIGSTOP)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            self._all[name].send(signal.SIGCONT)
            span.ended_s = monotonic()
            self._stopped.discard(name)

    async def supervise(self) -> None:
        """Replaces those that end by themselves, until it is cancelled."""
        while True:
            self.healthy()
            await asyncio.sleep(1)

    async def end_all(self) -> None:
        """Told to end, and waited for."""
        for name in self.healthy():
            self.tell_to_end(name, replaced=False)
        await asyncio.gather(*self._ending)

    def close(self) -> None:
        """Kills what is left, and takes down what all have said. Idempotent."""
        for name, process in self._all.items():
            process.kill()
            life = self._record.workers[name]
            life.log, life.exit_code = process.text(), process.popen.returncode

    async def _ended(self, name: str) -> None:
        """One that does not end when it is told to is killed, and said to have a wrong exit code."""
        if not await self._all[name].ends(END_LIMIT_S):
            self._record.workers[name].killed_s = monotonic()
            self._all[name].kill()

    def _is_ready(self, name: str) -> bool:
        life = self._record.workers[name]
        if name in self._stopped or self._was_ended(name) or not self._all[name].alive:
            return False
        life.was_ready = life.was_ready or READY in self._all[name].text()
        return life.was_ready

    def _was_ended(self, name: str) -> bool:
        life = self._record.workers[name]
        return min(life.killed_s, life.told_s) < monotonic()
