"""promptmill as a system under test: the stock CLI, configured by its environment."""

from __future__ import annotations

from collections.abc import Sequence

from client import Queue

from .system import RESULT_LIMIT_S, System, Work, in_parallel


class OurClient:
    """A Queue, as a producer holds it."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    async def enqueue(self, works: Sequence[Work]) -> None:
        await in_parallel(self.enqueue_one, works)

    async def enqueue_one(self, work: Work) -> None:
        await self.queue.enqueue("work", *work.arguments)

    async def call(self, work: Work) -> int:
        job = await self.queue.enqueue("work", *work.arguments)
        started_ns: int = await job.result(RESULT_LIMIT_S)
        return started_ns

    async def close(self) -> None:
        await self.queue.close()


async def _connect(url: str) -> OurClient:
    return OurClient(Queue.from_url(url))


def _environment(concurrency: int, url: str) -> dict[str, str]:
    return {"REDIS_URL": url, "MAX_JOBS": str(concurrency), "JOB_MODULES": "benchmarks.jobs_of_ours"}


OURS = System(
    name="promptmill",
    worker=lambda _concurrency, _url: ("arq", "worker.WorkerSettings"),
    connect=_connect,
    packages=("promptmill",),
    environment=_environment,
)
