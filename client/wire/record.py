"""arq's two records, which are JSON objects here, and its words for the state of a job.

    of a job       t   the try to begin with, or null     f  function   a, k  arguments   et  enqueued, Unix ms
    of its result  those, with the try it ended in, and   s  whether it succeeded   r  what it returned or raised
                   st, ft  started and finished, Unix ms  q  queue      id  the job's id

A job of ours tells its lane as `q`, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import Enum
from time import time_ns
from typing import Any

from ..errors import JobAborted, JobExpired
from ..words import counted
from .codec import decode, encode
from .keys import Keys

LAST_ERROR_CHARS = 2_000
LAST_MS = 253_402_300_799_000  # Unix ms, in the year 9999


class JobStatus(str, Enum):  # noqa: UP042  as arq has it
    """The state of a job; its members equal those of arq's JobStatus."""

    deferred = "deferred"
    queued = "queued"
    in_progress = "in_progress"
    complete = "complete"
    not_found = "not_found"


def job_record(
    function: str, args: Sequence[Any], kwargs: dict[str, Any], lane: str, check_chars: Callable[[int], None]
) -> bytes:
    """A job enqueued now; `lane` is the key of its lane. Raises Unserializable, and what `encode`'s check raises."""
    job = {"t": None, "f": function, "a": args, "k": kwargs, "et": now_ms(), "q": lane}
    return encode(job, check_chars=check_chars)


def aborted_record(job_id: str, lane: str, data: bytes | None) -> bytes:
    """The result of a job that was aborted before it started; `data` is its payload."""
    job, at_ms = _job(data), now_ms()
    reason = JobAborted("The job was aborted before it started.")
    told = {"t": 0, "f": job.get("f", ""), "a": [], "k": {}, "et": job.get("et", at_ms)}
    return encode({**told, "s": False, "r": reason, "st": at_ms, "ft": at_ms, "q": lane, "id": job_id})


def last_record(function: str, error: str, attempts: int) -> bytes:
    """How a run ended after which the job waits for another: `error` in a sentence, cut to some hundred words, and
    the attempts so far."""
    return encode({"f": function, "e": error[:LAST_ERROR_CHARS], "n": attempts})


def unstarted_record(function: str, lane: str) -> bytes:
    """The `last_record` of a job that has not run yet, which is all that is left of it once its deadline has passed.
    Workers and clients of before read it as that of one that has, and say what it says."""
    return encode({"f": function, "e": "none, as it was never started.", "n": 0, "q": lane})


def expired(keys: Keys, last: bytes | None, lane: str = "") -> JobExpired:
    """What a job has come to whose deadline has passed; `last` is its `last_record`, if there is one, and `lane` the
    key of its lane, if that is known better."""
    known = _job(last)
    function, attempts, error = known.get("f"), known.get("n", 0), str(known.get("e", ""))
    function, attempts = (
        function if isinstance(function, str) else None,
        attempts if isinstance(attempts, int) else 0,
    )
    if not attempts:
        name = keys.lane_name(lane or str(known.get("q", "")))
        where = f" It waited in the lane {name}." if name else ""
        return JobExpired(
            f"The job was not started before its deadline.{where}", function=function, lane=name or None
        )
    return JobExpired(
        f"The job was not finished before its deadline, in {counted(attempts, 'attempt')}. The last error: {error}",
        attempts=attempts,
        last_error=error,
        function=function,
    )


def lane_of(keys: Keys, data: bytes | None, queue: str) -> str:
    """The lane that a job's payload names; `queue` where it names none, as a plain arq client's."""
    lane = _job(data).get("q")
    return lane if isinstance(lane, str) and keys.is_lane(lane) else queue


def now_ms() -> int:
    return time_ns() // 1_000_000


def utc(ms: float) -> datetime:
    """Unix milliseconds, as a moment; the first or the last of the calendar where they are beyond it."""
    return datetime.fromtimestamp(min(max(ms, 0), LAST_MS) // 1 / 1000, UTC)


def _job(data: bytes | None) -> dict[str, Any]:
    try:
        return decode(data) if data else {}
    except ValueError:  # pickled by a stranger
        return {}
