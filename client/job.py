"""The handle of a job: its result, its state, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from arq.jobs import DeserializationError, JobDef, JobResult, JobStatus, deserialize_job, deserialize_result
from arq.utils import ms_to_datetime, timestamp_ms

from . import keys
from .codec import decode, describe
from .connection import reachable
from .errors import JobAborted, JobError, JobNotFound, ResultTimeout, Unserializable
from .scripts import not_found
from .tickets import lane_of

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
        A `timeout_s` of 0 only looks. Cancelling the wait does not cancel the job.
        """
        record = await self._record(timeout_s)
        with _readable(self.id):
            data = decode(record)
        if data["s"]:
            return cast(T, data["r"])
        raise describe(_raised(data["r"]))

    async def _record(self, timeout_s: float | None) -> bytes:
        listener = self._queue.listener
        try:
            if (
                timeout_s is not None and timeout_s <= 0
            ):  # asyncio's timeout would end it before it has looked
                return await listener.look(self.id)
            async with asyncio.timeout(timeout_s):
                return await listener.wait(self.id)
        except TimeoutError:
            raise ResultTimeout(
                f"Job {self.id} has not finished within {timeout_s:g} s; it goes on: ask again later."
            ) from None

    async def status(self) -> JobStatus:
        """deferred, queued, in_progress, complete or not_found."""
        try:
            return (await self.info()).status
        except JobNotFound:
            return JobStatus.not_found

    async def info(self) -> JobInfo:
        """All that is known of the job, without waiting. Raises JobNotFound."""
        queue = self._queue
        with reachable():
            async with queue.redis.pipeline(transaction=True) as look:  # all of one moment
                look.get(keys.result(self.id))
                look.get(keys.job(self.id))
                look.exists(keys.in_progress(self.id))
                look.zscore(queue.name, self.id)
                record, payload, running, due_ms = await look.execute()
            if due_ms is None and (lane := lane_of(payload, queue.name)) != queue.name:
                due_ms = await queue.redis.zscore(lane, self.id)
        with _readable(self.id):
            if record:
                return _finished(self.id, deserialize_result(record, deserializer=decode))
            if payload:
                return _unfinished(self.id, deserialize_job(payload, deserializer=decode), running, due_ms)
        raise not_found(self.id)

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
        except JobError:  # it failed by itself, before the worker heard of the abort
            return False
        return False

    def __repr__(self) -> str:
        return f"<Job {self.id}>"


def _finished(job_id: str, result: JobResult) -> JobInfo:
    return JobInfo(
        job_id,
        JobStatus.complete,
        result.function,
        result.enqueue_time,
        started_at=result.start_time,
        finished_at=result.finish_time,
        tries=result.job_try,
        success=result.success,
        error=None if result.success else str(describe(_raised(result.result))),
    )


def _unfinished(job_id: str, job: JobDef, running: bool, due_ms: float | None) -> JobInfo:
    due_at = None if due_ms is None else ms_to_datetime(int(due_ms))
    if running:
        status = JobStatus.in_progress
    else:
        status = JobStatus.deferred if (due_ms or 0) > timestamp_ms() else JobStatus.queued
    return JobInfo(job_id, status, job.function, job.enqueue_time, due_at=due_at)


@contextmanager
def _readable(job_id: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, DeserializationError):
        raise Unserializable(
            f"Job {job_id} is not written in JSON and is not read: give its producer and its worker our "
            "encode and decode as job_serializer and job_deserializer."
        ) from None


def _raised(outcome: Any) -> BaseException:
    return outcome if isinstance(outcome, BaseException) else RuntimeError(str(outcome))
