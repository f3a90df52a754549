"""The handle of a job: its result, its state, its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from arq.jobs import Job as ArqJob
from arq.jobs import JobResult, JobStatus
from arq.utils import ms_to_datetime

from .codec import decode, describe
from .connection import reachable
from .errors import JobAborted, JobNotFound, ResultTimeout

if TYPE_CHECKING:
    from .queue import Queue

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What is known of a job now. Times are UTC; `due_at` is None once it has finished."""

    job_id: str
    status: JobStatus
    function: str
    enqueued_at: datetime
    due_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    tries: int | None = None
    success: bool | None = None
    error: str | None = None  # one sentence, where it failed


class Job(Generic[T]):
    """A job in the queue, known by its id. Cheap to make: nothing is asked until a verb is called."""

    __slots__ = ("_queue", "id")

    def __init__(self, job_id: str, queue: Queue) -> None:
        self.id = job_id
        self._queue = queue

    async def result(self, timeout_s: float | None = None) -> T:
        """What the job returned, as soon as it is there; waiting costs no polling and no connection.

        Raises the typed error of a job that failed, JobAborted, JobNotFound where the id is unknown or
        the result has expired, ResultTimeout after `timeout_s` (the job goes on), QueueUnavailable.
        Cancelling the wait does not cancel the job.
        """
        try:
            async with asyncio.timeout(timeout_s):
                record = await self._queue.listener.wait(self.id)
        except TimeoutError:
            raise ResultTimeout(
                f"Job {self.id} has not finished within {timeout_s:g} s; it goes on: ask again later."
            ) from None
        data = decode(record)
        if data["s"]:
            return cast(T, data["r"])
        outcome = data["r"]
        raise describe(outcome if isinstance(outcome, BaseException) else RuntimeError(outcome))

    async def status(self) -> JobStatus:
        """deferred, queued, in_progress, complete or not_found."""
        with reachable():
            return await self._arq().status()

    async def info(self) -> JobInfo:
        """All that is known of the job, without waiting. Raises JobNotFound."""
        with reachable():
            status, info = await self.status(), await self._arq().info()
        if info is None:
            raise JobNotFound(f"There is no job {self.id!r}: the id is wrong or its result has expired.")
        if isinstance(info, JobResult):
            return JobInfo(
                self.id,
                JobStatus.complete,
                info.function,
                info.enqueue_time,
                started_at=info.start_time,
                finished_at=info.finish_time,
                tries=info.job_try,
                success=info.success,
                error=None if info.success else str(describe(_raised(info.result))),
            )
        due_at = None if info.score is None else ms_to_datetime(info.score)
        return JobInfo(self.id, status, info.function, info.enqueue_time, due_at=due_at)

    async def abort(self, timeout_s: float | None = 10) -> bool:
        """Ends the job: at once if it has not started, else its worker cancels it. True if it ended so.

        False where the job had finished or is unknown, or finished before the worker heard of it.
        Raises ResultTimeout where no worker has reacted within `timeout_s`; the request stays.
        """
        reply = await self._queue.request_abort(self.id)
        if reply != "asked":
            return reply == "ended"
        try:
            await self.result(timeout_s)
        except JobAborted:
            return True
        except ResultTimeout:
            raise
        except Exception:  # it failed by itself, before the worker heard of the abort
            return False
        return False

    def _arq(self) -> ArqJob:
        return ArqJob(self.id, self._queue.redis, self._queue.name, decode)

    def __repr__(self) -> str:
        return f"<Job {self.id}>"


def _raised(outcome: Any) -> BaseException:
    return outcome if isinstance(outcome, BaseException) else RuntimeError(str(outcome))
