"""A private stack: its processes brought up side by side, watched, and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pydantic import SecretStr

from settings import Settings

from .child import ChildProcess
from .embedded import STOP_LIMIT_S, forget_server, start_server
from .opened import Stack
from .ownership import OwnerRecord, remove_record, write_record
from .place import DataDir
from .processes import (
    HEALTH_KEY,
    simulated,
    start_cpu_worker,
    start_simulator,
    start_worker,
    until_simulating,
    until_working,
)
from .resp import ask_server
from .watch import Watch, restart

DRAIN_EXTRA_S = 5  # what a worker gets on top of its own drain to write its last results


class PrivateStack:
    """The processes of one place. The caller holds the place's lock."""

    def __init__(self, place: DataDir, settings: Settings, record: OwnerRecord) -> None:
        self.settings = settings.model_copy(update={"redis_url": SecretStr(place.url)})
        self.server: ChildProcess | None = None
        self.simulator: ChildProcess | None = None
        self.worker: ChildProcess | None = None
        self.cpu_worker: ChildProcess | None = None
        self._place = place
        self._record = record

    async def start(self) -> None:
        """Returns once every process of the record is ready. Raises StackError."""
        write_record(self._place, self._record)
        if self._record.simulate:
            self.simulator, url = start_simulator(self._place)
            self.settings = simulated(self.settings, url)
        self.server = await start_server(self._place)
        if self._record.worker:
            await ask_server(self._place.socket, f"DEL {HEALTH_KEY}")  # a killed worker's outlives it
            if self._has_cpu_worker():
                await self.start_cpu_worker()
            await self.start_worker()
        if self.simulator:
            await until_simulating(self.simulator)
        write_record(self._place, self._record.model_copy(update={"ready": True}))

    async def start_worker(self) -> None:
        """A worker in the place of one that ended, ready. Raises StackError."""
        self.worker = start_worker(self._place, self.settings)
        await until_working(self.worker, self._place)

    async def start_cpu_worker(self) -> None:
        """A worker for CPU jobs, not yet ready: nothing but such jobs waits for it."""
        self.cpu_worker = start_cpu_worker(self._place, self.settings)

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
            forget_server(self._place)
            remove_record(self._place)

    def dead(self) -> ChildProcess | None:
        """A process that has ended though nobody stopped it."""
        children = filter(None, (self.server, self.simulator, self.worker, self.cpu_worker))
        return next((child for child in children if not child.alive), None)


@asynccontextmanager
async def private_stack(
    place: DataDir, settings: Settings, record: OwnerRecord, *, say: Callable[[str], None]
) -> AsyncIterator[Stack]:
    """The stack of `record`, open for the block. Raises StackError, in the block too where a process dies.

    The owner `up` gets a new worker instead, and is told through `say`.
    """
    stack = PrivateStack(place, settings, record)
    revive = restart(stack, say) if record.owner == "up" else None
    try:
        await stack.start()
        async with Watch(stack.dead, revive):
            yield Stack(
                redis_url=place.url,
                settings=stack.settings,
                kind="private",
                worker=record.worker,
                simulate=record.simulate,
                data_dir=place.data_dir,
            )
    finally:
        await stack.stop()
