"""Dead letters: jobs that took three workers with them, failed on every try they had, or that nobody could read.

A dead letter keeps the job's arguments and its history for 30 days; at most 10,000 are kept. The
caller of the job has long had its error; this is for the person who is paged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from .errors import JobNotFound
from .redis.connection import reachable
from .redis.rights import asked
from .redis.scripts import check
from .requests import unicode_id
from .session import Session
from .terms import LIFE_S
from .wire.codec import decode, describe
from .wire.record import utc
from .wire.schemas import Attempt

PAGE = 500  # letters a round trip
_DELETE = asked("del exec multi zrem", "dead dead_letters")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that was set aside. Times are UTC."""

    job_id: str
    died_at: datetime
    function: str
    lane: str
    error: str  # one sentence
    error_type: str
    args: list[Any] = field(repr=False)  # the caller's; a log should not show them
    kwargs: dict[str, Any] = field(repr=False)
    crashed_at: list[datetime]  # when workers that ran it were found dead
    attempts: list[Attempt]  # physical calls that failed
    unread: bytes | None = field(
        default=None, repr=False
    )  # its record, where that is no JSON record of a job


class DeadLetters:
    """The dead letters of one queue's server."""

    def __init__(self, session: Session) -> None:
        self._of = session

    @property
    def _session(self) -> Session:
        self._of.refuse_if_named("There are no dead letters")
        return self._of

    async def count(self) -> int:
        """How many there are."""
        with reachable():
            return int(await self._session.redis.zcard(self._session.keys.dead_letters))

    async def latest(self, *, limit: int = 100, offset: int = 0) -> list[DeadLetter]:
        """The latest first, `limit` of them from `offset` on."""
        with reachable():
            rows = await self._session.redis.zrevrange(
                self._session.keys.dead_letters, offset, offset + limit - 1, withscores=True
            )
            return await self._letters(rows)

    async def get(self, job_id: str) -> DeadLetter:
        """One, with its history. Raises JobNotFound."""
        unicode_id(job_id)
        with reachable():
            died_ms = await self._session.redis.zscore(self._session.keys.dead_letters, job_id)
            found = [] if died_ms is None else await self._letters([(job_id.encode(), died_ms)])
        if not found:
            raise JobNotFound(f"There is no dead letter {job_id!r}: see `promptmill dead list`.")
        return found[0]

    async def retry(self, job_ids: Sequence[str] | None = None, *, spread_s: float = 0) -> list[str]:
        """Queues these again, or all, with all their tries; evenly staggered over `spread_s` seconds.

        Returns the ids that are queued again; a letter whose id a new job has taken is left alone.
        """
        ids = await self._ids(job_ids)
        step_ms = spread_s * 1000 / max(1, len(ids))
        waits = [(id_, round(n * step_ms)) for n, id_ in enumerate(ids)]
        revived: list[str] = []
        with reachable():
            for at in range(0, len(waits), PAGE):
                page = waits[at : at + PAGE]
                replies = await self._session.scripts.revive(page, round(LIFE_S * 1000))
                revived += [_name(id_) for (id_, _), ok in zip(page, replies, strict=True) if ok]
        return revived

    async def delete(self, job_ids: Sequence[str] | None = None) -> int:
        """Deletes these for good, or all. Returns how many there were."""
        ids = await self._ids(job_ids)
        gone = 0
        with reachable():
            await check(self._session.redis, self._session.keys, _DELETE)
            for at in range(0, len(ids), PAGE):
                page = ids[at : at + PAGE]
                pipe = self._session.redis.pipeline(transaction=True)
                pipe.zrem(self._session.keys.dead_letters, *page)
                pipe.delete(*map(self._key, page))
                gone += (await pipe.execute())[0]
        return gone

    async def _ids(self, job_ids: Sequence[str] | None) -> list[bytes]:
        """These ids, or all."""
        if job_ids is not None:
            return [unicode_id(job_id).encode() for job_id in job_ids]
        with reachable():
            ids: list[bytes] = await self._session.redis.zrange(self._session.keys.dead_letters, 0, -1)
            return ids

    def _key(self, job_id: bytes) -> bytes:
        return self._session.keys.dead("").encode() + job_id

    async def _letters(self, rows: Sequence[tuple[bytes, float]]) -> list[DeadLetter]:
        """Those of these ids that are there; one that cannot be read is told as such, among the others."""
        pipe = self._session.redis.pipeline(transaction=False)
        for job_id, _ in rows:
            pipe.execute_command("HGETALL", self._key(job_id))
        found = zip(rows, await pipe.execute(raise_on_error=False), strict=True)
        return [_letter_or_why(_name(id_), died_ms, data) for (id_, died_ms), data in found if data]


def _name(job_id: bytes) -> str:
    """An id as it is told; one that is no text, as near as can be."""
    return job_id.decode(errors="backslashreplace")


def _letter_or_why(job_id: str, died_ms: float, data: Any) -> DeadLetter:
    try:
        return _letter(job_id, died_ms, data)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        error = f"This letter cannot be read: `promptmill dead delete {job_id}` takes it away."
        return DeadLetter(job_id, utc(died_ms), "<unknown>", "", error, "Unserializable", [], {}, [], [])


def _letter(job_id: str, died_ms: float, data: dict[bytes, bytes]) -> DeadLetter:
    record = data.get(b"job", b"")
    job = _job(record or b"{}")
    known = job or {}
    result = decode(data[b"result"])["r"] if data.get(b"result") else None
    error = describe(result if isinstance(result, BaseException) else RuntimeError("unknown"))
    error_type = error.details.get("error_type", type(error).__name__)
    is_unread = job is None or error_type == "DeserializationError"
    crashes = data.get(b"crashes", b"").decode().split("\n")
    return DeadLetter(
        job_id=job_id,
        died_at=utc(died_ms),
        function=str(known.get("f", "<unknown>")),
        lane=data.get(b"lane", b"").decode(),
        error=str(error),
        error_type=error_type,
        args=known.get("a", []),
        kwargs=known.get("k", {}),
        crashed_at=[utc(int(line.split()[0])) for line in crashes if line],
        attempts=[Attempt.model_validate(row) for row in from_json(data.get(b"attempts") or b"[]")],
        unread=record if is_unread else None,
    )


def _job(record: bytes) -> dict[str, Any] | None:
    """None where it is none that promptmill reads."""
    try:
        job = from_json(record)
    except ValueError:
        return None
    readable = (
        isinstance(job, dict) and isinstance(job.get("a", []), list) and isinstance(job.get("k", {}), dict)
    )
    return job if readable else None
