"""The Lua scripts of the client, each behind one typed function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from .errors import JobError, JobNotFound
from .redis.rights import PRODUCER
from .redis.scripts import scripts
from .redis.strange import nothing_if_strange
from .tickets import JobTicket
from .wire.events import FIELD, Position, position
from .wire.keys import Keys
from .wire.record import expired

# What look tells of a job that has no result.
Unfinished = Literal["waits or runs", "expired", "unknown"]
_UNFINISHED: dict[int, Unfinished] = {1: "waits or runs", 2: "expired", 0: "unknown"}
Seen: TypeAlias = bytes | Unfinished  # the result record where there is one


class Scripts:
    """The scripts, bound to one server."""

    def __init__(self, redis: Redis, queue: str, keys: Keys) -> None:
        self._queue = queue
        self.keys = keys
        self._redis = redis
        self._enqueue, self._look = scripts(redis, __package__, keys, "enqueue", "look", beside=PRODUCER)
        (self._abort,) = scripts(redis, __package__, keys, "abort")
        (self._revive,) = scripts(redis, __package__, keys, "revive")

    async def enqueue(self, tickets: Sequence[JobTicket]) -> list[bool]:
        """One round trip: all tickets into their lanes, and workers woken. True where the id was new."""
        args: list[str | bytes | int] = []
        for ticket in tickets:
            args += (ticket.job_id, ticket.payload, ticket.defer_ms, ticket.life_ms, ticket.lane, ticket.note)
        return [added == 1 for added in await self._enqueue(args=args)]

    async def look(self, job_ids: Sequence[str]) -> list[Seen]:
        """For each id at one moment: its result record, else what is known of it."""
        reply: list[bytes | int] = await self._look(args=[self._queue, *job_ids])
        return list(map(as_seen, reply))

    async def look_in(self, pipe: Pipeline, job_id: str) -> None:
        """As `look`, for one, in that pipeline: `as_seen` reads the one of its reply."""
        await self._look(args=[self._queue, job_id], client=pipe)

    async def absence(self, job_id: str, seen: Unfinished) -> JobError:
        """Why there is no use in waiting for the job."""
        if seen == "expired":
            last: bytes | None = None
            with nothing_if_strange():
                last = await self._redis.get(self.keys.last(job_id))
            return expired(self.keys, last)
        return not_found(job_id)

    async def abort(self, job_id: str, lane: str, aborted: bytes) -> Literal["ended", "asked", "absent"]:
        """Ends a job that has not started, or asks its worker to. `aborted` is the result record."""
        reply = await self._abort(args=[job_id, lane, aborted])
        answer: Literal["ended", "asked", "absent"] = reply.decode()
        return answer

    async def revive(self, waits: Sequence[tuple[bytes, int]], life_ms: int) -> list[bool]:
        """Dead letters back into their lanes: (id, ms to wait) each. True where one is queued again."""
        args: list[bytes | int] = [life_ms]
        for wait in waits:
            args += wait
        return [revived == 1 for revived in await self._revive(args=args)]

    async def read_streams(
        self, places: Sequence[tuple[str, str]], count: int
    ) -> list[list[tuple[Position, bytes]]]:
        """For each (job id, first event's id) up to `count` events, as they are stored. One round trip."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id, first in places:
                pipe.xrange(self.keys.stream(job_id), first, "+", count)
            replies = await pipe.execute(raise_on_error=False)
        return [[] if _is_no_stream(reply) else [_entry(*row) for row in reply] for reply in replies]


def _is_no_stream(reply: Any) -> bool:
    """Whether something else is there, or nothing that could be read from that place on."""
    if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
        raise reply
    return isinstance(reply, Exception)


def _entry(id_: bytes, fields: dict[bytes, bytes]) -> tuple[Position, bytes]:
    return position(id_), fields.get(FIELD.encode(), b"")


def as_seen(reply: bytes | int) -> Seen:
    return reply if isinstance(reply, bytes) else _UNFINISHED[reply]


def not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"There is no job {job_id!r}: the id is wrong or its result has expired.")
