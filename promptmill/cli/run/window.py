"""The jobs in flight: one waiting task each, and one list where their ends arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from client.errors import JobNotFound, MalformedResponse, QueueUnavailable
from client.wire.codec import describe
from client.wire.schemas import Completion, Embeddings

from .feed import LineJob
from .writer import LineOutcome


class Waitable(Protocol):
    """The part of a client.Job that a run uses."""

    async def result(self, timeout_s: float | None = None) -> Any: ...

    async def abort(self, timeout_s: float | None = 10) -> bool: ...


class Window:
    """Counts and waits; whoever holds it decides how full it may be. Belongs to one event loop."""

    def __init__(self, on_arrival: Callable[[], object]) -> None:
        self.size_bytes = 0  # of the requests in flight
        self.lost: list[LineJob] = []  # those that Redis does not know any more, each once
        self.outage: QueueUnavailable | None = None
        self._on_arrival = on_arrival
        self._tasks: dict[asyncio.Task[None], LineJob] = {}
        self._jobs: dict[str, Waitable] = {}
        self._arrived: list[LineOutcome] = []
        self._lost_once: set[str] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def watch(self, line_job: LineJob, job: Waitable) -> None:
        """Waits for the end of a job that has been enqueued."""
        task = asyncio.create_task(self._wait(line_job, job))
        self._tasks[task] = line_job
        self._jobs[line_job.job_id] = job
        self.size_bytes += line_job.item.size_bytes
        task.add_done_callback(self._leave)

    def add(self, outcome: LineOutcome) -> None:
        """An end that needed no waiting."""
        self._arrived.append(outcome)
        self._on_arrival()

    def jobs(self) -> list[Waitable]:
        """Those in flight."""
        return list(self._jobs.values())

    def take_arrived(self) -> list[LineOutcome]:
        """The ends since the last call, in the order in which they came."""
        arrived, self._arrived = self._arrived, []
        return arrived

    async def close(self, grace_s: float = 0) -> int:
        """Stops waiting, and says for how many; the jobs go on. What has arrived can still be taken.

        What is on its way gets `grace_s` seconds.
        """
        tasks = list(self._tasks)
        if tasks and grace_s:
            await asyncio.wait(tasks, timeout=grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sum(task.cancelled() for task in tasks)

    async def _wait(self, line_job: LineJob, job: Waitable) -> None:
        try:
            result = await job.result()
            if not isinstance(result, Completion | Embeddings):
                result = MalformedResponse("The worker's answer cannot be read: is it of another version?")
        except QueueUnavailable as outage:
            self.outage = outage
            return
        except Exception as error:
            result = describe(error)
        if isinstance(result, JobNotFound) and line_job.job_id not in self._lost_once:
            self._lost_once.add(line_job.job_id)
            self.lost.append(line_job)
        else:
            self._arrived.append(LineOutcome(line_job, result))

    def _leave(self, task: asyncio.Task[None]) -> None:
        line_job = self._tasks.pop(task)
        self._jobs.pop(line_job.job_id, None)
        self.size_bytes -= line_job.item.size_bytes
        self._on_arrival()
