"""The handle of a job: its result, its state, its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, Literal, TypeVar, cast

from redis.exceptions import ResponseError

from .errors import JobAborted, JobError, JobExpired, JobNotFound, ResultTimeout, Unserializable
from .follow.streams import follow
from .job_scripts import Seen, as_seen, not_found
from .limits.why import Waiting, why
from .redis.connection import reachable
from .redis.strange import is_strange, nothing_if_strange
from .session import Session
from .wire.codec import decode, describe
from .wire.events import START, StreamEvent, position
from .wire.record import JobStatus, aborted_record, lane_of, now_ms, utc
from .wire.token import claimed_us

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What is known of a job now. Times are UTC; `due_at` is None once it has finished.

    Of a job that still runs after its deadline, only its start is known.
    """

    job_id: str
    status: JobStatus
    function: str
    enqueued_at: datetime | None
    due_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    tries: int | None = None
    success: bool | None = None
    error: str | None = None  # one sentence, where it failed
    waiting: Waiting | None = None  # why it has not started


class Job(Generic[T]):
    """A job in the queue, known by its id. Cheap to make: nothing is asked until a verb is called."""

    __slots__ = ("_session", "id")

    def __init__(self, job_id: str, session: Session) -> None:
        self.id = job_id
        self._session = session

    async def result(self, timeout_s: float | None = None) -> T:
        """What the job returned, as soon as it is there; waiting costs no polling and no connection.

        Raises the typed error of a job that failed, JobAborted, JobNotFound where the id is unknown or
        the result has expired, ResultTimeout after `timeout_s` (the job goes on), QueueUnavailable.
        A `timeout_s` of 0 only looks. Cancelling the wait does not cancel the job.
        """
        record = await self._record(timeout_s)
        with _readable(self.id):
            data = decode(record)
            succeeded, outcome = data["s"], data["r"]
        self._refuse_another_queues(str(data.get("q", "")))
        if succeeded:
            return cast(T, outcome)
        raise describe(_raised(outcome))

    async def _record(self, timeout_s: float | None) -> bytes:
        listener = self._session.listener
        try:
            if timeout_s is not None and timeout_s <= 0:  # asyncio's timeout would end it before it looked
                return await listener.look(self.id)
            async with asyncio.timeout(timeout_s):
                return await listener.wait(self.id)
        except TimeoutError:
            raise ResultTimeout(
                f"Job {self.id} has not finished within {timeout_s:g} s; it goes on: ask again later."
            ) from None

    def stream(self, after: str | None = None) -> AsyncGenerator[StreamEvent, None]:
        """The answer as it is written, from its beginning or behind the event whose id is `after`.

        From any process, while the job runs or when it has ended. It ends with a `done` or `error` event,
        which comes with the result. A job without `stream=True` gives its text at once, at its end. Leaving
        does not cancel the job. Raises JobNotFound, QueueUnavailable, InvalidRequest for a strange `after`.
        """
        self._session.refuse_if_named("There are no streams")
        begin = position(after) if after else START  # refused here, before anybody reads
        return follow(self.id, self._session.listener, partial(self.result, 0), begin)

    async def status(self) -> JobStatus:
        """deferred, queued, in_progress, complete or not_found."""
        try:
            return (await self._look())[0].status
        except JobNotFound:
            return JobStatus.not_found

    async def info(self) -> JobInfo:
        """All that is known of the job, and why it waits, without waiting. Raises JobNotFound."""
        info, payload = await self._look()
        if info.status not in (JobStatus.queued, JobStatus.deferred):
            return info
        redis, name = self._session.redis, self._session.name
        with reachable():
            lane = lane_of(self._session.keys, payload, name)
            return replace(info, waiting=await why(redis, self._session.keys, name, self.id, lane))

    async def _look(self) -> tuple[JobInfo, bytes]:
        """The job without why it waits, and its payload."""
        with reachable(), _readable(self.id):
            seen, payload, token, due_ms = await self._at_one_moment()
        stands = (
            "" if due_ms is None else self._session.name
        )  # a plain arq client's record does not say where
        self._refuse_another_queues(
            lane_of(self._session.keys, seen if isinstance(seen, bytes) else payload, stands)
        )
        with _readable(self.id):
            if isinstance(seen, bytes):
                return _finished(self.id, decode(seen)), b""
            if payload:
                return _unfinished(self.id, decode(payload), token, due_ms), payload
        if seen == "waits or runs":
            return _overdue(self.id, token), b""
        with reachable():
            absence = await self._session.scripts.absence(self.id, seen)
        if isinstance(absence, JobExpired):
            return _expired(self.id, absence), b""
        raise absence

    async def _at_one_moment(self) -> tuple[Seen, bytes | None, bytes | None, float | None]:
        """What `result` goes by, the payload, the token of whoever runs it, and its score in its lane."""
        session, keys, lane = self._session, self._session.keys, ""
        payload: bytes | None = None
        while lane != (its_lane := lane_of(session.keys, payload, session.name)):  # or it has moved since
            lane = its_lane
            async with session.redis.pipeline(transaction=True) as pipe:
                await session.scripts.look_in(pipe, self.id)
                pipe.get(keys.job(self.id))
                pipe.get(keys.in_progress(self.id))
                pipe.zscore(lane, self.id)
                [looked], payload, token, due_ms = await pipe.execute()
        return as_seen(looked), payload, None if token == b"ended" else token, due_ms

    async def abort(self, timeout_s: float | None = 10) -> bool:
        """Ends the job: at once if it has not started, else its worker cancels it. True if it ended so.

        False where the job had finished or is unknown, or finished before the worker heard of it.
        Raises ResultTimeout where no worker has reacted within `timeout_s`; the request stays.
        """
        reply = await request_abort(self._session, self.id)
        if reply != "asked":
            return reply == "ended"
        try:
            await self.result(timeout_s)
        except JobAborted:
            return True
        except JobError:  # it failed by itself, before the worker heard of the abort
            return False
        return False

    def _refuse_another_queues(self, lane: str) -> None:
        """Raises JobNotFound where the job, of that lane, is not of this queue."""
        if not self._session.is_ours(lane):
            raise not_found(self.id)

    def __repr__(self) -> str:
        return f"<Job {self.id}>"


