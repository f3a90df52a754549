"""Everything that a case needs: a server, a provider, workers as their CLI starts them, and a queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from benchmarks.ours import OURS, OurClient
from benchmarks.stage import WORKER_START_LIMIT_S, Stage, Stuck, Worker, stage
from benchmarks.system import System
from client import Queue
from client.errors import JobNotFound, ResultTimeout
from client.queue import ChatJob

from .provider import Counts, Provider, provider

MODEL = "sim/gpt-4o-mini"
LEASE_S = 15.0  # the default
PROMPT = "Say in one sentence what a flow control is for."
READY = " jobs at once; "  # what a worker writes before it looks into the queue
LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Endings:
    """What became of jobs, as their callers see it."""

    answered: int
    failed: int
    lost: int  # no result


class Mill:
    """Workers are started when asked for; the rest is up."""

    def __init__(self, scene: Stage, provider: Provider, max_jobs: int) -> None:
        assert isinstance(scene.client, OurClient)
        self.queue: Queue = scene.client.queue
        self.provider = provider
        self.scene = scene
        self._max_jobs = max_jobs

    async def start_workers(self, count: int) -> None:
        """Returns when all are up. Raises StackError where one ends, Stuck."""
        fresh = [self.start_worker() for _ in range(count)]
        if not await self.scene.until(lambda: all(map(_is_ready, fresh)), WORKER_START_LIMIT_S):
            raise Stuck(f"A worker is not up: {fresh[-1].last_words()}")

    def start_worker(self) -> Worker:
        return self.scene.start_worker(self._max_jobs)

    def replace_oldest(self) -> None:
        """kill -9 for the worker that is up longest, and another in its place."""
        self.scene.workers.pop(0).kill()
        self.start_worker()

    def raise_if_ended(self) -> None:
        """Raises StackError where a worker has ended by itself."""
        for worker in self.scene.workers:
            worker.raise_if_ended()

    async def ask(self, count: int, *, model: str = MODEL, **options: Any) -> list[ChatJob]:
        """Enqueues so many chats; `options` are those of `chat_many`."""
        return await self.queue.chat_many([{"prompt": PROMPT, "model": model}] * count, **options)

    async def watch(
        self, done: Callable[[Counts], bool], limit_s: float, every_s: float = LOOK_EVERY_S
    ) -> list[Counts]:
        """What the provider counts, again and again, until `done` or the limit; the last is the newest.

        Raises StackError where a worker ends meanwhile.
        """
        deadline, seen = monotonic() + limit_s, [await self.provider.counts()]
        while not done(seen[-1]) and monotonic() < deadline:
            self.raise_if_ended()
            await asyncio.sleep(every_s)
            seen.append(await self.provider.counts())
        return seen


async def endings(jobs: Sequence[ChatJob], limit_s: float) -> Endings:
    """What became of these jobs; one that has no result after `limit_s` is lost."""
    results = await asyncio.gather(*(job.result(limit_s) for job in jobs), return_exceptions=True)
    lost = sum(isinstance(result, JobNotFound | ResultTimeout) for result in results)
    failed = sum(isinstance(result, BaseException) for result in results) - lost
    return Endings(len(results) - failed - lost, failed, lost)


@asynccontextmanager
async def mill(
    *, limits: str = "", max_jobs: int = 200, lease_s: float = LEASE_S, **settings: Any
) -> AsyncIterator[Mill]:
    """A mill whose workers have these `limits`; `settings` are the provider's. All is ended on the way out."""
    async with (
        provider(latency_sigma=0, **settings) as simulated,
        mill_beside(simulated, limits=limits, max_jobs=max_jobs, lease_s=lease_s) as m,
    ):
        yield m


@asynccontextmanager
async def mill_beside(
    simulated: Provider, *, limits: str = "", max_jobs: int = 200, lease_s: float = LEASE_S
) -> AsyncIterator[Mill]:
    """A mill with a provider that is there already."""
    async with stage(_system(simulated.base_url, limits, lease_s), jobs=1) as scene:
        yield Mill(scene, simulated, max_jobs)


def _system(base_url: str, limits: str, lease_s: float) -> System:
    given = {
        "PROVIDERS__SIM__BASE_URL": base_url,
        "PROVIDERS__SIM__API_KEY": "simulated",
        "LEASE_S": str(lease_s),
        "LIMITS": limits,
    }

    def environment(concurrency: int, url: str) -> dict[str, str]:
        return {"REDIS_URL": url, "MAX_JOBS": str(concurrency)} | given

    return replace(OURS, environment=environment)


def _is_ready(worker: Worker) -> bool:
    return worker.has_written(READY)
