"""A pool of processes: each runs a job at a time, each that ends is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from client import words
from client.errors import JobTimedOut
from worker.signals import Throttled

from .process import START_LIMIT_S, ChildUnusable, CpuProcess

FIRST_BACKOFF_S = 1.0  # between attempts to start a process; doubled each time
LONGEST_BACKOFF_S = 30.0
THROTTLED_S = 5.0  # until a job that found no process may come back
END_LIMIT_S = 1.0  # for idle processes to end by themselves

logger = words.logger("arq.worker")


class Pool:
    """`processes` children for the functions of `modules`; each may have `memory_mb` MB, 0 for any number."""

    def __init__(self, modules: Sequence[str], *, processes: int, memory_mb: int = 0) -> None:
        self._modules = modules
        self._processes = processes
        self._memory_mb = memory_mb
        self._idle: asyncio.Queue[CpuProcess] = asyncio.Queue()
        self._children: set[CpuProcess] = set()
        self._keepers: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Returns once all children are ready. Raises ChildUnusable, leaving none behind."""
        try:
            async with asyncio.TaskGroup() as group:
                starting = [group.create_task(self._start()) for _ in range(self._processes)]
        except* ChildUnusable as failures:
            await self.close()
            raise failures.exceptions[0] from None
        self._keepers = [asyncio.create_task(self._keep(task.result())) for task in starting]

    async def run(self, call: dict[str, Any], *, limit_s: float) -> Any:
        """What the function returns, within `limit_s` seconds from when a child has it.

        Raises JobTimedOut, Throttled where no child can be had, and what `CpuProcess.compute` raises. A call
        that times out or is cancelled is killed.
        """
        child = await self._next()
        try:
            async with asyncio.timeout(limit_s):
                return await child.compute(call)
        except TimeoutError:
            raise JobTimedOut(f"The job ran longer than its timeout of {limit_s:g} s.") from None
        finally:
            if child.usable:
                self._idle.put_nowait(child)
            else:
                child.kill()

    async def close(self) -> None:
        """Ends all children, those that run a job too. Idempotent."""
        for keeper in self._keepers:
            keeper.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers)
        children = list(self._children)
        for child in children:
            child.dismiss() if child.usable else child.kill()
        ends = [asyncio.create_task(child.ended()) for child in children]
        if ends:
            _, late = await asyncio.wait(ends, timeout=END_LIMIT_S)
            for child in children:
                child.kill()
            await asyncio.gather(*late)
        self._children.clear()

    async def _next(self) -> CpuProcess:
        try:
            async with asyncio.timeout(START_LIMIT_S):
                while not (child := await self._idle.get()).alive:
                    pass  # it ended while it was idle
        except TimeoutError:
            raise Throttled(THROTTLED_S) from None
        return child

    async def _keep(self, child: CpuProcess | None) -> None:
        """Keeps one child in the pool."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                child = child or await self._start()
            except ChildUnusable as error:
                logger.error("%s Next attempt in %g s.", error, backoff_s)
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
                continue
            backoff_s = FIRST_BACKOFF_S
            self._idle.put_nowait(child)
            await child.ended()
            self._children.discard(child)
            child = None

    async def _start(self) -> CpuProcess:
        child = await CpuProcess.start(self._modules, self._memory_mb)
        self._children.add(child)
        return child