async def lane_at(session: Session, job_id: str) -> str:
    """The key of a job's lane or queue, as it or its result says, or else of the session's, if it stands there."""
    job, result = await session.redis.mget(session.keys.job(job_id), session.keys.result(job_id))
    stands = await session.redis.zscore(session.name, job_id) is not None
    return lane_of(session.keys, job or result, session.name if stands else "")


async def request_abort(session: Session, job_id: str) -> Literal["ended", "asked", "absent"]:
    """What `Job.abort` sends; it waits for no worker."""
    with reachable():
        data: bytes | None = None
        with nothing_if_strange():
            data = await session.redis.get(session.keys.job(job_id))
        lane = lane_of(session.keys, data, session.name)
        if session.is_named and not session.is_ours(await lane_at(session, job_id)):
            return "absent"
        return await session.scripts.abort(job_id, lane, aborted_record(job_id, lane, data))


def _finished(job_id: str, result: dict[str, Any]) -> JobInfo:
    return JobInfo(
        job_id,
        JobStatus.complete,
        str(result["f"]),
        utc(result["et"]),
        started_at=utc(result["st"]),
        finished_at=utc(result["ft"]),
        tries=result["t"],
        success=result["s"],
        error=None if result["s"] else str(describe(_raised(result["r"]))),
    )


def _unfinished(job_id: str, job: dict[str, Any], token: bytes | None, due_ms: float | None) -> JobInfo:
    due_at = None if due_ms is None else utc(due_ms)
    waits = JobStatus.deferred if (due_ms or 0) > now_ms() else JobStatus.queued
    status = JobStatus.in_progress if token else waits
    return JobInfo(job_id, status, str(job["f"]), utc(job["et"]), due_at=due_at)


def _expired(job_id: str, error: JobExpired) -> JobInfo:
    """As its worker will write it down."""
    function = error.details.get("function", "<unknown>")
    return JobInfo(job_id, JobStatus.complete, function, None, success=False, error=str(error))


def _overdue(job_id: str, token: bytes | None) -> JobInfo:
    started_at = None
    with suppress(ValueError):  # an arq worker's token has no time
        started_at = datetime.fromtimestamp(claimed_us(token or b"") / 1_000_000, UTC)
    return JobInfo(job_id, JobStatus.in_progress, "<unknown>", None, started_at=started_at)


@contextmanager
def _readable(job_id: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, OverflowError, AttributeError, ResponseError) as error:
        if isinstance(error, ResponseError) and not is_strange(error):
            raise
        raise Unserializable(
            f"Job {job_id} is not written in JSON and is not read: give its producer and its worker our "
            "encode and decode as job_serializer and job_deserializer."
        ) from None


def _raised(outcome: Any) -> BaseException:
    return outcome if isinstance(outcome, BaseException) else RuntimeError(str(outcome))
