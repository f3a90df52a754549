"""Dead letters: jobs that took three workers with them, failed on every try they had, or that nobody could read.

A dead letter keeps the job's arguments and its history for 30 days; at most 10,000 are kept. The
caller of the job has long had its error; this is for the person who is paged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from pydantic_core import from_json

from .errors import JobNotFound
from .redis.connection import reachable
from .redis.rights import asked
from .redis.scripts import check
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
        redis = self._session.redis
        with reachable():
            rows = await redis.zrevrange(
                self._session.keys.dead_letters, offset, offset + limit - 1, withscores=True
            )
            pipe = redis.pipeline(transaction=False)
            for job_id, _ in rows:
                pipe.hgetall(self._session.keys.dead(job_id.decode()))
            found = await pipe.execute()
        return [
            _letter(id_.decode(), died_ms, data)
            for (id_, died_ms), data in zip(rows, found, strict=True)
            if data
        ]

    async def get(self, job_id: str) -> DeadLetter:
        """One, with its history. Raises JobNotFound."""
        with reachable():
            died_ms = await self._session.redis.zscore(self._session.keys.dead_letters, job_id)
            data = await cast(
                Awaitable[dict[bytes, bytes]], self._session.redis.hgetall(self._session.keys.dead(job_id))
            )
        if died_ms is None or not data:
            raise JobNotFound(f"There is no dead letter {job_id!r}: see `promptmill dead list`.")
        return _letter(job_id, died_ms, data)

    async def retry(self, job_ids: Sequence[str] | None = None, *, spread_s: float = 0) -> list[str]:
        """Queues these again, or all, with all their tries; evenly staggered over `spread_s` seconds.

        Returns the ids that are queued again; a letter whose id a new job has taken is left alone.
        """
        ids = await self._ids() if job_ids is None else list(job_ids)
        step_ms = spread_s * 1000 / max(1, len(ids))
        waits = [(id_, round(n * step_ms)) for n, id_ in enumerate(ids)]
        revived: list[str] = []
        with reachable():
            for at in range(0, len(waits), PAGE):
                page = waits[at : at + PAGE]
                replies = await self._session.scripts.revive(page, round(LIFE_S * 1000))
                revived += [id_ for (id_, _), ok in zip(page, replies, strict=True) if ok]
        return revived

    async def delete(self, job_ids: Sequence[str] | None = None) -> int:
        """Deletes these for good, or all. Returns how many there were."""
        ids = await self._ids() if job_ids is None else list(job_ids)
        gone = 0
        with reachable():
            await check(self._session.redis, self._session.keys, _DELETE)
            for at in range(0, len(ids), PAGE):
                page = ids[at : at + PAGE]
                pipe = self._session.redis.pipeline(transaction=True)
                pipe.zrem(self._session.keys.dead_letters, *page)
                pipe.delete(*map(self._session.keys.dead, page))
                gone += (await pipe.execute())[0]
        return gone

    async def _ids(self) -> list[str]:
        with reachable():
            return [
                id_.decode()
                for id_ in await self._session.redis.zrange(self._session.keys.dead_letters, 0, -1)
            ]


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
