"""A private stack: its processes brought up side by side, watched, and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from pydantic import SecretStr

from settings import Settings

from .child import ChildProcess
from .data_dir import DataDir
from .embedded import STOP_LIMIT_S, forget_server, start_server
from .ownership import OwnerRecord, remove_record, write_record
from .processes import (
    HEALTH_KEY,
    simulated,
    start_cpu_worker,
    start_simulator,
    start_worker,
    until_simulating,
    until_working,
)
from .stack import Stack, StackError
from .watch import Backoff, Watch

DRAIN_EXTRA_S = 5  # what a worker gets on top of its own drain to write its last results


class PrivateStack:
    """The processes of one data directory. The caller holds its lock."""

    def __init__(
        self, data_dir: DataDir, settings: Settings, record: OwnerRecord, say: Callable[[str], None]
    ) -> None:
        self.settings = settings.model_copy(update={"redis_url": SecretStr(data_dir.url)})
        self.server: ChildProcess | None = None
        self.simulator: ChildProcess | None = None
        self.worker: ChildProcess | None = None
        self.cpu_worker: ChildProcess | None = None
        self._data_dir = data_dir
        self._record = record
        self._say = say
        self._backoff = Backoff()

    async def start(self) -> None:
        """Returns once every process of the record is ready. Raises StackError."""
        write_record(self._data_dir, self._record)
        if self._record.simulate:
            self.simulator, url = start_simulator(self._data_dir)
            self.settings = simulated(self.settings, url)
        self.server = await start_server(self._data_dir)
        if self._record.worker:
            await self._data_dir.ask_server(f"DEL {HEALTH_KEY}")  # a killed worker's outlives it
            if self._has_cpu_worker():
                await self._start_cpu_worker()
            await self._start_worker()
        if self.simulator:
            await until_simulating(self.simulator)
        write_record(self._data_dir, self._record.model_copy(update={"ready": True}))

    async def revive(self, child: ChildProcess) -> bool:
        """Starts a dead worker again after a pause, for as often as it takes. False for any other process: without
        its server or its simulator a stack is not what it said."""
        if child not in (self.worker, self.cpu_worker):
            return False
        pause_s = self._backoff.after(child)
        self._say(f"{child.obituary()} It is started again in {pause_s:g} s.")
        await asyncio.sleep(pause_s)
        with suppress(StackError):  # the next look finds it dead again and says so
            await (self._start_worker() if child is self.worker else self._start_cpu_worker())
            self._say(f"The {child.name} is back.")
        return True

    async def _start_worker(self) -> None:
        self.worker = start_worker(self._data_dir, self.settings)
        await until_working(self.worker, self._data_dir)

    async def _start_cpu_worker(self) -> None:
        """Not yet ready: nothing but CPU jobs waits for it."""
        self.cpu_worker = start_cpu_worker(self._data_dir, self.settings)

    def _has_cpu_worker(self) -> bool:
        """Not for `promptmill run`, which has jobs of ours only. Only the modules know whether theirs compute."""
        return self._record.owner == "up" and bool(self.settings.job_modules)

    async def stop(self) -> None:
        """The workers drain first, then go the simulator and the server. Cancelling kills them all."""
        grace_s = self.settings.drain_s + DRAIN_EXTRA_S
        try:
            await asyncio.gather(*(w.stop(grace_s) for w in (self.worker, self.cpu_worker) if w))
            if self.simulator:
                await self.simulator.stop(STOP_LIMIT_S)
            if self.server:
                await self.server.stop(STOP_LIMIT_S)
        finally:
            for child in filter(None, (self.worker, self.cpu_worker, self.simulator, self.server)):
                child.kill()
            forget_server(self._data_dir)
            remove_record(self._data_dir)

    def dead(self) -> ChildProcess | None:
        """A process that has ended though nobody stopped it."""
        children = filter(None, (self.server, self.simulator, self.worker, self.cpu_worker))
        return next((child for child in children if not child.alive), None)


@asynccontextmanager
async def private_stack(
    data_dir: DataDir, settings: Settings, record: OwnerRecord, *, say: Callable[[str], None]
) -> AsyncIterator[Stack]:
    """The stack of `record`, open for the block. Raises StackError, in the block too where a process dies.

    The owner `up` gets a new worker instead, and is told through `say`.
    """
    stack = PrivateStack(data_dir, settings, record, say)
    try:
        await stack.start()
        async with Watch(stack.dead, stack.revive if record.owner == "up" else None):
            yield Stack(
                redis_url=data_dir.url,
                settings=stack.settings,
                kind="private",
                worker=record.worker,
                simulate=record.simulate,
                data_dir=data_dir.path,
            )
    finally:
        await stack.stop()
