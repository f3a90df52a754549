"""Carries the faults out, each at its time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from tests.soak.plan import PlannedFault, faults
from tests.soak.record import Record, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.soak.fleet import Fleet
    from tests.soak.provider import Provider
    from tests.soak.servers import Servers


class Faults:
    """One of Redis's or of the provider's at a time; those of workers come as they come."""

    def __init__(self, record: Record, servers: Servers, fleet: Fleet, provider: Provider) -> None:
        self._record, self._servers, self._fleet, self._provider = record, servers, fleet, provider
        self._dice = record.options.dice("targets")
        self._one_of_redis, self._one_of_the_provider = asyncio.Lock(), asyncio.Lock()

    async def run(self) -> None:
        """Returns when all are over, and everything is there again."""
        async with asyncio.TaskGroup() as group:
            for fault in faults(self._record.options):
                await asyncio.sleep(max(0.0, self._record.started_s + fault.at_s - monotonic()))
                group.create_task(self._carry_out(fault))

    def _carry_out(self, fault: PlannedFault) -> Coroutine[Any, Any, None]:
        if "worker" in fault.kind:
            return self._to_a_worker(fault)
        return self._to_redis(fault) if "Redis" in fault.kind else self._to_the_provider(fault)

    async def _to_a_worker(self, fault: PlannedFault) -> None:
        """The one with the most calls, two times of three; never the last that serves."""
        healthy = self._fleet.healthy()
        if len(healthy) < 2:
            return
        busiest = max(healthy, key=self._provider.open_calls)
        name = busiest if self._dice.random() < 0.67 else self._dice.choice(healthy)
        with self._told(fault):
            if fault.kind == "kill a worker":
                self._fleet.kill(name)
            elif fault.kind == "stop a worker":
                await self._fleet.stop(name, fault.lasts_s)
            else:
                self._fleet.tell_to_end(name)

    async def _to_redis(self, fault: PlannedFault) -> None:
        async with self._one_of_redis:
            with self._told(fault):
                if fault.kind == "cut Redis's connections":
                    await self._servers.cut()
                elif fault.kind == "freeze Redis":
                    self._servers.freeze()
                    try:
                        await asyncio.sleep(fault.lasts_s)
                    finally:
                        self._servers.thaw()
                else:
                    await self._servers.stop() if fault.kind == "stop Redis" else self._servers.kill()
                    await asyncio.sleep(fault.lasts_s)
                    await self._servers.start()

    async def _to_the_provider(self, fault: PlannedFault) -> None:
        async with self._one_of_the_provider:
            with self._told(fault):
                if fault.kind == "refuse connections":
                    await self._provider.refuse()
                    await asyncio.sleep(fault.lasts_s)
                    await self._provider.accept()
                else:
                    self._provider.overloaded = True
                    await asyncio.sleep(fault.lasts_s)
                    self._provider.overloaded = False

    @contextmanager
    def _told(self, fault: PlannedFault) -> Iterator[None]:
        span = Span(fault.kind, monotonic())
        self._record.faults.append(span)
        try:
            yield
        finally:
            span.ended_s = monotonic()
