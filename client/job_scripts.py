"""The Lua scripts of the client, each behind one typed function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from redis.asyncio import Redis

from .errors import JobError, JobExpired, JobNotFound
from .redis.scripts import scripts
from .tickets import JobTicket
from .wire.events import FIELD, Position, position
from .wire.keys import Keys

# What look tells of a job that has no result.
Unfinished = Literal["waits or runs", "expired", "unknown"]
_UNFINISHED: dict[int, Unfinished] = {1: "waits or runs", 2: "expired", 0: "unknown"}


class Scripts:
    """The scripts, bound to one server."""

    def __init__(self, redis: Redis, queue: str, keys: Keys) -> None:
        self._queue = queue
        self._keys = keys
        self._redis = redis
        verbs = scripts(redis, __package__, keys, "enqueue", "look", "abort", "revive")
        self._enqueue, self._look, self._abort, self._revive = verbs

    async def enqueue(self, tickets: Sequence[JobTicket]) -> list[bool]:
        """One round trip: all tickets into their lanes, and workers woken. True where the id was new."""
        args: list[str | bytes | int] = []
        for ticket in tickets:
            args += (ticket.job_id, ticket.payload, ticket.defer_ms, ticket.life_ms, ticket.lane)
        return [added == 1 for added in await self._enqueue(args=args)]

    async def look(self, job_ids: Sequence[str]) -> list[bytes | Unfinished]:
        """For each id at one moment: its result record, else what is known of it."""
        reply: list[bytes | int] = await self._look(args=[self._queue, *job_ids])
        return [seen if isinstance(seen, bytes) else _UNFINISHED[seen] for seen in reply]

    async def abort(self, job_id: str, lane: str, aborted: bytes) -> Literal["ended", "asked", "absent"]:
        """Ends a job that has not started, or asks its worker to. `aborted` is the result record."""
        reply = await self._abort(args=[job_id, lane, aborted])
        answer: Literal["ended", "asked", "absent"] = reply.decode()
        return answer

    async def revive(self, waits: Sequence[tuple[str, int]], life_ms: int) -> list[bool]:
        """Dead letters back into their lanes: (id, ms to wait) each. True where one is queued again."""
        args: list[str | int] = [life_ms]
        for wait in waits:
            args += wait
        return [revived == 1 for revived in await self._revive(args=args)]

    async def read_streams(
        self, places: Sequence[tuple[str, str]], count: int
    ) -> list[list[tuple[Position, bytes]]]:
        """For each (job id, first event's id) up to `count` events, as they are stored. One round trip."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id, first in places:
                pipe.xrange(self._keys.stream(job_id), first, "+", count)
            replies = await pipe.execute()
        field = FIELD.encode()
        return [[(position(id_), entry[field]) for id_, entry in reply] for reply in replies]


def not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"There is no job {job_id!r}: the id is wrong or its result has expired.")


def absence(job_id: str, seen: Unfinished) -> JobError:
    """Why there is no use in waiting for the job."""
    if seen == "expired":
        return JobExpired("The job was not started before its deadline.")
    return not_found(job_id)
